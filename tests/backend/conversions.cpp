// SPDX-License-Identifier: MIT
// Every conversion of the vector types, over every value of the small formats, against core/half.hpp.
#include <bit>
#include <cstdint>

#include "backend/support.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("every binary16 loads exactly, and stores as the bits it came from", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    std::size_t wrong = 0;
    for (std::uint32_t first = 0; first < 0x10000; first += V::size) {
        half h[V::size + 1], back[V::size];
        float f[V::size];
        for (std::size_t i = 0; i < V::size; ++i) h[i + 1].bits = static_cast<std::uint16_t>(first + i);
        V::load_half(h + 1).store(f);
        V::load_half(h + 1).store_half(back);
        for (std::size_t i = 0; i < V::size; ++i) {
            wrong += std::bit_cast<std::uint32_t>(f[i]) != std::bit_cast<std::uint32_t>(to_float(h[i + 1]));
            wrong += back[i] != to_half(to_float(h[i + 1]));
        }
    }
    CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("every bfloat16 loads exactly, and stores as the bits it came from", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    std::size_t wrong = 0;
    for (std::uint32_t first = 0; first < 0x10000; first += V::size) {
        bfloat16 b[V::size], back[V::size];
        float f[V::size];
        for (std::size_t i = 0; i < V::size; ++i) b[i].bits = static_cast<std::uint16_t>(first + i);
        V::load_bfloat16(b).store(f);
        V::load_bfloat16(b).store_bfloat16(back);
        for (std::size_t i = 0; i < V::size; ++i) {
            wrong += std::bit_cast<std::uint32_t>(f[i]) != std::bit_cast<std::uint32_t>(to_float(b[i]));
            wrong += back[i] != to_bfloat16(to_float(b[i]));
        }
    }
    CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("floats round to half and bfloat16 to nearest, ties to even", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    std::size_t wrong = 0;
    for (std::uint32_t high = 0; high < 0x10000; ++high) {  // every upper half of a float, with the lower halves where rounding turns
        const std::uint32_t low[V::size] = {0,      1,      0xfff,  0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff,
                                            0x3000, 0x7fff, 0x8000, 0x8001, 0x9000, 0xb000, 0xf000, 0xffff};
        float f[V::size];
        for (std::size_t i = 0; i < V::size; ++i) f[i] = std::bit_cast<float>(high << 16 | low[i]);
        half h[V::size];
        bfloat16 b[V::size];
        V::load(f).store_half(h);
        V::load(f).store_bfloat16(b);
        for (std::size_t i = 0; i < V::size; ++i) wrong += (h[i] != to_half(f[i])) + (b[i] != to_bfloat16(f[i]));
    }
    CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("every byte loads exactly, signed and unsigned, and stores saturated", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    for (int first = 0; first < 256; first += static_cast<int>(V::size)) {
        std::uint8_t u[V::size + 1];
        std::int8_t s[V::size + 1];
        float f[V::size], g[V::size];
        for (std::size_t i = 0; i < V::size; ++i) {
            u[i + 1] = static_cast<std::uint8_t>(first + static_cast<int>(i));
            s[i + 1] = static_cast<std::int8_t>(u[i + 1]);
        }
        V::load_u8(u + 1).store(f);
        V::load_i8(s + 1).store(g);
        for (std::size_t i = 0; i < V::size; ++i) {
            CHECK(f[i] == static_cast<float>(u[i + 1]));
            CHECK(g[i] == static_cast<float>(s[i + 1]));
        }
    }
    const float x[V::size] = {0.5f,    1.5f,    2.5f,  -0.5f, -1.5f, 127.4f, 127.6f, 300.0f,
                              -128.4f, -129.0f, -1e9f, 1e9f,  0.49f, 3.0f,   -3.0f,  -0.0f};
    const int want[V::size] = {0, 2, 2, 0, -2, 127, 127, 127, -128, -128, -128, 127, 0, 3, -3, 0};
    std::int8_t out[V::size];
    V::load(x).store_i8(out);
    for (std::size_t i = 0; i < V::size; ++i) CHECK(static_cast<int>(out[i]) == want[i]);
}
