// SPDX-License-Identifier: MIT
#pragma once
// A model's ropes as encoded sequences take them (kv/transport/key_rope.hpp).
#include <cstddef>
#include <vector>

#include <skald/kv/transport/key_rope.hpp>
#include <skald/model/model.hpp>

namespace skald {

/// The rope of every layer in a cache made for `context` tokens: LongRoPE's list of factors depends on it. Valid while the model is.
template <class Backend>
std::vector<kv::key_rope> key_ropes(const model<Backend>& m, std::size_t context) {
    std::vector<kv::key_rope> out(m.config().layers);
    for (std::size_t layer = 0; layer < out.size(); ++layer) {
        const std::size_t kind = m.config().kind_of(layer);
        const rope_config& rope = m.config().attention_kinds[kind].rope;
        out[layer] = {.frequencies = m.weights().rope_frequencies(kind, rope.list_for(context)),
                      .interleaved = rope.interleaved,
                      .magnitude = static_cast<float>(rope.magnitude)};
    }
    return out;
}

}  // namespace skald
