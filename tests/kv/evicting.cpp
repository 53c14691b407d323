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

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr kv::cache_shape shape{.layers = 3, .kv_heads = 2, .head_dim = 5};
constexpr std::size_t group = 3, heads = shape.kv_heads * group;

/// What a row at p, written as `writer`, gave a token: a multiple of 1/4096, so that sums are exact in any order.
float recorded(std::uint32_t writer, std::size_t layer, std::size_t head, position p, position token) {
    std::uint32_t x = writer * 2654435761u + static_cast<std::uint32_t>(layer * 40503 + head * 9973 + 17);
    for (const position next : {p, token}) x = (x ^ static_cast<std::uint32_t>(next)) * 2246822519u, x ^= x >> 13;
    return static_cast<float>((x >> 7) % 1024) / 4096;
}
float recorded_sum(std::uint32_t writer, std::size_t layer, std::size_t first, std::size_t count, position p, position token) {
    float sum = 0;
    for (std::size_t h = first; h < first + count; ++h) sum += recorded(writer, layer, h, p, token);
    return sum;
}

/// A sequence as the tests know it: who wrote each token, and how many are committed.
struct sequence {
    kv::sequence_id id;
    std::vector<std::uint32_t> writers;
    std::size_t committed = 0;
};

/// A backend that gives recorded weights for rows of `stepped`, the segments of the step.
template <class Cache>
struct recorder {
    struct scratch {};
    const Cache& cache;
    std::size_t layer;
    std::vector<const sequence*> stepped;

    template <class Variant, class Runs>
    void attention_weights(matrix_view<const float>, const attention_shape&, const Variant&, std::size_t segment, const row_range& rows,
                           const Runs&, tensor_view<float, 3> out, scratch&) const {
        const sequence& s = *stepped[segment];
        const std::size_t kept = cache.positions(s.id, layer, 0).size();
        const auto at = [&](std::size_t head, std::size_t slot) {
            return slot < kept ? cache.positions(s.id, layer, head / group)[slot] : static_cast<position>(s.committed + slot - kept);
        };
        for (std::size_t h = 0; h < heads; ++h)
            for (std::size_t i = 0; i < rows.rows; ++i) {
                const std::size_t last = static_cast<std::size_t>(rows.first_position) + i;
                const position p = at(h, last);
                for (std::size_t j = 0; j <= last; ++j)
                    out(h, i, j) = recorded(s.writers[static_cast<std::size_t>(p)], layer, h, p, at(h, j));
            }
    }
};

/// One planned step of pending rows: positions [first, planned), of which those before `last` were not rolled back.
struct pending_step {
    std::size_t first, planned, last;
};

struct head_reference {
    std::vector<position> kept;
    std::vector<float> score;

    void drop(std::vector<float> worth, std::size_t budget) {
        while (kept.size() > budget) {
            const auto least = std::min_element(worth.begin(), worth.end()) - worth.begin();  // the oldest of equals
            kept.erase(kept.begin() + least), score.erase(score.begin() + least), worth.erase(worth.begin() + least);
        }
    }
};
using reference_heads = std::array<head_reference, shape.kv_heads>;

// The papers' formulas for the heads of one layer when pending steps are committed.

void reference_commit(const kv::recent& p, reference_heads& all, const sequence& s, std::span<const pending_step> steps, std::size_t,
                      std::size_t budget) {
    (void)s;
    for (head_reference& h : all) {
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) h.kept.push_back(static_cast<position>(i)), h.score.push_back(0);
        while (h.kept.size() > budget) {
            std::size_t victim = 0;
            while (victim < h.kept.size() && static_cast<std::size_t>(h.kept[victim]) < p.sinks) ++victim;
            if (victim == h.kept.size()) victim = 0;
            h.kept.erase(h.kept.begin() + static_cast<std::ptrdiff_t>(victim));
            h.score.pop_back();
        }
    }
}

/// Zhang et al. 2023, algorithm 1: F(token) = Σ over rows of the attention it had; the last half of the cache is local.
void reference_commit(const kv::h2o&, reference_heads& all, const sequence& s, std::span<const pending_step> steps, std::size_t layer,
                      std::size_t budget) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) {
                h.kept.push_back(static_cast<position>(i));
                h.score.push_back(0);
                for (std::size_t j = 0; j < h.kept.size(); ++j)
                    h.score[j] += recorded_sum(s.writers[i], layer, k * group, group, static_cast<position>(i), h.kept[j]);
            }
        std::vector<float> worth = h.score;
        for (std::size_t j = worth.size() - std::min(worth.size(), budget / 2); j < worth.size(); ++j) worth[j] = 1e9f;
        h.drop(worth, budget);
    }
}

