// SPDX-License-Identifier: MIT
// Tokens removed from sequences and moved in them, beside a vector: which rows stand where, what is shared, and what is refused.
#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/budget.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/unroped.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using test::code_of;

namespace {

constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 16, .rope_pairs = 8};
using codec = kv::unroped<kv::f32>;

float mark(int token, std::size_t layer, std::size_t head, bool value) {
    return static_cast<float>(token * 16 + static_cast<int>(layer * 4 + head * 2 + (value ? 1 : 0)));
}

/// A cache and what should be in it.
template <class Policy>
class tracked {
public:
    struct sequence {
        kv::sequence_id id;
        std::vector<int> tokens;
    };

    explicit tracked(const Policy& policy) : cache(policy.make(shape, &memory)) { CHECK(cache.bytes() == policy.bytes(shape)); }

    std::size_t open() {
        sequences.push_back({cache.open(), {}});
        return sequences.size() - 1;
    }

    void append(sequence& s, std::size_t rows) {
        const std::array step{kv::segment{s.id, 0, rows}};
        const position first = cache.plan(step)[0].first_position;
        for (std::size_t i = 0; i < rows; ++i) {
            s.tokens.push_back(++last);
            each(first + static_cast<position>(i), last, [](std::byte* row, float expected) {
                std::vector<float> values(16, expected);
                codec::encode<format::scalar>(values.data(), 16, row);
                return true;
            });
        }
        cache.commit(s.id);
    }

    bool right(sequence& s) {
        cache.select(s.id);
        bool out = cache.length(s.id) == static_cast<position>(s.tokens.size());
        for (std::size_t i = 0; i < s.tokens.size(); ++i)
            out = out && each(static_cast<position>(i), s.tokens[i], [](const std::byte* row, float expected) {
                      return codec::decode<format::scalar>(row, 15).value == expected;
                  });
        return out;
    }

    counting_resource memory;
    typename Policy::cache cache;
    std::vector<sequence> sequences;
    int last = 0;

private:
    template <class F>
    bool each(position p, int token, const F& f) {
        bool out = true;
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                const auto [run] = cache.view(layer);
                out = f(run.key(0, h, p), mark(token, layer, h, false)) && f(run.value(0, h, p), mark(token, layer, h, true)) && out;
            }
        return out;
    }
};

template <class Policy>
void random_trace(const Policy& policy, unsigned seed) {
    INFO(policy.name() << ", seed " << seed);
    std::mt19937 random(seed);
    tracked<Policy> t(policy);
    std::size_t removed = 0, shifted = 0, refused = 0;
    for (std::size_t i = 0; i < 400; ++i) {
        const std::size_t what = random() % 10;
        if (t.sequences.empty()) t.open();
        auto& s = t.sequences[random() % t.sequences.size()];
        const auto length = static_cast<position>(s.tokens.size());
        const auto place = [&](position most) { return static_cast<position>(random() % static_cast<std::uint32_t>(most + 1)); };
        std::optional<errc> code;
        const auto attempt = [&](auto&& f) {
            try {
                f();
                return true;
            } catch (const error& e) {
                code = e.code();
                ++refused;
                return false;
            }
        };
        if (what < 3) {
            const std::size_t rows = 1 + random() % 9, before = s.tokens.size();
            if (!attempt([&] { t.append(s, rows); })) s.tokens.resize(before);
        } else if (what < 6) {
            const position first = place(length), last = first + place(length - first);
            if (attempt([&] { t.cache.remove(s.id, first, last); })) {
                s.tokens.erase(s.tokens.begin() + first, s.tokens.begin() + last);
                removed += first != last;
            }
        } else if (what < 8) {
            const position first = place(length), last = first + place(length - first), to = place(length - (last - first));
            if (attempt([&] { t.cache.shift(s.id, first, last, to - first); })) {
                const std::vector<int> part(s.tokens.begin() + first, s.tokens.begin() + last);
                s.tokens.erase(s.tokens.begin() + first, s.tokens.begin() + last);
                s.tokens.insert(s.tokens.begin() + to, part.begin(), part.end());
                shifted += first != to && !part.empty();
            }
        } else if (what == 8) {
            typename tracked<Policy>::sequence copy = s;
            if (attempt([&] { copy.id = t.cache.fork(s.id); })) t.sequences.push_back(copy);
        } else {
            t.cache.close(s.id);
            t.sequences.erase(t.sequences.begin() + (&s - t.sequences.data()));
        }
        CHECK((!code || code == errc::cache_full));
        for (auto& each : t.sequences) REQUIRE(t.right(each));
    }
    CHECK(removed > 20);
    CHECK(shifted > 10);
    CHECK(refused > 0);
    for (auto& s : t.sequences) t.cache.close(s.id);
    if constexpr (requires { t.cache.free_blocks(); }) CHECK(t.cache.free_blocks() == policy.options.tokens / policy.options.block);
}

}  // namespace

