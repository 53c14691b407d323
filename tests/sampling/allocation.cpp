// SPDX-License-Identifier: MIT
// A chain allocates at its first step only. This file counts the program's allocations.
#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "sampling/naive.hpp"

namespace {
std::atomic<std::size_t> allocations{0};
}

void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

using namespace skald;
using namespace skald::sampling;

TEST_CASE("steps after the first allocate nothing", "[sampling]") {
    const std::vector<float> logits = test::random_logits(20000, 61);
    std::vector<token_id> history(100);
    std::iota(history.begin(), history.end(), 0);
    chain fixed{repetition_penalty{1.1f, 64}, logit_bias{{3, 1.0f}}, top_k{4000}, top_p{0.99f}, min_p{0.01f}, temperature{0.8f}};
    chain flat{top_p{0.999f}};
    chain every{dry{},
                frequency_presence_penalty{0.1f, 0.1f},
                no_repeat_ngram{3},
                bad_words{{1, 2}},
                top_n_sigma{9},
                typical{0.99f},
                epsilon_cutoff{1e-9f},
                eta_cutoff{1e-9f},
                xtc{0.5f, 0.01f},
                dynamic_temperature{1, 0.5f},
                mirostat{}};
    dynamic_chain made;
    made.add(repetition_penalty{1.1f, 64}).add(top_k{40}).add(temperature{0.8f});
    const auto step = [&](std::uint64_t i) {
        fixed.choose(logits, history, 1, i);
        flat.choose(logits, history, 1, i);
        every.choose(logits, history, 1, i);
        made.choose(logits, history, 1, i);
    };
    step(0);
    const std::size_t before = allocations;
    for (std::uint64_t i = 1; i < 20; ++i) step(i);
    REQUIRE(allocations == before);
    REQUIRE(before > 0);
}
