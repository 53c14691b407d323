// SPDX-License-Identifier: MIT
// What a forward refuses, and the state it leaves behind.
#include <array>
#include <string>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;
using reference::naive;

TEST_CASE("a malformed batch is refused", "[model]") {
    const model<naive> m = load_model<naive>(open_model(tiny_model{}).file());
    auto cache = kv::contiguous<kv::f32>{{.tokens = 8, .sequences = 2}}.make(m.config().cache(), m.backend().memory());
    workspace<naive> w(m.backend(), m.architecture(), m.config(), {.rows = 4, .wanted = 1});
    const kv::sequence_id s = cache.open();
    std::vector<float> logits(m.config().vocabulary);
    const matrix_view<float> out(logits.data(), {1, logits.size()});
    const auto refused = [&](const tokens& t, const std::vector<kv::segment>& segments, const std::vector<std::size_t>& wanted) {
        const errc code = code_of([&] { forward(m, w, cache, batch{t, segments, wanted}, out); });
        CHECK(cache.length(s) == 0);
        return code == errc::invalid_argument;
    };
    CHECK(refused({1, 2}, {{s, 0, 1}}, {}));    // rows without a segment
    CHECK(refused({1, 2}, {{s, 0, 3}}, {}));    // segment without rows
    CHECK(refused({1, 2}, {{s, 1, 1}}, {}));    // gap
    CHECK(refused({1, 101}, {{s, 0, 2}}, {}));  // outside the vocabulary
    CHECK(refused({-1}, {{s, 0, 1}}, {}));
    CHECK(refused({1}, {{s, 0, 1}}, {1}));               // a wanted row that is none
    CHECK(refused({1, 2}, {{s, 0, 2}}, {0, 1}));         // more wanted than the workspace has room for
    CHECK(refused({1, 2, 3, 4, 5}, {{s, 0, 5}}, {}));    // more rows than it has room for
    CHECK(refused({1, 2}, {{s, 0, 1}, {s, 1, 1}}, {}));  // one sequence twice
}

TEST_CASE("a cancelled step leaves the cache as it was", "[model]") {
    const model<naive> m = load_model<naive>(open_model(tiny_model{}).file());
    runner run(m, kv::paged<kv::f32>{{.tokens = 32, .block = 4}}, 16);
    const kv::sequence_id s = run.cache().open();
    const tokens text = random_tokens(16, 101, 3);
    run.run(s, std::span(text).first(5), 5);
    const std::size_t free = run.cache().free_blocks();
    std::stop_source source;
    source.request_stop();
    const std::array rows{std::span<const token_id>(text).subspan(5)};
    CHECK(code_of([&] { run.step(std::array{s}, rows, source.get_token()); }) == errc::cancelled);
    CHECK(run.cache().length(s) == 5);
    CHECK(run.cache().free_blocks() == free);
    const std::vector<float> whole = plain_logits(m, text), rest = run.run(s, std::span(text).subspan(5), 11);
    CHECK(std::equal(rest.begin(), rest.end(), whole.begin() + 5 * 101));
}

TEST_CASE("learned positions end where they end", "[model]") {
    tiny_model t;
    t.architecture = "gpt2";
    t.context = 12;
    const model<naive> m = load_model<naive>(open_model(t).file());
    runner run(m, kv::contiguous<kv::f32>{{.tokens = 64}}, 32);
    const kv::sequence_id s = run.cache().open();
    run.run(s, random_tokens(12, 101, 4), 12);
    const tokens more{1};
    const std::array rows{std::span<const token_id>(more)};
    CHECK(code_of([&] { run.step(std::array{s}, rows); }) == errc::invalid_argument);
    CHECK(run.cache().length(s) == 12);
}

TEST_CASE("which list of longrope's factors is read is decided by what the cache was made for", "[model]") {
    const model<naive> m = load_model<naive>(std::string(SKALD_TEST_DATA) + "/tiny-phi3-short.gguf");
    REQUIRE(m.config().attention_kinds[0].rope.original_context == 64);
    const tokens text = random_tokens(20, 96, 5);
    const auto with_room_for = [&](std::size_t context) {
        runner flat(m, kv::contiguous<kv::f32>{{.tokens = context}}, 20);
        runner paged(m, kv::paged<kv::f32>{{.tokens = context, .block = 24}}, 20);
        const std::vector<float> logits = flat.run(flat.cache().open(), text, 20);
        CHECK(logits == paged.run(paged.cache().open(), text, 20));
        return logits;
    };
    CHECK(with_room_for(24) == with_room_for(64));
    CHECK(with_room_for(65) == with_room_for(300));
    CHECK(with_room_for(64) != with_room_for(65));
}

TEST_CASE("loading can be cancelled and tells its progress", "[model]") {
    const open_model file{tiny_model{}};
    std::stop_source source;
    std::size_t last = 0, total = 0;
    const auto tell = [&](std::size_t done, std::size_t all) {
        CHECK(done > last);
        last = done;
        total = all;
    };
    (void)load_model<naive>(file.file(), {.progress = tell});
    CHECK(last == total);
    CHECK(total > 0);
    source.request_stop();
    CHECK(code_of([&] { (void)load_model<naive>(file.file(), {.stop = source.get_token()}); }) == errc::cancelled);
}
