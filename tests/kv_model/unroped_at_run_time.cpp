// SPDX-License-Identifier: MIT
// Caches of keys before rope chosen at run time: tokens are removed and shifted as in those of the static types, and by others refused.
#include <memory_resource>
#include <string_view>

#include <skald/model/load.hpp>

#include "kv_model/naive_any.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using backend = reference::naive;
using any = kv::any<backend>;

/// The logits of a text of which some tokens were removed and others shifted.
template <class Policy>
std::vector<float> moved(const model<backend>& m, const Policy& p, std::span<const token_id> text) {
    runner run(m, p, 20);
    const kv::sequence_id s = run.cache().open();
    run.run(s, text.first(40), 20);
    run.cache().remove(s, 7, 18);
    run.cache().shift(s, 3, 9, 5);
    return run.run(s, text.subspan(40), 20);
}

template <class Policy>
void check_named(std::string_view words, const Policy& fixed) {
    const auto m = load_model<backend>(open_model(tiny_model{}).file(), {});
    const tokens text = random_tokens(60, 101, 3);
    const any named{kv::parse_spec(words), {.tokens = 96}};
    const kv::cache_shape shape = m.config().cache();
    CAPTURE(words);
    CHECK(named.name() == words);
    CHECK(named.bytes(shape) == fixed.bytes(shape));
    const auto cache = named.make(shape, std::pmr::new_delete_resource());
    CHECK(kv::can_shift(cache));
    CHECK(kv::keeps_before_rope(cache));
    CHECK(cache.bytes() == fixed.bytes(shape));
    CHECK(same_bits(moved(m, named, text), moved(m, fixed, text)));
}

}  // namespace

TEST_CASE("keys before rope that a spec names are moved as those that a type names", "[kv]") {
    check_named("contiguous:unroped-f16", kv::contiguous<kv::unroped<kv::f16>>{{.tokens = 96}});
    check_named("paged/8:unroped-q8", kv::paged<kv::unroped<kv::q8>>{{.tokens = 96, .block = 8}});
}

TEST_CASE("caches of rotated keys that a spec names say that tokens cannot be moved, and refuse it", "[kv]") {
    for (const char* words : {"paged:f16", "contiguous:q8", "radix:f16", "quest:64:f16", "h2o:8:q8", "tiered:f16/20,q4"}) {
        auto cache = any{kv::parse_spec(words), {.tokens = 96}}.make({.layers = 2, .kv_heads = 1, .head_dim = 32, .rope_pairs = 16},
                                                                     std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        const kv::segment rows{s, 0, 6};
        cache.plan({&rows, 1});
        cache.commit(s);
        CAPTURE(words);
        CHECK_FALSE(kv::can_shift(cache));
        CHECK_FALSE(kv::keeps_before_rope(cache));
        CHECK(code_of([&] { cache.remove(s, 1, 3); }) == errc::unsupported);
        CHECK(code_of([&] { cache.shift(s, 1, 3, 1); }) == errc::unsupported);
        CHECK(cache.length(s) == 6);
    }
}

TEST_CASE("specs name codecs of keys before rope, for storages that can move them", "[kv]") {
    CHECK(kv::parse_spec("paged:unroped-f16").codec == kv::codec_kind::unroped_f16);
    CHECK(kv::parse_spec("contiguous:unroped-q8").before_rope());
    CHECK_FALSE(kv::parse_spec("paged:f16").before_rope());
    for (const char* text : {"radix:unroped-f16", "ring/8:unroped-f16", "window/8+1:unroped-q8", "quest:64:unroped-f16",
                             "h2o:8:unroped-f16", "tiered:unroped-f16/8,kivi2", "tiered:f16/8,unroped-q8", "minicache:unroped-f16",
                             "paged:unroped-q4", "paged:unroped-", "tiered-h2o:64:unroped-f16,kivi2"}) {
        CAPTURE(text);
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
    }
}
