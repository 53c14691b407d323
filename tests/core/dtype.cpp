// SPDX-License-Identifier: MIT
// The table of element formats.
#include <set>
#include <string_view>

#include <skald/core/dtype.hpp>

#include "support/catch.hpp"

using namespace skald;

TEST_CASE("every dtype has a name of its own that leads back to it", "[dtype]") {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(dtype::w8_mixed); ++i) {
        const dtype type = static_cast<dtype>(i);
        CAPTURE(i, to_string(type));
        names.insert(to_string(type));
        CHECK(dtype_from_string(to_string(type)) == type);
        CHECK(info(type).block_size > 0);
        CHECK(info(type).block_bytes > 0);
    }
    CHECK(names.size() == detail::dtype_table.size());
}

TEST_CASE("a name that is none gives nothing", "[dtype]") {
    for (const std::string_view name : {"", "F32", "q4", "q4_0 ", "float"}) CHECK_FALSE(dtype_from_string(name).has_value());
}

// ggml's type traits: bytes of a row of 256 values.
TEST_CASE("rows take the bytes that ggml's blocks take", "[dtype]") {
    CHECK(row_bytes(dtype::f32, 256) == 1024);
    CHECK(row_bytes(dtype::f16, 256) == 512);
    CHECK(row_bytes(dtype::bf16, 256) == 512);
    CHECK(row_bytes(dtype::i8, 256) == 256);
    CHECK(row_bytes(dtype::q4_0, 256) == 144);
    CHECK(row_bytes(dtype::q4_1, 256) == 160);
    CHECK(row_bytes(dtype::q5_0, 256) == 176);
    CHECK(row_bytes(dtype::q5_1, 256) == 192);
    CHECK(row_bytes(dtype::q8_0, 256) == 272);
    CHECK(row_bytes(dtype::q2_k, 256) == 84);
    CHECK(row_bytes(dtype::q3_k, 256) == 110);
    CHECK(row_bytes(dtype::q4_k, 512) == 288);
    CHECK(row_bytes(dtype::q5_k, 256) == 176);
    CHECK(row_bytes(dtype::q6_k, 256) == 210);
    CHECK(row_bytes(dtype::iq4_nl, 256) == 144);
    CHECK(row_bytes(dtype::mxfp4, 256) == 136);
    CHECK(row_bytes(dtype::q8_0, 0) == 0);
}
