// SPDX-License-Identifier: MIT
// What a GGUF file means: config, tensor table and tokenizer. Files that get this far are laid out well, so most findings would be
// in sizes that contradict each other.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <skald/core/error.hpp>
#include <skald/core/memory.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/gguf_source.hpp>
#include <skald/text/tokenizer.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto file = skald::io::gguf_file::from_bytes(std::as_bytes(std::span(data, size)), "fuzz.gguf");
        try {
            const skald::model_source source = skald::read_source(file);
            for (std::size_t i = 0; i < source.config().layers; ++i)
                for (std::size_t r = 0; r < skald::tensor_role_count; ++r)
                    if (const auto role = static_cast<skald::tensor_role>(r); source.has(role, i)) source.fetch(role, i);
        } catch (const skald::error&) {
        }
        const auto tokenizer = skald::text::tokenizer::from_gguf(file.meta(), file.name());
        const auto ids = tokenizer.encode("Hello, world! 12345 \xF0\x9F\x98\x80 \xff\xfe \n\n  x", {.parse_special = true});
        tokenizer.decode(ids);
    } catch (const skald::error&) {
    }
    return 0;
}
