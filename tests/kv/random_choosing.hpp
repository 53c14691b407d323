// SPDX-License-Identifier: MIT
#pragma once
// Policies of pages that rows choose for random operations: a step's rows choose by queries that are the same in all steps, of which only
// how much they read is looked at, and the bounds of pages are compared with the keys that were written there.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include <skald/attention/layer.hpp>
#include <skald/kv/quest.hpp>

#include "kv/evicting_reference.hpp"
#include "kv/random_model.hpp"

namespace skald::test {

/// What choosing asks of a backend.
struct choosing_backend {
    using vector = format::scalar;
    struct activations {};
    struct scratch {};
};

/// The first layer reads everything.
template <class Codec, std::size_t Page, bool FirstPage>
struct choosing_policy : keeping_all {
    static constexpr std::size_t group = Page, full_layers = 1, budget = 3 * Page;
    static kv::quest<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = tokens * sequences,
                 .sequences = sequences,
                 .budget = budget,
                 .page = Page,
                 .first_page = FirstPage,
                 .full_layers = full_layers}};
    }

    /// Lets the rows of a planned step choose.
    template <class Cache>
    static void read(Cache& cache, std::span<const row_range> ranges) {
        const attention_shape shape{recorded_heads, recorded_kv_heads, cache.shape().head_dim};
        const std::size_t rows = ranges.back().first_row + ranges.back().rows, width = shape.heads * shape.head_dim;
        std::vector<float> q(rows * width);
        for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 2654435761u >> 7 & 1023) / 512 - 1;
        attention::layer_call<choosing_backend> call{};
        call.q = {q.data(), {rows, width}};
        call.shape = shape;
        call.ranges = ranges;
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
            cache.attend_parts(choosing_backend{}, layer, call, ranges, [&](std::span<const row_range> part, const auto& runs) {
                for (std::size_t s = 0; layer >= full_layers && s < part.size(); ++s)
                    for (std::size_t r = 0; r < part[s].rows; ++r)
                        check_choice(std::get<0>(runs), s, part[s].first_position + static_cast<position>(r));
            });
    }

    /// Whether the bounds of a sequence's pages are those of its keys.
    template <class Cache, class Sequence>
    static bool same_bounds(const Cache& cache, const Sequence& s, std::size_t layer) {
        static const row_book<Codec> book(cache.shape().width());
        std::vector<float> got(cache.shape().head_dim);
        if (cache.bounded_pages(s.id, layer) > (layer < full_layers ? 0 : s.size() / Page)) return false;
        for (std::size_t page = 0; page < cache.bounded_pages(s.id, layer); ++page)
            for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
                for (const bool greatest : {false, true}) {
                    cache.load_bound(s.id, layer, page, h, greatest, got);
                    for (std::size_t d = 0; d < got.size(); ++d) {
                        const auto key = [&](std::size_t p) {
                            return Codec::template decode<format::scalar>(book.bytes(s.prefixes[p], layer, h, false).data(), d).value;
                        };
                        float bound = key(page * Page);
                        for (std::size_t p = page * Page; p < (page + 1) * Page; ++p)
                            bound = greatest ? std::max(bound, key(p)) : std::min(bound, key(p));
                        if (bound != got[d]) return false;
                    }
                }
        return true;
    }

private:
    /// A row reads itself, and no more than the budget.
    template <class Run>
    static void check_choice(const Run& run, std::size_t segment, position p) {
        constexpr auto tile = static_cast<position>(attention::tile_size);
        for (std::size_t h = 0; h < recorded_kv_heads; ++h) {
            std::size_t count = 0;
            for (position t = 0; t <= p; t += tile) {
                std::uint64_t bits = run.shown(segment, h, p, t);
                if (p - t < tile - 1) bits &= (std::uint64_t{2} << (p - t)) - 1;
                if (p - t < tile) expect((bits >> (p - t) & 1) != 0, "a row does not read itself");
                count += static_cast<std::size_t>(std::popcount(bits));
            }
            expect(count <= budget, concat("a row reads ", count, " tokens of a budget of ", budget));
        }
    }
};

}  // namespace skald::test
