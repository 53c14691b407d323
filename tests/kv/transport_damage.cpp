// SPDX-License-Identifier: MIT
// Encoded sequences that cannot be decoded, and sinks, sources and memory that fail: the cache stays as it was.
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kv/encoded.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("an encoded sequence cut off anywhere or continued is refused", "[kv]") {
    const small_state state;
    watched w;
    for (std::size_t size = 0; size < state.encoded.size(); ++size) {
        CAPTURE(size);
        REQUIRE(w.refused(std::span(state.encoded).first(size)) == errc::bad_file);
        REQUIRE(w.as_it_was());
    }
    bytes longer = state.encoded;
    longer.push_back(std::byte{0});
    CHECK(w.refused(longer) == errc::bad_file);
    CHECK(w.as_it_was());
    CHECK(kv::decode(w.cache, w.empty, state.encoded, {.model = 42}).tokens == state.tokens);
}

TEST_CASE("an encoded sequence with any byte changed is refused", "[kv]") {
    const small_state state;
    watched w;
    for (std::size_t at = 0; at < state.encoded.size(); ++at)
        for (const unsigned flip : {1u, 0x80u, 0xffu}) {
            CAPTURE(at, flip);
            bytes changed = state.encoded;
            changed[at] ^= static_cast<std::byte>(flip);
            REQUIRE(w.refused(changed) == errc::bad_file);
            REQUIRE(w.as_it_was());
        }
}

TEST_CASE("headers, chunks and symbols under right checksums are not trusted either", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const small_state state;
    watched w;
    // Frames of the stream: head, note, chunk head, chunk. Changes a byte and makes all checksums right again.
    const std::array<std::size_t, 4> frames{48, 4, 16, state.encoded.size() - 48 - 4 - 16 - 4 * 8};
    const auto resealed = [&](bytes b) {
        std::uint64_t sum = 0;
        std::size_t at = 0;
        for (const std::size_t size : frames) {
            sum = checksum(std::span(b).subspan(at, size), sum);
            std::memcpy(b.data() + at + size, &sum, sizeof sum);
            at += size + sizeof sum;
        }
        return b;
    };
    REQUIRE(resealed(state.encoded) == state.encoded);
    const auto with = [&](std::size_t at, std::uint64_t value, std::size_t size) {
        bytes b = state.encoded;
        std::memcpy(b.data() + at, &value, size);
        return resealed(b);
    };
    CHECK(w.refused(with(8, 1, 4)) == errc::unsupported);  // version
    for (const std::size_t field : {12, 16, 20}) {         // layers, heads, head_dim
        CHECK(w.refused(with(field, 0, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 0xffffffff, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 7, 4)) == errc::invalid_argument);
    }
    CHECK(w.refused(with(28, 2, 4)) == errc::bad_file);  // whether keys are before rope
    CHECK(w.refused(with(28, 1, 4)) == errc::invalid_argument);
    for (const std::uint64_t tokens : {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{10}, std::uint64_t{300}, ~std::uint64_t{0}})
        CHECK(w.refused(with(32, tokens, 8)) == errc::bad_file);
    CHECK(w.refused(with(40, 43, 8)) == errc::invalid_argument);  // model
    constexpr std::size_t chunk = 48 + 8 + 4 + 8;
    for (const std::uint64_t tokens : {0u, 8u, 10u, 256u, 0xffffffffu}) CHECK(w.refused(with(chunk, tokens, 4)) == errc::bad_file);
    for (const std::uint64_t quality : {0u, 6u, 0xffffffffu}) CHECK(w.refused(with(chunk + 4, quality, 4)) == errc::bad_file);
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40, ~std::uint64_t{0}})
        CHECK(w.refused(with(chunk + 8, size, 8)) == errc::bad_file);
    CHECK(w.refused(with(chunk + 16 + 8, 0x80000000, 4)) == errc::bad_file);  // a token
    CHECK(w.as_it_was());

    const std::size_t coded = chunk + 16 + 8 + 9 * sizeof(token_id);
    std::size_t accepted = 0;
    for (std::size_t at = coded; at + 8 < state.encoded.size(); ++at)
        for (int round = 0; round < 8; ++round) {
            bytes b = state.encoded;
            b[at] ^= static_cast<std::byte>(1 + random() % 255);
            if (round > 3)
                for (std::size_t i = at; i + 8 < b.size(); ++i) b[i] = static_cast<std::byte>(random());
            b = resealed(b);
            try {
                kv::decode(w.cache, w.empty, b, {.model = 42});
                ++accepted;
                for (const float x : rows_of(w.cache, w.empty, 9)) REQUIRE(!std::isnan(x));
                w.cache.truncate(w.empty, 0);
            } catch (const error& e) {
                REQUIRE(e.code() == errc::bad_file);
            }
            REQUIRE(w.cache.free_blocks() == w.free);
        }
    CHECK(accepted > 0);
}

