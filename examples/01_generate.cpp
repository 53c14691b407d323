// SPDX-License-Identifier: MIT
// Loads a model and prints its answer to a question, piece by piece as it is made.
//
//     01_generate model.gguf
#include <exception>
#include <iostream>
#include <string_view>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 01_generate MODEL\n", 2;

    // Threads for the heavy parts. Without a pool, the calling thread does everything.
    sk::thread_pool pool;

    // A model is a cheap handle that can be copied: the weights are shared.
    auto model = sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool});

    // A pipeline is one conversation: a model, a cache for what was read so far, and a way to choose the next token.
    sk::pipeline writer{model, sk::kv::paged<sk::kv::f16>{{.tokens = 4096}},
                        sk::sampling::chain{sk::sampling::min_p{0.05f}, sk::sampling::temperature{0.8f}}};

    for (std::string_view piece : writer.chat("Why is the sky blue?")) std::cout << piece << std::flush;
    std::cout << '\n';
    return 0;
} catch (const std::exception& e) {
    // Whatever goes wrong (no such file, a damaged model, no memory) arrives as an exception with one sentence.
    std::cerr << e.what() << '\n';
    return 1;
}
