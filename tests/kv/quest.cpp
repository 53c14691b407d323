// SPDX-License-Identifier: MIT
// Quest: what a row reads is what the paper's bounds choose, after any history of steps, rollbacks, forks, truncations and restores.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <skald/attention/layer.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/quest.hpp>
#include <skald/kv/spec.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/word_codec.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using backend = reference::naive;

constexpr attention_shape heads{.heads = 6, .kv_heads = 2, .head_dim = 20};
constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 20};  // the first layer reads everything
constexpr std::size_t group = 3, q_size = 120, kv_size = 40;

struct row {
    std::vector<float> q, k, v;
};

/// Queries and keys are small integers, so that bounds are equal often, and the same in every arithmetic.
row random_row(std::mt19937& random) {
    const auto fill = [&](std::size_t n) {
        std::vector<float> out(n);
        for (float& x : out) x = static_cast<float>(random() % 7) - 3;
        return out;
    };
    return {fill(q_size), fill(kv_size), fill(kv_size)};
}

/// The pages that the last row reads, by the paper's formula.
std::vector<bool> expected_pages(const std::vector<row>& text, std::size_t h, const kv::quest_options& o, std::size_t window) {
    const std::size_t p = text.size() - 1, own = p / o.page, first = (p + 1 - std::min(window, p + 1)) / o.page;
    std::vector<bool> out(own + 1, false);
    std::vector<std::pair<double, std::size_t>> worth;
    for (std::size_t page = first; page < own; ++page) {
        double sum = 0;
        for (std::size_t g = 0; g < group; ++g)
            for (std::size_t d = 0; d < heads.head_dim; ++d) {
                double least = 1e9, greatest = -1e9;
                for (std::size_t t = page * o.page; t < (page + 1) * o.page; ++t) {
                    least = std::min<double>(least, text[t].k[h * heads.head_dim + d]);
                    greatest = std::max<double>(greatest, text[t].k[h * heads.head_dim + d]);
                }
                const double q = text[p].q[(h * group + g) * heads.head_dim + d];
                sum += std::max(q * least, q * greatest);
            }
        worth.emplace_back(page == 0 && o.first_page ? std::numeric_limits<double>::infinity() : sum, page);
    }
    std::sort(worth.rbegin(), worth.rend());
    worth.resize(std::min(worth.size(), o.budget / o.page - 1));
    for (const auto& w : worth) out[w.second] = true;
    out[own] = true;
    return out;
}

/// Attention of the last row over the pages.
std::vector<double> expected_row(const std::vector<row>& text, const kv::quest_options& o, std::size_t window, bool full) {
    const std::size_t p = text.size() - 1;
    std::vector<double> out(q_size, 0.0);
    for (std::size_t h = 0; h < heads.heads; ++h) {
        const std::vector<bool> pages = expected_pages(text, h / group, o, window);
        double total = 0;
        for (std::size_t t = p + 1 - std::min(window, p + 1); t <= p; ++t) {
            if (!full && !pages[t / o.page]) continue;
            double dot = 0;
            for (std::size_t d = 0; d < heads.head_dim; ++d)
                dot += static_cast<double>(text[p].q[h * heads.head_dim + d]) * text[t].k[h / group * heads.head_dim + d];
            const double w = std::exp(dot * 0.05);
            total += w;
            for (std::size_t d = 0; d < heads.head_dim; ++d) out[h * heads.head_dim + d] += w * text[t].v[h / group * heads.head_dim + d];
        }
        for (std::size_t d = 0; d < heads.head_dim; ++d) out[h * heads.head_dim + d] /= total;
    }
    return out;
}

struct sequence {
    kv::sequence_id id;
    std::vector<row> text;
    std::size_t committed = 0;
};

