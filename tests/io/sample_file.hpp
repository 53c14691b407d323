// SPDX-License-Identifier: MIT
#pragma once
// A small GGUF file with a value of every kind and a tensor of each plain format.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/gguf_writer.hpp"

namespace skald::test {

inline std::vector<float> ramp(std::size_t n) {
    std::vector<float> v(n);
    for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<float>(i % 31) - 15.0f;
    return v;
}

inline gguf_writer sample_file() {
    gguf_writer w;
    w.key("general.architecture", "llama").key("k.u8", std::uint8_t{200}).key("k.i8", std::int8_t{-100});
    w.key("k.u16", std::uint16_t{60000}).key("k.i16", std::int16_t{-30000}).key("k.u32", 4000000000u).key("k.i32", -2000000000);
    w.key("k.u64", std::uint64_t{1} << 63).key("k.i64", -(std::int64_t{1} << 62)).key("k.f32", 0.1f).key("k.f64", 0.1);
    w.key("k.true", true).key("k.false", false).key("k.text", "grüße, 世界").key("k.empty", "");
    w.array("a.strings", std::vector<std::string>{"a", "", std::string("\0\xFF", 2), "Ġthe"});
    w.array("a.floats", {0.5f, -1.0f, 1e30f}).array("a.doubles", {0.25, 1e300}).array("a.ints", {1, -2, 3});
    w.array("a.bytes", std::vector<std::uint8_t>{1, 2, 255}).array("a.bools", {true, false, true});
    w.array("a.longs", {std::int64_t{1}, std::int64_t{1} << 40}).array("a.none", std::vector<float>{});
    byte_writer nested;  // [[1, 2], [], ["x"]]
    nested.put(io::value_kind::array).put(std::uint64_t{3});
    nested.put(io::value_kind::u16).put(std::uint64_t{2}).put(std::uint16_t{1}).put(std::uint16_t{2});
    nested.put(io::value_kind::f32).put(std::uint64_t{0});
    nested.put(io::value_kind::string).put(std::uint64_t{1}).string("x");
    w.raw_key("a.nested", 9, nested);
    w.tensor("t.f32", dtype::f32, {3, 2}, ramp(6)).tensor("t.f16", dtype::f16, {4}, ramp(4)).tensor("t.bf16", dtype::bf16, {5}, ramp(5));
    w.tensor("t.q8_0", dtype::q8_0, {32, 2}, ramp(64)).tensor("t.q4_0", dtype::q4_0, {64, 1, 2}, ramp(128));
    w.tensor("t.q4_1", dtype::q4_1, {32, 2, 1, 2}, ramp(128));
    return w;
}

}  // namespace skald::test
