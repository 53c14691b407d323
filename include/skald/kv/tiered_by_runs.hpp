// SPDX-License-Identifier: MIT
#pragma once
// How tiers by importance (tiered_by.hpp) are read and made. A layer's positions are numbered anew: those of the cold tier keep their own,
// the hot tier's rows stand behind them, from a multiple of attention::restart_size on, in the order of their positions. So tiles of the
// hot tier are full, each head's own choice notwithstanding, and the cold one shows what is not hot.
#include <cstddef>
#include <cstdint>

#include <skald/backend/ops.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/tier_runs.hpp>

namespace skald::kv {

/// Where a segment of the step lies at one layer.
struct tiered_by_slot {
    std::uint32_t sequence;
    position sealed;  ///< positions before it are in the cold tier
    position first;   ///< the number of the hot tier's first row
    position end;     ///< after its last
    position behind;  ///< what the numbers of tokens from `sealed` on, all of which are hot, are greater by than their positions
};

/// The run over the hot tier at one layer; rows read all of it. // (sequences, kv_heads, capacity) rows
template <codec Codec>
class tiered_by_hot_run {
public:
    using codec = Codec;

    tiered_by_hot_run(std::byte* keys, std::byte* values, const tiered_by_slot* slots, std::size_t kv_heads, std::size_t capacity,
                      std::size_t row_bytes) noexcept
        : keys_(keys), values_(values), slots_(slots), kv_heads_(kv_heads), capacity_(capacity), row_bytes_(row_bytes) {}

    position begin(std::size_t segment) const noexcept { return slots_[segment].first; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position) const noexcept { return capacity_; }
    std::uint64_t shown(std::size_t segment, std::size_t, position, position t) const noexcept {
        return t < slots_[segment].first ? 0 : ~std::uint64_t{0};
    }

private:
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        const tiered_by_slot& slot = slots_[segment];
        return ((slot.sequence * kv_heads_ + kv_head) * capacity_ + static_cast<std::size_t>(p - slot.first)) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const tiered_by_slot* slots_;
    std::size_t kv_heads_, capacity_, row_bytes_;
};

/// The run over the cold tier at one layer: the whole groups of a segment, of which rows read what is not hot.
/// // (sequences, kv_heads, groups, group bytes); shown: (sequences, kv_heads, words)
template <codec Hot, group_codec Cold>
class tiered_by_cold_run : public group_rows<Cold> {
    using base = group_rows<Cold>;
    using base::group;

public:
    tiered_by_cold_run(const cold_plane& keys, const cold_plane& values, const std::uint64_t* shown, std::size_t words, std::size_t groups,
                       std::size_t kv_heads, std::size_t width, const tiered_by_slot* slots, const tiered_by_hot_run<Hot>& hot) noexcept
        : base(keys, values, width), shown_(shown), words_(words), groups_(groups), kv_heads_(kv_heads), slots_(slots), hot_(hot) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return slots_[segment].sealed; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return base::key_at(place(segment, p / group), kv_head, p);
    }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return base::value_at(place(segment, p / group), kv_head, p);
    }
    std::uint64_t shown(std::size_t segment, std::size_t kv_head, position, position t) const noexcept {
        if (t >= slots_[segment].sealed) return 0;
        return shown_[(slots_[segment].sequence * kv_heads_ + kv_head) * words_ + static_cast<std::size_t>(t) / attention::tile_size];
    }

    /// Makes the groups that the rows numbered [first, last) complete, from the hot rows of their tokens.
    template <format::float_vector V>
    void seal(std::size_t segment, std::size_t kv_head, position first, position last) const noexcept {
        const position behind = slots_[segment].behind;
        for (position g = (first - behind) / group; (g + 1) * group <= last - behind; ++g) {
            const auto at = [&](std::size_t i) { return g * group + static_cast<position>(i) + behind; };
            base::template seal_at<V>(place(segment, g), kv_head, hot_, segment, at);
        }
    }

private:
    std::size_t place(std::size_t segment, position g) const noexcept {
        return slots_[segment].sequence * kv_heads_ * groups_ + static_cast<std::size_t>(g);
    }

    const std::uint64_t* shown_;
    std::size_t words_, groups_, kv_heads_;
    const tiered_by_slot* slots_;
    tiered_by_hot_run<Hot> hot_;
};

static_assert(choosing_run<tiered_by_hot_run<f16>> && choosing_run<tiered_by_cold_run<f16, kivi2>>);
static_assert(split_run<tiered_by_cold_run<f16, kivi2>> && sealing_run<tiered_by_cold_run<f16, kivi2>, format::scalar>);

}  // namespace skald::kv
