// SPDX-License-Identifier: MIT
// cache inspect: what a file of a saved sequence says of itself, with all its checksums compared. Needs no model.
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/kv/state_file.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace cli {

void inspect_cache(const inspect_command& c) {
    using skald::concat;
    const skald::kv::checked_state state = skald::kv::check(std::filesystem::path(c.path));
    const skald::kv::state_header& h = state.header;
    if (c.json) {
        const nlohmann::ordered_json out{{"file", c.path},
                                         {"bytes", state.bytes},
                                         {"tokens", h.tokens},
                                         {"layers", h.shape.layers},
                                         {"kv_heads", h.shape.kv_heads},
                                         {"head_dim", h.shape.head_dim},
                                         {"codec", h.codec},
                                         {"row_bytes", h.row_bytes},
                                         {"model", h.model},
                                         {"note_bytes", h.note_bytes},
                                         {"ids", state.text.tokens}};
        write(out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
        return;
    }
    const auto line = [](std::string_view what, const std::string& value) { write(concat(padded(what, 14), value, "\n")); };
    line("file", printable(c.path, 1000));
    line("size", human_bytes(static_cast<std::size_t>(state.bytes)));
    line("tokens", concat(h.tokens));
    line("layers", concat(h.shape.layers));
    line("heads", concat(h.shape.kv_heads, " of ", h.shape.head_dim, " values, for keys and values"));
    line("codec", concat(h.codec, ", ", h.row_bytes, " bytes a row"));
    line("model", concat(h.model));
    line("note", concat(h.note_bytes, " bytes"));
    line("checksums", "all agree");
}

}  // namespace cli
