// SPDX-License-Identifier: MIT
// Models on caches whose layers are merged: logits that do not depend on the schedule, on neighbours, on what was rolled back or forked,
// and what the naive backend reads.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <tuple>
#include <type_traits>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/merged.hpp>
#include <skald/kv/radix_tiers.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Five layers: two with groups of their own, a pair, and one that has no partner.
template <class Backend = cpu<>>
model<Backend> five_layers(executor* pool = nullptr, compute policy = compute::exact) {
    tiny_model t;
    t.layers = 5;
    return load_model<Backend>(open_model(t).file(), {.pool = pool, .compute = policy});
}

using policy = kv::radix_merged<kv::kivi4>;
constexpr kv::merged_options room{.tokens = 900, .sequences = 3, .sinks = 2, .step = 80};
constexpr std::size_t words = 101;

}  // namespace

TEST_CASE("logits on merged layers do not depend on the schedule", "[kv]") {
    thread_pool pool(2);
    const tokens text = random_tokens(200, words, 6), wrong = random_tokens(70, words, 7);
    for (const compute arithmetic : {compute::exact, compute::native}) {
        const model<cpu<>> m = five_layers(&pool, arithmetic);
        runner whole(m, policy{room}, text.size());
        const std::vector<float> expected = whole.run(whole.cache().open(), text, text.size());
        for (const std::size_t chunk : {1, 7, 50}) {
            CAPTURE(arithmetic == compute::exact, chunk);
            runner run(five_layers(nullptr, arithmetic), policy{room}, chunk);
            CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
        }

        // Beside another sequence that stands elsewhere, after a rejected draft over the end of a group, and in forks that part.
        runner run(m, policy{room}, 128);
        const kv::sequence_id a = run.cache().open(), other = run.cache().open();
        run.run(a, std::span(text).first(120), 33);
        run.run(other, wrong, 64);
        const kv::checkpoint mark = run.cache().mark(a);
        const std::array drafts{std::span<const token_id>(wrong).first(8), std::span<const token_id>(wrong).first(9)};
        run.step(std::array{a, other}, drafts);
        run.step(std::array{a}, std::array{std::span<const token_id>(wrong).first(20)});
        run.cache().rollback(a, mark);
        const kv::sequence_id b = run.cache().fork(a);
        run.run(a, wrong, 64);
        CHECK(same_bits(run.run(b, std::span(text).subspan(120), 30), std::span(expected).subspan(120 * words)));
        run.cache().close(b);
        run.cache().truncate(a, 64);
        CHECK(same_bits(run.run(a, std::span(text).subspan(64), 64), std::span(expected).subspan(64 * words)));
    }
}

TEST_CASE("a model on merged layers agrees with the naive backend, and reads whole what is not yet merged", "[kv]") {
    const tokens text = random_tokens(150, words, 8);
    using policy_of_floats = kv::merged<kv::f32, kv::f32>;
    const policy_of_floats options{{.tokens = 150, .sinks = 3}};
    const model<cpu<>> m = five_layers();
    runner run(m, options, 64);
    const std::vector<float> got = run.run(run.cache().open(), text, 64);
    runner oracle(five_layers<reference::naive>(), options, 64);
    CHECK(greatest_difference(got, oracle.run(oracle.cache().open(), text, 64)) < 1e-3);
    // What the pair shares is made of what both have in the hot tier.
    runner filled(m, options, 64);
    const kv::sequence_id one = filled.cache().open();
    filled.run(one, std::span(text).first(65), 64);
    const auto first = filled.cache().view(2), second = filled.cache().view(3);
    const std::size_t width = 16;
    std::size_t merged = 0;
    double worst = 0;
    for (std::size_t h = 0; h < 2; ++h)
        for (position p = 3; p < 64; ++p) {
            const auto value = [&](const auto& view, std::size_t i) {
                return double{kv::f32::decode<format::scalar>(std::get<3>(view).value(0, h, p), i).value};
            };
            double aa = 0, bb = 0, ab = 0;
            for (std::size_t i = 0; i < width; ++i) {
                const double a = value(first, i), b = value(second, i);
                aa += a * a, bb += b * b, ab += a * b;
            }
            const double angle = std::acos(ab / std::sqrt(aa * bb)), sine = std::sin(angle);
            for (const bool of_second : {false, true}) {
                const std::byte* row = std::get<1>(of_second ? second : first).value(0, h, p);
                using codec = std::remove_cvref_t<decltype(std::get<1>(first))>::value_codec;
                const bool kept = codec::length(row) == kv::detail::no_length;
                merged += kept ? 0 : 1;
                for (std::size_t i = 0; i < width; ++i) {
                    const double a = value(first, i), b = value(second, i);
                    const double e = std::sin(0.4 * angle) / sine * a / std::sqrt(aa) + std::sin(0.6 * angle) / sine * b / std::sqrt(bb);
                    const double want = kept ? (of_second ? b : a) : e * std::sqrt(of_second ? bb : aa);
                    worst = std::max(worst, std::fabs(codec::decode<format::scalar>(row, i).value - want) / std::sqrt(of_second ? bb : aa));
                }
            }
        }
    CHECK(merged > 200);
    CHECK(worst < 3e-3);

    // Where no layer is merged; rows of the first group read the same either way.
    runner apart(m, policy_of_floats{{.tokens = 150, .sinks = 3, .merge = {.from = 5}}}, 64);
    const std::vector<float> plain = apart.run(apart.cache().open(), text, 64);
    CHECK(same_bits(std::span(got).first(64 * words), std::span(plain).first(64 * words)));
    CHECK(greatest_difference(got, plain) > 1e-3);
}