TEST_CASE("tokens are removed and moved as elements of a vector are", "[kv]") {
    const unsigned seed = std::random_device{}();
    random_trace(kv::contiguous<codec>{{.tokens = 40, .sequences = 3}}, seed);
    random_trace(kv::paged<codec>{{.tokens = 60, .sequences = 4, .block = 5}}, seed + 1);
    random_trace(kv::paged<codec>{{.tokens = 60, .sequences = 4, .block = 1}}, seed + 2);
    random_trace(
        kv::budget<kv::contiguous<codec>, kv::spill_sequences<>>{
            .limit = std::size_t{1} << 20, .storage = {{.tokens = 40, .sequences = 2}}, .sequences = 4},
        seed + 3);
}

TEST_CASE("whole blocks are removed without copies; shared rows are copied before they move, or nothing is done", "[kv]") {
    tracked t(kv::paged<codec>{{.tokens = 48, .sequences = 3, .block = 8}});
    t.open();
    t.append(t.sequences[0], 28);
    t.sequences.push_back({t.cache.fork(t.sequences[0].id), t.sequences[0].tokens});
    auto &a = t.sequences[0], &b = t.sequences[1];
    t.cache.remove(a.id, 8, 16);
    a.tokens.erase(a.tokens.begin() + 8, a.tokens.begin() + 16);
    CHECK(t.right(a));
    CHECK(t.right(b));
    CHECK(t.cache.free_blocks() == 2);                                        // all four are b's
    CHECK(code_of([&] { t.cache.remove(a.id, 1, 2); }) == errc::cache_full);  // a's three are shared
    CHECK(code_of([&] { t.cache.shift(a.id, 0, 1, 19); }) == errc::cache_full);
    CHECK(t.right(a));
    CHECK(t.cache.free_blocks() == 2);
    t.cache.remove(a.id, 9, 12);
    a.tokens.erase(a.tokens.begin() + 9, a.tokens.begin() + 12);
    CHECK(t.right(a));
    CHECK(t.right(b));
    CHECK(t.cache.free_blocks() == 0);
    t.cache.shift(b.id, 8, 16, 8);  // blocks that are b's alone by now
    std::rotate(b.tokens.begin() + 8, b.tokens.begin() + 16, b.tokens.begin() + 24);
    CHECK(t.right(a));
    CHECK(t.right(b));
}

TEST_CASE("what cannot be removed or moved is refused", "[kv]") {
    tracked t(kv::contiguous<codec>{{.tokens = 40, .sequences = 2}});
    t.open();
    auto& s = t.sequences[0];
    t.append(s, 10);
    const auto refused = [&](auto&& f) { return code_of(f) == errc::invalid_argument && t.right(s); };
    CHECK(refused([&] { t.cache.remove(s.id, -1, 2); }));
    CHECK(refused([&] { t.cache.remove(s.id, 3, 2); }));
    CHECK(refused([&] { t.cache.remove(s.id, 3, 11); }));
    CHECK(refused([&] { t.cache.remove({1}, 0, 0); }));
    CHECK(refused([&] { t.cache.shift(s.id, 3, 5, 6); }));
    CHECK(refused([&] { t.cache.shift(s.id, 3, 5, -4); }));
    CHECK(refused([&] { t.cache.shift(s.id, 5, 3, 0); }));
    const std::array step{kv::segment{s.id, 0, 2}};
    t.cache.plan(step);
    CHECK(code_of([&] { t.cache.remove(s.id, 0, 2); }) == errc::invalid_argument);
    CHECK(code_of([&] { t.cache.shift(s.id, 0, 2, 1); }) == errc::invalid_argument);
    t.cache.rollback(s.id, {10});
    CHECK(t.right(s));
    t.cache.remove(s.id, 0, 10);
    CHECK(t.cache.length(s.id) == 0);

    auto none = kv::paged<codec>{}.make({.layers = 1, .kv_heads = 1, .head_dim = 16}, std::pmr::new_delete_resource());
    const kv::sequence_id id = none.open();
    CHECK(code_of([&] { none.remove(id, 0, 0); }) == errc::unsupported);
    static_assert(kv::shifting_cache<kv::paged_cache<codec>> && !kv::shifting_cache<kv::paged_cache<kv::f16>>);
    static_assert(kv::shifting_cache<kv::budget<kv::paged<codec>>::cache> && !kv::shifting_cache<kv::budget<kv::paged<kv::f16>>::cache>);
}
