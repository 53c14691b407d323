// SPDX-License-Identifier: MIT
// Models on rows that are transformed before they are encoded: as good as without, the same in every storage and schedule, and read by
// those who move rows between caches.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/hadamard.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/row_access.hpp>
#include <skald/kv/window.hpp>
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

using f32 = kv::hadamard<kv::f32>;
using q4 = kv::hadamard<kv::q4>;

}  // namespace

TEST_CASE("transformed rows in f32 give the logits of plain ones, but for rounding", "[kv][hadamard]") {
    for (const char* file : {"tiny-llama.gguf", "tiny-gemma3.gguf", "tiny-gpt2.gguf"}) {
        CAPTURE(file);
        const auto m = load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/" + file, {.compute = compute::exact});
        const std::size_t length = std::min<std::size_t>(100, m.config().context);
        const tokens text = random_tokens(length, m.config().vocabulary, 5);
        runner run(m, kv::contiguous<f32>{{.tokens = length}}, length);
        CHECK(relative_distance(run.run(run.cache().open(), text, length), plain_logits(m, text)) < 1e-5);
    }
}

TEST_CASE("transformed rows of 4 bits: bitwise the same in paged storage, in chunks, on threads and after a rollback", "[kv][hadamard]") {
    thread_pool pool(2);
    const tokens text = random_tokens(150, 101, 6), wrong = random_tokens(7, 101, 7);
    for (const compute how : {compute::exact, compute::native}) {
        const auto m = load_model<cpu<>>(open_model(tiny_model{}).file(), {.compute = how});
        runner whole(m, kv::contiguous<q4>{{.tokens = 150}}, 150);
        const std::vector<float> expected = whole.run(whole.cache().open(), text, 150);
        for (const std::size_t chunk : {1, 7, 64}) {
            CAPTURE(how == compute::exact, chunk);
            const auto threaded = load_model<cpu<>>(open_model(tiny_model{}).file(), {.pool = &pool, .compute = how});
            runner run(threaded, kv::paged<q4>{{.tokens = 200, .block = 16}}, chunk);
            CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
        }
        runner run(m, kv::paged<q4>{{.tokens = 200, .block = 16}}, 50);
        const kv::sequence_id s = run.cache().open();
        run.run(s, std::span(text).first(100), 50);
        const kv::checkpoint mark = run.cache().mark(s);
        run.step(std::array{s}, std::array{std::span<const token_id>(wrong)});
        run.cache().rollback(s, mark);
        CHECK(same_bits(run.run(s, std::span(text).subspan(100), 50), std::span(expected).subspan(100 * 101)));
    }
}

TEST_CASE("a window of transformed rows gives what the naive backend gives, past the model's context too", "[kv][hadamard]") {
    tiny_model t;
    t.context = 64;
    const tokens text = random_tokens(120, 101, 6);
    const kv::window<f32> policy{{.window = 19, .sinks = 4, .step = 120}};
    runner fast(load_model<cpu<>>(open_model(t).file(), {.compute = compute::exact}), policy, 120);
    runner slow(load_model<reference::naive>(open_model(t).file(), {}), policy, 120);
    CHECK(relative_distance(fast.run(fast.cache().open(), text, 120), slow.run(slow.cache().open(), text, 120)) < 1e-5);
}

TEST_CASE("rows as floats are keys and values, not what is kept of them", "[kv][hadamard]") {
    const auto m = load_model<cpu<>>(open_model(tiny_model{}).file(), {.compute = compute::exact});
    const tokens text = random_tokens(40, 101, 8);
    const auto rows = [&](const auto& policy) {
        runner run(m, policy, 40);
        const kv::sequence_id s = run.cache().open();
        run.run(s, text, 40);
        run.cache().commit(s);
        const kv::cache_shape shape = run.cache().shape();
        std::vector<float> out(2 * shape.kv_heads * 40 * shape.head_dim);
        kv::detail::select_rows(run.cache(), s);
        kv::detail::load_rows(run.cache(), 1, 0, 40, out);
        return out;
    };
    CHECK(relative_distance(rows(kv::contiguous<f32>{{.tokens = 40}}), rows(kv::contiguous<kv::f32>{{.tokens = 40}})) < 1e-5);
}

TEST_CASE("specs name transformed rows, for storage that keeps all tokens", "[kv][hadamard]") {
    const auto m = load_model<reference::naive>(open_model(tiny_model{}).file(), {});
    const tokens text = random_tokens(50, 101, 3);
    const auto logits = [&](const auto& policy) {
        runner run(m, policy, 50);
        return run.run(run.cache().open(), text, 50);
    };
    const kv::any<reference::naive> named{kv::parse_spec("paged/8:hadamard-q4"), {.tokens = 96}};
    CHECK(named.name() == "paged/8:hadamard-q4");
    CHECK(same_bits(logits(named), logits(kv::paged<q4>{{.tokens = 96, .block = 8}})));
    for (const char* words : {"ring/64:hadamard-q4", "tiered:f16/8,hadamard-q4", "h2o:8:hadamard-q4", "quest:64:hadamard-q4"}) {
        CAPTURE(words);
        CHECK(code_of([&] { (void)kv::parse_spec(words); }) == errc::invalid_argument);
    }
}
