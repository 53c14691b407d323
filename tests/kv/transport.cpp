// SPDX-License-Identifier: MIT
// Encoded sequences: what is decoded is near what was encoded, in any cache, and what cannot be decoded leaves the cache as it was.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/transport.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using bytes = std::vector<std::byte>;

kv::state_sink into(bytes& out) {
    return [&out](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); };
}

std::vector<token_id> some_tokens(std::size_t n) {
    std::vector<token_id> out(n);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<token_id>(i * i % 1009);
    return out;
}

/// Appends rows as models make them: channels with means of their own, correlated from token to token, and a first token unlike the others.
template <class Cache>
void grow(Cache& cache, kv::sequence_id s, std::size_t rows, std::mt19937& random) {
    const std::array segments{kv::segment{s, 0, rows}};
    const position first = cache.plan(segments)[0].first_position;
    const kv::cache_shape shape = cache.shape();
    std::normal_distribution<float> normal;
    std::vector<float> keys(rows * shape.head_dim), values(keys.size()), padded;
    for (std::size_t layer = 0; layer < shape.layers; ++layer)
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            for (std::size_t c = 0; c < shape.head_dim; ++c) {
                const float mean = 3 * normal(random);
                float last = normal(random);
                for (std::size_t i = 0; i < rows; ++i) {
                    last = 0.8f * last + 0.6f * normal(random);
                    keys[i * shape.head_dim + c] = mean + last;
                    values[i * shape.head_dim + c] = normal(random) * (first + static_cast<position>(i) == 0 ? 0.1f : 1.0f);
                }
            }
            kv::detail::store_rows(cache, layer, h, first, keys, values, padded);
        }
    cache.commit(s);
}

/// Keys and values of the first committed tokens. // (layers, 2, kv_heads, rows, head_dim)
template <class Cache>
std::vector<float> rows_of(Cache& cache, kv::sequence_id s, std::size_t rows) {
    const kv::cache_shape shape = cache.shape();
    std::vector<float> out(shape.layers * 2 * shape.kv_heads * rows * shape.head_dim);
    cache.select(s);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const std::size_t size = out.size() / shape.layers;
        kv::detail::load_rows(cache, layer, 0, static_cast<position>(rows), std::span(out).subspan(layer * size, size));
    }
    return out;
}

double rms(const std::vector<float>& x) {
    double sum = 0;
    for (const float f : x) sum += static_cast<double>(f) * static_cast<double>(f);
    return std::sqrt(sum / static_cast<double>(x.size()));
}

double greatest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    return most;
}

/// A small encoded sequence of 9 tokens.
struct small_state {
    static constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};
    std::vector<token_id> tokens = some_tokens(9);
    bytes encoded;

    small_state() {
        std::mt19937 random(7);
        auto cache = kv::contiguous<kv::f32>{{.tokens = 16}}.make(shape, std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        grow(cache, s, 9, random);
        kv::encode(cache, s, tokens, into(encoded), {.model = 42}, "note");
    }
};

/// A cache with a sequence of its own and an empty one, which watches that failures leave everything as it was.
struct watched {
    counting_resource memory;
    kv::paged_cache<kv::f16> cache = kv::paged<kv::f16>{{.tokens = 24, .sequences = 2, .block = 4}}.make(small_state::shape, &memory);
    kv::sequence_id other = cache.open(), empty = cache.open();
    std::vector<float> before;
    std::size_t held = 0, free = 0;

