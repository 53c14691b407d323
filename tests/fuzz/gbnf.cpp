// SPDX-License-Identifier: MIT
// Grammars in GBNF: parsed, then read along with the bytes that may come next.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/grammar/gbnf.hpp>
#include <skald/grammar/matcher.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    namespace grammar = skald::grammar;
    try {
        const std::string_view text(reinterpret_cast<const char*>(data), size);
        const auto rules = std::make_shared<const grammar::rules>(grammar::parse_gbnf(text, "fuzz.gbnf"));
        grammar::matcher matcher(rules, {.bytes = 64u << 20});
        grammar::match_state state = matcher.start();
        for (std::size_t i = 0; i < 64 && state != grammar::matcher::dead; ++i) {
            const grammar::byte_set open = matcher.next_bytes(state);
            std::size_t byte = data[i % size];
            for (std::size_t tried = 0; tried < 256 && !open[byte]; ++tried) byte = (byte + 1) % 256;
            const grammar::match_state next = matcher.next(state, static_cast<std::uint8_t>(byte));
            if (open[byte] != (next != grammar::matcher::dead)) __builtin_trap();
            state = next;
        }
    } catch (const skald::error&) {
    }
    return 0;
}
