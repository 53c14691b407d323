// SPDX-License-Identifier: MIT
// cache: files of saved and of encoded sequences. inspect tells what such a file says of itself, with all its checksums compared, and needs
// no model; save reads a text into one; load goes on from it.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/kv/state_file.hpp>
#include <skald/kv/transport_file.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

/// What a file of either kind holds.
struct kept_sequence {
    skald::kv::state_header header;
    skald::kv::saved_text text;
    std::uint64_t bytes = 0;
    unsigned quality = 0;  // 0: every bit
};

kept_sequence check(const std::filesystem::path& path) {
    if (skald::kv::is_encoded(path)) {
        skald::kv::checked_encoding e = skald::kv::check_encoded(path);
        return {std::move(e.header), std::move(e.text), e.bytes, e.quality};
    }
    skald::kv::checked_state s = skald::kv::check(path);
    return {std::move(s.header), std::move(s.text), s.bytes, 0};
}

std::size_t context_of(std::size_t asked, const engine& model) {
    return asked != 0 ? asked : std::min<std::size_t>(model.config().context, 4096);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void inspect_cache(const inspect_command& c) {
    using skald::concat;
    const kept_sequence kept = check(c.path);
    const skald::kv::state_header& h = kept.header;
    const bool exact = !h.codec.empty();
    if (c.json) {
        nlohmann::ordered_json out{{"file", c.path},           {"bytes", kept.bytes},          {"tokens", h.tokens},
                                   {"layers", h.shape.layers}, {"kv_heads", h.shape.kv_heads}, {"head_dim", h.shape.head_dim}};
        if (exact)
            out["codec"] = h.codec, out["row_bytes"] = h.row_bytes;
        else
            out["quality"] = kept.quality;
        for (const skald::kv::state_term& t : h.terms) out["cache"][t.name] = t.value;
        out["model"] = h.model;
        out["note_bytes"] = h.note_bytes;
        out["ids"] = kept.text.tokens;
        write(out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
        return;
    }
    const auto line = [](std::string_view what, const std::string& value) { write(concat(padded(what, 14), value, "\n")); };
    line("file", printable(c.path, 1000));
    line("size", human_bytes(static_cast<std::size_t>(kept.bytes)));
    line("tokens", concat(h.tokens));
    line("layers", concat(h.shape.layers));
    line("heads", concat(h.shape.kv_heads, " of ", h.shape.head_dim, " values, for keys and values"));
    if (exact)
        line("codec", concat(h.codec, ", ", h.row_bytes, " bytes a row"));
    else
        line("encoded", concat("quality ", kept.quality, ", for caches of any codec"));
    for (const skald::kv::state_term& t : h.terms) line(t.name, t.value);
    line("model", concat(h.model));
    line("note", concat(h.note_bytes, " bytes"));
    line("checksums", "all agree");
}

void save_cache(const save_cache_command& c) {
    const std::string text = !c.prompt_file.empty() ? read_all(c.prompt_file) : c.prompt == "-" ? read_all("-") : c.prompt;
    const interruptible work;
    const auto model = load_engine(c.model, work.token());
    model->tokenizer();  // says why there is none before memory is taken
    sampling_options greedy;
    greedy.temperature = 0;
    const auto text_writer = model->make_writer(c, context_of(c.context, *model), skald::context_overflow::stop, greedy, {});
    const cli::writer::result read =
        text_writer->generate(text, false, {.max_tokens = 1, .cancel = work.token(), .ignore_end = true}, [](std::string_view) {});
    if (work.interrupted()) skald::fail(skald::errc::cancelled, c.out, "was not written: interrupted");
    const auto start = std::chrono::steady_clock::now();
    text_writer->save(c.out, c.exact ? 0 : c.quality);
    tell(skald::concat(text_writer->known(), " tokens read in ", fixed(read.stats.prompt_seconds, 2), " s, written in ",
                       fixed(seconds_since(start), 2), " s\n"));
}

void load_cache(const load_cache_command& c) {
    const interruptible work;
    const auto model = load_engine(c.text.model, work.token());
    model->tokenizer();
    const auto text_writer =
        model->make_writer(c.text, context_of(c.text.context, *model), skald::context_overflow::drop_oldest, c.text.sampling, {});
    const auto start = std::chrono::steady_clock::now();
    text_writer->load(c.path);
    const double loaded = seconds_since(start);
    const std::size_t known = text_writer->known();
    double first = 0;
    bool line_ended = false;
    const cli::writer::result result = text_writer->go_on(c.text.prompt,
                                                          {.max_tokens = c.text.max_tokens,
                                                           .stop = c.text.stop,
                                                           .seed = c.text.sampling.seed,
                                                           .cancel = work.token(),
                                                           .ignore_end = c.text.ignore_end,
                                                           .fast_forward = c.text.sampling.fast_forward},
                                                          [&](std::string_view piece) {
                                                              if (first == 0) first = seconds_since(start);
                                                              line_ended = piece.ends_with('\n');
                                                              write(piece);
                                                              flush();
                                                          });
    if (!line_ended) write("\n");
    flush();
    if (c.text.quiet) return;
    tell(skald::concat(known, " tokens loaded in ", fixed(loaded, 3), " s, first text after ", fixed(first, 3), " s; answer ",
                       result.stats.generated_tokens, result.stats.generated_tokens == 1 ? " token\n" : " tokens\n"));
}

}  // namespace cli
