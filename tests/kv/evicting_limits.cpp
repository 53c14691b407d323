// SPDX-License-Identifier: MIT
// Evicting storage at its edges: options, policies that throw or say nonsense, rollbacks further than observations are kept apart, memory
// that runs out.
#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/spec.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Every row gives each token it sees 1.
struct even_backend {
    struct scratch {};
    template <class Variant, class Runs>
    void attention_weights(matrix_view<const float>, const attention_shape& shape, const Variant&, std::size_t, const row_range& rows,
                           const Runs&, tensor_view<float, 3> out, scratch&) const {
        for (std::size_t h = 0; h < shape.heads; ++h)
            for (std::size_t i = 0; i < rows.rows; ++i)
                for (std::size_t j = 0; j <= static_cast<std::size_t>(rows.first_position) + i; ++j) out(h, i, j) = 1;
    }
};

template <class Cache>
void take(Cache& cache, kv::sequence_id s, std::size_t rows) {
    const std::array segments{kv::segment{s, 0, rows}};
    cache.plan(segments);
    if constexpr (kv::observing_policy<std::remove_cvref_t<decltype(cache.policy())>>)
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
            even_backend::scratch room;
            cache.observe(even_backend{}, layer, {}, {2 * cache.shape().kv_heads, cache.shape().kv_heads, cache.shape().head_dim}, 0, room);
        }
}

/// Scores are rows counted; the worth of a token is what a test wants.
struct counting_policy {
    std::vector<float>* seen = nullptr;
    const bool* throws = nullptr;
    float value = 0;

    std::string name() const { return "counting"; }
    std::size_t observed(std::size_t rows) const { return rows; }
    void observe(const kv::kept_tokens& kept, const kv::observed_row& row) const {
        for (std::size_t i = 0; i < row.weights.size(); ++i) kept.scores[i] += row.weights[i];
    }
    void worth(const kv::kept_tokens& kept, std::span<float> worth) const {
        if (throws != nullptr && *throws && kept.layer == 1 && kept.kv_head == 2) throw std::runtime_error("no opinion");
        if (seen != nullptr && kept.layer == 0 && kept.kv_head == 0) seen->assign(kept.scores.begin(), kept.scores.end());
        std::fill(worth.begin(), worth.end(), value);
    }
};

template <class F>
std::string message_of(F&& f) {
    try {
        f();
    } catch (const error& e) {
        return e.what();
    }
    return {};
}

template <class Cache>
std::vector<position> kept(const Cache& cache, kv::sequence_id s) {
    const auto p = cache.positions(s, 1, 2);
    return {p.begin(), p.end()};
}

}  // namespace