    watched() {
        std::mt19937 random(9);
        grow(cache, other, 6, random);
        before = rows_of(cache, other, 6);
        held = memory.bytes();
        free = cache.free_blocks();
    }
    bool as_it_was() {
        return cache.length(empty) == 0 && rows_of(cache, other, 6) == before && memory.bytes() == held && cache.free_blocks() == free;
    }
    template <class Source>
    errc refused(const Source& source, std::uint64_t model = 42) {
        return code_of([&] { kv::decode(cache, empty, source, {.model = model, .memory = &memory}); });
    }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("an encoded sequence is nearly the same in every cache, whatever its codec", "[kv]", keeping_policies) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    auto exact = kv::contiguous<kv::f32>{{.tokens = 600, .sequences = 2}}.make(small_shape, std::pmr::new_delete_resource());
    auto cache = TestType::make(600, 3).make(small_shape, std::pmr::new_delete_resource());
    (void)cache.open();
    for (const std::size_t length : {0, 1, 2, 5, 255, 256, 257, 530}) {
        CAPTURE(length);
        const kv::sequence_id s = exact.open(), there = exact.open(), here = cache.open();
        grow(exact, s, length + 3, random);
        const auto tokens = some_tokens(length);
        bytes encoded, again;
        kv::encode(exact, s, tokens, into(encoded), {.model = 3, .quality = 4}, "a note");
        CHECK(exact.length(s) == static_cast<position>(length + 3));
        const kv::saved_text text = kv::decode(cache, here, encoded, {.model = 3});
        CHECK(text.tokens == tokens);
        CHECK(text.note == "a note");
        REQUIRE(cache.length(here) == static_cast<position>(length));
        CHECK(code_of([&] { cache.rollback(here, {-1}); }) == errc::invalid_argument);  // all of it is committed
        kv::decode(exact, there, encoded, {.model = 3});

        // What any codec keeps of decoded rows is what it keeps of those floats.
        const std::vector<float> decoded = rows_of(exact, there, length), original = rows_of(exact, s, length);
        const kv::cache_shape shape = small_shape;
        const kv::sequence_id direct = cache.open();
        if (length != 0) {
            const std::array step{kv::segment{direct, 0, length}};
            cache.plan(step);
            const std::size_t part = length * shape.head_dim, half = shape.kv_heads * part;
            std::vector<float> padded;
            for (std::size_t layer = 0; layer < shape.layers; ++layer)
                for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                    const auto keys = std::span(decoded).subspan(layer * 2 * half + h * part, part);
                    kv::detail::store_rows(cache, layer, h, 0, keys, std::span(decoded).subspan(layer * 2 * half + half + h * part, part),
                                           padded);
                }
            cache.commit(direct);
            CHECK(rows_of(cache, here, length) == rows_of(cache, direct, length));
            CHECK(greatest_difference(decoded, original) <= 0.36 * rms(original));
        }

        // A cache of any codec can be encoded as well.
        kv::encode(cache, here, tokens, into(again), {.model = 3, .quality = 5});
        exact.truncate(there, 0);
        kv::decode(exact, there, again, {.model = 3});
        if (length != 0) CHECK(greatest_difference(rows_of(exact, there, length), rows_of(cache, here, length)) <= 0.06 * rms(original));
        exact.close(s);
        exact.close(there);
        cache.close(here);
        cache.close(direct);
    }
}