/// Oren et al. 2024: the tokens that the last row's weights, of all heads of the layer (or the head's own), are least for.
void reference_commit(const kv::tova& p, reference_heads& all, const sequence& s, std::span<const pending_step> steps, std::size_t layer,
                      std::size_t budget) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) {
                h.kept.push_back(static_cast<position>(i));
                h.score.push_back(0);
            }
        const std::size_t last = s.writers.size() - 1;
        for (std::size_t j = 0; j < h.kept.size(); ++j)
            h.score[j] = p.each_head ? recorded_sum(s.writers[last], layer, k * group, group, static_cast<position>(last), h.kept[j])
                                     : recorded_sum(s.writers[last], layer, 0, heads, static_cast<position>(last), h.kept[j]);
        h.drop(h.score, budget);
    }
}

/// Li et al. 2024, listing 1: sums over the window's rows, pooled over the tokens before the window, which stays itself.
void reference_commit(const kv::snapkv& p, reference_heads& all, const sequence& s, std::span<const pending_step> steps, std::size_t layer,
                      std::size_t budget) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps) {
            for (std::size_t i = step.first; i < step.last; ++i) h.kept.push_back(static_cast<position>(i)), h.score.push_back(1e9f);
            if (step.last != step.planned || step.planned - step.first < p.window) continue;
            const std::size_t before = h.kept.size() - p.window;
            std::vector<float> sum(before, 0.0f);
            for (std::size_t j = 0; j < before; ++j)
                for (std::size_t i = step.last - p.window; i < step.last; ++i)
                    sum[j] += recorded_sum(s.writers[i], layer, k * group, group, static_cast<position>(i), h.kept[j]);
            for (std::size_t j = 0; j < h.kept.size(); ++j) {
                h.score[j] = 1e9f;
                if (j >= before) continue;
                h.score[j] = 0;
                for (std::size_t n = j - std::min(j, p.pool / 2); n <= std::min(j + p.pool / 2, before - 1); ++n)
                    h.score[j] = std::max(h.score[j], sum[n]);
            }
        }
        h.drop(h.score, budget);
    }
}

/// Writes marks into the planned rows of the segments, in slots.
template <class Cache>
void write_marks(Cache& cache, const std::vector<const sequence*>& stepped) {
    std::vector<float> row(cache.shape().width());
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const auto [run] = cache.view(layer);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        const auto ranges = cache.ranges(layer);
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t i = 0; i < ranges[s].rows; ++i)
                for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                    const std::size_t p = stepped[s]->writers.size() - ranges[s].rows + i;
                    const auto slot = ranges[s].first_position + static_cast<position>(i);
                    row.assign(row.size(), mark_of(stepped[s]->writers[p], static_cast<position>(p), layer, h));
                    codec::template encode<format::scalar>(row.data(), row.size(), run.key(s, h, slot));
                    for (float& x : row) x = -x;
                    codec::template encode<format::scalar>(row.data(), row.size(), run.value(s, h, slot));
                }
    }
}

/// Whether the committed rows are those of the reference's positions.
template <class Cache>
bool agrees(Cache& cache, const sequence& s, const std::vector<reference_heads>& reference) {
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

/// Appends rows to sequences in one step, with weights recorded.
template <class Cache>
void take_step(Cache& cache, const std::vector<sequence*>& sequences, const std::vector<std::size_t>& rows, std::uint32_t& writer) {
    std::vector<kv::segment> segments;
    std::vector<const sequence*> stepped;
    std::size_t row = 0;
    for (std::size_t i = 0; i < sequences.size(); row += rows[i++]) segments.push_back({sequences[i]->id, row, rows[i]});
    const auto ranges = cache.plan(segments);
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        REQUIRE(ranges[i].first_position == static_cast<position>(sequences[i]->writers.size()));
        sequences[i]->writers.insert(sequences[i]->writers.end(), rows[i], ++writer);
        stepped.push_back(sequences[i]);
    }
    write_marks(cache, stepped);
    if constexpr (kv::observing_policy<std::remove_cvref_t<decltype(cache.policy())>>)
        for (std::size_t layer = 0; layer < shape.layers; ++layer) {
            typename recorder<Cache>::scratch room;
            const recorder<Cache> backend{cache, layer, stepped};
            cache.observe(backend, layer, matrix_view<const float>{}, attention_shape{heads, shape.kv_heads, shape.head_dim}, 0, room);
        }
}

struct tracked {
    sequence s;
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
            std::vector<sequence*> some;
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
