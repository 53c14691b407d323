// SPDX-License-Identifier: MIT
// A conversation that goes on another day: what the model has read is kept in a file, and not read again.
//
//     09_saved_cache model.gguf talk.kv "My name is Ada."
//     09_saved_cache model.gguf talk.kv "What is my name?"
#include <exception>
#include <filesystem>
#include <iostream>
#include <string_view>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 4) return std::cerr << "usage: 09_saved_cache MODEL FILE MESSAGE\n", 2;

    sk::thread_pool pool;
    sk::pipeline talk{sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool}), sk::kv::paged<sk::kv::f16>{{.tokens = 4096}}};

    // The file is bound to the model and the codec of the cache; another, or a damaged one, is refused with the reason.
    if (std::filesystem::exists(argv[2])) talk.load(argv[2]);

    auto answer = talk.chat(argv[3], {.max_tokens = 256});
    for (std::string_view piece : answer) std::cout << piece << std::flush;
    const sk::statistics s = answer.stats();
    std::cout << "\n[" << s.prompt_tokens << " tokens of conversation, " << s.reused_tokens << " of them known from the file]\n";

    {
        auto ended = std::move(answer);  // while a generation lives, its pipeline is busy
    }
    talk.save(argv[2]);
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
