// SPDX-License-Identifier: MIT
// A number format of your own for the cache. Attention reads it through decode<V>, written once for every vector width, so it
// runs at full speed: the compiler sees through it.
//
//     06_own_kv_codec model.gguf
#include <cstring>
#include <exception>
#include <iostream>
#include <string_view>

#include <skald/skald.hpp>

/// A key or value vector as signed bytes and one scale: half the size of 16-bit floats.
struct int8_row {
    static constexpr std::string_view name = "int8_row";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return sizeof(float) + width; }

    template <skald::format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        V largest = V::broadcast(0.0f);
        for (std::size_t i = 0; i < width; i += V::size) largest = max(largest, abs(V::load(row + i)));
        const float scale = reduce_max(largest) / 127.0f;
        const V inverse = V::broadcast(scale > 0.0f ? 1.0f / scale : 0.0f);
        std::memcpy(out, &scale, sizeof scale);
        auto* codes = reinterpret_cast<std::int8_t*>(out + sizeof scale);
        for (std::size_t i = 0; i < width; i += V::size) (V::load(row + i) * inverse).store_i8(codes + i);
    }

    template <skald::format::float_vector V>
    static V decode(const std::byte* bytes, std::size_t i) noexcept {
        float scale;
        std::memcpy(&scale, bytes, sizeof scale);
        return V::broadcast(scale) * V::load_i8(reinterpret_cast<const std::int8_t*>(bytes + sizeof scale) + i);
    }
};
static_assert(skald::kv::codec<int8_row>);  // says what is missing, should something be

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 06_own_kv_codec MODEL\n", 2;

    sk::thread_pool pool;
    sk::pipeline writer{sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool}), sk::kv::paged<int8_row>{{.tokens = 1024}}};
    for (std::string_view piece : writer.chat("What is a cache?", {.max_tokens = 100})) std::cout << piece << std::flush;
    std::cout << "\n[the cache took " << writer.cache_bytes() << " bytes]\n";
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