/// One layer of a step. // (rows, heads · head_dim)
template <class Cache>
std::vector<float> run_layer(Cache& cache, std::size_t layer, std::span<const row_range> ranges, std::vector<row> rows,
                             std::size_t window) {
    const backend b;
    auto scratch = b.make_scratch(heads);
    auto out = b.make_activations(rows.size(), q_size);
    out.resize(rows.size(), q_size);
    std::vector<float> q, k, v;
    for (const row& r : rows) {
        q.insert(q.end(), r.q.begin(), r.q.end());
        k.insert(k.end(), r.k.begin(), r.k.end());
        v.insert(v.end(), r.v.begin(), r.v.end());
    }
    attention::layer_call<backend> call{.q = {q.data(), {rows.size(), q_size}},
                                        .k = {k.data(), {rows.size(), kv_size}},
                                        .v = matrix_view<const float>(v.data(), {rows.size(), kv_size}),
                                        .shape = heads,
                                        .rope = {},
                                        .variant = {.scale = 0.05f},
                                        .ranges = ranges,
                                        .out = &out,
                                        .scratch = &scratch};
    if (window != kv::all_tokens) call.variant.window = static_cast<position>(window);
    attention::run_layer(b, cache, layer, call);
    const auto values = out.values();
    return {values.data(), values.data() + rows.size() * q_size};
}

/// Returns how many pages rows did not read.
template <class Codec>
std::size_t run_random(const kv::quest_options& options, std::size_t window, unsigned seed, int operations) {
    CAPTURE(seed, options.page, options.budget, options.first_page, window);
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    auto cache = kv::quest<Codec>{options}.make(shape, std::pmr::new_delete_resource());
    std::vector<sequence> all;
    std::size_t skipped = 0;

    const auto step = [&] {
        std::vector<kv::segment> segments;
        std::vector<row> rows;
        std::vector<sequence*> of;
        std::vector<std::size_t> counts;
        for (sequence& s : all) {
            const std::size_t n = pick(4) == 0 ? pick(90) : pick(4);
            if (n == 0 || s.text.size() + n > 230) continue;
            segments.push_back({s.id, rows.size(), n});
            for (std::size_t i = 0; i < n; ++i) rows.push_back(random_row(random));
            of.push_back(&s), counts.push_back(n);
        }
        if (segments.empty()) return;
        const auto ranges = cache.plan(segments);
        std::vector<std::vector<float>> got;
        for (std::size_t layer = 0; layer < shape.layers; ++layer) got.push_back(run_layer(cache, layer, ranges, rows, window));
        for (std::size_t i = 0, at = 0; i < of.size(); ++i)
            for (std::size_t j = 0; j < counts[i]; ++j, ++at) {
                of[i]->text.push_back(rows[at]);
                if (j + 1 != counts[i] && pick(8) != 0) continue;
                for (std::size_t layer = 0; layer < shape.layers; ++layer) {
                    const std::vector<double> expected = expected_row(of[i]->text, options, window, layer < options.full_layers);
                    REQUIRE(std::equal(expected.begin(), expected.end(), got[layer].begin() + static_cast<std::ptrdiff_t>(at * q_size),
                                       [](double a, float b) { return std::fabs(a - b) < 1e-3; }));
                }
                const std::vector<bool> pages = expected_pages(of[i]->text, 0, options, window);
                skipped += static_cast<std::size_t>(std::count(pages.begin(), pages.end(), false));
            }
    };
    const auto bounds_hold = [&](const sequence& s) {
        REQUIRE(cache.bounded_pages(s.id, 0) == 0);
        REQUIRE(cache.bounded_pages(s.id, 1) <= s.text.size() / options.page);
        std::vector<float> got(heads.head_dim);
        for (std::size_t page = 0; page < cache.bounded_pages(s.id, 1); ++page)
            for (std::size_t h = 0; h < heads.kv_heads; ++h)
                for (const bool greatest : {false, true}) {
                    cache.load_bound(s.id, 1, page, h, greatest, got);
                    bool same = true;
                    for (std::size_t d = 0; d < heads.head_dim; ++d) {
                        float x = s.text[page * options.page].k[h * heads.head_dim + d];
                        for (std::size_t t = page * options.page; t < (page + 1) * options.page; ++t) {
                            const float k = s.text[t].k[h * heads.head_dim + d];
                            x = greatest ? std::max(x, k) : std::min(x, k);
                        }
                        same = same && got[d] == x;
                    }
                    REQUIRE(same);
                }
    };

    for (int i = 0; i < operations; ++i) {
        const std::size_t operation = pick(12);
        if (all.empty() || (operation == 0 && all.size() < 3)) {
            all.push_back({cache.open(), {}, 0});
            continue;
        }
        sequence& s = all[pick(all.size())];
        if (operation == 1 && all.size() < 4) {
            sequence copy = s;
            copy.id = cache.fork(s.id);
            copy.text.resize(s.committed);
            all.push_back(copy);
        } else if (operation == 2) {
            const std::size_t to = pick(3) == 0 ? pick(s.text.size() + 1) : s.text.size() - std::min<std::size_t>(s.text.size(), pick(9));
            cache.truncate(s.id, static_cast<position>(to));
            s.text.resize(to);
            s.committed = std::min(s.committed, to);
        } else if (operation == 3 && pick(6) == 0) {
            cache.close(s.id);
            s = all.back();
            all.pop_back();
        } else if (operation == 4 && all.size() < 4) {
            std::vector<std::byte> bytes;
            const std::vector<token_id> ids(s.committed, 1);
            kv::save(cache, s.id, ids, [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); });
            sequence copy = s;
            copy.id = kv::load(cache, std::span<const std::byte>(bytes)).sequence;
            copy.text.resize(s.committed);
            all.push_back(copy);
        } else if (operation <= 6) {
            cache.commit(s.id);
            s.committed = s.text.size();
        } else if (operation == 7) {
            const std::size_t to = s.committed + pick(s.text.size() - s.committed + 1);
            cache.rollback(s.id, {static_cast<position>(to)});
            s.text.resize(to);
        } else {
            step();
        }
        for (const sequence& t : all) {
            REQUIRE(cache.length(t.id) == static_cast<position>(t.text.size()));
            bounds_hold(t);
        }
    }
    return skipped;
}

}  // namespace

