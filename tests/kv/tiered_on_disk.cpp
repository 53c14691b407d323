// SPDX-License-Identifier: MIT
// A cold tier in temporary files: the same bits as in memory within a tenth of it, no more of it in memory at any time than was allowed,
// nothing left behind, and failures that are exceptions.
#include <skald/io/temporary_file_resource.hpp>

#if defined(__linux__)

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory_resource>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <skald/attention/layer.hpp>
#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
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
using own_room = kv::tiered<kv::f16, kv::kivi4>;

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

/// Bytes of temporary files that are mapped in memory now.
std::size_t resident() {
    std::ifstream maps("/proc/self/smaps");
    std::size_t bytes = 0;
    bool ours = false;
    for (std::string line; std::getline(maps, line);)
        if (line.rfind("Rss:", 0) == 0)
            bytes += ours ? std::stoul(line.substr(4)) * 1024 : 0;
        else if (line[0] < 'A' || line[0] > 'Z')  // the addresses of a mapping
            ours = line.find("/skald-test-") != std::string::npos;
    return bytes;
}

/// Tells how much was asked for.
struct watching_pager final : pager {
    explicit watching_pager(pager& p) : under(p) {}
    void will_need(std::span<const std::byte> memory) noexcept override {
        asked += memory.size();
        under.will_need(memory);
    }
    void release(std::span<const std::byte> memory) noexcept override { under.release(memory); }
    std::size_t slack() const noexcept override { return under.slack(); }

    pager& under;
    std::atomic<std::size_t> asked{0};
};

/// Many layers, of which little is in memory at a time.
struct deep {
    static constexpr std::size_t layers = 40, tokens = 2048, step = 32;
    static constexpr kv::cache_shape shape{.layers = layers, .kv_heads = heads.kv_heads, .head_dim = heads.head_dim};

    /// Rows attend in some steps only, to save time.
    static bool attends(std::size_t at) { return at / step % 16 == 15; }

    /// One step of the text in every layer; check(layer) while what it read is there.
    template <class Cache, class Check>
    std::vector<float> run(Cache& cache, kv::sequence_id s, std::size_t at, const Check& check) {
        const kv::segment rows{s, 0, step};
        const auto ranges = cache.plan({&rows, 1});
        std::vector<float> result;
        for (std::size_t layer = 0; layer < layers; ++layer) {
            const auto seed = static_cast<unsigned>(3 * (at + layer));
            std::vector<float> q = random_floats(step * q_cols, seed), k = random_floats(step * kv_cols, seed + 1);
            const std::vector<float> v = random_floats(step * kv_cols, seed + 2);
            out.resize(step, q_cols);
            const attention::layer_call<cpu<>> call{.q = {q.data(), {step, q_cols}},
                                                    .k = {k.data(), {step, kv_cols}},
                                                    .v = {v.data(), {step, kv_cols}},
                                                    .shape = heads,
                                                    .rope = {},
                                                    .variant = {0.2f},
                                                    .ranges = ranges,
                                                    .out = &out,
                                                    .scratch = &scratch};
            attention::run_layer(backend, cache, layer, call, [&](std::span<const row_range> where, const auto& runs) {
                if (attends(at)) backend.attend(call.q, heads, call.variant, where, runs, out, scratch);
                check(layer);
            });
            if (!attends(at)) continue;
            const auto row = std::as_const(out).values().row(step - 1);
            result.insert(result.end(), row.begin(), row.end());
        }
        return result;
    }

    thread_pool threads{2};
    cpu<> backend{{.pool = &threads}};
    cpu<>::scratch scratch = backend.make_scratch(heads);
    cpu<>::activations out = backend.make_activations(step, q_cols);
};

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

