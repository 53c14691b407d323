// SPDX-License-Identifier: MIT
// Attention over every codec of keys and values: against the naive backend, and bitwise however rows and runs are cut.
#include <skald/kv/fp8.hpp>
#include <skald/kv/hadamard.hpp>
#include <skald/kv/word_codec.hpp>

#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using codecs = std::tuple<kv::f32, kv::f16, kv::bf16, kv::fp8, kv::i16, kv::q8, kv::q4, kv::hadamard<kv::q4>>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("attention of several sequences in one step", "[backend]", codecs) {
    const row_range ranges[] = {{0, 5, 0}, {5, 1, 59}, {6, 50, 10}, {56, 2, 58}};
    for (const std::size_t head_dim : {32, 48, 64}) check<default_arch, TestType>({6, 2, head_dim}, attention::causal{0.2f}, ranges, 60, 7);
}

TEMPLATE_LIST_TEST_CASE("rows attend alike in one step and in many, whatever the codec", "[backend]", codecs) {
    const std::size_t length = 150;
    for (const std::size_t head_dim : {48, 64}) {
        const attention_shape shape{6, 2, head_dim};
        plain_cache<TestType> cache(shape, 1, length, 1);
        const std::vector<float> q = random_floats(length * shape.heads * head_dim, 2);
        for (const compute policy : {compute::exact, compute::native}) {
            const cpu<> backend({.policy = policy});
            for (const attention::causal variant : {attention::causal{0.2f}, attention::causal{0.2f, 50}}) {
                const std::vector<float> whole = in_chunks(backend, q, shape, variant, length, length, cache.runs());
                for (const std::size_t chunk : {1, 7, 33, 64}) {
                    CAPTURE(head_dim, chunk);
                    CHECK(same_bits(in_chunks(backend, q, shape, variant, length, chunk, cache.runs(40)), whole));
                }
            }
        }
    }
}
