// SPDX-License-Identifier: MIT
// Models: sequences that share a prefix, decoded and prompted in one step, have bitwise the logits of contiguous ones read alone.
#include <array>
#include <cstring>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>

#include "support/catch.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("forks of a sequence have bitwise the logits of texts read alone", "[kv]") {
    constexpr std::size_t vocabulary = 101, forks = 5;
    const std::size_t prefix = GENERATE(130, 1100);
    tiny_model t;
    t.context = 2048;
    for (const compute policy : {compute::exact, compute::native}) {
        const tokens text = random_tokens(prefix, vocabulary, 1);
        const model<cpu<>> plain = load_model<cpu<>>(open_model(t).file(), {.compute = policy});
        std::vector<tokens> own(forks);
        std::vector<std::vector<float>> expected;
        for (unsigned i = 0; i < forks; ++i) {
            own[i] = random_tokens(1 + 7 * i, vocabulary, 2 + i);
            runner alone(plain, kv::contiguous<kv::f16>{{.tokens = prefix + 50}}, 64);
            const kv::sequence_id s = alone.cache().open();
            alone.run(s, text, 64);
            expected.push_back(alone.run(s, own[i], 64));
        }
        for (const std::size_t threads : {1, 2, 3}) {
            thread_pool pool(threads);
            const model<cpu<>> m = load_model<cpu<>>(open_model(t).file(), {.pool = &pool, .compute = policy});
            runner run(m, kv::paged<kv::f16>{{.tokens = prefix + 1000, .sequences = forks}}, 128);
            std::vector<kv::sequence_id> all{run.cache().open()};
            run.run(all[0], text, 128);
            while (all.size() < forks) all.push_back(run.cache().fork(all[0]));

            // A first token of each, then the rest of those that have more, prompts of different lengths.
            std::vector<std::span<const token_id>> firsts, rests;
            for (const tokens& o : own) {
                firsts.push_back(std::span(o).first(1));
                if (o.size() > 1) rests.push_back(std::span(o).subspan(1));
            }
            const std::vector<float> one = run.step(all, firsts);
            for (const kv::sequence_id s : all) run.cache().commit(s);
            const std::vector<float> more = run.step(std::span(all).subspan(1), rests);
            std::size_t at = 0;
            for (std::size_t i = 0; i < forks; ++i) {
                CAPTURE(prefix, policy == compute::exact, threads, i);
                CHECK(std::memcmp(one.data() + i * vocabulary, expected[i].data(), vocabulary * sizeof(float)) == 0);
                const std::size_t rest = (own[i].size() - 1) * vocabulary;
                CHECK(std::memcmp(more.data() + at, expected[i].data() + vocabulary, rest * sizeof(float)) == 0);
                at += rest;
            }
        }
    }
}
