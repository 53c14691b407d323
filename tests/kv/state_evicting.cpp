// SPDX-License-Identifier: MIT
// Saved sequences of evicting storage: what comes back has the tokens, rows and scores that were kept, drops what would have been dropped,
// and can be cut where that could.
#include <random>
#include <string>
#include <vector>

#include <skald/kv/budget.hpp>
#include <skald/kv/evicting.hpp>

#include "kv/evicting_twins.hpp"
#include "kv/state_kept.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

template <class Policy, class Codec = kv::f16>
kv::evicting<Policy, Codec> keeping_tokens(std::size_t budget, Policy p = {}, std::size_t slack = 0) {
    return {{.budget = budget, .step = 20, .sequences = 3, .slack = slack, .undo = 20}, p};
}

}  // namespace

TEST_CASE("a saved sequence of evicting storage goes on as what was saved does", "[kv]") {
    const unsigned seed = Catch::rngSeed();
    check_twins(keeping_tokens<kv::recent, kv::f32>(14, {.sinks = 2}), seed);
    check_twins(keeping_tokens<kv::h2o>(14), seed);
    check_twins(keeping_tokens<kv::h2o>(14, {}, 5), seed);
    check_twins(keeping_tokens<kv::snapkv>(14, {.window = 4, .pool = 3}), seed);
}

TEST_CASE("of evicting storage all can be saved, or a beginning of which nothing was dropped", "[kv]") {
    check_beginnings(keeping_tokens<kv::h2o>(30, {.recent_share = 0.9f}));
}

TEST_CASE("damaged states of evicting storage and failures leave the cache as it was", "[kv]") {
    check_damages(keeping_tokens<kv::h2o>(12));
}

TEST_CASE("evicting storage refuses what another cache saved by what differs", "[kv]") {
    std::mt19937 random(3);
    auto from = made(keeping_tokens<kv::h2o>(14));
    const bytes stream = saved(from, grown(from, 30, random).id, 30);
    const auto said = [&](const auto& policy) {
        auto cache = made(policy);
        return refusal(cache, stream);
    };
    CHECK(said(keeping_tokens<kv::tova>(14)) ==
          "here: is of a cache whose policy is h2o (recent_share 0.5); this one's is tova (each_head false)");
    CHECK(said(keeping_tokens<kv::h2o>(14, {.recent_share = 0.25f})) ==
          "here: is of a cache whose policy is h2o (recent_share 0.5); this one's is h2o (recent_share 0.25)");
    CHECK(said(keeping_tokens<kv::h2o>(15)) == "here: is of a cache whose budget is 14 tokens; this one's is 15 tokens");
    CHECK(said(keeping_tokens<kv::h2o>(14, {}, 2)) == "here: is of a cache whose slack is 0 tokens; this one's is 2 tokens");
    CHECK(said(keeping_tokens<kv::h2o, kv::q8>(14)) == "here: the codec is f16; this cache's is q8");
    CHECK(said(kv::contiguous<kv::f16>{{.tokens = 40}}) == "here: is of a cache whose kind is evicting; this one's is rows by position");
}

TEST_CASE("evicting storage can spill its sequences", "[kv]") {
    const kv::budget<kv::evicting<kv::recent, kv::f16>, kv::spill_sequences<>> policy{
        .limit = std::size_t{1} << 20, .storage = {{.budget = 10, .step = 20, .sequences = 1}, {.sinks = 1}}, .sequences = 2};
    check_spilling(policy.make(twin_shape, std::pmr::new_delete_resource()));
}
