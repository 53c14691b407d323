// SPDX-License-Identifier: MIT
// A host of the library: loads the model it is given and writes eight tokens.

#include <cstddef>
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include <skald/skald.hpp>

int main(int, char** argv) try {
    skald::pipeline writer{skald::load_model<skald::cpu<>>(argv[1])};
    auto generation = writer.generate(std::vector<skald::token_id>{1, 2, 3}, {.max_tokens = 8, .ignore_end = true});
    std::size_t count = 0;
    while (generation.next()) ++count;
    std::printf("skald %d.%d.%d wrote %zu tokens\n", SKALD_VERSION_MAJOR, SKALD_VERSION_MINOR, SKALD_VERSION_PATCH, count);
    return count == 8 ? 0 : 1;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
