// SPDX-License-Identifier: MIT
// Saved sequences of tiers by importance: what comes back has the hot tokens, scores, groups and what is shown of them, demotes what would
// have been demoted, and can be cut where that could.
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <skald/kv/budget.hpp>
#include <skald/kv/tiered_by.hpp>
#include <skald/kv/word_codec.hpp>

#include "kv/evicting_twins.hpp"
#include "kv/state_kept.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using rows_in_eights = kv::grouped<kv::q8, 8>;

template <class Policy, class Cold = rows_in_eights>
kv::tiered_by<Policy, kv::f16, Cold> tiers(std::size_t budget, Policy p = {}, std::size_t slack = 0, std::size_t tokens = 184) {
    return {{.tokens = tokens, .budget = budget, .sequences = 3, .step = 20, .slack = slack, .undo = 20}, p};
}

/// A stream of tiers in KIVI's groups, and where the first byte of its first group stands.
struct kivi_stream {
    bytes stream;
    std::size_t group_at;
};
kivi_stream in_kivi_groups(const kv::tiered_by<kv::h2o, kv::f16, kv::kivi2>& policy) {
    std::mt19937 random(11);
    auto cache = made(policy);
    kivi_stream out{saved(cache, grown(cache, 45, random).id, 45), 0};
    const std::size_t width = twin_shape.width(), group = kv::kivi2::key_bytes(width) + kv::kivi2::value_bytes(width);
    out.group_at = out.stream.size() - sizeof(std::uint64_t) - twin_shape.layers * twin_shape.kv_heads * group;
    return out;
}

}  // namespace

TEST_CASE("a saved sequence of tiers by importance goes on as what was saved does", "[kv]") {
    const unsigned seed = Catch::rngSeed();
    check_twins(tiers<kv::recent>(14, {.sinks = 4}), seed);
    check_twins(tiers<kv::h2o>(14), seed);
    check_twins(tiers<kv::h2o>(8, {}, 5), seed);
    check_twins(tiers<kv::tova>(14), seed);
}

TEST_CASE("of tiers by importance all can be saved, or a beginning that is hot", "[kv]") {
    check_beginnings(tiers<kv::h2o>(30, {.recent_share = 0.9f}));
}

TEST_CASE("damaged states of tiers by importance and failures leave the cache as it was", "[kv]") { check_damages(tiers<kv::h2o>(12)); }

TEST_CASE("tiers by importance refuse what another cache saved by what differs", "[kv]") {
    std::mt19937 random(3);
    auto from = made(tiers<kv::h2o>(14));
    const bytes stream = saved(from, grown(from, 30, random).id, 30);
    const auto said = [&](const auto& policy) {
        auto cache = made(policy);
        return refusal(cache, stream);
    };
    CHECK(said(tiers<kv::tova>(14)) == "here: is of a cache whose policy is h2o (recent_share 0.5); this one's is tova (each_head false)");
    CHECK(said(tiers<kv::h2o>(15)) == "here: is of a cache whose budget is 14 tokens; this one's is 15 tokens");
    CHECK(said(tiers<kv::h2o>(14, {}, 2)) == "here: is of a cache whose slack is 0 tokens; this one's is 2 tokens");
    CHECK(said(tiers<kv::h2o, kv::grouped<kv::q8, 4>>(14)) == "here: is of a cache whose group is 8 tokens; this one's is 4 tokens");
    CHECK(said(tiers<kv::h2o, kv::grouped<kv::f16, 8>>(14)) == "here: is of a cache whose cold codec is q8; this one's is f16");
    CHECK(said(kv::evicting<kv::h2o>{{.budget = 14, .step = 20, .undo = 20}}) ==
          "here: is of a cache whose kind is tiers by importance; this one's is evicting");

    // Room of another size is no difference, unless it is too small.
    auto small = made(tiers<kv::h2o>(14, {}, 0, 32)), full = made(tiers<kv::h2o>(14, {}, 0, 24));
    CHECK(saved(small, kv::load(small, stream, {.model = 3}).sequence, 30) == stream);
    CHECK(code_of([&] { kv::load(full, stream, {.model = 3}); }) == errc::cache_full);
    CHECK(full.length(full.open()) == 0);
}

TEST_CASE("tiers by importance refuse groups and hot tokens that cannot be some", "[kv]") {
    const kv::tiered_by<kv::h2o, kv::f16, kv::kivi2> policy{{.tokens = 64, .budget = 32, .step = 20, .undo = 20}};
    const auto [stream, group_at] = in_kivi_groups(policy);
    auto cache = made(policy);
    const auto said = [&](bytes changed) -> std::string {
        changed = with_right_sums(std::move(changed));
        try {
            cache.close(kv::load(cache, changed, {.model = 3, .place = "here"}).sequence);
        } catch (const error& e) {
            CHECK(e.code() == errc::bad_file);
            return e.what();
        }
        return "taken";
    };
    CHECK(said(stream) == "taken");
    bytes changed = stream;
    changed[group_at + 1] ^= std::byte{1};  // which token of its group a row says to be
    CHECK(said(changed) == "here: holds a group of 32 tokens that cannot be one of kivi2");

    // The first head says to have lost 19 … 30 and 32, of which the last is in no group.
    changed = stream;
    std::byte* at = &changed[state_body_at + 6 + 45 * sizeof(token_id)];
    const position lost = 0;
    std::memcpy(at, &lost, sizeof lost);
    at += sizeof lost + sizeof(std::uint32_t);
    for (position i = 0; i < 20; ++i) {
        const position p = i < 19 ? i : 31;
        std::memcpy(at + static_cast<std::size_t>(i) * sizeof p, &p, sizeof p);
    }
    CHECK(said(changed) == "here: layer 0 is said to have lost some of the last 13 of 45 tokens, which are in no group of 32 yet");
}

TEST_CASE("tiers by importance can spill their sequences", "[kv]") {
    const kv::budget<kv::tiered_by<kv::recent, kv::f16, rows_in_eights>, kv::spill_sequences<>> policy{
        .limit = std::size_t{1} << 20, .storage = {{.tokens = 40, .budget = 10, .sequences = 1, .step = 20}, {.sinks = 1}}, .sequences = 2};
    check_spilling(made(policy));
}
