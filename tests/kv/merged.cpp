// SPDX-License-Identifier: MIT
// Layers that are merged: rows against the paper's formulas in double, which tokens are kept as they are, words, and what is refused.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/merged.hpp>

#include "backend/support.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::size_t group = 64;

/// The rows of a group of one layer. // (tokens, width)
struct plain_rows {
    const float* values;
    std::size_t width;
    template <format::float_vector V>
    V load(std::size_t row, std::size_t i) const {
        return V::load(values + row * width + i);
    }
};

/// Two layers' rows, of which some are alike.
struct two_layers {
    std::vector<float> a, b;

    two_layers(std::size_t width, unsigned seed) : a(random_floats(group * width, seed)), b(random_floats(group * width, seed + 1)) {
        for (std::size_t i = 0; i < a.size(); ++i) b[i] = 3 * (a[i] + 0.4f * static_cast<float>(i / width % 7) * b[i]);
        for (std::size_t i = 0; i < width; ++i) {
            a[9 * width + i] = 0;                       // no direction
            b[10 * width + i] = 2 * a[10 * width + i];  // the same
            b[11 * width + i] = -a[11 * width + i];     // opposite: the widest
            a[12 * width + i] = b[12 * width + i] = 0;
        }
    }
};

/// By the paper's formulas, in double.
struct expected_rows {
    std::vector<double> angle;    // (tokens)
    std::vector<bool> kept;       // (tokens)
    std::vector<double> rows[2];  // (tokens, width)

    expected_rows(const two_layers& x, std::size_t width, std::size_t skip, const kv::merging& how)
        : angle(group), kept(group), rows{std::vector<double>(group * width), std::vector<double>(group * width)} {
        std::vector<double> length[2] = {std::vector<double>(group), std::vector<double>(group)};
        for (std::size_t r = 0; r < group; ++r) {
            double aa = 0, bb = 0, ab = 0;
            for (std::size_t i = r * width; i < (r + 1) * width; ++i)
                aa += double{x.a[i]} * x.a[i], bb += double{x.b[i]} * x.b[i], ab += double{x.a[i]} * x.b[i];
            length[0][r] = std::sqrt(aa), length[1][r] = std::sqrt(bb);
            angle[r] = aa == 0 || bb == 0 ? 0 : std::acos(std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0));
        }
        const auto [low, high] = std::minmax_element(angle.begin() + static_cast<std::ptrdiff_t>(skip), angle.end());
        std::vector<std::size_t> far;
        for (std::size_t r = skip; r < group; ++r)
            if (angle[r] > *high - double{how.far} * (*high - *low)) far.push_back(r);
        std::ranges::sort(far, [&](std::size_t r, std::size_t s) { return angle[r] != angle[s] ? angle[r] > angle[s] : r < s; });
        far.resize(std::min(far.size(), how.kept));
        for (const std::size_t r : far) kept[r] = true;
        for (std::size_t r = 0; r < group; ++r)
            for (std::size_t i = 0; i < width; ++i) {
                const double a = x.a[r * width + i], b = x.b[r * width + i], t = double{how.share};
                const double ua = length[0][r] == 0 ? 0 : a / length[0][r], ub = length[1][r] == 0 ? 0 : b / length[1][r];
                double e = length[0][r] == 0 ? ub : length[1][r] == 0 ? ua : (1 - t) * ua + t * ub;
                if (angle[r] > std::numbers::pi - 1e-2) e = t < 0.5 ? ua : ub;  // as opposite vectors are
                if (angle[r] > 1e-6 && angle[r] < std::numbers::pi - 1e-2)
                    e = (std::sin((1 - t) * angle[r]) * ua + std::sin(t * angle[r]) * ub) / std::sin(angle[r]);
                rows[0][r * width + i] = kept[r] ? a : length[0][r] * e;
                rows[1][r * width + i] = kept[r] ? b : length[1][r] * e;
            }
    }
};

template <class Hot, class Cold, class V = cpu<>::vector>
std::vector<std::byte> sealed(const two_layers& x, std::size_t width, std::size_t skip, const kv::merging& how, bool keys) {
    using rows = kv::merged_group<Hot, Cold>;
    const plain_rows a{x.a.data(), width}, b{x.b.data(), width};
    std::vector<std::byte> out(
        keys ? rows::key_bytes(width, how.kept_of(Cold::tokens)) : rows::value_bytes(width, how.kept_of(Cold::tokens)), std::byte{0xff});
    if (keys)
        rows::template seal_keys<V>(a, b, width, skip, how, out.data());
    else
        rows::template seal_values<V>(a, b, width, skip, how, out.data());
    return out;
}

}  // namespace

