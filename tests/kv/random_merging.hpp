// SPDX-License-Identifier: MIT
#pragma once
// Policies of merged layers for random operations: the first layer keeps groups of its own, the next two share theirs. What a row of these
// must be is what merging makes of a group's rows alone (kv/merged_rows.hpp, which tests/kv/merged.cpp compares with the paper).
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <skald/kv/merged.hpp>
#include <skald/kv/radix_tiers.hpp>
#include <skald/kv/word_codec.hpp>

#include "kv/random_model.hpp"

namespace skald::test {

template <class Cold, template <class, kv::codec> class Policy>
struct merging_policy : keeping_all {
    using hot = kv::f16;
    using made = Policy<Cold, hot>;
    static constexpr bool pool = !std::is_same_v<made, kv::merged<Cold, hot>>, leads = true, whole_steps = true;
    static constexpr std::size_t layers = 3, step = 20, sinks_kept = 3, group = Cold::tokens;
    static constexpr std::size_t capacity = round_up(step + 1 + group, kv::word_unit);
    static constexpr kv::merging how{.far = 0.5f, .kept = 16, .from = 1};

    static constexpr std::size_t boundary(std::size_t length) { return length / group * group; }
    static constexpr bool keeps(std::size_t length, std::size_t most) {
        return boundary(length) == length || most <= boundary(length) + capacity;
    }
    static constexpr std::size_t most_after(std::size_t length, std::size_t most) { return std::min(most, length + capacity); }
    static constexpr std::size_t most_opened(std::size_t n) { return n == 0 ? 0 : n + capacity; }
    static made make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = pool ? tokens * sequences : tokens, .sequences = sequences, .sinks = sinks_kept, .step = step, .merge = how}};
    }

    /// Whether a row of a merged layer is what the rows of its group, which is whole, are merged into.
    static bool same_merged(const std::byte* row, std::size_t width, std::span<const std::uint32_t> prefixes, std::size_t p,
                            std::size_t layer, std::size_t head, bool value) {
        using pair = kv::merged_group<hot, Cold>;
        using row_codec = typename pair::key_codec;
        static_assert(std::is_same_v<row_codec, typename pair::value_codec>);
        const std::size_t first = boundary(p), side = (layer - how.from) % 2;
        static group_of_two last[2];
        group_of_two& known = last[value ? 1 : 0];
        if (const std::array key{prefixes[first + group - 1], static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(layer - side),
                                 static_cast<std::uint32_t>(head)};
            known.bytes.empty() || known.of != key) {
            known.of = key;
            known.bytes.resize(value ? pair::value_bytes(width, how.kept_of(group)) : pair::key_bytes(width, how.kept_of(group)));
            const auto rows_of = [&](std::size_t of) {
                return [=](std::size_t i) -> const std::byte* {
                    static const row_book<hot> book(width);
                    return book.bytes(prefixes[first + i], of, head, value).data();
                };
            };
            const auto a = rows_of(layer - side), b = rows_of(layer - side + 1);
            const kv::source_rows<hot, std::remove_cvref_t<decltype(a)>> first_rows{a}, second_rows{b};
            const std::size_t skip = first == 0 ? sinks_kept : 0;
            if (value)
                pair::template seal_values<format::scalar>(first_rows, second_rows, width, skip, how, known.bytes.data());
            else
                pair::template seal_keys<format::scalar>(first_rows, second_rows, width, skip, how, known.bytes.data());
        }
        const std::byte* expected = known.bytes.data() + pair::first_row(side) + (p - first) * row_codec::row_bytes(width);
        if (row_codec::length(row) != row_codec::length(expected)) return false;
        for (std::size_t i = 0; i < width; ++i)
            if (row_codec::template decode<format::scalar>(row, i).value != row_codec::template decode<format::scalar>(expected, i).value)
                return false;
        return true;
    }

private:
    struct group_of_two {
        std::array<std::uint32_t, 4> of{};
        std::vector<std::byte> bytes{};
    };
};

}  // namespace skald::test