TEST_CASE("random drafts, forks and truncations on merged layers leave what one text gives", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    const tokens text = random_tokens(140, words, 9), wrong = random_tokens(140, words, 10);
    const model<cpu<>> m = five_layers(nullptr, compute::native);
    runner whole(m, policy{room}, 64);
    const std::vector<float> expected = whole.run(whole.cache().open(), text, 64);
    runner run(m, policy{room}, 64);
    auto& cache = run.cache();
    kv::sequence_id s = cache.open();
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t rows = std::min({1 + pick(20), kv::step_room(cache, s), text.size() - at});
        const kv::checkpoint mark = cache.mark(s);
        if (pick(2) == 0) {
            run.step(std::array{s}, std::array{std::span<const token_id>(wrong).first(std::min(1 + pick(20), kv::step_room(cache, s)))});
            run.step(std::array{s}, std::array{std::span<const token_id>(wrong).first(std::min(1 + pick(20), kv::step_room(cache, s)))});
            cache.rollback(s, mark);
        }
        if (pick(5) == 0) {
            const kv::sequence_id copy = cache.fork(s);
            run.run(pick(2) == 0 ? copy : s, std::span(wrong).first(1 + pick(60)), 64);
            const bool kept = cache.keeps(s, static_cast<position>(at));
            cache.close(kept ? copy : s);
            if (!kept) s = copy;
            if (!cache.keeps(s, static_cast<position>(at))) at = at / 64 * 64;
            cache.truncate(s, static_cast<position>(at));
            continue;
        }
        const std::vector<float> got = run.step(std::array{s}, std::array{std::span<const token_id>(text).subspan(at, rows)});
        REQUIRE(same_bits(got, std::span(expected).subspan(at * words, rows * words)));
        cache.commit(s);
        at += rows;
        if (const std::size_t back = pick(at + 1); pick(6) == 0 && cache.keeps(s, static_cast<position>(back))) {
            cache.truncate(s, static_cast<position>(back));
            at = back;
        }
    }
}

TEST_CASE("a pipeline on merged layers takes pinned prefixes over and writes what it writes without", "[kv]") {
    const tokens common = random_tokens(140, words, 12), more = random_tokens(40, words, 13);
    const auto prompt = [&](std::size_t from) {
        tokens out = common;
        out.insert(out.end(), more.begin() + static_cast<std::ptrdiff_t>(from), more.end());
        return out;
    };
    const auto write = [&](auto& writer, const tokens& t) {
        return writer.run(writer.generate(t, {.max_tokens = 40, .ignore_end = true}));
    };
    const auto make = [](std::size_t chunk) {
        return pipeline{five_layers(), policy{{.tokens = 512, .sequences = 2}}, sampling::chain{sampling::greedy{}}, {.chunk = chunk}};
    };
    auto writer = make(23);
    const kv::pinned_prefix pinned = writer.pin(common);
    CHECK(pinned.tokens == 128);
    for (const std::size_t from : {0, 30, 10, 0}) {
        auto alone = make(512);
        const completion got = write(writer, prompt(from)), want = write(alone, prompt(from));
        CHECK(got.stats.reused_tokens >= 128);
        CHECK(want.stats.reused_tokens == 0);
        CHECK(std::ranges::equal(got.tokens, want.tokens, {}, &generated_token::token, &generated_token::token));
    }
    writer.unpin(pinned);
}
