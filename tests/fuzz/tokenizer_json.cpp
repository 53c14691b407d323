// SPDX-License-Identifier: MIT
// tokenizer.json: read, then used on a text of many sorts of characters.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/json_file.hpp>
#include <skald/text/tokenizer_json.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const nlohmann::json json = skald::io::read_json({reinterpret_cast<const char*>(data), size}, "tokenizer.json");
        const auto tokenizer = skald::text::read_tokenizer(skald::io::json_object(json, "tokenizer.json"));
        const auto ids =
            tokenizer.encode("Hello, world's 12345 \xC3\x89t\xC3\xA9 \xF0\x9F\x98\x80\xE6\x9D\xB1\xE4\xBA\xAC \xff\xfe \n\n\t  <s> x",
                             {.parse_special = true});
        tokenizer.decode(ids);
    } catch (const skald::error&) {
    }
    return 0;
}
