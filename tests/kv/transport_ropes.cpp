// SPDX-License-Identifier: MIT
// Ropes of encoded keys: turned back and again they are what they were, as the model's own rope turns them; and streams go between caches
// that keep keys before rope and after it.
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <skald/kv/transport/key_rope.hpp>
#include <skald/kv/unroped.hpp>

#include "kv/encoded.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr kv::cache_shape shape{.layers = 3, .kv_heads = 2, .head_dim = 16, .rope_pairs = 14};

/// The ropes of a model of three layers: one of a part of the head, interleaved and with a magnitude, between two of the whole.
struct some_ropes {
    std::vector<float> whole, part;
    std::vector<kv::key_rope> layers;

    some_ropes() {
        for (int i = 0; i < 8; ++i) whole.push_back(static_cast<float>(std::pow(10000.0, -i / 8.0)));
        for (int i = 0; i < 6; ++i) part.push_back(static_cast<float>(2.5 * std::pow(100.0, -i / 6.0)));
        layers = {{.frequencies = whole}, {.frequencies = part, .interleaved = true, .magnitude = 1.25f}, {.frequencies = whole}};
    }

    /// Turns the keys of a sequence's first rows, in double. // rows: (layers, 2, kv_heads, n, head_dim)
    void turn(std::vector<float>& rows, std::size_t n, bool back) const {
        for (std::size_t layer = 0; layer < layers.size(); ++layer)
            for (std::size_t h = 0; h < shape.kv_heads; ++h)
                for (std::size_t i = 0; i < n; ++i) {
                    float* x = rows.data() + ((layer * 2 * shape.kv_heads + h) * n + i) * shape.head_dim;
                    const kv::key_rope& rope = layers[layer];
                    const std::size_t pairs = rope.frequencies.size();
                    for (std::size_t p = 0; p < pairs; ++p) {
                        float &a = x[rope.interleaved ? 2 * p : p], &b = x[rope.interleaved ? 2 * p + 1 : p + pairs];
                        const float angle = static_cast<float>(i) * rope.frequencies[p];
                        const double m = static_cast<double>(rope.magnitude), length = back ? 1 / m : m;
                        const double c = std::cos(static_cast<double>(angle)), sine = std::sin(static_cast<double>(angle));
                        const double u = static_cast<double>(a), v = static_cast<double>(b), s = back ? -sine : sine;
                        a = static_cast<float>((u * c - v * s) * length);
                        b = static_cast<float>((v * c + u * s) * length);
                    }
                }
    }
};

}  // namespace

TEST_CASE("cosines of whole numbers are those of the angle", "[kv]") {
    std::mt19937 random(5);
    std::vector<std::uint32_t> phases{0, 1, 0xffffffffu};
    for (const std::uint32_t eighth : {1u, 2u, 3u, 4u, 5u, 6u, 7u})
        for (const std::uint32_t near : {0u, 1u, 0xffffffffu}) phases.push_back((eighth << 29) + near);
    for (int i = 0; i < 20000; ++i) phases.push_back(random());
    double worst = 0;
    for (const std::uint32_t phase : phases) {
        const double angle = phase * (6.283185307179586 / 4294967296.0);
        const kv::detail::turn t = kv::detail::turn_of(phase);
        worst = std::max(
            {worst, std::fabs(static_cast<double>(t.cosine) - std::cos(angle)), std::fabs(static_cast<double>(t.sine) - std::sin(angle))});
    }
    CHECK(worst < 4e-8);  // half a last bit of a float, and the polynomials'
}

TEST_CASE("keys are turned as the rope turns them, and back", "[kv]") {
    const some_ropes ropes;
    constexpr std::size_t n = 40;
    std::mt19937 random(6);
    std::normal_distribution<float> normal;
    std::vector<float> rows(shape.layers * 2 * shape.kv_heads * n * shape.head_dim);
    for (float& x : rows) x = normal(random);
    std::vector<float> expected = rows, turned = rows;
    ropes.turn(expected, n, false);
    kv::detail::key_turner turner(ropes.layers, shape, n, "here", std::pmr::new_delete_resource());
    const std::size_t layer_floats = rows.size() / shape.layers;
    const auto all = [&](kv::detail::turning way) {
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            turner.turn_keys(way, layer, 0, n, std::span(turned).subspan(layer * layer_floats, layer_floats / 2));
    };
    all(kv::detail::turning::forth);
    CHECK(greatest_difference(turned, expected) < 4e-6);
    all(kv::detail::turning::back);
    CHECK(greatest_difference(turned, rows) < 4e-6);

    // Far positions too: the angle is the model's, rounded to float.
    std::vector<float> far(shape.head_dim, 1.0f);
    kv::detail::key_turner one(ropes.layers, shape, 1, "here", std::pmr::new_delete_resource());
    one.turn_keys(kv::detail::turning::forth, 0, 1000003, 1, far);
    for (std::size_t p = 0; p < 8; ++p) {
        const double angle = static_cast<double>(1000003.0f * ropes.whole[p]);
        CHECK(std::fabs(static_cast<double>(far[p]) - (std::cos(angle) - std::sin(angle))) < 1e-6);
    }
}