TEST_CASE("an encoded sequence of another model or shape is refused by name, one without room too", "[kv]") {
    const small_state state;
    watched w;
    CHECK(w.refused(state.encoded, 43) == errc::invalid_argument);
    CHECK(w.as_it_was());
    auto wide = kv::paged<kv::f16>{{.tokens = 16}}.make({.layers = 2, .kv_heads = 2, .head_dim = 4}, std::pmr::new_delete_resource());
    const kv::sequence_id s = wide.open();
    try {
        kv::decode(wide, s, state.encoded, {.model = 42, .place = "here"});
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(std::string(e.what()) == "here: the number of key/value heads is 1; this cache's is 2");
    }
    auto narrow = kv::contiguous<kv::f16>{{.tokens = 8}}.make(small_state::shape, std::pmr::new_delete_resource());
    const kv::sequence_id n = narrow.open();
    CHECK(code_of([&] { kv::decode(narrow, n, state.encoded, {.model = 42}); }) == errc::cache_full);
    CHECK(narrow.length(n) == 0);
    CHECK(code_of([&] { kv::decode(w.cache, w.other, state.encoded, {.model = 42}); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::encode(w.cache, w.other, some_tokens(7), [](auto) {}); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::encode(w.cache, w.other, std::vector<token_id>{1, -1}, [](auto) {}); }) == errc::invalid_argument);
    CHECK(w.as_it_was());
}

TEST_CASE("latents are not encoded", "[kv]") {
    auto cache = kv::contiguous<kv::f16>{{.tokens = 4}}.make({.layers = 1, .kv_heads = 1, .head_dim = 20, .latent = true},
                                                             std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    CHECK(code_of([&] { kv::encode(cache, s, {}, [](auto) {}); }) == errc::unsupported);
}

TEST_CASE("sinks, sources and memory that fail leave the cache of an encoded sequence as it was", "[kv]") {
    std::mt19937 random(3);
    constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 24};
    constexpr std::size_t length = 600;
    counting_resource memory;
    auto cache = kv::paged<kv::f32>{{.tokens = 1300, .sequences = 2}}.make(shape, &memory);
    const kv::sequence_id s = cache.open(), empty = cache.open();
    grow(cache, s, length, random);
    const std::vector<float> rows = rows_of(cache, s, length);
    const std::size_t held = memory.bytes(), free = cache.free_blocks();
    bytes encoded;
    std::size_t pieces = 0, allocations = 0;
    kv::encode(cache, s, some_tokens(length), [&](std::span<const std::byte> some) { into(encoded)(some), ++pieces; }, {.memory = &memory});
    REQUIRE(pieces > 6);
    const auto unchanged = [&] {
        return rows_of(cache, s, length) == rows && cache.length(s) == static_cast<position>(length) && cache.length(empty) == 0 &&
               memory.bytes() == held && cache.free_blocks() == free;
    };
    CHECK(unchanged());
    for (std::size_t broken = 0; broken < pieces; ++broken) {
        std::size_t n = 0;
        const auto fails = [&] {
            if (n++ == broken) throw std::runtime_error("broken");
        };
        CHECK_THROWS_AS(kv::encode(cache, s, some_tokens(length), [&](auto) { fails(); }, {.memory = &memory}), std::runtime_error);
        CHECK(unchanged());
        n = 0;
        std::size_t at = 0;
        const kv::state_source failing = [&](std::span<std::byte> out) {
            fails();
            std::memcpy(out.data(), encoded.data() + at, out.size());
            at += out.size();
            return out.size();
        };
        CHECK_THROWS_AS(kv::decode(cache, empty, failing, {.memory = &memory}), std::runtime_error);
        CHECK(unchanged());
    }

    struct failing_resource : std::pmr::memory_resource {
        std::size_t left = 0, taken = 0;
        void* do_allocate(std::size_t size, std::size_t alignment) override {
            if (left-- == 0) throw std::bad_alloc();
            ++taken;
            return std::pmr::new_delete_resource()->allocate(size, alignment);
        }
        void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
            --taken;
            std::pmr::new_delete_resource()->deallocate(p, size, alignment);
        }
        bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    };
    for (const bool encoding : {true, false})
        for (std::size_t allowed = 0;; ++allowed) {
            failing_resource scarce;
            scarce.left = allowed;
            try {
                if (encoding)
                    kv::encode(cache, s, some_tokens(length), [](auto) {}, {.memory = &scarce});
                else
                    kv::decode(cache, empty, encoded, {.memory = &scarce});
                CHECK(scarce.taken == 0);
                cache.truncate(empty, 0);
                break;
            } catch (const std::bad_alloc&) {
                ++allocations;
            }
            CHECK(scarce.taken == 0);
            CHECK(unchanged());
        }
    CHECK(allocations > 10);
}
