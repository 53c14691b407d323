// SPDX-License-Identifier: MIT
// Attention variants alone and wrapped around one another: against the naive backend, against what they mean, and bit for bit the same
// however rows are grouped, on any number of threads and any register width.
#include <cmath>
#include <limits>

#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::size_t most_heads = 12;

struct by_head {
    float slopes[most_heads], logits[most_heads];
    by_head() {
        for (std::size_t h = 0; h < most_heads; ++h)
            slopes[h] = attention::alibi_slope(h, most_heads), logits[h] = 3.0f - static_cast<float>(h);
    }
};
const by_head heads;

/// Some two thirds of all pairs, and a row's own position.
struct scattered {
    std::uint64_t operator()(position p, position t) const {
        std::uint64_t bits = 0;
        for (position j = t; j < t + 64; ++j)
            if (j == p || (static_cast<std::uint32_t>(j * 7 + p * 13) * 2654435761u >> 16) % 3 != 0) bits |= std::uint64_t{1} << (j - t);
        return bits;
    }
};
/// Every other tile, and a row's own position.
struct stripes {
    std::uint64_t operator()(position p, position t) const {
        return t / 64 % 2 == 0 ? ~std::uint64_t{0} : attention::detail::bits_of(p, p + 1, t);
    }
};
/// The last `width` positions.
struct last {
    position width;
    std::uint64_t operator()(position p, position t) const { return attention::detail::bits_of(p - width + 1, p + 1, t); }
};
struct all {
    std::uint64_t operator()(position, position) const { return ~std::uint64_t{0}; }
};

/// f(variant) for all hooks together …
template <class F>
void all_together(const F& f) {
    using namespace attention;
    f(sinks{masked{alibi{soft_capped{with_globals{causal{0.2f, 90}, 70}, 1.5f}, heads.slopes}, stripes{}}, heads.logits});
}

/// … and for each alone too.
template <class F>
void each_variant(const F& f) {
    using namespace attention;
    const causal plain{0.2f}, near{0.2f, 40};
    f(alibi{plain, heads.slopes});
    f(sinks{near, heads.logits});
    f(with_globals{near, 5});
    f(masked{plain, scattered{}});
    all_together(f);
}

