// SPDX-License-Identifier: MIT
#pragma once
// Operations on one register that xsimd lacks or leaves open, with the best instructions the flags allow: one set of them for every width
// and machine (registers_128.hpp, registers_256.hpp, registers_512.hpp for x86-64, registers_neon.hpp for AArch64). simd.hpp builds
// vectors of 16 from any of them.
#include <cstddef>

#include <skald/backend/cpu/isa.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// | member                            | meaning                                                                              |
/// |-----------------------------------|--------------------------------------------------------------------------------------|
/// | count                             | floats a register                                                                    |
/// | fma(a, b, c)                      | a · b + c, rounded once where the target has it                                      |
/// | max(a, b), min(a, b), abs(a)      | where one is NaN, max and min give b                                                 |
/// | load_… / store_…                  | conversions as of format::float_vector; unaligned                                    |
/// | to_int(f), to_float(i)            | nearest, ties to even                                                                |
/// | scale_by_power(f, n)              | f · 2^n for integers n in [-252, 254], rounded once                                  |
/// | code_zero                         | 128 where dot() takes unsigned bytes, for which codes are around 128; or 0           |
/// | dot(acc, w, s)                    | int32 acc + the sums of four products byte · signed byte from -127 on, exact         |
/// | has_narrow_dot                    | whether there is a faster dot for narrow codes                                       |
/// | narrow_dot(acc, u, s)             | the same for unsigned bytes of at most 129                                           |
/// | dot_bfloat16(acc, a, b)           | acc + the sums of two bf16 products (has_bf16_dot)                                   |
/// | shifted<N>(i)                     | the bits of each 16-bit word moved up by N, or down by -N                            |
/// | masked(i, m), either(i, j)        | and with the byte m, or; bitwise                                                     |
/// | add_bytes(i, m)                   | the byte m added to each                                                             |
/// | widen(p), widen_nibbles(p)        | words: of signed bytes; of 4 bits, of each byte the lower ones first                 |
/// | widen_quarters(p, part)           | words: the part's share of those of 8 bytes, 2 bits each; simd_int says their order   |
/// | code_words<Bits, N>(i)            | words: of each word the bits from Bits · N on                                        |
/// | scale_words(w, factor, offset)    | each word · factor + offset; both numbers, or both of words                          |
/// | choose(table, i)                  | table[byte] of each byte below 16                                                    |
/// | low_bfloat16, high_bfloat16 (i)   | the lower and the upper bf16 of each lane, converted                                 |
/// | bytes_to_float(b, part)           | the part's share of sixteen signed bytes, converted                                  |
/// | sums_of_bytes(p)                  | of the 32 signed bytes at p: of all, of the first and of the last 16 (128 bits only) |
/// | broadcast(x), store(f, p)         | (128 bits only)                                                                      |
/// | choose_bytes(table, p)            | table[index] of the sixteen indices below 16 at p; bytes (128 bits only)             |
/// | swap_pairs(f)                     | elements 2i and 2i + 1 exchanged                                                     |
/// | load_twice(p)                     | element i of p at 2i and 2i + 1                                                      |
/// | sum(f), greatest(f)               | by halves: element i and i + count/2, and so on                                      |
/// | sums(v)                           | element j is sum(v[j]), for `count` registers                                        |
/// | few_sums(v)                       | element j is sum(v[j % 4]), for 4 registers (512 bits only)                          |
template <std::size_t Bytes>
struct registers;

}  // namespace skald::inline SKALD_ISA::kernels
