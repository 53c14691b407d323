// SPDX-License-Identifier: MIT
// Pages that matter in a tree of prefixes: a sequence that took a beginning over has bitwise the logits of one that read it anew, and the
// bounds of what it took over, whatever became of the sequence that left them.
#include <array>
#include <map>
#include <memory_resource>
#include <random>
#include <span>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/radix_quest.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/word_codec.hpp>
#include <skald/model/load.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::size_t page = 8, vocabulary = 101;
using policy = kv::radix_quest<kv::f16>;

policy pages_for(std::size_t tokens) { return {{.tokens = tokens, .sequences = 4, .budget = 3 * page, .page = page, .full_layers = 1}}; }
model<cpu<>> tiny() {
    tiny_model t;
    t.layers = 3;
    return load_model<cpu<>>(open_model(t).file(), {.compute = compute::exact});
}

/// The logits of a text that one sequence of quest storage reads in one step.
std::vector<float> read_anew(const model<cpu<>>& m, const tokens& text) {
    const kv::quest_options o = pages_for(512).options;
    runner run(m, kv::quest<kv::f16>{o}, text.size());
    return run.run(run.cache().open(), text, text.size());
}

std::span<const float> from(const std::vector<float>& logits, std::size_t token) { return std::span(logits).subspan(token * vocabulary); }

/// Whether the last layer's pages of a sequence have the bounds that another sequence has of the same tokens.
template <class A, class B>
bool same_bounds(const A& a, kv::sequence_id s, const B& b, kv::sequence_id t, std::size_t pages) {
    std::vector<float> x(16), y(16);
    for (std::size_t i = 0; i < pages; ++i)
        for (const std::size_t head : {0, 1})
            for (const bool greatest : {false, true}) {
                a.load_bound(s, 2, i, head, greatest, x);
                b.load_bound(t, 2, i, head, greatest, y);
                if (x != y) return false;
            }
    return true;
}

}  // namespace

TEST_CASE("a prompt takes pages over with their bounds, and goes on as if it had read them", "[kv]") {
    const auto m = tiny();
    const tokens text = random_tokens(100, vocabulary, 6);
    tokens other(text.begin(), text.begin() + 70);
    for (const token_id t : random_tokens(40, vocabulary, 7)) other.push_back(t);
    const std::vector<float> expected = read_anew(m, text), expected_other = read_anew(m, other);

    runner run(m, pages_for(512), 100);
    auto& cache = run.cache();
    const kv::sequence_id a = cache.open();
    CHECK(same_bits(run.run(a, text, 30), expected));
    cache.remember(a, text);
    CHECK(cache.bounded_pages(a, 2) == 100 / page);

    const auto [b, reused] = cache.open_with(other);
    REQUIRE(reused == 70 / page * page);
    CHECK(cache.bounded_pages(b, 0) == 0);  // of a layer that reads everything
    CHECK(cache.bounded_pages(b, 2) == reused / page);
    CHECK(same_bounds(cache, b, cache, a, reused / page));
    CHECK(same_bits(run.run(b, std::span(other).subspan(reused), 9), from(expected_other, reused)));

    // Its fork, the sequence it was read by, cut inside a shared page, and one that comes when both are gone.
    const kv::sequence_id c = cache.fork(b);
    CHECK(cache.bounded_pages(c, 2) == other.size() / page);
    cache.truncate(c, 61);
    CHECK(cache.bounded_pages(c, 2) == 61 / page);
    CHECK(same_bits(run.run(c, std::span(text).subspan(61), 100), from(expected, 61)));
    for (const kv::sequence_id s : {a, b, c}) cache.close(s);
    const auto late = cache.open_with(text);
    CHECK(late.reused == 96);
    CHECK(same_bits(run.run(late.sequence, std::span(text).subspan(96), 4), from(expected, 96)));
}

TEST_CASE("a restored sequence leaves pages to prompts before a row has read them", "[kv]") {
    const auto m = tiny();
    const tokens text = random_tokens(100, vocabulary, 8);
    const std::vector<float> expected = read_anew(m, text);
    runner first(m, pages_for(128), 100), second(m, pages_for(128), 100);
    const kv::sequence_id a = first.cache().open();
    first.run(a, std::span(text).first(90), 90);
    std::vector<std::byte> bytes;
    kv::save(first.cache(), a, std::span(text).first(90),
             [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); });

    auto& cache = second.cache();
    const kv::sequence_id b = kv::load(cache, std::span<const std::byte>(bytes)).sequence;
    CHECK(cache.bounded_pages(b, 2) == 0);
    CHECK(code_of([&] { cache.remember(b, text); }) == errc::invalid_argument);
    cache.remember(b, std::span(text).first(90));
    CHECK(cache.bounded_pages(b, 2) == 90 / page);
    CHECK(same_bounds(cache, b, first.cache(), a, 90 / page));
    cache.close(b);
    const auto [c, reused] = cache.open_with(text);
    REQUIRE(reused == 88);
    CHECK(cache.bounded_pages(c, 2) == reused / page);
    CHECK(same_bits(second.run(c, std::span(text).subspan(reused), 5), from(expected, reused)));
}

