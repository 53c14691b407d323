// SPDX-License-Identifier: MIT
// Sequences of tiers, by recency or importance, and of evicting storage that were saved: their model goes on with the logits it would have
// had, bitwise.
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <skald/kv/state.hpp>
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

using naive = reference::naive;
using any = kv::any<naive>;

template <class Cache>
std::vector<std::byte> saved(Cache& cache, kv::sequence_id s, std::span<const token_id> text) {
    std::vector<std::byte> out;
    kv::save(cache, s, text, [&](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); });
    return out;
}

}  // namespace

TEST_CASE("a model goes on from a saved cache as from the one that was saved", "[kv]") {
    const model<naive> m = load_model<naive>(open_model(tiny_model{}).file(), {});
    const tokens text = random_tokens(110, 101, 5);
    for (const char* word : {"contiguous:kivi2", "tiered:f16/20,q4", "tiered:q8/20+4,kivi2", "radix:kivi2", "minicache/3:kivi2",
                             "sinks:30:f16", "h2o:30:q8", "tova:30:f16", "snapkv:40:f16", "pyramid:40:f16", "tiered-h2o:40:f16,kivi2",
                             "tiered-sinks:34:q8,kivi2", "tiered-tova:50:f16,kivi2"}) {
        CAPTURE(word);
        const any policy{kv::parse_spec(word), {.tokens = 128, .sequences = 2, .step = 40}};
        runner first(m, policy, 40), second(m, policy, 40);
        const kv::sequence_id s = first.cache().open();
        first.run(s, std::span(text).first(77), 33);
        (void)second.cache().open();
        const kv::loaded_sequence loaded =
            kv::load(second.cache(), std::span<const std::byte>(saved(first.cache(), s, std::span(text).first(77))));
        const auto rest = std::span(text).subspan(77);
        CHECK(same_bits(first.run(s, rest, 9), second.run(loaded.sequence, rest, 9)));
        CHECK(saved(first.cache(), s, text) == saved(second.cache(), loaded.sequence, text));
        std::size_t kept = 0;
        for (position l = 0; l <= 110; ++l) {
            kept += first.cache().keeps(s, l);
            CHECK(first.cache().keeps(s, l) == second.cache().keeps(loaded.sequence, l));
        }
        CHECK(kept >= 2);
        CHECK(kept < 111);
        const any flat{kv::parse_spec("contiguous:f16"), {.tokens = 128}};
        auto other = flat.make(m.config().cache(), std::pmr::new_delete_resource());
        const std::vector<std::byte> bytes = saved(first.cache(), s, text);
        CHECK(code_of([&] { kv::load(other, std::span<const std::byte>(bytes)); }) == errc::invalid_argument);
        CHECK(code_of([&] { kv::require_fit(other, kv::check(std::span<const std::byte>(bytes)).header); }) == errc::invalid_argument);
        kv::require_fit(first.cache(), kv::check(std::span<const std::byte>(bytes)).header);
    }
}