/// Hooks alone are compiled for one register width.
template <class Arch, class F>
void each_variant_of(const F& f) {
    if constexpr (std::is_same_v<Arch, default_arch>)
        each_variant(f);
    else
        all_together(f);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("variants against the naive backend", "[backend]", architectures) {
    for (const attention_shape shape : {attention_shape{12, 4, 24}, attention_shape{2, 2, 64}})
        for (const position first : {0, 70, 2000}) {
            const row_range range{0, 45, first};
            const std::size_t length = static_cast<std::size_t>(first) + 45;
            each_variant_of<TestType>([&](const auto& v) { check<TestType, kv::f16>(shape, v, std::span(&range, 1), length, length / 3); });
        }
}

TEMPLATE_LIST_TEST_CASE("rows attend alike by variants in one step and in many", "[backend]", architectures) {
    const std::size_t length = 300;
    for (const attention_shape shape : {attention_shape{12, 4, 24}, attention_shape{2, 2, 64}}) {
        plain_cache<kv::f16> cache(shape, 1, length, 1);
        const std::vector<float> q = random_floats(length * shape.heads * shape.head_dim, 2);
        for (const compute policy : {compute::exact, compute::native})
            each_variant_of<TestType>([&](const auto& v) {
                const cpu<TestType> backend({.policy = policy});
                const std::vector<float> whole = in_chunks(backend, q, shape, v, length, length, cache.runs());
                for (const std::size_t chunk : {1, 7, 100}) {
                    CAPTURE(shape.heads, chunk);
                    CHECK(same_bits(in_chunks(backend, q, shape, v, length, chunk, cache.runs(130)), whole));
                }
                CHECK(same_bits(in_chunks(cpu<>({.policy = policy}), q, shape, v, length, length, cache.runs()), whole));
            });
    }
}

TEST_CASE("a cap that only a run tells is the cap, or none", "[backend]") {
    const attention_shape shape{12, 4, 24};
    const std::size_t length = 150;
    plain_cache<kv::f16> cache(shape, 1, length, 1);
    const std::vector<float> q = random_floats(length * shape.heads * shape.head_dim, 2);
    const attention::causal plain{0.2f, 90};
    for (const compute policy : {compute::exact, compute::native}) {
        const auto attended = [&](const auto& v) {
            return in_chunks(cpu<>({.policy = policy}), q, shape, v, length, length, cache.runs());
        };
        const std::vector<float> capped = attended(attention::soft_capped{plain, 0.5f}), whole = attended(plain);
        CHECK_FALSE(same_bits(capped, whole));
        CHECK(same_bits(attended(attention::optionally_capped{plain, 0.5f}), capped));
        CHECK(same_bits(attended(attention::optionally_capped{plain}), whole));
    }
}

TEST_CASE("variants do not depend on threads, whether these share rows or segments", "[backend]") {
    const attention_shape shape{12, 2, 16};
    plain_cache<kv::f16> cache(shape, 3, 3200, 1);
    const std::vector<std::vector<row_range>> steps{{{0, 130, 0}, {130, 1, 199}, {131, 9, 60}}, {{0, 3, 3197}, {3, 1, 1500}}};
    for (const std::vector<row_range>& ranges : steps) {
        const std::vector<float> q = random_floats((ranges.back().first_row + ranges.back().rows) * shape.heads * shape.head_dim, 2);
        for (const compute policy : {compute::exact, compute::native})
            each_variant([&](const auto& v) {
                const std::vector<float> alone = attend(cpu<>({.policy = policy}), q, shape, v, ranges, cache.runs());
                for (const std::size_t threads : {2, 5}) {
                    thread_pool pool(threads);
                    CHECK(same_bits(attend(cpu<>({.pool = &pool, .policy = policy}), q, shape, v, ranges, cache.runs()), alone));
                }
            });
    }
}

TEST_CASE("a mask shows what it says", "[backend]") {
    const attention_shape shape{6, 2, 24};
    const std::size_t length = 1100;
    plain_cache<kv::f16> cache(shape, 1, length, 1);
    const std::vector<float> q = random_floats(150 * shape.heads * shape.head_dim, 2);
    const row_range range{0, 150, 950};
    for (const compute policy : {compute::exact, compute::native}) {
        const auto of = [&](const auto& v) { return attend(cpu<>({.policy = policy}), q, shape, v, std::span(&range, 1), cache.runs()); };
        using namespace attention;
        const std::vector<float> plain = of(causal{0.2f});
        CHECK(same_bits(of(masked{causal{0.2f}, all{}}), plain));
        CHECK(same_bits(of(with_globals{causal{0.2f}, 1000}), plain));
        CHECK(same_bits(of(masked{causal{0.2f}, last{77}}), of(causal{0.2f, 77})));
        CHECK(same_bits(of(with_globals{causal{0.2f, 77}, 0}), of(causal{0.2f, 77})));
        CHECK(same_bits(of(with_globals{masked{causal{0.2f}, last{77}}, 9}), of(with_globals{causal{0.2f, 77}, 9})));
        CHECK_FALSE(same_bits(of(with_globals{causal{0.2f, 77}, 9}), of(causal{0.2f, 77})));
    }
}

TEST_CASE("a sink takes its share of the softmax, and all where nothing is seen", "[backend]") {
    const attention_shape shape{2, 1, 8};
    plain_cache<kv::f32> cache(shape, 1, 9, 1);
    const std::vector<float> q = random_floats(2 * shape.heads * shape.head_dim, 2);
    const row_range range{0, 2, 7};
    constexpr float never = -std::numeric_limits<float>::infinity();
    using namespace attention;
    for (const compute policy : {compute::exact, compute::native}) {
        const auto of = [&](const auto& v) { return attend(cpu<>({.policy = policy}), q, shape, v, std::span(&range, 1), cache.runs()); };
        const std::vector<float> plain = of(causal{0.2f});
        const float none[] = {never, never}, some[] = {0.5f, -1.0f};
        CHECK(same_bits(of(sinks{causal{0.2f}, none}), plain));
        const auto hide = [](position, position) { return std::uint64_t{0}; };
        const std::vector<float> nothing = of(sinks{masked{causal{0.2f}, hide}, some});
        CHECK(std::all_of(nothing.begin(), nothing.end(), [](float x) { return x == 0.0f; }));
        // Of sinks as great as can be nothing is left, of one head's only that head's.
        const float great[] = {never, 80.0f};
        const std::vector<float> second = of(sinks{causal{0.2f}, great});
        for (std::size_t i = 0; i < second.size(); ++i) {
            if (i / shape.head_dim % 2 == 0)
                CHECK(second[i] == plain[i]);
            else
                CHECK(std::fabs(second[i]) < 1e-30f);
        }
    }
}

TEST_CASE("slopes of ALiBi are those of the paper", "[backend]") {
    for (std::size_t h = 0; h < 8; ++h) CHECK(attention::alibi_slope(h, 8) == std::ldexp(1.0f, -static_cast<int>(h) - 1));
    // 12 heads, as the authors' own code gives them: those of 8, then every other one of 16.
    CHECK(attention::alibi_slope(7, 12) == 0.00390625f);
    CHECK(attention::alibi_slope(8, 12) == Approx(0.70710678));
    CHECK(attention::alibi_slope(9, 12) == Approx(0.35355339));
    CHECK(attention::alibi_slope(11, 12) == Approx(0.08838835));
    CHECK(attention::alibi_slope(0, 1) == 0.00390625f);
}
