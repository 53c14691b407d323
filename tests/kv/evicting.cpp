// SPDX-License-Identifier: MIT
// Evicting storage: on recorded weights each policy keeps what its paper's formula, written plainly, keeps, through random steps,
// rollbacks, forks and truncations; rows stay with their positions.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/evicting.hpp>

#include "kv/evicting_reference.hpp"
#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr kv::cache_shape shape{.layers = 3, .kv_heads = recorded_kv_heads, .head_dim = 5};

/// Whether the committed rows are those of the reference's positions.
template <class Cache>
bool agrees(Cache& cache, const recorded_sequence& s, const std::vector<reference_heads>& reference) {
    cache.select(s.id);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const auto [run] = cache.view(layer);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            const std::vector<position>& kept = reference[layer][h].kept;
            const auto got = cache.positions(s.id, layer, h);
            if (!std::equal(got.begin(), got.end(), kept.begin(), kept.end())) return false;
            if (run.end(0) != static_cast<position>(kept.size())) return false;
            for (std::size_t i = 0; i < kept.size(); ++i) {
                const auto slot = static_cast<position>(i);
                const float mark =
                    read_back<codec>(mark_of(s.writers[static_cast<std::size_t>(kept[i])], kept[i], layer, h), cache.shape().width(), 1);
                if (codec::template decode<format::scalar>(run.key(0, h, slot), 1).value != mark) return false;
                if (codec::template decode<format::scalar>(run.value(0, h, slot), 1).value != -mark) return false;
            }
        }
    }
    return true;
}

struct tracked {
    recorded_sequence s;
    std::vector<reference_heads> reference;
    std::vector<pending_step> steps;
    std::size_t most_lost = 0;  // 1: something was dropped
};

template <class Policy>
std::size_t budget_of(const Policy& p, std::size_t layer, std::size_t budget) {
    return kv::detail::layer_budget(p, layer, shape.layers, budget);
}

template <class Codec, class Policy>
void run_random(const Policy& policy, std::size_t budget, std::size_t slack, unsigned seed, std::size_t most_rows) {
    CAPTURE(policy.name(), budget, slack, seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    const kv::evicting<Policy, Codec> how{{.budget = budget, .step = 2 * most_rows, .sequences = 3, .slack = slack, .undo = 2 * most_rows},
                                          policy};
    counting_resource memory;
    auto cache = how.make(shape, &memory);
    CHECK(cache.bytes() == memory.bytes());
    CHECK(how.bytes(shape) == memory.bytes());
    std::vector<tracked> all;
    std::uint32_t writer = 0;
    std::size_t dropped = 0;
    const auto commit = [&](tracked& t) {
        cache.commit(t.s.id);
        for (std::size_t layer = 0; layer < shape.layers && t.s.writers.size() > t.s.committed; ++layer) {
            const std::size_t room = budget_of(policy, layer, budget);
            const std::size_t n = t.reference[layer][0].kept.size() + t.s.writers.size() - t.s.committed;
            reference_commit(policy, t.reference[layer], t.s, t.steps, layer, n > room + slack ? room : n);
            if (n > room + slack) ++dropped, t.most_lost = 1;
        }
        t.s.committed = t.s.writers.size();
        t.steps.clear();
    };
    for (int i = 0; i < 400; ++i) {
        const std::size_t operation = pick(10);
        if (all.empty() || (operation == 0 && all.size() < 3)) {
            all.push_back({{cache.open(), {}, 0}, std::vector<reference_heads>(shape.layers), {}});
            continue;
        }
        tracked& t = all[pick(all.size())];
        if (operation == 1 && all.size() < 3) {
            tracked copy = t;
            copy.s.id = cache.fork(t.s.id);
            copy.s.writers.resize(t.s.committed);
            copy.steps.clear();
            all.push_back(copy);
        } else if (operation == 2 && pick(5) == 0) {
            const std::size_t to = pick(t.s.committed + 1);
            bool whole = true;  // whether the tokens before `to` are all there
            for (const reference_heads& layer : t.reference)
                for (const head_reference& h : layer)
                    whole = whole && h.kept.size() >= to && (to == 0 || h.kept[to - 1] == static_cast<position>(to - 1));
            whole = whole || to == 0 || to == t.s.committed;
            REQUIRE(cache.keeps(t.s.id, static_cast<position>(to)) == whole);
            if (!whole) {
                REQUIRE(code_of([&] { cache.truncate(t.s.id, static_cast<position>(to)); }) == errc::invalid_argument);
                REQUIRE(cache.length(t.s.id) == static_cast<position>(t.s.writers.size()));
                continue;
            }
            cache.truncate(t.s.id, static_cast<position>(to));
            if (to < t.s.committed)
                for (reference_heads& layer : t.reference)
                    for (head_reference& h : layer) h.kept.resize(to), h.score.resize(to);
            t.s.writers.resize(to);
            t.s.committed = to;
            t.steps.clear();
        } else if (operation == 3 && pick(8) == 0) {
            cache.close(t.s.id);
            t = all.back();
            all.pop_back();
        } else if (operation <= 6) {
            commit(t);
        } else if (operation == 7) {
            const std::size_t to = t.s.committed + pick(t.s.writers.size() - t.s.committed + 1);
            cache.rollback(t.s.id, {static_cast<position>(to)});
            t.s.writers.resize(to);
            while (!t.steps.empty() && t.steps.back().first >= to) t.steps.pop_back();
            if (!t.steps.empty()) t.steps.back().last = std::min(t.steps.back().last, to);
        } else {
            std::vector<recorded_sequence*> some;
            std::vector<std::size_t> rows;
            for (tracked& u : all) {
                const std::size_t n = pick(most_rows + 1);
                if (n == 0 || u.steps.size() > 1) continue;
                if (u.s.writers.size() - u.s.committed + n > 2 * most_rows) continue;
                u.steps.push_back({u.s.writers.size(), u.s.writers.size() + n, u.s.writers.size() + n});
                some.push_back(&u.s);
                rows.push_back(n);
            }
            if (!some.empty()) take_step(cache, some, rows, writer);
        }
        for (const tracked& u : all) {
            REQUIRE(cache.length(u.s.id) == static_cast<position>(u.s.writers.size()));
            REQUIRE(agrees(cache, u.s, u.reference));
        }
    }
    CHECK(dropped > 20);
}

}  // namespace

TEMPLATE_TEST_CASE("each policy keeps what its paper's formula keeps on recorded weights", "[kv]", kv::f32, kv::q8) {
    const unsigned seed = Catch::rngSeed();
    for (unsigned i = 0; i < 2; ++i) {
        for (const std::size_t budget : {1, 9, 30})
            for (const std::size_t slack : {0, 5}) {
                run_random<TestType>(kv::recent{}, budget, slack, seed + i, 12);
                run_random<TestType>(kv::h2o{}, budget, slack, seed + i, 12);
                run_random<TestType>(kv::tova{}, budget, slack, seed + i, 12);
            }
        run_random<TestType>(kv::recent{.sinks = 4}, 15, 0, seed + i, 12);
        run_random<TestType>(kv::tova{.each_head = true}, 15, 2, seed + i, 12);
        for (const std::size_t pool : {1, 3, 7}) {
            run_random<TestType>(kv::snapkv{.window = 4, .pool = pool}, 12, 0, seed + i, 20);
            run_random<TestType>(kv::snapkv{.window = 8, .pool = pool}, 25, 3, seed + i, 20);
            run_random<TestType>(kv::pyramid{{.window = 4, .pool = pool}, 5}, 14, 0, seed + i, 20);
        }
    }
}
