// SPDX-License-Identifier: MIT
// Tiers by recency with KIVI's groups: what attention gives against the naive backend, and bitwise the same however rows come, where groups
// lie, and after rollbacks and forks.
#include <cmath>
#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/tiered.hpp>

#include "backend/support.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr attention_shape heads{6, 2, 48};
constexpr kv::cache_shape kept{.layers = 1, .kv_heads = heads.kv_heads, .head_dim = heads.head_dim};
constexpr std::size_t q_cols = heads.heads * heads.head_dim, kv_cols = heads.kv_heads * heads.head_dim;

/// What a model would give for a text. Some channels of keys are large, and not around zero.
struct text {
    std::vector<float> q, k, v;

    text(std::size_t tokens, unsigned seed)
        : q(random_floats(tokens * q_cols, seed)),
          k(random_floats(tokens * kv_cols, seed + 1)),
          v(random_floats(tokens * kv_cols, seed + 2)) {
        for (std::size_t i = 0; i < k.size(); ++i)
            if (i % heads.head_dim == 7) k[i] = 20 + 3 * k[i];
    }
    std::size_t tokens() const { return q.size() / q_cols; }
};

/// Rows [from, from + rows) of a text for a sequence.
struct part {
    kv::sequence_id sequence;
    const text* source;
    std::size_t from, rows;
};

/// One step: appends the parts and attends, first by the backend, then by another on the same rows. // (rows, heads · head_dim)
template <class Backend, class Cache, class Other>
std::vector<float> step(const Backend& backend, Cache& cache, std::span<const part> parts, const attention::causal& variant,
                        const Other& other) {
    std::vector<float> q, k, v;
    std::vector<kv::segment> segments;
    std::size_t rows = 0;
    for (const part& p : parts) {
        const auto add = [&](std::vector<float>& to, const std::vector<float>& from, std::size_t cols) {
            to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(p.from * cols),
                      from.begin() + static_cast<std::ptrdiff_t>((p.from + p.rows) * cols));
        };
        add(q, p.source->q, q_cols), add(k, p.source->k, kv_cols), add(v, p.source->v, kv_cols);
        segments.push_back({p.sequence, rows, p.rows});
        rows += p.rows;
    }
    const auto ranges = cache.plan(segments);
    const auto runs = cache.view(0);
    auto scratch = backend.make_scratch(heads);
    backend.rope_append({q.data(), {rows, q_cols}}, {k.data(), {rows, kv_cols}}, {v.data(), {rows, kv_cols}}, heads, {}, ranges, runs,
                        scratch);
    auto out = other.make_activations(rows, q_cols);
    out.resize(rows, q_cols);
    auto room = other.make_scratch(heads);
    other.attend({q.data(), {rows, q_cols}}, heads, variant, ranges, runs, out, room);
    const auto values = std::as_const(out).values();
    return {values.data(), values.data() + rows * q_cols};
}
template <class Backend, class Cache>
std::vector<float> step(const Backend& backend, Cache& cache, std::span<const part> parts, const attention::causal& variant = {0.2f}) {
    return step(backend, cache, parts, variant, backend);
}

/// All rows of a text in steps of `chunk`, committed.
template <class Backend, class Cache>
std::vector<float> in_chunks(const Backend& backend, Cache& cache, kv::sequence_id s, const text& t, std::size_t chunk,
                             const attention::causal& variant = {0.2f}) {
    std::vector<float> out;
    for (std::size_t at = 0; at < t.tokens(); at += chunk) {
        const part p{s, &t, at, std::min(chunk, t.tokens() - at)};
        const std::vector<float> some = step(backend, cache, {&p, 1}, variant);
        out.insert(out.end(), some.begin(), some.end());
        cache.commit(s);
    }
    return out;
}

std::span<const float> rows_of(const std::vector<float>& all, std::size_t from, std::size_t rows) {
    return std::span(all).subspan(from * q_cols, rows * q_cols);
}

template <class Hot, class Cold, std::size_t Tokens, std::size_t Sinks = 0>
struct tiers {
    static auto contiguous(std::size_t step = 300) {
        return kv::tiered<Hot, Cold>{{.tokens = 300, .sequences = 2, .hot = Tokens, .step = step, .sinks = Sinks}}.make(
            kept, std::pmr::new_delete_resource());
    }
    static auto paged(std::size_t step = 300) {
        return kv::paged_tiered<Hot, Cold>{{.tokens = 600, .sequences = 2, .hot = Tokens, .step = step, .sinks = Sinks}}.make(
            kept, std::pmr::new_delete_resource());
    }
};

