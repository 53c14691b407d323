// SPDX-License-Identifier: MIT
// Promise 2: the logits of a sequence are bitwise independent of threads, chunks, batch neighbours, storage, rollback and fork,
// for every weight format, exact and native.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>

#include "support/catch.hpp"
#include "support/covered.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct variant {
    const char* architecture;
    dtype type;
    skald::compute compute;
    std::uint32_t experts = 0;
    const char* fixture = nullptr;  // instead of a model made here
};

std::vector<variant> variants() {
    std::vector<variant> out;
    const auto add = [&]<class... Formats>(format::list<Formats...>) {
        for (const dtype type : {Formats::id...}) {
            if (type == dtype::f8_e4m3 || type == dtype::f8_e5m2) continue;  // no GGUF file has them
            if (can_encode(type)) out.push_back({"llama", type, compute::exact});
            out.push_back({"llama", type, compute::native});
        }
    };
    add(format::file_weights{});
    out.push_back({"gpt2", dtype::f32, compute::exact});
    out.push_back({"gpt2", dtype::q8_0, compute::native});
    out.push_back({"llama", dtype::f16, compute::exact, 5});
    out.push_back({"llama", dtype::q4_0, compute::native, 5});
    out.push_back({"gemma2", dtype::f16, compute::exact, 0, "tiny-gemma2.gguf"});
    out.push_back({"gemma3", dtype::f16, compute::native, 0, "tiny-gemma3.gguf"});
    out.push_back({"phi3", dtype::f16, compute::exact, 0, "tiny-phi3-long.gguf"});
    return out;
}

model<cpu<>> load(const variant& v, executor* pool) {
    const load_options options{.pool = pool, .compute = v.compute};
    if (v.fixture != nullptr) return load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/" + v.fixture, options);
    tiny_model m;
    m.architecture = v.architecture;
    m.experts = v.experts;
    m.type = v.type;
    m.tied = v.type == dtype::q4_0;
    m.vocabulary = 75;
    if (info(v.type).block_size > 32) m.layers = 1, m.head_dim = 64, m.hidden = m.feed_forward = 256;  // whole blocks
    if (v.type == dtype::f32) m.heads = 6, m.kv_heads = 2, m.head_dim = 12, m.hidden = 72;
    return load_model<cpu<>>(open_model(m).file(), options);
}

constexpr std::size_t length = 150;  // three tiles of 64

}  // namespace

TEST_CASE("logits do not depend on threads", "[model][invariance]") {
    for (const variant& v : variants()) {
        CAPTURE(v.architecture, to_string(v.type), v.compute == compute::exact);
        const tokens text = random_tokens(length, 75, 5);
        const std::vector<float> expected = plain_logits(load(v, nullptr), text);
        CHECK(std::all_of(expected.begin(), expected.end(), [](float f) { return std::isfinite(f); }));
        for (const std::size_t threads : {1, 2, 3}) {
            thread_pool pool(threads);
            CHECK(same_bits(plain_logits(load(v, &pool), text), expected));
        }
    }
}

TEST_CASE("logits do not depend on chunks or storage", "[model][invariance][support]") {
    thread_pool pool(2);
    for (const variant& v : variants()) {
        CAPTURE(v.architecture, to_string(v.type), v.compute == compute::exact);
        const model<cpu<>> m = load(v, &pool);
        const tokens text = random_tokens(length, 75, 6);
        const std::vector<float> expected = plain_logits(m, text);
        for (const std::size_t chunk : {1, 7, 64, 150}) {
            CAPTURE(chunk);
            runner flat(m, kv::contiguous<kv::f32>{{.tokens = length}}, chunk);
            CHECK(same_bits(flat.run(flat.cache().open(), text, chunk), expected));
            runner paged(m, kv::paged<kv::f32>{{.tokens = length, .block = 8}}, chunk);
            CHECK(same_bits(paged.run(paged.cache().open(), text, chunk), expected));
        }
        covered("architectures", m.config().architecture, "bitwise the same however it is run",
                concat(to_string(v.type), v.experts != 0 ? " with experts" : ""));
    }
}

TEST_CASE("logits do not depend on the text before a rollback, on forks or on neighbours", "[model][invariance]") {
    thread_pool pool(2);
    for (const variant& v : variants()) {
        CAPTURE(v.architecture, to_string(v.type), v.compute == compute::exact);
        const model<cpu<>> m = load(v, &pool);
        const tokens a = random_tokens(100, 75, 7), b = random_tokens(37, 75, 8), wrong = random_tokens(30, 75, 9);
        const std::vector<float> expected_a = plain_logits(m, a), expected_b = plain_logits(m, b);
        const std::size_t vocabulary = m.config().vocabulary;
        const auto tail = [&](const std::vector<float>& all, std::size_t first) {
            return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(first * vocabulary), all.end());
        };
        runner run(m, kv::paged<kv::f32>{{.tokens = 400, .sequences = 3, .block = 8}}, 140);

        const kv::sequence_id s = run.cache().open();
        run.run(s, std::span(a).first(50), 50);
        const std::array rejected{std::span<const token_id>(wrong)};
        const kv::checkpoint mark = run.cache().mark(s);
        run.step(std::array{s}, rejected);
        run.cache().rollback(s, mark);
        const kv::sequence_id fork = run.cache().fork(s);
        run.run(s, wrong, 30);  // the fork's sibling goes another way
        CHECK(same_bits(run.run(fork, std::span(a).subspan(50), 17), tail(expected_a, 50)));

        run.cache().close(s);
        run.cache().close(fork);
        const std::array both{run.cache().open(), run.cache().open()};
        const std::array rows{std::span<const token_id>(a), std::span<const token_id>(b)};
        std::vector<float> together = expected_a;
        together.insert(together.end(), expected_b.begin(), expected_b.end());
        CHECK(same_bits(run.step(both, rows), together));
    }
}

TEST_CASE("a cache chosen at run time gives the logits of its static type", "[model][invariance]") {
    const model<cpu<>> m = load({"llama", dtype::q8_0, compute::native}, nullptr);
    const tokens text = random_tokens(length, 75, 10);
    runner fixed(m, kv::paged<kv::f16>{{.tokens = length, .block = 8}}, length);
    runner chosen(m, kv::any<cpu<>>{kv::parse_spec("paged/8:f16"), {.tokens = length}}, length);
    CHECK(same_bits(fixed.run(fixed.cache().open(), text, 50), chosen.run(chosen.cache().open(), text, length)));
}

TEST_CASE("positions past a restart of the attention state agree too", "[model][invariance]") {
    tiny_model t;
    t.layers = 1;
    const model<cpu<>> m = load_model<cpu<>>(open_model(t).file(), {});
    const tokens text = random_tokens(2200, 101, 11);
    const std::vector<float> expected = plain_logits(m, text);
    runner paged(m, kv::paged<kv::f32>{{.tokens = 2200, .block = 24}}, 700);
    CHECK(same_bits(paged.run(paged.cache().open(), text, 700), expected));
}