TEST_CASE("a commit whose policy throws changes nothing", "[kv]") {
    bool throws = false;
    auto cache = kv::evicting<counting_policy, kv::f32>{{.budget = 4, .step = 8}, {.throws = &throws}}.make(
        small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    take(cache, s, 4), cache.commit(s);
    take(cache, s, 3);
    throws = true;
    CHECK_THROWS_AS(cache.commit(s), std::runtime_error);
    CHECK(kept(cache, s) == std::vector<position>{0, 1, 2, 3});
    CHECK(cache.length(s) == 7);
    cache.rollback(s, {5});
    throws = false;
    cache.commit(s);
    CHECK(kept(cache, s) == std::vector<position>{1, 2, 3, 4});  // of equals the oldest goes
}

TEST_CASE("a worth that is no number is the least", "[kv]") {
    auto cache = kv::evicting<counting_policy, kv::f32>{{.budget = 3, .step = 8}, {.value = std::numeric_limits<float>::quiet_NaN()}}.make(
        small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    take(cache, s, 8), cache.commit(s);
    CHECK(kept(cache, s) == std::vector<position>{5, 6, 7});
}

TEST_CASE("observations of dropped rows do not stay, however few are kept apart", "[kv]") {
    std::vector<float> seen;
    // Both query heads of a kv head give 1 each: token i of n has 2 · (n - i).
    const auto after = [&](std::size_t undo, std::size_t planned, std::size_t accepted) {
        auto cache = kv::evicting<counting_policy, kv::f32>{{.budget = 4, .step = 32, .undo = undo}, {.seen = &seen}}.make(
            small_shape, std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        take(cache, s, 4), cache.commit(s);
        take(cache, s, planned);
        cache.rollback(s, {static_cast<position>(4 + accepted)});
        cache.commit(s);
        return seen;
    };
    const auto exact = [](std::size_t n) {
        std::vector<float> out;
        for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<float>(2 * (n - i)));
        return out;
    };
    for (const std::size_t undo : {1, 2, 5, 40}) {
        CAPTURE(undo);
        CHECK(after(undo, 20, 20) == exact(24));
        for (std::size_t accepted = 1; accepted < 20; ++accepted) {
            CAPTURE(accepted);
            // The last `undo` observations are told apart; before them only the step's beginning is.
            std::vector<float> expected = exact(4 + accepted);
            if (20 - accepted >= undo)
                for (std::size_t i = 0; i < 4 + accepted; ++i) expected[i] = i < 4 ? static_cast<float>(2 * (4 - i)) : 0.0f;
            CHECK(after(undo, 20, accepted) == expected);
        }
    }
}

TEST_CASE("more pending steps than observations can be told apart are refused", "[kv]") {
    auto cache = kv::evicting<kv::h2o, kv::f32>{{.budget = 4, .step = 32, .undo = 3}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    for (int i = 0; i < 3; ++i) take(cache, s, 1);
    CHECK(code_of([&] { take(cache, s, 1); }) == errc::cache_full);
    CHECK(message_of([&] { take(cache, s, 1); }).find("raise .undo") != std::string::npos);
    CHECK(cache.length(s) == 3);
    cache.rollback(s, {2});
    take(cache, s, 1);
    cache.commit(s);
    take(cache, s, 32);
    CHECK(code_of([&] { take(cache, s, 1); }) == errc::cache_full);
    CHECK(message_of([&] { take(cache, s, 1); }).find("raise .step") != std::string::npos);
}

TEST_CASE("an evicting cache without room for anything is refused", "[kv]") {
    constexpr std::size_t all = std::numeric_limits<std::size_t>::max();
    for (const kv::evicting_options& o :
         {kv::evicting_options{.budget = 0}, kv::evicting_options{.step = 0}, kv::evicting_options{.budget = all},
          kv::evicting_options{.step = all}, kv::evicting_options{.slack = all}}) {
        CHECK(code_of([&] { kv::evicting<kv::h2o>{o}.make(small_shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)kv::evicting<kv::h2o>{o}.bytes(small_shape); }) == errc::invalid_argument);
    }
    CHECK(kv::evicting<kv::h2o>{{.context = 100}}.max_length() == 100);
    CHECK(kv::evicting<kv::tova, kv::q8>{{.budget = 77}}.name() == "tova:77:q8");
}

TEST_CASE("what counts positions is refused where tokens are dropped", "[kv]") {
    auto cache = kv::evicting<kv::h2o>{{.budget = 4, .step = 8, .context = 100}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::segment step{cache.open(), 0, 3};
    cache.plan({&step, 1});
    using namespace attention;
    const float logits[] = {0.5f};
    const auto refuses = [&](const auto& variant) {
        try {
            cache.require(1, variant);
        } catch (const error& e) {
            return e.code() == errc::unsupported;
        }
        return false;
    };
    CHECK_FALSE(refuses(causal{}));
    CHECK_FALSE(refuses(causal{1.0f, 100}));
    CHECK(refuses(causal{1.0f, 99}));
    CHECK_FALSE(refuses(sinks{soft_capped{causal{}, 30.0f}, logits}));
    CHECK(refuses(alibi{causal{}, logits}));
    CHECK(refuses(sinks{soft_capped{alibi{causal{}, logits}, 30.0f}, logits}));
    CHECK(refuses(with_globals{causal{}, 2}));
    CHECK(refuses(sinks{with_globals{causal{}, 2}, logits}));
}

TEST_CASE("memory that runs out while a cache is made is given back", "[kv]") {
    struct failing final : std::pmr::memory_resource {
        std::size_t left = 0;
        long live = 0;
        void* do_allocate(std::size_t n, std::size_t alignment) override {
            if (left == 0) throw std::bad_alloc();
            --left;
            ++live;
            return std::pmr::new_delete_resource()->allocate(n, alignment);
        }
        void do_deallocate(void* p, std::size_t n, std::size_t alignment) override {
            --live;
            std::pmr::new_delete_resource()->deallocate(p, n, alignment);
        }
        bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    };
    failing memory;
    std::size_t n = 0;
    for (bool made = false; !made; ++n) {
        REQUIRE(n < 100);
        memory.left = n;
        try {
            const auto cache = kv::evicting<kv::h2o>{}.make(small_shape, &memory);
            made = true;
            CHECK(memory.live > 0);
        } catch (const std::bad_alloc&) {
        }
        CHECK(memory.live == 0);
    }
    CHECK(n > 10);
}

TEST_CASE("PyramidKV's budgets fall in equal steps and are no more in all", "[kv]") {
    for (const std::size_t layers : {1, 2, 7, 30})
        for (const std::size_t budget : {10, 40, 100, 513}) {
            const kv::pyramid p{{.window = 32}};
            CAPTURE(layers, budget);
            std::size_t sum = 0, before = 10 * budget;
            for (std::size_t layer = 0; layer < layers; ++layer) {
                const std::size_t here = p.layer_budget(layer, layers, budget);
                CHECK(here <= before);
                CHECK(here >= std::min<std::size_t>(budget, 32));
                before = here;
                sum += here;
            }
            CHECK(sum <= layers * budget);
            CHECK(sum + layers >= layers * budget);
            if (layers > 1 && budget > 32) CHECK(before == 32 + (budget - 32) / 20);
        }
}

TEST_CASE("specs name evicting caches", "[kv]") {
    const kv::spec s = kv::parse_spec("snapkv:512:q8");
    CHECK(s.storage == kv::storage_kind::evicting);
    CHECK(s.eviction == kv::eviction_kind::snapkv);
    CHECK(s.codec == kv::codec_kind::q8);
    CHECK(s.budget == 512);
    CHECK(kv::parse_spec("h2o:9").codec == kv::codec_kind::f16);
    CHECK(kv::parse_spec("h2o/4:f16").budget == 4);
    for (const char* text : {"h2o", "h2o:", "h2o:0", "h2o:f16", "h2o:12:", "h2o:12:f32", "h2o:1x:f16", "h2o:-1", "h2o/:f16",
                             "tova:99999999999", "h2o:12:f16:"}) {
        CAPTURE(text);
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
    }
}
