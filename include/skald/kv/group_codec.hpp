// SPDX-License-Identifier: MIT
#pragma once
// How a group of consecutive tokens of one head is kept together, once all its rows are there: the role, and any row codec in it.
// A group is sealed from rows in another codec; what lies in it is a function of these rows. It knows nothing of who keeps it where.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

/// The rows that a group is made of: row i lies at rows(i), encoded by Codec.
template <codec Codec, class Address>
struct source_rows {
    Address rows;

    template <format::float_vector V>
    V load(std::size_t row, std::size_t i) const noexcept {
        return Codec::template decode<V>(rows(row), i);
    }
};

/// A group codec: stateless; all members static. `width` is a multiple of lane_count, at most `most_width`.
///
/// | member                                  | meaning                                                                       |
/// |-----------------------------------------|-------------------------------------------------------------------------------|
/// | name                                    | the word that `--kv` takes                                                    |
/// | tokens                                  | rows of a group                                                               |
/// | key_codec, value_codec                  | what reads a row of a sealed group: row_bytes(width) and decode, as a codec   |
/// | key_bytes(width), value_bytes(width)    | bytes of a group of keys, of values                                           |
/// | first_key(width), first_value(width)    | where row 0 stands in it; the others follow, row_bytes(width) apart           |
/// | seal_keys<V>(rows, width, out)          | source_rows to a group, all its bytes; also seal_values                       |
/// | sinks                                   | optional: first tokens of a sequence that are better kept as they are (0)     |
/// | plausible_keys(width, bytes)            | optional, also plausible_values: whether addresses that a row reads in a      |
/// |                                         | group stay inside it; of bytes from outside                                   |
template <class G>
concept group_codec = requires(std::size_t width, const std::byte* row) {
    { G::name } -> std::convertible_to<std::string_view>;
    { G::tokens } -> std::convertible_to<std::size_t>;
    { G::most_width } -> std::convertible_to<std::size_t>;
    { G::key_codec::row_bytes(width) } -> std::same_as<std::size_t>;
    { G::value_codec::row_bytes(width) } -> std::same_as<std::size_t>;
    { G::key_codec::template decode<format::scalar>(row, width) } -> std::same_as<format::scalar>;
    { G::value_codec::template decode<format::scalar>(row, width) } -> std::same_as<format::scalar>;
    { G::key_bytes(width) } -> std::same_as<std::size_t>;
    { G::value_bytes(width) } -> std::same_as<std::size_t>;
    { G::first_key(width) } -> std::same_as<std::size_t>;
    { G::first_value(width) } -> std::same_as<std::size_t>;
};

/// Whether rows can be read from a group's bytes, whoever made them.
template <group_codec G>
bool plausible_group(bool keys, std::size_t width, const std::byte* bytes) noexcept {
    if constexpr (requires { G::plausible_keys(width, bytes); })
        return keys ? G::plausible_keys(width, bytes) : G::plausible_values(width, bytes);
    else
        return true;
}

/// Adds what saved sequences say of groups.
template <group_codec G>
void describe_groups(state_terms& terms) {
    terms.push_back({"cold codec", std::string(G::name)});
    terms.push_back({"group", concat(G::tokens, " tokens")});
}

/// Rows one after another, each encoded by itself.
template <codec Codec, std::size_t Tokens = 32>
struct grouped {
    static_assert(require_untransformed<Codec>());
    static constexpr std::string_view name = Codec::name;
    static constexpr std::size_t tokens = Tokens, most_width = 1024;
    using key_codec = Codec;
    using value_codec = Codec;

    static constexpr std::size_t key_bytes(std::size_t width) noexcept { return Tokens * Codec::row_bytes(width); }
    static constexpr std::size_t value_bytes(std::size_t width) noexcept { return key_bytes(width); }
    static constexpr std::size_t first_key(std::size_t) noexcept { return 0; }
    static constexpr std::size_t first_value(std::size_t) noexcept { return 0; }

    template <format::float_vector V, class Rows>
    static void seal_keys(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        alignas(64) float row[most_width] = {};
        for (std::size_t r = 0; r < Tokens; ++r, out += Codec::row_bytes(width)) {
            for (std::size_t i = 0; i < width; i += V::size) rows.template load<V>(r, i).store(row + i);
            Codec::template encode<V>(row, width, out);
        }
    }
    template <format::float_vector V, class Rows>
    static void seal_values(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        seal_keys<V>(rows, width, out);
    }
};

static_assert(group_codec<grouped<f16>>);

}  // namespace skald::kv
