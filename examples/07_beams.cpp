// SPDX-License-Identifier: MIT
// The most probable continuations of a text: beam search without a repeated trigram, with scores.
//
//     07_beams MODEL.gguf "The capital of France"
#include <cstdio>
#include <exception>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc != 3) return std::fprintf(stderr, "usage: 07_beams MODEL.gguf TEXT\n"), 2;
    sk::thread_pool pool;
    const auto model = sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool});

    constexpr std::size_t beams = 4, tokens = 32, context = 512;
    // Beams share the prompt; each needs room for its own tokens, and for the blocks they end in.
    const sk::kv::paged<> policy{{.tokens = context + beams * (tokens + 32), .sequences = beams, .context = context}};
    sk::beam_search search{model, policy, sk::sampling::chain{sk::sampling::no_repeat_ngram{3}}, {.beams = beams}};
    for (const sk::beam& b : search.run(argv[2], {.max_tokens = tokens, .returned = beams}))
        std::printf("%8.4f%s\n", static_cast<double>(b.score), b.text.c_str());
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
