// SPDX-License-Identifier: MIT
// Every allocation on the way of a saved sequence of tiers, by recency or importance, or of evicting storage fails once: the cache is as it
// was.
#include <array>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <vector>

#include <skald/kv/evicting.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/tiered.hpp>
#include <skald/kv/tiered_by.hpp>
#include <skald/kv/word_codec.hpp>

#include "memory/failing_allocations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_TEST_CASE("a sequence that is more than rows cannot be saved or restored for want of memory, and nothing changes", "[memory]",
                   (kv::paged_tiered<kv::f16, kv::grouped<kv::q8, 8>>), (kv::evicting<kv::recent, kv::f16>),
                   (kv::tiered_by<kv::recent, kv::f16, kv::grouped<kv::q8, 8>>)) {
    TestType policy{};
    policy.options.step = 20;
    policy.options.sequences = 2;
    if constexpr (requires { policy.options.budget; }) policy.options.budget = 9;
    auto cache = policy.make({.layers = 2, .kv_heads = 1, .head_dim = 16}, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    const std::array rows{kv::segment{s, 0, 20}};
    cache.plan(rows);
    for (std::size_t layer = 0; layer < 2; ++layer)
        std::apply(
            [](const auto&... run) {
                const auto clear = [](const auto& r) {
                    for (position p = r.begin(0); p < r.end(0); ++p)
                        for (std::size_t i = 0; i < r.row_bytes(); ++i) r.key(0, 0, p)[i] = r.value(0, 0, p)[i] = std::byte{1};
                };
                const auto seal = []<class Run>(const Run& r) {
                    if constexpr (sealing_run<Run, format::scalar>) r.template seal<format::scalar>(0, 0, 0, 20);
                };
                (clear(run), ...);
                (seal(run), ...);
            },
            cache.view(layer));
    cache.commit(s);
    const std::vector<token_id> text(20, 5);
    std::vector<std::byte> before, saved;
    const auto save = [&](std::vector<std::byte>& out) {
        out.clear();
        kv::save(
            cache, s, text, [&](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); }, {},
            "a note of some length, which is not kept in place");
    };
    before.reserve(std::size_t{1} << 16), saved.reserve(std::size_t{1} << 16);
    save(before);
    const auto as_it_was = [&] {
        save(saved);
        const kv::sequence_id second = cache.open();  // there is one, and it is empty
        const bool empty = cache.length(second) == 0;
        cache.close(second);
        return empty && saved == before && cache.length(s) == 20;
    };
    CHECK(fail_each([&] { save(saved); }, as_it_was) > 0);
    CHECK(as_it_was());
    kv::sequence_id restored;
    CHECK(fail_each([&] { restored = kv::load(cache, std::span<const std::byte>(before)).sequence; }, as_it_was) > 1);
    CHECK(cache.length(restored) == 20);
    cache.close(restored);
    CHECK(as_it_was());
}