TEST_CASE("random prompts, forks, cuts and drafts on few pages have the logits of texts read anew", "[kv]") {
    const unsigned seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    const auto m = tiny();
    std::array<tokens, 5> texts;  // that begin alike, by 0 to 60 tokens
    std::array<std::vector<float>, 5> expected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        texts[i] = random_tokens(90, vocabulary, seed + static_cast<unsigned>(i));
        if (i != 0) std::copy_n(texts[0].begin(), 20 * (i - 1), texts[i].begin());
        expected[i] = read_anew(m, texts[i]);
    }

    struct sequence {
        kv::sequence_id id;
        std::size_t text, length;
    };
    runner run(m, pages_for(200), 90);  // of 25 pages, less than the texts have
    auto& cache = run.cache();
    std::vector<sequence> all;
    std::size_t reused = 0, refused = 0;
    for (int i = 0; i < 250; ++i) {
        const std::size_t what = pick(10);
        if (all.empty() || (what == 0 && all.size() < 3)) {
            const std::size_t t = pick(texts.size());
            const auto opened = cache.open_with(texts[t]);
            reused += opened.reused;
            REQUIRE(cache.bounded_pages(opened.sequence, 2) == opened.reused / page);
            all.push_back({opened.sequence, t, opened.reused});
            continue;
        }
        sequence& s = all[pick(all.size())];
        const std::span<const token_id> text(texts[s.text]);
        if (what == 1 && all.size() < 3) {
            all.push_back({cache.fork(s.id), s.text, s.length});
        } else if (what == 2) {
            s.length = pick(3) == 0 ? pick(s.length + 1) : s.length - pick(s.length / 4 + 1);
            cache.truncate(s.id, static_cast<position>(s.length));
        } else if (what <= 4) {
            cache.remember(s.id, text.first(s.length));
            if (pick(2) == 0) {
                cache.close(s.id);
                s = all.back();
                all.pop_back();
            }
        } else {
            const std::size_t rows = std::min(pick(3) == 0 ? pick(60) : pick(12), text.size() - s.length);
            if (rows == 0) continue;
            const std::array sequences{s.id};
            const std::array drafts{std::span<const token_id>(texts[pick(texts.size())]).subspan(pick(50), 7)};
            const std::array steps{text.subspan(s.length, rows)};
            try {
                if (pick(3) == 0) {
                    const kv::checkpoint mark = cache.mark(s.id);
                    run.step(sequences, drafts);
                    cache.rollback(s.id, mark);
                }
                const std::vector<float> got = run.step(sequences, steps);
                REQUIRE(same_bits(got, from(expected[s.text], s.length).first(rows * vocabulary)));
                cache.commit(s.id);
                s.length += rows;
            } catch (const error& e) {
                REQUIRE(e.code() == errc::cache_full);
                ++refused;
                cache.close(s.id);
                s = all.back();
                all.pop_back();
            }
        }
    }
    CHECK(reused > 100);
    CHECK(cache.counts().evicted > 0);
    INFO(refused);
}

TEST_CASE("pages in a tree take what they say, and are named", "[kv]") {
    const kv::radix_quest<kv::q8> p{{.tokens = 37, .sequences = 3, .budget = 10, .page = 5}};
    const kv::cache_shape shape{.layers = 3, .kv_heads = 2, .head_dim = 20};
    counting_resource memory;
    {
        const auto cache = p.make(shape, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(p.bytes(shape) == memory.bytes());
        CHECK(cache.bytes() > kv::quest<kv::q8>{p.options}.bytes(shape));
    }
    CHECK(memory.bytes() == 0);
    CHECK(p.max_length() == 40);
    CHECK(p.name() == "radix-quest:10/5:q8");
    CHECK(code_of([] { kv::radix_quest<kv::f16>{{.page = 0}}.make({1, 1, 16}, std::pmr::new_delete_resource()); }) ==
          errc::invalid_argument);
    CHECK(code_of([] { (void)kv::radix_quest<kv::f16>{{.page = 0}}.bytes({1, 1, 16}); }) == errc::invalid_argument);
}
