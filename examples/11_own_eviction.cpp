// SPDX-License-Identifier: MIT
// A rule of your own for what a full cache forgets: a token's worth is the attention it has had, fading with every row, so that what was
// important long ago and is no more goes. The cache keeps the score of each token, moves it, and takes it back with a rolled-back row.
//
//     11_own_eviction model.gguf
#include <algorithm>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include <skald/skald.hpp>

struct fading {
    float fade = 0.98f;
    std::size_t newest = 16;  // stay, whatever their score: they had no time yet to gather any

    std::string name() const { return "fading"; }

    std::size_t observed(std::size_t rows) const noexcept { return rows; }  // every row of a step

    void observe(const skald::kv::kept_tokens& kept, const skald::kv::observed_row& row) const noexcept {
        for (std::size_t i = 0; i < row.weights.size(); ++i) kept.scores[i] = fade * kept.scores[i] + row.weights[i];
    }

    void worth(const skald::kv::kept_tokens& kept, std::span<float> worth) const noexcept {
        std::copy(kept.scores.begin(), kept.scores.end(), worth.begin());
        std::fill_n(worth.rbegin(), std::min(newest, worth.size()), skald::kv::stays);
    }
};
static_assert(skald::kv::observing_policy<fading>);  // says what is missing, should something be

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 11_own_eviction MODEL\n", 2;

    sk::thread_pool pool;
    sk::pipeline writer{sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool}), sk::kv::evicting<fading>{{.budget = 128, .context = 4096}}};
    for (std::string_view piece : writer.chat("Tell me a long story.", {.max_tokens = 400})) std::cout << piece << std::flush;
    std::cout << "\n[the cache took " << writer.cache_bytes() << " bytes]\n";
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