TEMPLATE_TEST_CASE("a row reads the pages of the greatest bounds, whatever became of its sequence", "[kv]", kv::f32, kv::f16) {
    const unsigned seed = Catch::rngSeed();
    const auto options = [](std::size_t page, std::size_t budget, bool first_page) {
        return kv::quest_options{
            .tokens = 1200, .sequences = 4, .budget = budget, .page = page, .first_page = first_page, .full_layers = 1};
    };
    std::size_t skipped = run_random<TestType>(options(1, 5, true), kv::all_tokens, seed, 40);
    skipped += run_random<TestType>(options(4, 23, false), kv::all_tokens, seed + 1, 40);
    skipped += run_random<TestType>(options(7, 21, true), kv::all_tokens, seed + 2, 40);
    skipped += run_random<TestType>(options(16, 48, true), kv::all_tokens, seed + 3, 40);
    skipped += run_random<TestType>(options(16, 16, false), kv::all_tokens, seed + 4, 40);
    skipped += run_random<TestType>(options(7, 21, true), 61, seed + 5, 40);
    skipped += run_random<TestType>(options(70, 140, true), kv::all_tokens, seed + 6, 40);
    CHECK(skipped > 100);
}

TEST_CASE("a query that is no number chooses as many pages, and no other row is touched", "[kv]") {
    std::mt19937 random(1);
    std::vector<row> text;
    for (int i = 0; i < 40; ++i) text.push_back(random_row(random));
    const auto run = [&] {
        auto cache = kv::quest<kv::f32>{{.tokens = 64, .budget = 12, .page = 4, .first_page = false, .full_layers = 0}}.make(
            {.layers = 1, .kv_heads = 2, .head_dim = 20}, std::pmr::new_delete_resource());
        const kv::segment all{cache.open(), 0, text.size()};
        return run_layer(cache, 0, cache.plan({&all, 1}), text, kv::all_tokens);
    };
    const std::vector<float> clean = run();
    for (std::size_t d = 0; d < heads.head_dim; ++d) text[30].q[d] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> got = run();
    for (std::size_t x = 0; x < got.size(); ++x) {
        if (x / heads.head_dim == 30 * heads.heads)
            CHECK(std::isnan(got[x]));  // the head itself
        else if (x / q_size == 30)
            CHECK(std::isfinite(got[x]));  // those that chose with it, too
        else
            CHECK(got[x] == clean[x]);
    }
}

