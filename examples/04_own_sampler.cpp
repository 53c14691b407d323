// SPDX-License-Identifier: MIT
// A rule of your own in the choice of tokens: any callable is a part of a sampling chain.
//
//     04_own_sampler model.gguf
#include <exception>
#include <iostream>
#include <string_view>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 04_own_sampler MODEL\n", 2;

    sk::thread_pool pool;
    const auto model = sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool});
    const auto& tokenizer = model.tokenizer();

    // A processor gets the tokens that can still be chosen and changes their logits or removes some. This one writes without
    // the letter e: it removes every token that has one.
    const auto no_letter_e = [&](sk::sampling::candidates& candidates) {
        candidates.keep_if([&](const sk::sampling::candidate& c) {
            return tokenizer.is_special(c.token) || tokenizer.piece(c.token).find_first_of("eE") == std::string_view::npos;
        });
    };

    // Parts run in their order; the last one chooses. Without a part that chooses, the chain draws by probability.
    sk::pipeline writer{model, sk::kv::paged<sk::kv::f16>{{.tokens = 1024}},
                        sk::sampling::chain{no_letter_e, sk::sampling::repetition_penalty{1.1f}, sk::sampling::greedy{}}};

    for (std::string_view piece : writer.chat("Tell me about a walk in the woods.", {.max_tokens = 100})) std::cout << piece << std::flush;
    std::cout << '\n';
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