TEST_CASE("merged rows are the paper's: one direction, each layer's length, the widest angles kept", "[kv]") {
    using exact = kv::grouped<kv::f32, group>;
    using rows = kv::merged_group<kv::f32, exact>;
    for (const std::size_t width : {16, 48, 64})
        for (const kv::merging how :
             {kv::merging{}, kv::merging{.share = 0.3f, .far = 0.6f, .kept = 2}, kv::merging{.kept = 0}, kv::merging{.far = 1, .kept = 32}})
            for (const std::size_t skip : {0, 4}) {
                const two_layers x(width, static_cast<unsigned>(width + skip));
                const expected_rows want(x, width, skip, how);
                const auto bytes = sealed<kv::f32, exact>(x, width, skip, how, true);
                CHECK(std::ranges::count(want.kept, true) <= static_cast<std::ptrdiff_t>(how.kept));
                std::size_t kept = 0, wrong = 0;
                for (const std::size_t layer : {0, 1})
                    for (std::size_t r = skip; r < group; ++r) {
                        const std::byte* row = bytes.data() + rows::first_row(layer) + r * rows::key_codec::row_bytes(width);
                        const bool as_is = rows::key_codec::length(row) == kv::detail::no_length;
                        CAPTURE(width, how.kept, how.far, skip, layer, r);
                        CHECK(as_is == want.kept[r]);
                        kept += as_is;
                        double length = 0;
                        for (std::size_t i = 0; i < width; ++i) length = std::hypot(length, want.rows[layer][r * width + i]);
                        for (std::size_t i = 0; i < width; ++i) {
                            const double got = rows::key_codec::decode<format::scalar>(row, i).value;
                            const double to = want.rows[layer][r * width + i];
                            // The length is off by 2^-9 of it; angles near 0, of which acos tells little, by 1e-3.
                            const double bound = as_is ? 0 : std::fabs(to) / 500 + 1e-3 * length;
                            wrong += !(std::fabs(got - to) <= bound);
                        }
                    }
                CHECK(wrong == 0);
                CHECK((kept > 0) == (how.kept > 0));
            }
}

TEMPLATE_TEST_CASE("merged rows of words are the same values one by one, by vectors and as words", "[kv]", kv::kivi4, kv::kivi2,
                   (kv::grouped<kv::q8, 64>), (kv::grouped<kv::q4, 64>)) {
    using ints = kernels::simd_int<default_arch>;
    using vector = cpu<>::vector;
    using rows = kv::merged_group<kv::f16, TestType>;
    const std::size_t width = 64;
    const two_layers x(width, 5);
    const auto check = [&]<class Codec>(const std::vector<std::byte>& bytes, Codec) {
        for (std::size_t r = 0; r < 2 * TestType::tokens; ++r) {
            const std::byte* row = bytes.data() + r * Codec::row_bytes(width);
            double squares = 0;
            for (std::size_t unit = 0; unit < width / kv::word_unit; ++unit) {
                std::int16_t words[kv::word_unit];
                Codec::template words<ints>(row, unit).store(words);
                for (std::size_t w = 0; w < kv::word_unit; ++w) {
                    const std::size_t i = unit * kv::word_unit + w / 2 + w % 2 * kv::lane_count;
                    squares += static_cast<double>(words[w]) * words[w];
                    REQUIRE(std::abs(words[w]) <= attention::most_word);
                    float some[vector::size];
                    Codec::template decode<vector>(row, i / vector::size * vector::size).store(some);
                    REQUIRE(some[i % vector::size] == Codec::template decode<format::scalar>(row, i).value);
                    const double value = static_cast<double>(Codec::scale(row)) * words[w];
                    REQUIRE(std::fabs(some[i % vector::size] - value) <= 1e-6 * std::fabs(value));
                }
            }
            REQUIRE(std::sqrt(squares) <= attention::most_length);
        }
    };
    check(sealed<kv::f16, TestType>(x, width, 4, {}, true), typename rows::key_codec{});
    check(sealed<kv::f16, TestType>(x, width, 4, {}, false), typename rows::value_codec{});
}

TEST_CASE("lengths in 16 bits are off by a 512th, and angles of what is not finite are wide", "[kv]") {
    for (const float x : {0.0f, 1e-38f, 1e-5f, 0.7f, 1.0f, 1.9999f, 3e4f, 3e38f}) {
        CAPTURE(x);
        CHECK(std::fabs(kv::detail::long_length(kv::detail::short_length(x)) - x) <= x / 512);
    }
    CHECK(kv::detail::short_length(std::numeric_limits<float>::quiet_NaN()) != kv::detail::no_length);
    CHECK(kv::detail::vector_pair(1, std::numeric_limits<float>::infinity(), 1).angle == std::numbers::pi_v<float>);
    CHECK(kv::detail::vector_pair(0, 1, 0).angle == 0);
}

