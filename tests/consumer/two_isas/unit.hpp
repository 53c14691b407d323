// SPDX-License-Identifier: MIT
#pragma once
// What unit.cpp defines, once for each instruction set.

#include <string>
#include <vector>

struct report {
    std::string backend;          ///< the mangled name of skald::cpu<>
    std::vector<float> logprobs;  ///< of eight tokens, chosen greedily
};

namespace v2 {
report run(const char* path);
}
namespace v4 {
report run(const char* path);
}
