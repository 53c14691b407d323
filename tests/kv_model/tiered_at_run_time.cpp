// SPDX-License-Identifier: MIT
// Caches of tiers chosen at run time.
#include <memory_resource>
#include <span>

#include <skald/core/memory.hpp>

#include "kv_model/naive_any.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("tiers chosen at run time are those of their words", "[kv]") {
    for (const char* text : {"contiguous:kivi4", "paged:kivi2", "tiered:f16/20,q4", "tiered:f16/64,kivi2", "radix:kivi4",
                             "tiered:f16/20+3,kivi4", "tiered:q8/30+4,kivi2", "tiered:q8/1+20,kivi4v2"}) {
        const kv::any<reference::naive> policy{kv::parse_spec(text), {.tokens = 128, .sequences = 2, .step = 50}};
        const kv::cache_shape shape{.layers = 1, .kv_heads = 2, .head_dim = 32};
        auto cache = policy.make(shape, std::pmr::new_delete_resource());
        CAPTURE(text);
        CHECK(cache.bytes() == policy.bytes(shape));
        CHECK(cache.context() == 128);
        const kv::sequence_id s = cache.open();
        const kv::segment more{s, 0, 51}, some{s, 0, 50};
        CHECK(code_of([&] { cache.plan({&more, 1}); }) == errc::cache_full);
        cache.plan({&some, 1});
        cache.commit(s);
        CHECK(cache.length(cache.fork(s)) == 50);
    }
}

TEST_CASE("the cold tier of a cache chosen at run time lies where it is told, and caches without one refuse it", "[kv]") {
    const kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 32};
    for (const char* text :
         {"contiguous:kivi4", "paged:kivi2", "radix:kivi4", "tiered:f16/20,q4", "tiered:q8/1+20,kivi4v2", "minicache/4:kivi4"}) {
        counting_resource memory, disk;
        const kv::any<reference::naive> policy{kv::parse_spec(text), {.tokens = 128, .step = 50, .cold = &disk}};
        const auto cache = policy.make(shape, &memory);
        CAPTURE(text);
        CHECK(disk.bytes() > 0);
        CHECK(memory.bytes() == policy.bytes(shape));
        CHECK(memory.bytes() == cache.bytes());
        CHECK(policy.bytes(shape) < kv::any<reference::naive>{policy.spec, {.tokens = 128, .step = 50}}.bytes(shape));
    }
    for (const char* text : {"paged:f16", "quest:64:f16", "h2o:8:q8", "tiered-h2o:64:q8,kivi2", "radix:q8"}) {
        counting_resource disk;
        const kv::any<reference::naive> policy{kv::parse_spec(text), {.tokens = 128, .cold = &disk}};
        CAPTURE(text);
        CHECK(code_of([&] { policy.make(shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)policy.bytes(shape); }) == errc::invalid_argument);
        CHECK(disk.bytes() == 0);
    }
}

TEST_CASE("the words of tiers tell two codecs, the last tokens and the first", "[kv]") {
    const kv::spec plain = kv::parse_spec("tiered:f16/256,q4"), sinks = kv::parse_spec("tiered:q8/300+4,kivi2");
    CHECK((plain.hot == 256 && !plain.hot_sinks && plain.hot_codec == kv::codec_kind::f16 && plain.codec == kv::codec_kind::q4));
    CHECK((sinks.hot == 300 && sinks.hot_sinks == 4 && sinks.hot_codec == kv::codec_kind::q8 && sinks.codec == kv::codec_kind::kivi2));
    CHECK(kv::any<reference::naive>{sinks, {}}.name() == "tiered:q8/300+4,kivi2");
    for (const char* text :
         {"tiered:f16/256+,kivi2", "tiered:f16/+4,kivi2", "tiered:f16/256+x,kivi2", "tiered:bf16/256,kivi2", "tiered:q8/256,q4",
          "tiered:q8/256", "tiered:/256,kivi2", "tiered:f16/0+4,kivi2", "paged:kivi4v2", "minicache:kivi4v2"}) {
        CAPTURE(text);
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
    }
}

TEST_CASE("merged layers chosen at run time are those of their words", "[kv]") {
    for (const char* text : {"minicache/4:kivi4", "paged-minicache/0:kivi2", "radix-minicache/3:q8", "minicache/4:f16"}) {
        const kv::any<reference::naive> policy{kv::parse_spec(text), {.tokens = 128, .sequences = 2}};
        const kv::cache_shape shape{.layers = 4, .kv_heads = 2, .head_dim = 32};
        auto cache = policy.make(shape, std::pmr::new_delete_resource());
        CAPTURE(text);
        CHECK(policy.name() == text);
        CHECK(cache.bytes() == policy.bytes(shape));
        const kv::sequence_id s = cache.open();
        CHECK(kv::step_room(cache, s) == policy.max_step());
        const kv::segment most{s, 0, policy.max_step()}, one{s, 0, 1};
        cache.plan({&most, 1});
        cache.commit(s);
        cache.plan({&one, 1});
        cache.commit(s);
        CHECK(kv::step_room(cache, s) == policy.max_step() - 1);
        CHECK(code_of([&] { cache.plan({&most, 1}); }) == errc::cache_full);
    }
    CHECK(kv::parse_spec("minicache:kivi4").sinks == 4);
    for (const char* text : {"minicache:q4", "minicache/:kivi4", "minicache/x:kivi4", "minicache/4:f32"})
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
}
