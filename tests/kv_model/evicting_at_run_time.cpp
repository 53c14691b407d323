// SPDX-License-Identifier: MIT
// Caches named at run time that drop or skip tokens are those of the static types.
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <skald/model/load.hpp>

#include "kv_model/naive_any.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using backend = reference::naive;
using any = kv::any<backend>;

template <class Policy>
bool same_as_static(std::string_view spec, Policy p) {
    const auto m = load_model<backend>(open_model(tiny_model{}).file(), {});
    const tokens text = random_tokens(100, 101, 3);
    const any named{kv::parse_spec(spec), {.tokens = 200, .step = 40}};
    if (named.name() != spec || named.max_length() != 200) return false;
    const kv::evicting<Policy, kv::f16> fixed{{.budget = 40, .step = 40, .context = 200}, p};
    if (named.bytes(m.config().cache()) != fixed.bytes(m.config().cache())) return false;
    runner a(m, named, 40);
    runner b(m, fixed, 40);
    const auto x = a.run(a.cache().open(), text, 40), y = b.run(b.cache().open(), text, 40);
    return !a.cache().reads_by_position() && x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

model<backend> three_layers() {
    tiny_model t;
    t.layers = 3;
    return load_model<backend>(open_model(t).file(), {});
}

}  // namespace

TEST_CASE("a cache that a spec names evicts as the one a type names", "[kv]") {
    CHECK(same_as_static("recent:40:f16", kv::recent{}));
    CHECK(same_as_static("sinks:40:f16", kv::recent{.sinks = 4}));
    CHECK(same_as_static("h2o:40:f16", kv::h2o{}));
    CHECK(same_as_static("tova:40:f16", kv::tova{}));
    CHECK(same_as_static("snapkv:40:f16", kv::snapkv{}));
    CHECK(same_as_static("pyramid:40:f16", kv::pyramid{}));
    CHECK_FALSE(same_as_static("h2o:40:f16", kv::recent{}));
}

TEST_CASE("a cache that a spec names has tiers by importance as the one a type names", "[kv]") {
    const auto m = three_layers();
    const tokens text = random_tokens(100, 101, 3);
    for (const auto& [words, kind] :
         {std::pair{"tiered-h2o:40:f16,kivi2", kv::eviction_kind::h2o}, std::pair{"tiered-sinks:32:f16,kivi2", kv::eviction_kind::sinks}}) {
        const kv::spec spec = kv::parse_spec(words);
        const any named{spec, {.tokens = 192, .step = 40}};
        const kv::tiered_by<kv::detail::named_eviction, kv::f16, kv::kivi2> fixed{{.tokens = 192, .budget = spec.budget, .step = 40},
                                                                                  kv::detail::named_eviction{kind}};
        CHECK(named.name() == words);
        CHECK(named.max_step() == 40);
        CHECK(named.max_length() == 192);
        CHECK(named.bytes(m.config().cache()) == fixed.bytes(m.config().cache()));
        runner a(m, named, 40);
        runner b(m, fixed, 40);
        CHECK(a.run(a.cache().open(), text, 40) == b.run(b.cache().open(), text, 40));
        CHECK_FALSE(a.cache().reads_by_position());
    }
    const any q8{kv::parse_spec("tiered-tova:64:q8,kivi2"), {}};
    CHECK(q8.name() == "tiered-tova:64:q8,kivi2");
    CHECK(q8.max_length() == 2048);
}

TEST_CASE("a cache that a spec names skips pages as the one a type names", "[kv]") {
    const auto m = three_layers();
    const tokens text = random_tokens(100, 101, 3);
    const any named{kv::parse_spec("quest:40:f16"), {.tokens = 112}};
    const auto fixed = [](std::size_t budget) { return kv::quest<kv::f16>{{.tokens = 112, .budget = budget}}; };
    CHECK(named.name() == "quest:40:f16");
    CHECK(named.bytes(m.config().cache()) == fixed(40).bytes(m.config().cache()));
    runner a(m, named, 40);
    runner b(m, fixed(40), 40);
    runner c(m, fixed(112), 40);
    const auto x = a.run(a.cache().open(), text, 40);
    CHECK(a.cache().reads_by_position());
    CHECK(x == b.run(b.cache().open(), text, 40));
    CHECK(x != c.run(c.cache().open(), text, 40));
}

TEST_CASE("a cache that a spec names shares pages that matter as the one a type names", "[kv]") {
    const auto m = three_layers();
    const tokens text = random_tokens(100, 101, 3);
    const any named{kv::parse_spec("radix-quest:40/8:q8"), {.tokens = 112, .sequences = 2}};
    const kv::radix_quest<kv::q8> fixed{{.tokens = 112, .sequences = 2, .budget = 40, .page = 8}};
    CHECK(named.name() == "radix-quest:40/8:q8");
    CHECK(named.bytes(m.config().cache()) == fixed.bytes(m.config().cache()));
    runner a(m, named, 40);
    runner b(m, fixed, 40);
    const kv::sequence_id s = a.cache().open();
    const auto x = a.run(s, text, 40);
    CHECK(x == b.run(b.cache().open(), text, 40));
    a.cache().remember(s, text);
    a.cache().close(s);
    const auto [t, reused] = a.cache().open_with(text);
    CHECK(reused == 96);
    const auto rest = a.run(t, std::span(text).subspan(reused), 40);
    CHECK(same_bits(rest, std::span(x).subspan(reused * 101)));
}

TEST_CASE("caches that a spec names say whether what they read depends on positions alone", "[kv]") {
    CHECK_FALSE(any{kv::parse_spec("h2o:8:q8"), {}}.make({1, 1, 8}, std::pmr::new_delete_resource()).reads_by_position());
    CHECK(any{kv::parse_spec("paged:f16"), {}}.make({1, 1, 8}, std::pmr::new_delete_resource()).reads_by_position());
    static_assert(!any::cache::schedule_invariant);
}