TEST_CASE("merged tiers refuse what they have no room for, by name", "[kv]") {
    const auto refused = [](const kv::merged_options& o, const kv::cache_shape& shape) {
        return code_of([&] { kv::merged<>{o}.make(shape, std::pmr::new_delete_resource()); });
    };
    CHECK(refused({.step = 0}, {2, 1, 64}) == errc::invalid_argument);
    CHECK(refused({.sinks = 64}, {2, 1, 64}) == errc::invalid_argument);
    CHECK(refused({.merge = {.share = 1.5f}}, {2, 1, 64}) == errc::invalid_argument);
    CHECK(refused({.merge = {.far = -1}}, {2, 1, 64}) == errc::invalid_argument);
    CHECK(refused({.merge = {.kept = 33}}, {2, 1, 64}) == errc::invalid_argument);
    CHECK(refused({}, {2, 1, 1024}) == errc::unsupported);
    CHECK(code_of([] { kv::merged<kv::f16>{}.make({2, 1, 512}, std::pmr::new_delete_resource()); }) == errc::unsupported);

    auto cache = kv::merged<>{{.tokens = 200, .step = 100}}.make({4, 1, 64}, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    CHECK(cache.step_room(s) == 64);
    const kv::segment over{s, 0, 65}, most{s, 0, 64}, some{s, 0, 10};
    CHECK(code_of([&] { cache.plan({&over, 1}); }) == errc::cache_full);
    CHECK(cache.length(s) == 0);
    cache.plan({&most, 1}), cache.commit(s);
    cache.plan({&some, 1}), cache.commit(s);
    CHECK(cache.step_room(s) == 54);
    CHECK(code_of([&] { cache.plan({&most, 1}); }) == errc::cache_full);
}

TEST_CASE("forks share merged groups and sinks of a pool", "[kv]") {
    auto cache = kv::paged_merged<>{{.tokens = 256, .sequences = 3, .step = 64}}.make({2, 1, 64}, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    const auto grow = [&](kv::sequence_id s, std::size_t rows) {
        const kv::segment step{s, 0, rows};
        cache.plan({&step, 1});
        cache.commit(s);
    };
    for (int i = 0; i < 3; ++i) grow(a, 64);
    const kv::sequence_id b = cache.fork(a), c = cache.fork(a);
    for (int i = 0; i < 3; ++i) grow(b, 64);  // what is left of four groups and three places for sinks
    const kv::segment more{c, 0, 64};
    CHECK(code_of([&] { cache.plan({&more, 1}); }) == errc::cache_full);
    cache.close(b);
    grow(c, 64);
    cache.close(a);
    cache.truncate(c, 64);
    cache.truncate(c, 0);
    for (int i = 0; i < 6; ++i) grow(c, 64);
    CHECK(cache.length(c) == 384);
}

TEST_CASE("a pair of layers takes less than two", "[kv]") {
    const auto share = [](auto policy) {
        policy.options = {.tokens = 65536, .sinks = 0, .step = 1, .merge = {.from = 0}};
        const double merged = static_cast<double>(policy.bytes({2, 1, 64}));
        policy.options.merge.from = 2;
        return merged / static_cast<double>(policy.bytes({2, 1, 64}));
    };
    CHECK(share(kv::merged<kv::f16>{}) < 0.61);
    CHECK(share(kv::merged<kv::kivi4>{}) < 0.73);
    CHECK(share(kv::merged<kv::kivi2>{}) < 0.86);
}

TEST_CASE("layers that share groups fetch and release them together", "[kv]") {
    struct : pager {
        void will_need(std::span<const std::byte> memory) noexcept override { fetched.push_back(memory.data()); }
        void release(std::span<const std::byte> memory) noexcept override { released.push_back(memory.data()); }
        std::size_t slack() const noexcept override { return 0; }
        std::vector<const std::byte*> fetched, released;
    } pages;
    std::pmr::monotonic_buffer_resource cold;
    // Layers 0, 1 and 6 have groups of their own.
    kv::paged_merged<kv::grouped<kv::f16>> policy{{.tokens = 32, .sinks = 0, .cold = &cold, .paging = {&pages, std::size_t{1} << 30}}};
    policy.options.merge.from = 2;
    auto cache = policy.make({.layers = 7, .kv_heads = 1, .head_dim = 32}, std::pmr::new_delete_resource());
    const kv::segment whole{cache.open(), 0, 32};
    const auto ranges = cache.plan({&whole, 1});
    std::vector<std::size_t> attended;
    for (std::size_t layer = 0; layer < 7; ++layer)
        cache.attend_parts(0, layer, 0, ranges, [&](const auto&, const auto&) { attended.push_back(pages.released.size()); });
    CHECK(attended == std::vector<std::size_t>{0, 1, 2, 2, 3, 3, 4});  // what had been released before each
    CHECK(pages.released.size() == 5);
    CHECK(std::is_sorted(pages.released.begin(), pages.released.begin() + 4));
    CHECK(pages.fetched.size() == 2 * 5);  // keys and values
    const std::vector<const std::byte*> keys{pages.fetched[8], pages.fetched[0], pages.fetched[2], pages.fetched[4], pages.fetched[6]};
    CHECK(keys == pages.released);
}
