// SPDX-License-Identifier: MIT
// Encoded sequences. Checksums would keep a fuzzer from the decoder, so that the bytes are a chunk's keys and values as they are, and a
// whole stream besides.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include <skald/core/error.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/transport.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace skald;
    const auto bytes = std::as_bytes(std::span(data, size));
    constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 5};
    kv::detail::chunk_decoder decoder(shape, "fuzz", std::pmr::new_delete_resource());
    for (const std::size_t tokens : {std::size_t{1}, std::size_t{7}, kv::detail::encoded_chunk}) {
        try {
            decoder.decode(bytes, tokens, [&](std::size_t, std::size_t, std::span<const float> keys, std::span<const float> values) {
                if (keys.size() != tokens * shape.head_dim || values.size() != keys.size()) __builtin_trap();
                for (std::size_t i = 0; i < keys.size(); ++i)
                    if (!std::isfinite(keys[i]) || !std::isfinite(values[i])) __builtin_trap();
            });
        } catch (const error&) {
        }
    }
    auto cache = kv::contiguous<kv::f16>{{.tokens = 512}}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    try {
        kv::decode(cache, s, bytes);
    } catch (const error&) {
        if (cache.length(s) != 0) __builtin_trap();
    }
    return 0;
}
