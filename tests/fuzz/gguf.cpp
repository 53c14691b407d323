// SPDX-License-Identifier: MIT
// The GGUF reader: every key, value and byte of a file, from memory and through a callback, which must agree.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>

namespace {

/// Reads every value and byte that the file gives out.
std::size_t use(const skald::io::gguf_file& file) {
    std::size_t sum = 0;
    for (const auto& [key, value] : file.meta().entries()) {
        sum += describe(value).size() + (file.meta().find(key) == &value ? 1 : 0);
        if (const auto* array = std::get_if<const skald::io::metadata_array*>(&value.value))
            for (std::size_t i = 0; i < (*array)->size(); ++i) sum += describe((**array)[i]).size();
    }
    for (const skald::io::tensor_entry& t : file.tensors())
        for (const std::byte b : file.bytes(t)) sum += std::to_integer<std::size_t>(b);
    return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    std::size_t from_memory = 0, from_callback = 0;
    try {
        from_memory = use(skald::io::gguf_file::from_bytes(bytes, "fuzz.gguf"));
    } catch (const skald::error&) {
    }
    const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
        std::memcpy(out.data(), bytes.subspan(static_cast<std::size_t>(offset), out.size()).data(), out.size());
    };
    try {
        from_callback = use(skald::io::gguf_file::from_reader(read, size, "fuzz.gguf"));
    } catch (const skald::error&) {
    }
    if (from_memory != from_callback) __builtin_trap();  // the two sources must agree
    return 0;
}