TEST_CASE("a cache that skips pages takes what it says, and refuses what it cannot do", "[kv]") {
    counting_resource memory;
    const kv::quest<kv::q8> policy{{.tokens = 37, .sequences = 3, .budget = 10, .page = 5}};
    {
        const auto cache = policy.make(shape, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(policy.bytes(shape) == memory.bytes());
    }
    CHECK(memory.bytes() == 0);
    CHECK(policy.max_length() == 40);
    CHECK(policy.name() == "quest:10/5:q8");
    for (const kv::quest_options& o :
         {kv::quest_options{.page = 0}, kv::quest_options{.budget = 31}, kv::quest_options{.budget = 15, .first_page = false}}) {
        CHECK(code_of([&] { kv::quest<kv::f16>{o}.make(shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)kv::quest<kv::f16>{o}.bytes(shape); }) == errc::invalid_argument);
    }
    CHECK(kv::quest<kv::f16>{{.budget = 16, .first_page = false}}.make(shape, std::pmr::new_delete_resource()).context() == 2048);

    auto cache = policy.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    const std::array<std::uint32_t, 2> parents{no_parent, no_parent};
    const kv::segment tree{s, 0, 2, parents};
    std::mt19937 random(1);
    const std::vector<row> rows{random_row(random), random_row(random)};
    CHECK(code_of([&] { run_layer(cache, 1, cache.plan({&tree, 1}), rows, kv::all_tokens); }) == errc::unsupported);
}

TEST_CASE("specs name caches that skip pages", "[kv]") {
    const kv::spec s = kv::parse_spec("quest:512:q8");
    CHECK(s.storage == kv::storage_kind::quest);
    CHECK(s.codec == kv::codec_kind::q8);
    CHECK(s.budget == 512);
    CHECK(s.has_blocks());
    CHECK(s.block == 16);
    CHECK(kv::parse_spec("quest/32").codec == kv::codec_kind::f16);
    CHECK(kv::parse_spec("quest:200/64:f16").block == 64);
    const kv::spec tree = kv::parse_spec("radix-quest:200/64:q8");
    CHECK((tree.storage == kv::storage_kind::radix_quest && tree.budget == 200 && tree.block == 64 && tree.codec == kv::codec_kind::q8));
    CHECK((tree.has_blocks() && tree.is_quest()));
    for (const char* text : {"quest", "quest:31:f16", "quest:f16", "quest:512:f32", "quest:512+1:f16", "quest:100/64:f16", "quest:64/:f16",
                             "quest:64/0:f16", "quest:/16:f16", "radix-quest:f16", "radix-quest:64:q4"}) {
        CAPTURE(text);
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
    }
}

TEST_CASE("sequences read with other pages are refused", "[kv]") {
    const auto make = [](const kv::quest_options& o) { return kv::quest<kv::f16>{o}.make(shape, std::pmr::new_delete_resource()); };
    auto cache = make({.budget = 64});
    std::vector<std::byte> bytes;
    kv::save(cache, cache.open(), {}, [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); });
    for (const kv::quest_options& o :
         {kv::quest_options{.budget = 80}, kv::quest_options{.budget = 64, .page = 8}, kv::quest_options{.budget = 64, .first_page = false},
          kv::quest_options{.budget = 64, .full_layers = 1}}) {
        auto other = make(o);
        CHECK(code_of([&] { kv::load(other, std::span<const std::byte>(bytes)); }) == errc::invalid_argument);
    }
    auto same = make({.tokens = 100, .budget = 64});
    CHECK(same.length(kv::load(same, std::span<const std::byte>(bytes)).sequence) == 0);
}
