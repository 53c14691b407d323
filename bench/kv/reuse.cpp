// SPDX-License-Identifier: MIT
// What a known beginning saves: time to the first token of a prompt whose first `prefix` tokens a radix cache has from another
// conversation, over the time without. Each pair of runs draws its own texts; the medians of the pairs count.
//
// bench_kv_reuse MODEL [prefix = 2048] [question = 16] [pairs = 7] [threads = 2]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/radix.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

namespace sk = skald;

namespace {

std::vector<sk::token_id> random_tokens(std::size_t n, std::size_t vocabulary, std::mt19937& random) {
    std::vector<sk::token_id> out(n);
    for (sk::token_id& t : out) t = static_cast<sk::token_id>(random() % vocabulary);
    return out;
}

std::vector<sk::token_id> operator+(std::vector<sk::token_id> a, const std::vector<sk::token_id>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

double median(std::vector<double> all) {
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
    return all[all.size() / 2];
}

int run(const std::string& path, std::size_t prefix, std::size_t question, std::size_t pairs, std::size_t threads) {
    sk::thread_pool pool(threads);
    const auto m = sk::load_model<sk::cpu<>>(path, {.pool = &pool});
    const std::size_t vocabulary = m.config().vocabulary, room = 4 * (prefix + 2 * question) + 64;
    sk::pipeline p{m, sk::kv::radix<sk::kv::f16>{{.tokens = room, .context = prefix + question + 64}}};
    std::mt19937 random(1);

    std::vector<double> cold, warm, ratios;
    for (std::size_t i = 0; i <= pairs; ++i) {
        const auto system = random_tokens(prefix, vocabulary, random);
        const auto ask = [&](std::size_t reused) {
            const auto c = p.run(p.generate(system + random_tokens(question, vocabulary, random), {.max_tokens = 1, .ignore_end = true}));
            if (c.stats.reused_tokens < reused || c.stats.reused_tokens > prefix || (reused == 0 && c.stats.reused_tokens != 0)) {
                std::fprintf(stderr, "%zu tokens were reused\n", c.stats.reused_tokens);
                std::exit(1);
            }
            return c.stats.prompt_seconds;
        };
        const double first = ask(0);
        (void)p.run(
            p.generate(random_tokens(question, vocabulary, random), {.max_tokens = 1, .ignore_end = true}));  // another conversation
        const double again = ask(prefix / 16 * 16);
        if (i == 0) continue;  // the first pair warms up
        cold.push_back(first);
        warm.push_back(again);
        ratios.push_back(again / first);
    }
    std::printf("prompt of %zu tokens, %zu of them known; %zu threads; medians of %zu\n", prefix + question, prefix / 16 * 16, threads,
                pairs);
    std::printf("time to the first token: cold %.1f ms, reused %.2f ms, ratio %.2f%% (%.2f to %.2f)\n", 1e3 * median(cold),
                1e3 * median(warm), 100 * median(ratios), 100 * *std::min_element(ratios.begin(), ratios.end()),
                100 * *std::max_element(ratios.begin(), ratios.end()));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const auto number = [&](int i, std::size_t otherwise) {
        return argc > i ? std::max<std::size_t>(std::strtoull(argv[i], nullptr, 10), 1) : otherwise;
    };
    if (argc < 2) {
        std::fprintf(stderr, "bench_kv_reuse MODEL [prefix = 2048] [question = 16] [pairs = 7] [threads = 2]\n");
        return 2;
    }
    try {
        return run(argv[1], number(2, 2048), number(3, 16), number(4, 7), number(5, 2));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}
