// SPDX-License-Identifier: MIT
// Tiers in a tree of prefixes: what a new sequence takes over reads as it was written, sinks included, and no place is lost.
#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

#include <skald/kv/radix_tiers.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;

namespace {

using tokens = std::vector<token_id>;
constexpr std::size_t group = 32, groups = 14;

struct apart {
    static constexpr std::size_t leads = 0;
    static auto make(std::size_t sequences) {
        return kv::radix_tiered<kv::f16, kv::grouped<kv::f16>>{{.tokens = groups * group, .sequences = sequences, .step = 32}}.make(
            test::small_shape, std::pmr::new_delete_resource());
    }
};
struct apart_with_sinks {
    static constexpr std::size_t leads = 1;
    static auto make(std::size_t sequences) {
        return kv::radix_tiered<kv::f16, kv::grouped<kv::f16>>{{.tokens = groups * group, .sequences = sequences, .step = 32, .sinks = 5}}
            .make(test::small_shape, std::pmr::new_delete_resource());
    }
};
struct merged {
    static constexpr std::size_t leads = 1;
    static auto make(std::size_t sequences) {
        return kv::radix_merged<kv::grouped<kv::f16>>{
            {.tokens = groups * group, .sequences = sequences, .sinks = 3, .step = 32, .merge = {.from = 0}}}
            .make(test::small_shape, std::pmr::new_delete_resource());
    }
};

/// What a model writes at each position depends on all tokens up to it.
std::vector<std::uint32_t> writers_of(const tokens& t) {
    std::vector<std::uint32_t> out;
    std::uint32_t h = 17;
    for (const token_id id : t) out.push_back((h = h * 31 + static_cast<std::uint32_t>(id)) % 251);
    return out;
}

/// Reads what follows in `t`, a row a step, and checks what the last row reads.
template <class Cache>
void read(Cache& cache, kv::sequence_id s, const tokens& t) {
    const std::vector<std::uint32_t> writers = writers_of(t);
    for (auto at = static_cast<std::size_t>(cache.length(s)); at < t.size(); ++at) {
        const std::array one{kv::segment{s, 0, 1}};
        test::write_rows(cache, cache.plan(one), {writers[at]});
        if (at + 1 == t.size()) REQUIRE(test::holds(cache, 0, writers));
        cache.commit(s);
    }
}

tokens counted(token_id first, std::size_t n) {
    tokens out(n);
    for (token_id& t : out) t = first++;
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("a prompt's first groups are taken over from an earlier sequence", "[kv]", apart, apart_with_sinks, merged) {
    auto cache = TestType::make(3);
    const std::size_t all = cache.free_blocks();
    const tokens first = counted(0, 80);
    const kv::sequence_id a = cache.open();
    read(cache, a, first);
    CHECK(cache.free_blocks() == all - 2 - TestType::leads);
    cache.remember(a, first);
    cache.close(a);
    CHECK(cache.free_blocks() == all - 2 - TestType::leads);

    tokens second = first;
    second[70] = 900;
    CHECK(cache.reusable(second) == 64);
    CHECK(cache.reusable(std::span(second).first(64)) == 32);
    const kv::opened_sequence b = cache.open_with(second);
    CHECK(b.reused == 64);
    CHECK(cache.keeps(b.sequence, 32));
    CHECK_FALSE(cache.keeps(b.sequence, 40));
    read(cache, b.sequence, second);

    // The same text read twice is kept once.
    const kv::sequence_id c = cache.open();
    read(cache, c, second);
    cache.remember(c, second);
    CHECK(cache.free_blocks() == all - 2 - TestType::leads);
    const kv::sequence_id d = cache.fork(c);
    read(cache, d, [&] {
        tokens more = second;
        more.push_back(5);
        return more;
    }());
    const kv::pinned_prefix pinned = cache.pin(second);
    CHECK(pinned.tokens == 64);
    cache.close(b.sequence), cache.close(c), cache.close(d);
    CHECK(cache.evict(all) == 0);
    cache.unpin(pinned);
    CHECK(cache.evict(1) == 1);                    // the second group
    CHECK(cache.evict(1) == 1 + TestType::leads);  // the first, and what stood before it
    CHECK(cache.free_blocks() == all);
}

TEMPLATE_TEST_CASE("random prompts, forks and drafts on tiers in a tree read what was written", "[kv]", apart, apart_with_sinks, merged) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    constexpr std::size_t slots = 3;
    auto cache = TestType::make(slots);
    const std::size_t all = cache.free_blocks();
    struct sequence {
        kv::sequence_id id;
        tokens text;
    };
    std::vector<sequence> open;
    std::vector<kv::pinned_prefix> pins;
    std::size_t reused = 0;
    for (int i = 0; i < 400; ++i) {
        const std::size_t operation = pick(9);
        if (open.size() < slots && (open.empty() || operation == 0)) {
            tokens prompt = counted(static_cast<token_id>(pick(2) * 1000), 20 + pick(80));
            if (pick(3) == 0) prompt[pick(prompt.size())] = 7;
            const kv::opened_sequence o = cache.open_with(prompt);
            reused += o.reused;
            prompt.resize(o.reused);
            open.push_back({o.sequence, prompt});
            continue;
        }
        const std::size_t which = pick(open.size());
        sequence& s = open[which];
        if (operation == 1 && open.size() < slots) {
            const kv::sequence_id copy = cache.fork(s.id);
            open.push_back({copy, open[which].text});
        } else if (operation == 2) {
            cache.remember(s.id, s.text);
        } else if (operation == 3) {
            if (pick(2) == 0) cache.remember(s.id, s.text);
            cache.close(s.id);
            open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
        } else if (operation == 4) {
            const std::size_t to = pick(s.text.size() + 1);
            if (!cache.keeps(s.id, static_cast<position>(to))) continue;
            cache.truncate(s.id, static_cast<position>(to));
            s.text.resize(to);
        } else if (operation == 5 && pick(3) == 0) {
            if (pins.empty() && pick(2) == 0) {
                pins.push_back(cache.pin(s.text));
            } else if (!pins.empty()) {
                cache.unpin(pins.back());
                pins.pop_back();
            } else {
                cache.evict(pick(3));
            }
        } else {
            tokens more = s.text;
            const std::size_t rows = std::min(1 + pick(24), std::size_t{110} - std::min<std::size_t>(110, more.size()));
            for (std::size_t r = 0; r < rows; ++r) more.push_back(static_cast<token_id>(more.empty() ? pick(2) * 1000 : more.back() + 1));
            if (pick(3) == 0) {  // a draft that is rejected
                const kv::checkpoint mark = cache.mark(s.id);
                const std::array draft{kv::segment{s.id, 0, std::min<std::size_t>(9, kv::step_room(cache, s.id))}};
                test::write_rows(cache, cache.plan(draft), {250});
                cache.rollback(s.id, mark);
            }
            read(cache, s.id, more);
            s.text = more;
        }
    }
    CHECK(reused > 500);
    for (const kv::pinned_prefix& p : pins) cache.unpin(p);
    for (const sequence& s : open) cache.close(s.id);
    cache.forget_all();
    CHECK(cache.free_blocks() == all);
}
