// SPDX-License-Identifier: MIT
#pragma once
// What tests of saved and of encoded sequences share: streams that are kept, and texts.
#include <cstddef>
#include <span>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/kv/state_stream.hpp>

namespace skald::test {

using bytes = std::vector<std::byte>;

inline kv::state_sink into(bytes& out) {
    return [&out](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); };
}

inline std::vector<token_id> some_tokens(std::size_t n) {
    std::vector<token_id> out(n);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<token_id>(i * i % 1009);
    return out;
}

}  // namespace skald::test
