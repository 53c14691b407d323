// SPDX-License-Identifier: MIT
// What follows when tokens are removed from a sequence or moved in it, in caches that keep keys before rope.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/unroped.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/rows_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using f16 = kv::unroped<kv::f16>;

std::vector<position> all(std::size_t n) {
    std::vector<position> out(n);
    std::iota(out.begin(), out.end(), position{0});
    return out;
}

const auto unchanged = [](std::size_t, position, float*) {};

}  // namespace

TEST_CASE("what is read after tokens were removed or moved is what their keys, rotated by the new positions, give", "[model][shifting]") {
    tiny_model t;
    t.heads = 6, t.head_dim = 12, t.hidden = 72;
    for (const compute how : {compute::exact, compute::native}) {
        const auto m = load_model<cpu<>>(open_model(t).file(), {.compute = how});
        const auto n = load_model<reference::naive>(open_model(t).file(), {});
        const tokens text = random_tokens(150, 101, 6), more = random_tokens(40, 101, 7);
        const kv::paged<f16> policy{{.tokens = 300, .sequences = 2, .block = 8}}, one_block{{.tokens = 190, .block = 190}};

        runner run(m, policy, 150);
        const kv::sequence_id s = run.cache().open();
        run.run(s, text, 150);
        runner kept(m, one_block, 150);
        const kv::sequence_id k = kept.cache().open();
        kept.run(k, text, 150);

        std::vector<position> from = all(150);
        run.cache().remove(s, 20, 71);
        from.erase(from.begin() + 20, from.begin() + 71);
        run.cache().shift(s, 3, 40, 25);
        std::rotate(from.begin() + 3, from.begin() + 40, from.begin() + 65);
        run.cache().remove(s, 64, 72);
        from.erase(from.begin() + 64, from.begin() + 72);

        const std::vector<float> logits = run.run(s, more, 40);
        auto same_rows = rows_of(m, one_block, kept.cache(), k, from, 40, unchanged);
        CHECK(same_bits(logits, same_rows.run({0}, more, 3)));
        auto plain = rows_of(n, one_block, kept.cache(), k, from, 40, unchanged);
        CHECK(relative_distance(logits, plain.run({0}, more, 40)) < (how == compute::exact ? 2e-6 : 2e-3));

        runner before(m, one_block, 150);
        const kv::sequence_id b = before.cache().open();
        before.run(b, text, 150);
        CHECK_FALSE(same_bits(logits, before.run(b, more, 40)));
    }
}
