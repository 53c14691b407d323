// SPDX-License-Identifier: MIT
// Rows that are a tree of tokens: each reads its ancestors at the positions of their depths, bit for bit as if these were its text.
#include <array>
#include <cstring>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/window.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::size_t vocabulary = 101;

model<cpu<>> llama(executor* pool, compute policy, std::uint32_t window = 0) {
    tiny_model t;
    t.replace = [window](gguf_writer& w, std::string_view name) {
        if (name == "llama.context_length" && window != 0) w.key("llama.attention.sliding_window", window);
        return false;
    };
    return load_model<cpu<>>(open_model(t).file(), {.pool = pool, .compute = policy});
}

/// 40 rows in branches of different lengths.
std::vector<std::uint32_t> random_tree(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::uint32_t> out;
    for (std::uint32_t i = 0; i < 40; ++i) {
        const std::uint32_t back = 1 + random() % 4;
        out.push_back(back > i ? no_parent : i - back);
    }
    return out;
}

/// The tokens from the root to a row.
tokens path_to(std::size_t row, const tokens& tree, const std::vector<std::uint32_t>& parents) {
    tokens out;
    for (auto up = static_cast<std::uint32_t>(row); up != no_parent; up = parents[up]) out.insert(out.begin(), tree[up]);
    return out;
}

template <class Runner>
std::vector<float> step_tree(Runner& run, const model<cpu<>>& m, workspace<cpu<>>& w, kv::sequence_id s, const tokens& tree,
                             const std::vector<std::uint32_t>& parents) {
    const std::array segments{kv::segment{.sequence = s, .first_row = 0, .rows = tree.size(), .parents = parents}};
    std::vector<std::size_t> wanted(tree.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = i;
    std::vector<float> logits(tree.size() * vocabulary);
    forward(m, w, run.cache(), batch{tree, segments, wanted}, {logits.data(), {tree.size(), vocabulary}});
    return logits;
}

}  // namespace

TEST_CASE("rows of a tree have bitwise the logits of their paths as texts", "[kv]") {
    thread_pool pool(2);
    const tokens tree = random_tokens(40, vocabulary, 3);
    for (const compute policy : {compute::exact, compute::native})
        for (const std::uint32_t window : {0u, 37u})
            for (const std::size_t length : {0, 1, 50, 63, 64, 130, 1020}) {
                const std::vector<std::uint32_t> parents = random_tree(static_cast<unsigned>(length));
                CAPTURE(policy == compute::exact, window, length);
                const model<cpu<>> m = llama(&pool, policy, window);
                const tokens text = random_tokens(length, vocabulary, 4);
                workspace<cpu<>> w(m.backend(), m.architecture(), m.config(), {.rows = 40, .wanted = 40});
                runner run(m, kv::paged<kv::f16>{{.tokens = 1100, .sequences = 1, .block = 8}}, 256);
                const kv::sequence_id s = run.cache().open();
                run.run(s, text, 256);
                const std::vector<float> got = step_tree(run, m, w, s, tree, parents);
                run.cache().rollback(s, {static_cast<position>(length)});

                runner plain(m, kv::contiguous<kv::f16>{{.tokens = 1100}}, 256);
                const kv::sequence_id t = plain.cache().open();
                plain.run(t, text, 256);
                for (const std::size_t row : {0, 1, 7, 22, 38, 39}) {
                    const tokens path = path_to(row, tree, parents);
                    const std::array rows{std::span<const token_id>(path)};
                    const std::vector<float> expected = plain.step(std::array{t}, rows);
                    plain.cache().rollback(t, {static_cast<position>(length)});
                    CAPTURE(row, path.size());
                    CHECK(same_bits(std::span(got).subspan(row * vocabulary, vocabulary), std::span(expected).last(vocabulary)));
                }
                // A chain is a text.
                std::vector<std::uint32_t> chain(tree.size());
                for (std::uint32_t i = 0; i < chain.size(); ++i) chain[i] = i == 0 ? no_parent : i - 1;
                const std::array all{std::span<const token_id>(tree)};
                CHECK(same_bits(step_tree(run, m, w, s, tree, chain), plain.step(std::array{t}, all)));
            }
}

TEST_CASE("a tree is rolled back before anything else, and malformed ones change nothing", "[kv]") {
    auto cache = kv::contiguous<kv::f32>{{.tokens = 64}}.make({1, 1, 16}, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    const auto plan = [&](std::size_t rows, const std::vector<std::uint32_t>& parents) {
        const std::array one{kv::segment{.sequence = s, .first_row = 0, .rows = rows, .parents = parents}};
        cache.plan(one);
    };
    plan(2, {});
    cache.commit(s);
    CHECK(code_of([&] { plan(3, {no_parent, 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { plan(2, {no_parent, 1}); }) == errc::invalid_argument);
    CHECK(code_of([&] { plan(2, {0, 0}); }) == errc::invalid_argument);
    CHECK(cache.length(s) == 2);
    plan(3, {no_parent, 0, 0});
    CHECK(code_of([&] { cache.commit(s); }) == errc::invalid_argument);
    CHECK(code_of([&] { plan(1, {}); }) == errc::invalid_argument);
    CHECK(cache.length(s) == 5);
    cache.rollback(s, {2});
    plan(1, {});
    cache.commit(s);
    CHECK(cache.length(s) == 3);
}

TEST_CASE("a tree is refused where rows see some of what the cache holds", "[kv]") {
    const model<cpu<>> m = llama(nullptr, compute::exact);
    runner run(m, kv::window<kv::f32>{{.window = 20}}, 8);
    workspace<cpu<>> w(m.backend(), m.architecture(), m.config(), {.rows = 8, .wanted = 8});
    const kv::sequence_id s = run.cache().open();
    CHECK(code_of([&] { step_tree(run, m, w, s, random_tokens(2, vocabulary, 1), {no_parent, no_parent}); }) == errc::unsupported);
    CHECK(run.cache().length(s) == 0);
}
