// expect: decode<
// SPDX-License-Identifier: MIT
// A codec that can write rows and not read them is no codec, and the message names the member that is missing.

#include <cstddef>
#include <cstring>

#include <skald/kv/codec.hpp>

struct write_only {
    static constexpr std::string_view name = "write-only";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return width * 4; }

    template <skald::format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        std::memcpy(out, row, width * 4);
    }
};

template <skald::kv::codec Codec>
void keep() {}

void use() { keep<write_only>(); }