using kinds = std::tuple<tiers<kv::f16, kv::kivi4, 1>, tiers<kv::f16, kv::kivi<2, 32>, 1, 4>, tiers<kv::f32, kv::kivi<4, 32, 2>, 50>,
                         tiers<kv::f16, kv::grouped<kv::q4>, 1>, tiers<kv::f16, kv::grouped<kv::bf16, 10>, 37, 9>>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("tiers attend as the naive backend reads them", "[kv]", kinds) {
    const text first(200, 1), second(90, 5);
    for (const compute policy : {compute::exact, compute::native})
        for (const attention::causal variant : {attention::causal{0.2f}, attention::causal{0.2f, 70}}) {
            const cpu<> backend({.policy = policy});
            auto cache = TestType::contiguous();
            auto same = TestType::contiguous();
            const kv::sequence_id a = cache.open(), b = cache.open();
            same.open(), same.open();
            for (const auto& [from, rows] : {std::pair{0u, 90u}, std::pair{90u, 1u}, std::pair{91u, 109u}}) {
                std::vector<part> parts{{a, &first, from, rows}};
                if (from == 0) parts.push_back({b, &second, 0, 90});
                const std::vector<float> got = step(backend, cache, parts, variant);
                const std::vector<float> want = step(backend, same, parts, variant, reference::naive());
                // As in backend/attention_support.hpp; keys are up to 24 long in one channel.
                const double tolerance = policy == compute::exact ? 1e-4 : 4e-2;
                std::size_t wrong = 0;
                for (std::size_t i = 0; i < want.size(); ++i) wrong += !(std::fabs(got[i] - want[i]) <= tolerance);
                CAPTURE(from, rows);
                CHECK(wrong == 0);
                cache.commit(a), same.commit(a);
            }
        }
}

TEMPLATE_LIST_TEST_CASE("tiers are bitwise the same however rows come", "[kv]", kinds) {
    const text t(290, 1), other(290, 9);
    for (const compute policy : {compute::exact, compute::native})
        for (const attention::causal variant : {attention::causal{0.2f}, attention::causal{0.2f, 70}}) {
            const cpu<> backend({.policy = policy});
            auto cache = TestType::contiguous();
            const std::vector<float> whole = in_chunks(backend, cache, cache.open(), t, 290, variant);
            for (const std::size_t chunk : {1, 7, 64, 100}) {
                CAPTURE(chunk);
                auto ordered = TestType::contiguous();
                auto pool = TestType::paged();
                CHECK(same_bits(in_chunks(backend, ordered, ordered.open(), t, chunk, variant), whole));
                CHECK(same_bits(in_chunks(backend, pool, pool.open(), t, chunk, variant), whole));
            }
            thread_pool threads(3);
            const cpu<> shared({.pool = &threads, .policy = policy});
            auto pool = TestType::paged();
            const kv::sequence_id a = pool.open(), b = pool.open();
            for (std::size_t at = 0; at < 290; at += 29) {
                const part parts[] = {{b, &other, at, 29}, {a, &t, at, 29}};
                const std::vector<float> got = step(shared, pool, parts, variant);
                CHECK(same_bits(rows_of(got, 29, 29), rows_of(whole, at, 29)));
                pool.commit(a), pool.commit(b);
            }
        }
}

