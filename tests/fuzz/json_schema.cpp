// SPDX-License-Identifier: MIT
// JSON schemas: compiled, then read along with some bytes.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/grammar/json_schema.hpp>
#include <skald/grammar/matcher.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    namespace grammar = skald::grammar;
    try {
        const std::string_view text(reinterpret_cast<const char*>(data), size);
        grammar::matcher matcher(std::make_shared<const grammar::rules>(grammar::from_json_schema(text, "fuzz.json")),
                                 {.bytes = 64u << 20});
        matcher.next(matcher.start(), R"({"name": "abc", "list": [1, -2.5e3, null]})");
    } catch (const skald::error&) {
    }
    return 0;
}
