// SPDX-License-Identifier: MIT
// Every allocation of a whole run fails once: the run throws std::bad_alloc, leaks nothing, and the next one works.
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/io/gguf.hpp>
#include <skald/kv/any.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>

#include "support/catch.hpp"

namespace {

std::atomic<long> left{-1};  // allocations until one fails; negative: none does
std::atomic<long> live{0};

void* take(std::size_t bytes, std::size_t alignment) {
    if (left.load() >= 0 && left.fetch_sub(1) == 0) return nullptr;
    void* p = alignment <= alignof(std::max_align_t) ? std::malloc(bytes)
                                                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (p != nullptr) ++live;
    return p;
}

void give(void* p) noexcept {
    if (p == nullptr) return;
    --live;
    std::free(p);
}

}  // namespace

void* operator new(std::size_t n) {
    if (void* p = take(n, 1)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t a) {
    if (void* p = take(n, static_cast<std::size_t>(a))) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void operator delete(void* p) noexcept { give(p); }
void operator delete(void* p, std::size_t) noexcept { give(p); }
void operator delete(void* p, std::align_val_t) noexcept { give(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { give(p); }

namespace {

using namespace skald;

/// Runs `body` with its n-th allocation failing, for n = 0, 1, … until it has no n-th one. Returns how many there were.
template <class F>
long fail_each(F body) {
    for (long n = 0;; ++n) {
        const long before = live.load();
        bool threw = false;
        left = n;
        try {
            body();
        } catch (const std::bad_alloc&) {
            threw = true;
        }
        const bool reached = left.exchange(-1) < 0;
        const long leaked = live.load() - before;
        if (leaked != 0 || threw != reached) {
            CAPTURE(n, leaked, threw, reached);
            CHECK(leaked == 0);
            CHECK(threw == reached);
            return n;
        }
        if (!reached) return n;
    }
}

}  // namespace

TEST_CASE("each allocation of opening a file, loading and chatting fails cleanly", "[memory]") {
    const std::string path = std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf";
    const long count = fail_each([&] {
        auto m = load_model<cpu<>>(path, {.compute = compute::native});
        pipeline p{
            m, kv::any<cpu<>>{kv::parse_spec("paged/8:f16"), {.tokens = 64}}, sampling::chain{sampling::temperature{0.9f}}, {.chunk = 8}};
        (void)p.run(p.chat("hi", {.max_tokens = 3, .stop = {"zzz"}, .top_logprobs = 2}));
        (void)p.run(p.chat("again", {.max_tokens = 2}));
    });
    INFO("allocations in all: " << count);
    CHECK(count > 50);
}

TEST_CASE("a pipeline whose allocations fail between tokens goes on where it was", "[memory]") {
    const std::string path = std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf";
    const auto m = load_model<cpu<>>(path, {.compute = compute::native});
    const auto answer = [&](pipeline<cpu<>>& p) {
        std::vector<token_id> out;
        for (const generated_token& t : p.complete("some words to begin with", {.max_tokens = 6, .ignore_end = true}).tokens)
            out.push_back(t.token);
        return out;
    };
    pipeline<cpu<>> expected_of(m), p(m);
    const auto expected = answer(expected_of);
    for (long n = 0; n < 40; ++n) {
        left = n;
        try {
            (void)p.complete("some words to begin with", {.max_tokens = 6, .ignore_end = true});
        } catch (const std::bad_alloc&) {
        }
        left = -1;
        CAPTURE(n);
        REQUIRE(answer(p) == expected);
    }
}