TEMPLATE_LIST_TEST_CASE("tiers forget what was rolled back, and forks go their own way", "[kv]", kinds) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    const text t(290, 1), draft(290, 9);
    const cpu<> backend({.policy = compute::native});
    const auto run = [&](auto cache) {
        auto plain = TestType::contiguous();
        const std::vector<float> whole = in_chunks(backend, plain, plain.open(), t, 290);
        const std::vector<float> drafted = [&] {
            auto fresh = TestType::contiguous();
            return in_chunks(backend, fresh, fresh.open(), draft, 290);
        }();
        const kv::sequence_id s = cache.open();
        for (std::size_t at = 0; at < t.tokens();) {
            const std::size_t rows = std::min(1 + pick(20), t.tokens() - at);
            if (pick(2) == 0 && at + rows < t.tokens()) {  // a draft that is rejected, perhaps after right rows
                const std::size_t right = pick(rows + 1), wrong = std::min(1 + pick(70), t.tokens() - at - right);
                const part good{s, &t, at, right}, bad{s, &draft, at + right, wrong};
                if (right > 0) step(backend, cache, {&good, 1});
                const kv::checkpoint mark = cache.mark(s);
                step(backend, cache, {&bad, 1});
                cache.rollback(s, mark);
                cache.commit(s);
                at += right;
                continue;
            }
            if (pick(6) == 0) {  // a fork that writes other tokens from here on
                const kv::sequence_id copy = cache.fork(s);
                const part more{copy, &draft, at, std::min<std::size_t>(70, t.tokens() - at)};
                const std::vector<float> got = step(backend, cache, {&more, 1});
                if (at == 0) REQUIRE(same_bits(got, rows_of(drafted, 0, more.rows)));
                cache.close(copy);
            }
            const part p{s, &t, at, rows};
            REQUIRE(same_bits(step(backend, cache, {&p, 1}), rows_of(whole, at, rows)));
            cache.commit(s);
            at += rows;
            if (const std::size_t back = pick(at + 1); pick(5) == 0 && cache.keeps(s, static_cast<position>(back))) {
                cache.truncate(s, static_cast<position>(back));
                at = back;
            }
        }
    };
    for (int i = 0; i < 5; ++i) {
        run(TestType::contiguous(90));  // so that the hot tier goes round
        run(TestType::paged(90));
    }
}

TEST_CASE("first tokens are kept as they were, whatever comes after them", "[kv]") {
    constexpr std::size_t sinks = 4;
    const text t(290, 1);
    const cpu<> backend;
    const auto run = [&](auto cache) {
        const kv::sequence_id s = cache.open();
        const part beginning{s, &t, 0, 20};
        step(backend, cache, {&beginning, 1});
        cache.commit(s);
        const auto rows_of = [&](const auto& from) {
            std::vector<std::byte> out;
            for (std::size_t h = 0; h < heads.kv_heads; ++h)
                for (position p = 0; p < static_cast<position>(sinks); ++p)
                    for (const std::byte* row : {from.key(0, h, p), from.value(0, h, p)})
                        out.insert(out.end(), row, row + from.row_bytes());
            return out;
        };
        const std::vector<std::byte> hot = rows_of(std::get<2>(cache.view(0)));
        CHECK(std::get<0>(cache.view(0)).end(0) == 0);
        for (std::size_t at = 20; at < t.tokens(); at += 27) {
            const part p{s, &t, at, 27};
            step(backend, cache, {&p, 1});
            cache.commit(s);
        }
        const auto [first, cold, last] = cache.view(0);
        CHECK(rows_of(first) == hot);
        CHECK(rows_of(last) != hot);  // the circle went round
        const auto p = static_cast<position>(t.tokens() - 1);
        CHECK(first.seen_by(p).from == 0);
        CHECK(first.seen_by(p).to == sinks);
        CHECK(cold.seen_by(p).from == sinks);
    };
    run(tiers<kv::f16, kv::kivi<2, 32>, 1, sinks>::contiguous(27));
    run(tiers<kv::f16, kv::kivi<2, 32>, 1, sinks>::paged(27));

    const auto refused = [](std::size_t many) {
        return code_of([&] {
            kv::tiered<kv::f16, kv::kivi2>{{.sinks = many}}.make({.layers = 1, .kv_heads = 1, .head_dim = 64},
                                                                 std::pmr::new_delete_resource());
        });
    };
    CHECK(refused(32) == errc::invalid_argument);
    CHECK(refused(7) == errc::invalid_argument);
    const auto refused_shape = [](const kv::cache_shape& shape) {
        return code_of([&] { kv::tiered<kv::f16, kv::kivi2>{}.make(shape, std::pmr::new_delete_resource()); });
    };
    CHECK(refused_shape({.layers = 1, .kv_heads = 1, .head_dim = 0}) == errc::invalid_argument);
    CHECK(refused_shape({.layers = 0, .kv_heads = 1, .head_dim = 64}) == errc::invalid_argument);
    CHECK(kv::tiered<kv::f16, kv::kivi2>{{.hot = 256, .sinks = 4}}.name() == "tiered:f16/256+4,kivi2");
    CHECK(kv::tiered<kv::q8, kv::kivi2>{{.hot = 1, .sinks = 4}}.name() == "tiered:q8/1+4,kivi2");
    CHECK(kv::tiered<kv::f16, kv::kivi2>{}.name() == "contiguous:kivi2");
    CHECK(kv::paged_tiered<kv::f16, kv::kivi2>{}.name() == "paged:kivi2");
}
