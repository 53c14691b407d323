// SPDX-License-Identifier: MIT
// A conversation: the pipeline remembers it, and its cache keeps what was read, so that every turn reads only what is new.
//
//     02_chat model.gguf
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 02_chat MODEL\n", 2;

    sk::thread_pool pool;
    sk::pipeline talk{sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool}), sk::kv::paged<sk::kv::f16>{{.tokens = 4096}},
                      sk::sampling::chain{sk::sampling::min_p{0.05f}, sk::sampling::temperature{0.7f}},
                      sk::pipeline_options{.system = "You are a helpful assistant who answers in few words."}};

    std::uint64_t turn = 0;
    for (std::string line; std::cout << "> " && std::getline(std::cin, line);) {
        // The answer is made while the loop walks over it. Leaving the loop early would end it and keep what came so far.
        auto answer = talk.chat(line, {.max_tokens = 256, .seed = turn++});
        for (std::string_view piece : answer) std::cout << piece << std::flush;

        const sk::statistics& s = answer.stats();
        std::cout << "\n[" << s.prompt_tokens << " tokens of conversation, " << s.reused_tokens << " of them known; " << s.generated_tokens
                  << " new at " << s.decode_rate() << " a second]\n";
    }
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
