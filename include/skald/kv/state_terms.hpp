// SPDX-License-Identifier: MIT
#pragma once
// Sequences that are more than rows by position: tiers, and what an eviction policy left. A cache of such says itself what is kept of one,
// and in what a cache must be like it to go on from there. How that stands in a stream is state_format.hpp's matter.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>

namespace skald::kv {

/// What a cache must have alike to take in what another one saved: "budget", "512".
struct state_term {
    std::string name;   ///< as a sentence has it, "a cache whose … is"; printable ASCII without "="
    std::string value;  ///< printable ASCII
    bool operator==(const state_term&) const = default;
};
using state_terms = std::vector<state_term>;  // the first is the kind of cache

/// A cache as its saved sequences name it.
struct state_form {
    std::string codec;          ///< of its rows; of tiers, of the hot ones
    std::size_t row_bytes = 0;  ///< of such a row of one head
    state_terms terms{};
};

using state_put = std::function<void(std::span<const std::byte>)>;  ///< takes the next bytes
using state_get = std::function<void(std::span<std::byte>)>;        ///< fills in the next bytes
using state_plan = std::function<void(const segment&)>;             ///< makes room for a step's rows, as c.plan()

/// A cache that writes and reads what is kept of a sequence itself. kv::save and kv::restore do the rest.
///
/// | member                               | meaning                                                                                  |
/// |--------------------------------------|------------------------------------------------------------------------------------------|
/// | c.form()                             | what a cache that takes its sequences must be like                                       |
/// | c.committed(s)                       | committed tokens                                                                         |
/// | c.write_kept(s, length, put)         | all that is kept of the first `length` tokens, committed ones, which keeps() allows; as  |
/// |                                      | many bytes each time                                                                     |
/// | c.read_kept(s, length, plan, get, place) | reads it into s, which is empty, and commits it; what it throws, and that is          |
/// |                                      | errc::bad_file for bytes that write_kept() does not write, may leave s with tokens       |
template <class C>
concept storable_cache = kv_cache<C> && requires(C c, const C k, sequence_id s, position length, const state_put& put, const state_get& get,
                                                 const state_plan& plan, std::string_view place) {
    { k.form() } -> std::same_as<state_form>;
    { k.committed(s) } -> std::same_as<position>;
    k.write_kept(s, length, put);
    c.read_kept(s, length, plan, get, place);
};

namespace detail {

/// A number as the bytes of a stream have it.
template <class T>
void put_number(const state_put& put, T value) {
    put(std::as_bytes(std::span(&value, 1)));
}
template <class T>
T get_number(const state_get& get) {
    T out{};
    get(std::as_writable_bytes(std::span(&out, 1)));
    return out;
}

/// Throws errc::invalid_argument unless both are the terms of caches that are alike.
inline void require_same_terms(const state_terms& saved, const state_terms& cache, std::string_view place) {
    const auto kind = [](const state_terms& t) { return t.empty() ? state_term{"kind", "rows by position"} : t[0]; };
    const auto differ = [&](const state_term& there, const state_term& here) {
        fail(errc::invalid_argument, place, "is of a cache whose ", there.name, " is ", there.value, "; this one's is ",
             here.name == there.name ? here.value : concat("described by its ", here.name));
    };
    if (kind(saved) != kind(cache)) differ(kind(saved), kind(cache));
    for (std::size_t i = 1; i < saved.size() && i < cache.size(); ++i)
        if (saved[i] != cache[i]) differ(saved[i], cache[i]);
    if (saved.size() != cache.size())
        fail(errc::invalid_argument, place, "says ", saved.size(), " things of its cache; this one says ", cache.size(), " of itself");
}

}  // namespace detail

}  // namespace skald::kv
