// SPDX-License-Identifier: MIT
// Questions that begin alike: what they share is read once. With radix storage a finished prompt leaves its keys and values to a
// tree of prefixes; the next one takes over as much as it begins with, also after others came between.
//
//     10_shared_prefix model.gguf
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    using message = sk::text::message;
    if (argc < 2) return std::cerr << "usage: 10_shared_prefix MODEL\n", 2;

    sk::thread_pool pool;
    // .tokens is the room of the running sequence and of what is remembered; the least recently used makes way.
    sk::pipeline clerk{sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool}), sk::kv::radix<sk::kv::f16>{{.tokens = 4096}}};

    const message system{"system", "You sort letters to a library. Answer with one word: loan, complaint, event or other."};
    const message example{"user", "The book that I gave back last week is still on my list."}, shown{"assistant", "complaint"};
    std::vector<std::vector<message>> talks;
    for (const char* letter : {"May I keep the atlas for two more weeks?", "When does the reading for children begin?"})
        talks.push_back({system, example, shown, {"user", letter}});

    // What all letters begin with is read before the first one comes, and stays known whatever else has to make way.
    const sk::kv::pinned_prefix beginning = clerk.pin(std::vector{system, example, shown});
    std::cout << "[" << beginning.tokens << " tokens are pinned]\n";

    // Two conversations take turns. Each goes on where it was.
    for (const char* next : {"Why this word?", "Thank you. What would be the second best word?", ""})
        for (std::vector<message>& talk : talks) {
            auto answer = clerk.chat(talk, {.max_tokens = 32});
            std::cout << "> " << talk.back().content << '\n';
            for (std::string_view piece : answer) std::cout << piece << std::flush;
            const sk::statistics& s = answer.stats();
            std::cout << "\n[" << s.prompt_tokens << " tokens, " << s.reused_tokens << " of them known]\n";
            talk.push_back({"assistant", answer.text()});
            talk.push_back({"user", next});
        }
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
