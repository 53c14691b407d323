// SPDX-License-Identifier: MIT
// Keys kept before rope: the logits of a cache of rotated keys, and what follows when tokens are removed from a sequence or moved in it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/unroped.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using f32 = kv::unroped<kv::f32>;
using f16 = kv::unroped<kv::f16>;

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double square = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        square += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
        norm += static_cast<double>(b[i]) * b[i];
    }
    return a.size() == b.size() ? std::sqrt(square / norm) : 1.0;
}

/// f(layer, head, row of a key, row of a value) of every position of a selected sequence or a planned step.
template <class Cache, class F>
void each_row(Cache& cache, position p, const F& f) {
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
            const auto [run] = cache.view(layer);
            f(layer, h, run.key(0, h, p), run.value(0, h, p));
        }
}

/// A sequence in a new cache whose token i has the rows of token from[i] of another one; `change` may change a key that now stands at i.
template <class Backend, class Policy, class Cache, class Change>
runner<Backend, Policy> rows_of(const model<Backend>& m, const Policy& policy, Cache& cache, kv::sequence_id s,
                                const std::vector<position>& from, std::size_t rows, const Change& change) {
    runner<Backend, Policy> out(m, policy, rows);
    const kv::sequence_id to = out.cache().open();
    const std::array step{kv::segment{to, 0, from.size()}};
    out.cache().plan(step);
    cache.select(s);
    using codec = typename std::tuple_element_t<0, decltype(cache.view(0))>::codec;
    const std::size_t bytes = codec::row_bytes(cache.shape().width());
    std::vector<std::byte> kept;
    for (std::size_t i = 0; i < from.size(); ++i) {
        kept.clear();
        each_row(cache, from[i], [&](std::size_t, std::size_t, const std::byte* key, const std::byte* value) {
            kept.insert(kept.end(), key, key + bytes);
            kept.insert(kept.end(), value, value + bytes);
        });
        auto at = kept.begin();
        each_row(out.cache(), static_cast<position>(i), [&](std::size_t layer, std::size_t, std::byte* key, std::byte* value) {
            std::copy_n(at, bytes, key);
            std::copy_n(at + static_cast<std::ptrdiff_t>(bytes), bytes, value);
            at += static_cast<std::ptrdiff_t>(2 * bytes);
            change(layer, static_cast<position>(i), reinterpret_cast<float*>(key));
        });
    }
    out.cache().commit(to);
    return out;
}

std::vector<position> all(std::size_t n) {
    std::vector<position> out(n);
    std::iota(out.begin(), out.end(), position{0});
    return out;
}

const auto unchanged = [](std::size_t, position, float*) {};

}  // namespace

TEST_CASE("keys kept before rope in f32 give the logits of rotated ones, bitwise", "[model][shifting]") {
    thread_pool pool(2);
    for (const char* file : {"tiny-llama.gguf", "tiny-gemma3.gguf", "tiny-phi3-long.gguf", "tiny-gpt2.gguf"})
        for (const compute how : {compute::exact, compute::native}) {
            CAPTURE(file, how == compute::exact);
            const auto m = load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/" + file, {.pool = &pool, .compute = how});
            const std::size_t length = std::min<std::size_t>(150, m.config().context);
            const tokens text = random_tokens(length, m.config().vocabulary, 5);
            const std::vector<float> expected = plain_logits(m, text);
            for (const std::size_t chunk : {length, std::size_t{7}}) {
                runner run(m, kv::contiguous<f32>{{.tokens = length}}, length);
                CHECK(same(run.run(run.cache().open(), text, chunk), expected));
            }
        }
}

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
        CHECK(same(logits, same_rows.run({0}, more, 3)));
        auto plain = rows_of(n, one_block, kept.cache(), k, from, 40, unchanged);
        CHECK(distance(logits, plain.run({0}, more, 40)) < (how == compute::exact ? 2e-6 : 2e-3));

        runner before(m, one_block, 150);
        const kv::sequence_id b = before.cache().open();
        before.run(b, text, 150);
        CHECK_FALSE(same(logits, before.run(b, more, 40)));
    }
}

TEST_CASE("a cache of rotated keys gives the same when they are rotated by hand", "[model][shifting]") {
    const auto m = load_model<cpu<>>(open_model(tiny_model{}).file(), {.compute = compute::exact});
    const tokens text = random_tokens(100, 101, 6), more = random_tokens(30, 101, 7);
    runner run(m, kv::contiguous<f32>{{.tokens = 130, .sequences = 2}}, 100);
    const kv::sequence_id s = run.cache().open();
    run.run(s, text, 100);
    const kv::sequence_id whole = run.cache().fork(s);
    run.cache().remove(s, 5, 48);
    std::vector<position> from = all(100);
    from.erase(from.begin() + 5, from.begin() + 48);

    const rope_config& rope = m.config().attention_kinds[0].rope;
    const std::size_t pairs = rope.dims / 2;
    std::vector<float> frequencies(pairs), cosine(pairs), sine(pairs);
    rope_frequencies(rope, 0, frequencies);
    auto by_hand =
        rows_of(m, kv::contiguous<kv::f32>{{.tokens = 130}}, run.cache(), whole, from, 30, [&](std::size_t, position p, float* key) {
            rope_row(frequencies, rope.magnitude, p, cosine, sine);
            for (std::size_t i = 0; i < pairs; ++i) {
                float &x = key[rope.interleaved ? 2 * i : i], &y = key[rope.interleaved ? 2 * i + 1 : i + pairs];
                const double a = x, b = y;
                x = static_cast<float>(a * cosine[i] - b * sine[i]);
                y = static_cast<float>(a * sine[i] + b * cosine[i]);
            }
        });
    CHECK(distance(run.run(s, more, 30), by_hand.run({0}, more, 30)) < 1e-6);
}
