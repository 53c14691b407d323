// SPDX-License-Identifier: MIT
// A cold tier in temporary files: the same bits as in memory within a tenth of it, nothing left behind, and failures that are exceptions.
#include <skald/io/temporary_file_resource.hpp>

#if defined(__linux__)

#include <cstddef>
#include <filesystem>
#include <memory_resource>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/tiered.hpp>

#include "backend/support.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr attention_shape heads{2, 1, 32};
constexpr kv::cache_shape kept{.layers = 2, .kv_heads = heads.kv_heads, .head_dim = heads.head_dim};
constexpr std::size_t q_cols = heads.heads * heads.head_dim, kv_cols = heads.kv_heads * heads.head_dim;
using policy = kv::paged_tiered<kv::f16, kv::kivi4>;

kv::tiered_options options(std::size_t tokens, std::pmr::memory_resource* cold) {
    return {.tokens = tokens, .sequences = 1, .step = 32, .cold = cold};
}

/// What the last row of a text of `tokens` tokens reads in each layer.
template <class Cache>
std::vector<float> last_row(Cache& cache, std::size_t tokens) {
    const cpu<> backend;
    auto scratch = backend.make_scratch(heads);
    auto out = backend.make_activations(32, q_cols);
    const kv::sequence_id s = cache.open();
    std::vector<float> result;
    for (std::size_t at = 0; at < tokens; at += 32) {
        const kv::segment step{s, 0, 32};
        const auto ranges = cache.plan({&step, 1});
        for (std::size_t layer = 0; layer < kept.layers; ++layer) {
            const auto seed = static_cast<unsigned>(3 * (at + layer));
            std::vector<float> q = random_floats(32 * q_cols, seed), k = random_floats(32 * kv_cols, seed + 1);
            const std::vector<float> v = random_floats(32 * kv_cols, seed + 2);
            const auto runs = cache.view(layer);
            backend.rope_append({q.data(), {32, q_cols}}, {k.data(), {32, kv_cols}}, {v.data(), {32, kv_cols}}, heads, {}, ranges, runs,
                                scratch);
            if (at + 32 < tokens) continue;
            out.resize(32, q_cols);
            backend.attend({q.data(), {32, q_cols}}, heads, attention::causal{0.2f}, ranges, runs, out, scratch);
            const auto row = std::as_const(out).values().row(31);
            result.insert(result.end(), row.begin(), row.end());
        }
        cache.commit(s);
    }
    return result;
}

}  // namespace

TEST_CASE("a sequence ten times larger than the memory it may take finishes from disk", "[kv]") {
    constexpr std::size_t tokens = 32 * 1024;
    const temporary_folder folder;
    io::temporary_file_resource disk(folder.path());
    counting_resource on_disk(&disk);
    counting_resource plain;
    auto in_memory = policy{options(tokens, nullptr)}.make(kept, &plain);
    const std::vector<float> want = last_row(in_memory, tokens);

    capped_resource memory(plain.bytes() / 10);
    {
        auto cache = policy{options(tokens, &on_disk)}.make(kept, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(policy{options(tokens, &on_disk)}.bytes(kept) == memory.bytes());
        CHECK(cache.cold_bytes() == on_disk.bytes());
        CHECK(cache.bytes() + cache.cold_bytes() == plain.bytes());
        CHECK(std::filesystem::is_empty(folder.path()));
        CHECK(same_bits(last_row(cache, tokens), want));
    }
    CHECK(on_disk.bytes() == 0);
    CHECK(code_of([&] { policy{options(tokens, nullptr)}.make(kept, &memory); }) == errc::memory_limit);
    CHECK(memory.bytes() == 0);
}

TEST_CASE("a disk without room is an exception, and the resource goes on", "[kv]") {
    const temporary_folder folder;
    io::temporary_file_resource disk(folder.path()), nowhere(folder.path() / "none");
    counting_resource memory;
    CHECK(code_of([&] { (void)disk.allocate(std::size_t{1} << 50, 64); }) == errc::io);
    CHECK(code_of([&] { (void)nowhere.allocate(1, 1); }) == errc::io);
    CHECK(code_of([&] { (void)disk.allocate(1, 1 << 20); }) == errc::invalid_argument);
    CHECK(code_of([&] { policy{options(1024, &nowhere)}.make(kept, &memory); }) == errc::io);
    CHECK(memory.bytes() == 0);
    CHECK(std::filesystem::is_empty(folder.path()));
    auto* const bytes = static_cast<unsigned char*>(disk.allocate(100000, 64));
    CHECK(bytes[0] == 0);
    bytes[99999] = 7;
    CHECK(bytes[99999] == 7);
    disk.deallocate(bytes, 100000, 64);
    capped_resource few(4096, &disk);
    CHECK(code_of([&] { (void)few.allocate(5000, 64); }) == errc::memory_limit);
}

#endif
