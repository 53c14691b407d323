// SPDX-License-Identifier: MIT
// Keys kept before rope give what rotated ones give.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <span>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/row_access.hpp>
#include <skald/kv/unroped.hpp>
#include <skald/model/key_ropes.hpp>
#include <skald/model/load.hpp>

#include "support/catch.hpp"
#include "support/rows_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using f32 = kv::unroped<kv::f32>;

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
                CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
            }
        }
}

TEST_CASE("trees of rows read keys that are kept before rope by the positions they stand for", "[model][shifting]") {
    const auto m = load_model<cpu<>>(open_model(tiny_model{}).file(), {.compute = compute::exact});
    const tokens text = random_tokens(70, 101, 6), tree = random_tokens(7, 101, 7);
    const std::array<std::uint32_t, 7> parents{no_parent, 0, 0, 1, 2, no_parent, 4};
    const auto logits = [&](const auto& policy) {
        runner run(m, policy, 70);
        const kv::sequence_id s = run.cache().open();
        run.run(s, text, 70);
        workspace<cpu<>> w(m.backend(), m.architecture(), m.config(), {.rows = 7, .wanted = 7});
        const std::array segments{kv::segment{s, 0, 7, parents}};
        const std::array<std::size_t, 7> wanted{0, 1, 2, 3, 4, 5, 6};
        std::vector<float> out(7 * m.config().vocabulary);
        forward(m, w, run.cache(), batch{tree, segments, wanted}, {out.data(), {7, m.config().vocabulary}});
        return out;
    };
    CHECK(same_bits(logits(kv::contiguous<f32>{{.tokens = 77}}), logits(kv::contiguous<kv::f32>{{.tokens = 77}})));
}

TEST_CASE("a cache of rotated keys gives the same when they are rotated by hand", "[model][shifting]") {
    const auto m = load_model<cpu<>>(open_model(tiny_model{}).file(), {.compute = compute::exact});
    const tokens text = random_tokens(100, 101, 6), more = random_tokens(30, 101, 7);
    runner run(m, kv::contiguous<f32>{{.tokens = 130, .sequences = 2}}, 100);
    const kv::sequence_id s = run.cache().open();
    run.run(s, text, 100);
    const kv::sequence_id whole = run.cache().fork(s);
    run.cache().remove(s, 5, 48);
    std::vector<position> from;
    for (position p = 0; p < 100; ++p)
        if (p < 5 || p >= 48) from.push_back(p);

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
    CHECK(relative_distance(run.run(s, more, 30), by_hand.run({0}, more, 30)) < 1e-6);
}

TEST_CASE("a model's ropes turn keys from before rope to what the cache of rotated ones has", "[model][shifting]") {
    for (const char* file : {"tiny-llama.gguf", "tiny-gemma3.gguf", "tiny-phi3-long.gguf", "tiny-phi3-short.gguf", "tiny-qwen2-yarn.gguf",
                             "tiny-llama3.gguf", "tiny-gpt2.gguf"}) {
        CAPTURE(file);
        const auto m = load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/" + file, {.compute = compute::exact});
        const std::size_t length = std::min<std::size_t>(100, m.config().context);
        const tokens text = random_tokens(length, m.config().vocabulary, 5);
        const kv::cache_shape shape = m.config().cache();
        const auto keys = [&](const auto& policy) {
            runner run(m, policy, length);
            const kv::sequence_id s = run.cache().open();
            run.run(s, text, length);
            run.cache().commit(s);
            run.cache().select(s);
            std::vector<float> out, layer(2 * shape.kv_heads * length * shape.head_dim);
            for (std::size_t i = 0; i < shape.layers; ++i) {
                kv::detail::load_rows(run.cache(), i, 0, static_cast<position>(length), layer);
                out.insert(out.end(), layer.begin(), layer.begin() + static_cast<std::ptrdiff_t>(layer.size() / 2));
            }
            return out;
        };
        const std::vector<float> rotated = keys(kv::contiguous<kv::f32>{{.tokens = length}});
        std::vector<float> turned = keys(kv::contiguous<f32>{{.tokens = length}});
        if (m.config().rope_pairs() != 0) CHECK(relative_distance(turned, rotated) > 0.1);
        const std::vector<kv::key_rope> ropes = key_ropes(m, length);
        kv::detail::key_turner turner(ropes, shape, length, file, std::pmr::new_delete_resource());
        for (std::size_t i = 0; i < shape.layers; ++i)
            turner.turn_keys(kv::detail::turning::forth, i, 0, length,
                             std::span(turned).subspan(i * turned.size() / shape.layers, turned.size() / shape.layers));
        CHECK(relative_distance(turned, rotated) < 1e-6);
    }
}