TEMPLATE_TEST_CASE("no more of a cold tier is in memory than was allowed, a tenth of it", "[kv]", policy, own_room) {
    constexpr bool pool = std::is_same_v<TestType, policy>;
    constexpr std::size_t sequences = pool ? 1 : 2;
    const temporary_folder folder;
    io::temporary_file_resource disk(folder.path(), pool ? io::released_pages::cached : io::released_pages::on_disk);
    watching_pager watched(disk);
    deep text;
    const auto make = [&](std::pmr::memory_resource* cold, const kv::cold_paging& paging) {
        kv::tiered_options o = options(deep::tokens, cold);
        o.sequences = sequences;
        o.sinks = pool ? 0 : 4;
        o.paging = paging;
        return TestType{o}.make(deep::shape, std::pmr::new_delete_resource());
    };
    auto plain = make(nullptr, {});
    const std::size_t all = plain.cold_bytes(), layer_bytes = all / deep::layers, resident_bytes = 2 * layer_bytes + disk.slack();
    REQUIRE(all >= 10 * resident_bytes);

    auto cache = make(&disk, {&watched, resident_bytes});
    const kv::sequence_id a = plain.open(), b = cache.open();
    std::size_t most = 0, same = 0;
    const auto step = [&](kv::sequence_id s, std::size_t at) {
        return text.run(cache, s, at, [&](std::size_t layer) {
            if (deep::attends(at) || layer == 0) most = std::max(most, resident());
        });
    };
    for (std::size_t at = 0; at < deep::tokens; at += deep::step) {
        const std::vector<float> want = text.run(plain, a, at, [](std::size_t) {});
        plain.commit(a);
        if (at == 1024) {  // a step that is broken off
            const kv::checkpoint mark = cache.mark(b);
            const auto give_up = [](std::size_t layer) {
                if (layer == 20) throw std::bad_alloc();
            };
            CHECK_THROWS_AS(text.run(cache, b, at, give_up), std::bad_alloc);
            cache.rollback(b, mark);
        }
        if (!pool && at + deep::step == deep::tokens) {  // a copy
            const kv::sequence_id copy = cache.fork(b);
            most = std::max(most, resident());
            CHECK(same_bits(step(copy, at), want));
            cache.close(copy);
        }
        watched.asked = 0;
        same += same_bits(step(b, at), want);
        cache.commit(b);
        most = std::max(most, resident());
    }
    CHECK(same == deep::tokens / deep::step);
    CHECK(most > 0);
    CHECK(most <= resident_bytes);
    CHECK(watched.asked == deep::layers * layer_bytes / sequences);  // what the last step reads of each layer, once

    CHECK(code_of([&] { make(&disk, {&disk, layer_bytes + disk.slack() - 1}); }) == errc::invalid_argument);
    CHECK(code_of([&] { make(nullptr, {&disk, resident_bytes}); }) == errc::invalid_argument);
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a cold tier that nobody pages is in memory as far as it was used", "[kv]") {
    const temporary_folder folder;
    io::temporary_file_resource disk(folder.path());
    deep text;
    auto cache = policy{options(deep::tokens, &disk)}.make(deep::shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    for (std::size_t at = 0; at < 512; at += deep::step) text.run(cache, s, at, [](std::size_t) {}), cache.commit(s);
    CHECK(resident() >= cache.cold_bytes() / 4);
}

TEST_CASE("pages that were released come back as they were, from the disk too", "[kv]") {
    constexpr std::size_t size = 1 << 20;
    const temporary_folder folder;
    struct statfs system{};
    REQUIRE(::statfs(folder.path().c_str(), &system) == 0);
    const bool in_memory = system.f_type == 0x01021994;  // tmpfs
    io::temporary_file_resource disk(folder.path(), io::released_pages::on_disk);
    auto* const bytes = static_cast<std::byte*>(disk.allocate(size, 64));
    auto* const other = static_cast<std::byte*>(disk.allocate(size, 64));
    std::memset(bytes, 7, size), std::memset(other, 9, size);
    CHECK(resident() == 2 * size);
    disk.release({bytes, size});
    CHECK(resident() == size);
    REQUIRE(::msync(bytes, size, MS_SYNC) == 0);
    disk.release({bytes, size});
    std::vector<unsigned char> cached(size / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
    REQUIRE(::mincore(bytes, size, cached.data()) == 0);
    std::size_t left = 0;
    for (const unsigned char page : cached) left += page & 1;
    if (!in_memory) CHECK(left == 0);
    disk.will_need({bytes, size});
    CHECK(std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{7}; }));
    CHECK(std::all_of(other, other + size, [](std::byte b) { return b == std::byte{9}; }));
    const std::byte elsewhere[64] = {};
    disk.release(elsewhere), disk.will_need(elsewhere);
    disk.deallocate(bytes, size, 64), disk.deallocate(other, size, 64);
    CHECK(resident() == 0);
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
