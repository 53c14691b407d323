// SPDX-License-Identifier: MIT
// The JSON reader, with small limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/json_file.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const std::string_view text(reinterpret_cast<const char*>(data), size);
        const nlohmann::json value = skald::io::read_json(text, "fuzz.json", {.bytes = 1 << 16, .depth = 8});
        const auto again = skald::io::read_json(value.dump(), "fuzz.json", {.depth = 8});
        if (again.size() != value.size()) __builtin_trap();
    } catch (const skald::error&) {
    }
    return 0;
}
