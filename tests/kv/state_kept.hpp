// SPDX-License-Identifier: MIT
#pragma once
// What holds of saved sequences whatever a cache keeps of them: damage in every place, sinks, sources and memory that fail, and what
// stands under right checksums and is not right, leave the cache as it was.
#include <array>
#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <new>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <skald/core/checksum.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/state.hpp>

#include "kv/streams.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

namespace skald::test {

/// The first `length` tokens of a sequence as a stream.
template <class Cache>
bytes saved(Cache& cache, kv::sequence_id s, std::size_t length) {
    bytes out;
    kv::save(cache, s, some_tokens(length), into(out), {.model = 3}, "a note");
    return out;
}

/// The offsets at which the sections of a stream with terms begin; all but the last have one frame, the last no more than one.
inline constexpr std::size_t state_head_at = 0, state_terms_at = 88, state_body_at = 88 + 520;

/// The stream with right checksums.
inline bytes with_right_sums(bytes b) {
    std::uint64_t sum = 0;
    const std::array<std::size_t, 4> begins{state_head_at, state_terms_at, state_body_at, b.size()};
    for (std::size_t i = 0; i < 3; ++i) {
        const std::size_t end = begins[i + 1] - sizeof sum;
        sum = checksum(std::span(b).subspan(begins[i], end - begins[i]), sum);
        std::memcpy(b.data() + end, &sum, sizeof sum);
    }
    return b;
}

/// A cache with a sequence `other`, which has to stay as it is, and a stream of another one of it, closed again.
template <class Cache>
struct beside {
    Cache& cache;
    const counting_resource& memory;
    kv::sequence_id other;
    std::size_t length;  // of the other one
    bytes stream;        // of `tokens` tokens
    std::size_t tokens;
    bytes before = saved(cache, other, length);
    std::size_t held = memory.bytes(), free = free_places();

    std::size_t free_places() const {
        if constexpr (requires { cache.free_blocks(); }) return cache.free_blocks();
        return 0;
    }
    bool as_it_was() {
        const kv::sequence_id next = cache.open();  // the sequences that were opened are closed
        const bool same = next.index == other.index + 1 && cache.length(next) == 0 && cache.committed(next) == 0;
        cache.close(next);
        return same && saved(cache, other, length) == before && memory.bytes() == held && free_places() == free;
    }
    bool loads() {
        const kv::loaded_sequence loaded = kv::load(cache, stream, {.model = 3});
        const bool same = loaded.text.tokens == some_tokens(tokens) && loaded.text.note == "a note" &&
                          cache.length(loaded.sequence) == static_cast<position>(tokens) && saved(cache, loaded.sequence, tokens) == stream;
        cache.close(loaded.sequence);
        return same;
    }

    void check_damage() {
        REQUIRE(stream.size() > state_body_at);
        for (std::size_t size = 0; size < stream.size(); ++size) {
            CAPTURE(size);
            const std::span<const std::byte> cut(stream.data(), size);
            REQUIRE(code_of([&] { kv::load(cache, cut, {.model = 3}); }) == errc::bad_file);
            REQUIRE(code_of([&] { kv::check(cut); }) == errc::bad_file);
            REQUIRE((size % 16 != 0 || as_it_was()));
        }
        for (std::size_t at = 0; at < stream.size(); ++at) {
            CAPTURE(at);
            bytes changed = stream;
            changed[at] ^= static_cast<std::byte>(1u << at % 8);
            REQUIRE(code_of([&] { kv::load(cache, changed, {.model = 3}); }) == errc::bad_file);
            REQUIRE((at % 16 != 0 || as_it_was()));
        }
        bytes longer = stream;
        longer.push_back(std::byte{0});
        CHECK(code_of([&] { kv::load(cache, longer, {.model = 3}); }) == errc::bad_file);
        CHECK(as_it_was());
        CHECK(kv::check(stream).bytes == stream.size());
        CHECK(kv::check(stream).text.tokens == some_tokens(tokens));
        CHECK(loads());
    }

    /// Every byte changed under right checksums: refused, and all is as it was, or taken, and read(s) can be done with it.
    template <class Read>
    void check_forgeries(const Read& read) {
        std::size_t taken = 0, refused = 0;
        for (std::size_t at = 0; at < stream.size(); ++at)
            for (const unsigned flip : {0x01u, 0x80u}) {
                bytes changed = stream;
                changed[at] ^= static_cast<std::byte>(flip);
                changed = with_right_sums(std::move(changed));
                CAPTURE(at, flip);
                try {
                    const kv::sequence_id s = kv::load(cache, changed, {.model = 3}).sequence;
                    read(s);
                    cache.close(s);
                    ++taken;
                } catch (const error& e) {
                    ++refused;
                    REQUIRE((e.code() == errc::bad_file || at < state_body_at));
                }
                REQUIRE((at % 16 != 0 || as_it_was()));
            }
        CHECK(as_it_was());
        CHECK(taken > 100);
        CHECK(refused > 1000);
    }

    void check_failures() {
        std::size_t pieces = 0, reads = 0;
        kv::save(cache, other, some_tokens(length), [&](std::span<const std::byte>) { ++pieces; });
        const auto source = [&](std::size_t broken) {
            return [&, broken, at = std::size_t{0}, n = std::size_t{0}](std::span<std::byte> out) mutable {
                if (n++ == broken) throw std::runtime_error("broken");
                reads = n;
                const std::size_t count = std::min(out.size(), stream.size() - at);
                std::memcpy(out.data(), stream.data() + at, count);
                at += count;
                return count;
            };
        };
        for (std::size_t broken = 0; broken < pieces; ++broken) {
            const auto sink = [&, n = std::size_t{0}](std::span<const std::byte>) mutable {
                if (n++ == broken) throw std::runtime_error("broken");
            };
            CHECK_THROWS_AS(kv::save(cache, other, some_tokens(length), sink), std::runtime_error);
            CHECK(as_it_was());
        }
        cache.close(kv::load(cache, kv::state_source(source(~std::size_t{0})), {.model = 3}).sequence);
        const std::size_t whole = reads;
        REQUIRE(whole > 2);
        for (std::size_t broken = 0; broken < whole; ++broken) {
            CHECK_THROWS_AS(kv::load(cache, kv::state_source(source(broken)), {.model = 3}), std::runtime_error);
            CHECK(as_it_was());
        }
        const auto none = std::pmr::null_memory_resource();
        CHECK_THROWS_AS(kv::save(cache, other, some_tokens(length), [](auto) {}, {.memory = none}), std::bad_alloc);
        CHECK_THROWS_AS(kv::load(cache, stream, {.model = 3, .memory = none}), std::bad_alloc);
        CHECK(as_it_was());
        CHECK(code_of([&] { kv::restore(cache, other, stream, {.model = 3}); }) == errc::invalid_argument);
        CHECK(code_of([&] { kv::load(cache, stream, {.model = 4}); }) == errc::invalid_argument);
        CHECK(code_of([&] { saved(cache, other, length + 1); }) == errc::invalid_argument);
        CHECK(as_it_was());
    }
};

/// What a cache says of a stream that it refuses.
template <class Cache>
std::string refusal(Cache& cache, const bytes& stream) {
    try {
        kv::load(cache, stream, {.model = 3, .place = "here"});
    } catch (const error& e) {
        CHECK(e.code() == errc::invalid_argument);
        CHECK(cache.open().index == 0);
        return e.what();
    }
    FAIL("nothing was thrown");
    return {};
}

}  // namespace skald::test
