// SPDX-License-Identifier: MIT
// One unit of the program; UNIT is its namespace.

#include "unit.hpp"

#include <typeinfo>

#include <skald/skald.hpp>

report UNIT::run(const char* path) {
    report r{typeid(skald::cpu<>).name(), {}};
    skald::pipeline writer{skald::load_model<skald::cpu<>>(path, {.compute = skald::compute::exact})};
    auto generation = writer.generate(std::vector<skald::token_id>{1, 2, 3}, {.max_tokens = 8, .ignore_end = true});
    while (const auto token = generation.next()) r.logprobs.push_back(token->logprob);
    return r;
}
