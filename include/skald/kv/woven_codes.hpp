// SPDX-License-Identifier: MIT
#pragma once
// Codes of few bits, kept as the attention kernels lay words out: a table of steps by columns whose words i and i + 16 of each 32 steps
// stand in one lane. Of keys steps are channels and columns tokens, of values steps are tokens and columns channels.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <skald/backend/attention.hpp>
#include <skald/format/vector.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv::detail {

/// The strips of attention::woven_unit.
template <std::size_t Bits>
struct woven_codes {
    static constexpr std::size_t bits = Bits;
    static constexpr std::size_t line = lane_count * sizeof(std::int32_t);
    static constexpr std::size_t pairs = 16 / Bits;  // a line
    static constexpr std::size_t strip = lane_count / pairs * line;
    static_assert(strip == word_unit * lane_count * Bits / 8);

    static int code(const std::byte* strip, std::size_t step, std::size_t column) noexcept {
        const place at(step, column);
        return static_cast<int>(lane(strip + at.byte) >> at.shift) & ((1 << Bits) - 1);
    }
    /// Codes are ored in: the strip is zero before.
    static void put(std::byte* strip, std::size_t step, std::size_t column, std::int8_t code) noexcept {
        const place at(step, column);
        const std::uint32_t with = lane(strip + at.byte) | static_cast<std::uint32_t>(code) << at.shift;
        std::memcpy(strip + at.byte, &with, sizeof with);
    }

    /// The words of a unit's first strips, code · multiple + offset: row i of `out` has steps i and i + 16. // (16, 16 strips)
    template <class I>
    static void lay_out(const attention::woven_unit& unit, std::size_t strips, std::int32_t* out, std::size_t out_stride) noexcept {
        for (std::size_t h = 0; h < strips; ++h)
            lay_out_strip<I>(unit.strips[h], unit.multiples, unit.offsets, out + h * lane_count, out_stride);
    }

private:
    /// A call of its own, so that numbers are broadcast from memory.
    template <class I>
    [[gnu::noinline]] static void lay_out_strip(const std::byte* strip, const std::byte* multiples, const std::byte* offsets,
                                                std::int32_t* out, std::size_t out_stride) noexcept {
        for (std::size_t i = 0; i < lane_count; i += pairs, strip += line) {
            const I some = I::load(strip);
            const auto pair = [&]<int N>() {
                const I words = some.template code_words<static_cast<int>(Bits), N>();
                scale_words(words, I::broadcast(lane_of(multiples, i + N)), I::broadcast(lane_of(offsets, i + N)))
                    .store(out + (i + N) * out_stride);
            };
            [&]<int... N>(std::integer_sequence<int, N...>) {
                (pair.template operator()<N>(), ...);
            }(std::make_integer_sequence<int, static_cast<int>(pairs)>{});
        }
    }

    struct place {
        std::size_t byte, shift;
        place(std::size_t step, std::size_t column) noexcept
            : byte(step % lane_count / pairs * line + column * sizeof(std::int32_t)), shift(step / lane_count * 16 + step % pairs * Bits) {}
    };
    static std::uint32_t lane(const std::byte* at) noexcept {
        std::uint32_t out;
        std::memcpy(&out, at, sizeof out);
        return out;
    }
    static std::int32_t lane_of(const std::byte* vector, std::size_t i) noexcept {
        return static_cast<std::int32_t>(lane(vector + i * sizeof(std::int32_t)));
    }
};

}  // namespace skald::kv::detail
