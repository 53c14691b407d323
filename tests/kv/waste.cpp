// SPDX-License-Identifier: MIT
// How much of what is allocated holds no token, over a trace of sequences that arrive, grow and leave.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

constexpr kv::cache_shape shape{.layers = 1, .kv_heads = 1, .head_dim = 16};
constexpr std::size_t slots = 16, longest = 2048;

/// One sequence's length: log-normal with a median of 400 and a sigma of 0.6, from 16 to 2048 tokens; two thirds of them are the prompt.
class lengths {
public:
    explicit lengths(std::uint32_t seed) : random_(seed) {}
    std::size_t next() {
        double normal = -6;  // a sum of twelve is near enough
        for (int i = 0; i < 12; ++i) normal += static_cast<double>(random_()) / 4294967296.0;
        return static_cast<std::size_t>(std::clamp(400 * std::exp(0.6 * normal), 16.0, double{longest}));
    }

private:
    std::mt19937 random_;
};

/// Keeps all slots busy for `steps` steps, in each of which every sequence takes a row. Calls each(used tokens) after each step.
template <class Cache, class F>
void run_trace(Cache& cache, std::size_t steps, F&& each) {
    struct running {
        kv::sequence_id id{};
        std::size_t length = 0, end = 0;
    };
    lengths trace(7);
    std::array<running, slots> all;
    for (std::size_t step = 0; step < steps; ++step) {
        std::array<kv::segment, slots> segments;
        std::size_t row = 0, used = 0;
        for (std::size_t i = 0; i < slots; ++i) {
            running& s = all[i];
            std::size_t rows = 1;
            if (s.length == s.end) {
                if (s.end != 0) cache.close(s.id);
                s = {cache.open(), 0, trace.next()};
                rows = s.end * 2 / 3;
            }
            segments[i] = {s.id, row, rows};
            row += rows;
            used += s.length += rows;
        }
        cache.plan(segments);
        for (const running& s : all) cache.commit(s.id);
        each(used);
    }
}

}  // namespace

TEST_CASE("paged storage wastes less than a block a sequence, preallocation most of what it takes", "[kv]") {
    constexpr std::size_t steps = 20000, block = 16;
    auto flat = kv::contiguous<kv::f16>{{.tokens = longest, .sequences = slots}}.make(shape, std::pmr::new_delete_resource());
    double flat_waste = 0;
    run_trace(flat, steps, [&](std::size_t used) { flat_waste += 1 - static_cast<double>(used) / (slots * longest); });
    CHECK(flat.bytes() >= slots * longest * 2 * kv::f16::row_bytes(shape.width()));

    auto paged =
        kv::paged<kv::f16>{{.tokens = slots * longest, .sequences = slots, .block = block}}.make(shape, std::pmr::new_delete_resource());
    const std::size_t blocks = paged.free_blocks();
    double paged_waste = 0;
    std::size_t most = 0, broken = 0;
    run_trace(paged, steps, [&](std::size_t used) {
        const std::size_t held = (blocks - paged.free_blocks()) * block;
        broken += held < used || held - used > slots * (block - 1);
        paged_waste += 1 - static_cast<double>(used) / static_cast<double>(held);
        most = std::max(most, held);
    });
    CHECK(broken == 0);

    const double flat_percent = 100 * flat_waste / steps, paged_percent = 100 * paged_waste / steps;
    INFO("waste: preallocated " << flat_percent << "%, paged " << paged_percent << "%; the most tokens held in blocks at a time: " << most
                                << " of " << slots * longest);
    CHECK(flat_percent > 60);
    CHECK(flat_percent < 80);
    CHECK(paged_percent < 4);  // the paper's own bound
}