TEST_CASE("each quality is more exact than the one below, and takes more bytes", "[kv]") {
    constexpr kv::cache_shape shape{.layers = 6, .kv_heads = 2, .head_dim = 64};
    std::mt19937 random(11);
    auto cache = kv::contiguous<kv::f32>{{.tokens = 512, .sequences = 2}}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open(), back = cache.open();
    grow(cache, s, 512, random);
    const std::vector<float> original = rows_of(cache, s, 512);
    double last_error = std::numeric_limits<double>::infinity();
    std::size_t last_size = 0;
    for (unsigned quality = 1; quality <= kv::most_quality; ++quality) {
        CAPTURE(quality);
        bytes encoded;
        kv::encode(cache, s, some_tokens(512), into(encoded), {.quality = quality});
        cache.truncate(back, 0);
        kv::decode(cache, back, encoded);
        const std::vector<float> decoded = rows_of(cache, back, 512);

        // Layer by layer half a bin: the spread of keys and values, without channels' means, is 1 here.
        const kv::detail::bin_sizes bins = kv::detail::bins_of(quality);
        const std::size_t half = original.size() / shape.layers / 2;
        double squares = 0;
        for (std::size_t i = 0; i < original.size(); ++i) {
            const std::size_t third = i / half / 2 * 3 / shape.layers;
            const double bin = static_cast<double>(i / half % 2 == 0 ? bins.keys[third] : bins.values[third]);
            const double error = std::fabs(static_cast<double>(decoded[i]) - static_cast<double>(original[i]));
            if (error > bin / 2 * 1.25) FAIL("value " << i << " is off by " << error << ", and bins have " << bin);
            squares += error * error;
        }
        CHECK(squares < last_error);
        CHECK(encoded.size() > last_size);
        last_error = squares;
        last_size = encoded.size();
    }
    CHECK(code_of([&] { kv::encode(cache, s, some_tokens(5), [](auto) {}, {.quality = 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::encode(cache, s, some_tokens(5), [](auto) {}, {.quality = 6}); }) == errc::invalid_argument);
}

TEST_CASE("the first tokens and those with short values are kept eight times finer", "[kv]") {
    constexpr kv::cache_shape shape{.layers = 1, .kv_heads = 1, .head_dim = 64};
    std::mt19937 random(12);
    auto cache = kv::contiguous<kv::f32>{{.tokens = 256, .sequences = 2}}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open(), back = cache.open();
    grow(cache, s, 256, random);
    {
        cache.select(s);
        const auto [run] = cache.view(0);
        auto* value = reinterpret_cast<float*>(run.value(0, 0, 100));
        for (std::size_t c = 0; c < 64; ++c) value[c] *= 0.1f;
    }
    const std::vector<float> original = rows_of(cache, s, 256);
    bytes encoded;
    kv::encode(cache, s, some_tokens(256), into(encoded), {.quality = 2});
    kv::decode(cache, back, encoded);
    const std::vector<float> decoded = rows_of(cache, back, 256);
    const auto error_of = [&](std::size_t token) {
        double most = 0;
        for (std::size_t c = 0; c < 64; ++c)
            for (const std::size_t half : {0, 1}) {
                const std::size_t i = (half * 256 + token) * 64 + c;
                most = std::max(most, std::fabs(static_cast<double>(decoded[i]) - static_cast<double>(original[i])));
            }
        return most;
    };
    for (const std::size_t token : {0, 1, 2, 3, 100}) CHECK(error_of(token) < 0.08);
    for (const std::size_t token : {4, 99, 101}) CHECK(error_of(token) > 0.2);
}

TEST_CASE("values of any kind can be encoded", "[kv]") {
    constexpr kv::cache_shape shape{.layers = 3, .kv_heads = 1, .head_dim = 3};
    auto cache = kv::contiguous<kv::f32>{{.tokens = 300, .sequences = 2}}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open(), back = cache.open();
    const auto with = [&](auto f) {
        cache.truncate(s, 0);
        cache.truncate(back, 0);
        const std::array step{kv::segment{s, 0, 300}};
        cache.plan(step);
        std::vector<float> rows(300 * 3), padded;
        for (std::size_t layer = 0; layer < 3; ++layer) {
            for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = f(i);
            kv::detail::store_rows(cache, layer, 0, 0, rows, rows, padded);
        }
        cache.commit(s);
        bytes encoded;
        kv::encode(cache, s, some_tokens(300), into(encoded));
        kv::decode(cache, back, encoded);
        return rows_of(cache, back, 300);
    };
    for (const float x : with([](std::size_t) { return 0.0f; })) REQUIRE(x == 0);
    for (const float x : with([](std::size_t) { return -7.5f; })) REQUIRE(std::fabs(x + 7.5f) < 0.01f);
    for (const float x : with([](std::size_t i) { return i % 7 == 0 ? 3e38f : -3e38f; })) REQUIRE(std::isfinite(x));
    for (const float x : with([](std::size_t i) { return i == 500 ? std::numeric_limits<float>::infinity() : 1.0f; }))
        REQUIRE((std::fabs(x - 1) < 0.2f || std::fabs(x) < 0.2f));
    for (const float x : with([](std::size_t i) { return i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : 1.0f; }))
        REQUIRE(std::isfinite(x));
    for (const float x : with([](std::size_t i) { return i % 2 == 0 ? 1e-42f : 0.0f; })) REQUIRE(std::fabs(x) < 1e-30f);
}

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
    CHECK(w.refused(with(8, 2, 4)) == errc::unsupported);  // version
    for (const std::size_t field : {12, 16, 20}) {         // layers, heads, head_dim
        CHECK(w.refused(with(field, 0, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 0xffffffff, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 7, 4)) == errc::invalid_argument);
    }
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

TEST_CASE("a receiver can take a sequence in chunk by chunk", "[kv]") {
    std::mt19937 random(4);
    constexpr std::size_t length = 700;
    auto cache = kv::paged<kv::f16>{{.tokens = 2200, .sequences = 3}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open(), whole = cache.open(), parts = cache.open();
    grow(cache, s, length, random);
    bytes encoded;
    kv::encode(cache, s, some_tokens(length), into(encoded), {}, "note");
    kv::decode(cache, whole, encoded);

    const kv::state_source source = kv::detail::source_of(encoded);
    kv::sequence_decoder decoder(cache, parts, source);
    CHECK(decoder.header().tokens == length);
    for (const std::size_t known : {256, 512, 700}) {
        CHECK(!decoder.done());
        REQUIRE(decoder.next());
        CHECK(decoder.text().tokens == some_tokens(known));
        CHECK(cache.length(parts) == static_cast<position>(known));
        CHECK(rows_of(cache, parts, known) == rows_of(cache, whole, known));
    }
    CHECK(decoder.done());
    CHECK(!decoder.next());
    decoder.expect_end();

    // What came before a damaged chunk stays.
    cache.truncate(parts, 0);
    encoded[encoded.size() - 100] ^= std::byte{1};
    const kv::state_source damaged = kv::detail::source_of(encoded);
    kv::sequence_decoder again(cache, parts, damaged);
    CHECK(again.next());
    CHECK(again.next());
    CHECK(code_of([&] { again.next(); }) == errc::bad_file);
    CHECK(cache.length(parts) == 512);
    CHECK(again.text().tokens.size() == 512);
    CHECK(rows_of(cache, parts, 512) == rows_of(cache, whole, 512));
}
