// SPDX-License-Identifier: MIT
// Encoded sequences: what is decoded is near what was encoded, in any cache.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kv/encoded.hpp"
#include "kv/policies.hpp"

using namespace skald;
using namespace skald::test;

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
        if (length != 0) CHECK(greatest_difference(rows_of(exact, there, length), rows_of(cache, here, length)) <= 0.08 * rms(original));
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

        // Layer by layer a bin: the spread of keys and values, without channels' means, is 1 here.
        const kv::detail::bin_sizes bins = kv::detail::bins_of(quality);
        const std::size_t half = original.size() / shape.layers / 2;
        double squares = 0;
        for (std::size_t i = 0; i < original.size(); ++i) {
            const std::size_t third = i / half / 2 * 3 / shape.layers;
            const double bin = static_cast<double>(i / half % 2 == 0 ? bins.keys[third] : bins.values[third]);
            const double error = std::fabs(static_cast<double>(decoded[i]) - static_cast<double>(original[i]));
            if (error > bin * 1.25) FAIL("value " << i << " is off by " << error << ", and bins have " << bin);
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
    for (const std::size_t token : {0, 1, 2, 3, 100}) CHECK(error_of(token) < 0.1);
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
