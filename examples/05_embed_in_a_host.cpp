// SPDX-License-Identifier: MIT
// Inside a larger program: the host gives memory with a cap, a logger and a way to cancel, and asks for the cost beforehand.
//
//     05_embed_in_a_host model.gguf
#include <chrono>
#include <exception>
#include <iostream>
#include <stop_token>
#include <string_view>
#include <thread>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 05_embed_in_a_host MODEL\n", 2;

    // Everything large comes from this resource; an allocation past the cap throws sk::error with errc::memory_limit.
    sk::capped_resource memory(std::size_t{8} << 30);
    sk::thread_pool pool(2);
    std::stop_source cancel;
    const sk::load_options options{
        .pool = &pool,
        .memory = &memory,
        .logger = [](sk::log_level, std::string_view line) { std::cerr << "[skald] " << line << '\n'; },
        .stop = cancel.get_token(),
    };

    // What it will take, to the byte, before a weight is read.
    const sk::kv::paged<sk::kv::f16> cache{{.tokens = 2048}};
    std::cerr << "will take " << sk::plan<sk::cpu<>>(argv[1], options, cache).total() << " bytes\n";

    sk::pipeline writer{sk::load_model<sk::cpu<>>(argv[1], options), cache};
    std::cerr << "took      " << memory.bytes() << " bytes\n";

    // Another thread of the host cancels after two seconds. The step that runs ends within one layer of the model.
    const std::jthread deadline([&] {
        std::this_thread::sleep_for(std::chrono::seconds(2));
        cancel.request_stop();
    });
    try {
        for (std::string_view piece : writer.chat("Count from one to a thousand.", {.cancel = cancel.get_token()}))
            std::cout << piece << std::flush;
    } catch (const sk::error& e) {
        if (e.code() != sk::errc::cancelled) throw;
        std::cout << "\n[cancelled; the pipeline is as good as before]\n";
    }
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