TEST_CASE("ropes that a cache cannot have are refused", "[kv]") {
    const auto made = [](std::vector<kv::key_rope> ropes) {
        return code_of([&] { kv::detail::key_turner(ropes, shape, 1, "here", std::pmr::new_delete_resource()); });
    };
    const std::vector<float> nine(9, 0.5f), fast{0.1f, 4.5f}, none{std::nanf("")};
    CHECK(made(std::vector<kv::key_rope>(2)) == errc::invalid_argument);
    for (const kv::key_rope& rope :
         {kv::key_rope{.frequencies = nine}, kv::key_rope{.frequencies = fast}, kv::key_rope{.frequencies = none},
          kv::key_rope{.magnitude = 0}, kv::key_rope{.magnitude = std::nanf("")}})
        CHECK(made({rope, {}, {}}) == errc::invalid_argument);
}

TEST_CASE("encoded sequences go between caches that keep keys before rope and after it", "[kv]") {
    const some_ropes ropes;
    std::mt19937 random(7);
    constexpr std::size_t n = 300;
    auto before = kv::contiguous<kv::unroped<kv::f32>>{{.tokens = n, .sequences = 2}}.make(shape, std::pmr::new_delete_resource());
    auto after = kv::contiguous<kv::f32>{{.tokens = n, .sequences = 2}}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = before.open(), back = before.open(), turned = after.open(), there = after.open();
    grow(before, s, n, random);
    const std::vector<float> original = rows_of(before, s, n);
    std::vector<float> expected = original;
    ropes.turn(expected, n, false);
    {
        const std::array step{kv::segment{turned, 0, n}};
        after.plan(step);
        std::vector<float> padded;
        const std::size_t part = n * shape.head_dim;
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                const std::size_t at = (layer * 2 * shape.kv_heads + h) * part;
                kv::detail::store_rows(after, layer, h, 0, std::span(expected).subspan(at, part),
                                       std::span(expected).subspan(at + shape.kv_heads * part, part), padded);
            }
        after.commit(turned);
    }
    const auto encoded = [&](auto& cache, kv::sequence_id of, std::span<const kv::key_rope> layers) {
        bytes out;
        kv::encode(cache, of, some_tokens(n), into(out), {.quality = 5, .ropes = layers});
        return out;
    };
    const auto decoded = [&](auto& cache, kv::sequence_id to, const bytes& stream, std::span<const kv::key_rope> layers) {
        cache.truncate(to, 0);
        kv::decode(cache, to, stream, {.ropes = layers});
        return rows_of(cache, to, n);
    };
    const bytes kept = encoded(before, s, {}), by_rope = encoded(after, turned, ropes.layers), plain = encoded(after, turned, {});
    for (const bytes* each : {&kept, &by_rope, &plain}) {
        const bytes& stream = *each;
        const double most = each == &plain ? 0.4 : 0.12;  // waves are wider, and so are their bins
        CHECK(greatest_difference(decoded(before, back, stream, ropes.layers), original) < most);
        CHECK(greatest_difference(decoded(after, there, stream, ropes.layers), expected) < most);
    }
    // Keys before rope spread less about the means of their channels: at a similar size the error is much smaller.
    CHECK(static_cast<double>(by_rope.size()) < 1.1 * static_cast<double>(plain.size()));
    CHECK(2 * greatest_difference(decoded(after, there, by_rope, ropes.layers), expected) <
          greatest_difference(decoded(after, there, plain, {}), expected));
    CHECK(decoded(before, back, by_rope, {}) == decoded(before, back, by_rope, ropes.layers));

    // Who has no ropes can take in what needs none.
    for (const bytes* each : {&kept, &by_rope}) {
        const bytes& stream = *each;
        after.truncate(there, 0);
        try {
            kv::decode(after, there, stream, {.place = "here"});
            FAIL("nothing was thrown");
        } catch (const error& e) {
            CHECK(e.code() == errc::invalid_argument);
            CHECK(std::string(e.what()).find("here: holds keys from before rope") == 0);
        }
        CHECK(code_of([&] { kv::require_fit(after, kv::check_encoded(stream)); }) == errc::invalid_argument);
    }
    before.truncate(back, 0);
    CHECK(code_of([&] { kv::decode(before, back, plain); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::decode(before, back, kept, {.ropes = std::span(ropes.layers).first(2)}); }) == errc::invalid_argument);
    CHECK(before.length(back) == 0);
}
