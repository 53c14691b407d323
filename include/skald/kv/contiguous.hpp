// SPDX-License-Identifier: MIT
#pragma once
// Contiguous storage: every sequence owns room for `tokens` tokens, allocated at once. The simplest cache and the reference
// of all others: reading is a multiplication, forking copies, nothing is shared.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/shifting.hpp>

namespace skald::kv {

struct contiguous_options {
    std::size_t tokens = 2048;  ///< room of each sequence
    std::size_t sequences = 1;  ///< how many can be open at once
};

/// One run over all positions of contiguous storage at one layer.
template <codec Codec>
class contiguous_run {
public:
    using codec = Codec;

    /// Where the segments of the step lie: sequence index and length.
    struct slot {
        std::uint32_t sequence;
        position end;
    };

    contiguous_run(std::byte* keys, std::byte* values, const slot* slots, std::size_t kv_heads, std::size_t tokens,
                   std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          head_stride_(tokens * row_bytes),
          sequence_stride_(kv_heads * head_stride_),
          row_bytes_(row_bytes) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position) const noexcept { return std::numeric_limits<std::size_t>::max(); }

private:
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return slots_[segment].sequence * sequence_stride_ + kv_head * head_stride_ + static_cast<std::size_t>(p) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const slot* slots_;
    std::size_t head_stride_, sequence_stride_, row_bytes_;
};

/// Memory: layers × 2 × sequences × kv_heads × tokens encoded rows, of latents half as many.
/// // (layers, {k, v}, sequences, kv_heads, tokens, row_bytes)
template <codec Codec>
class contiguous_cache {
public:
    static constexpr bool schedule_invariant = true, shifts_positions = unrotated_codec<Codec>;
    using run = contiguous_run<Codec>;

    contiguous_cache(const cache_shape& shape, const contiguous_options& options, std::pmr::memory_resource* memory)
        : shape_(shape),
          tokens_(options.tokens),
          table_(options.sequences, memory),
          slots_(options.sequences, memory),
          rotations_(shifts_positions ? options.tokens : 0, shape.rope_pairs, memory),
          data_(data_bytes(shape, options), memory) {
        prefer_large_pages(data_.span());
    }

    static std::size_t bytes(const cache_shape& shape, const contiguous_options& options) {
        return detail::sequence_table::bytes(options.sequences) + buffer<typename run::slot>::bytes_for(options.sequences) +
               rotation_table::bytes(shifts_positions ? options.tokens : 0, shape.rope_pairs) +
               buffer<>::bytes_for(data_bytes(shape, options));
    }

    const cache_shape& shape() const noexcept { return shape_; }
    std::size_t context() const noexcept { return tokens_; }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + slots_.bytes() + rotations_.bytes() + data_.bytes();
    }

    sequence_id open() { return table_.open(); }
    void close(sequence_id s) { table_.at(s).open = false; }
    position length(sequence_id s) const { return table_.at(s).length; }
    checkpoint mark(sequence_id s) const { return {table_.at(s).length}; }
    void rollback(sequence_id s, checkpoint to) { table_.rollback(s, to); }
    bool keeps(sequence_id s, position length) const { return table_.keeps(s, length); }
    void truncate(sequence_id s, position length) { table_.truncate(s, length); }
    void commit(sequence_id s) { table_.commit(s); }

    /// Copies the committed tokens. Cost: as many bytes as they take.
    sequence_id fork(sequence_id s) {
        const position length = table_.at(s).committed;
        const sequence_id copy = table_.open();
        table_.at(copy) = {.length = length, .committed = length, .open = true};
        const std::size_t head = tokens_ * row_bytes(), sequence = shape_.kv_heads * head;
        for (std::size_t plane = 0; plane < shape_.planes() * shape_.layers; ++plane)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                std::byte* base = data_.data() + plane * plane_bytes() + h * head;
                std::memcpy(base + copy.index * sequence, base + s.index * sequence, static_cast<std::size_t>(length) * row_bytes());
            }
        return copy;
    }

    /// Every sequence has its own.
    bool has_room(const step_wish& wish, std::span<const sequence_id>) const {
        table_.check(wish.segments);
        const auto fits = [&](const segment& s) { return s.rows <= tokens_ - static_cast<std::size_t>(table_.at(s.sequence).length); };
        return std::ranges::all_of(wish.segments, fits) &&
               std::ranges::all_of(wish.opened, [&](std::size_t rows) { return rows <= tokens_; });
    }

    std::span<const row_range> plan(std::span<const segment> segments) {
        table_.check(segments);
        for (const segment& s : segments) {
            const auto used = static_cast<std::size_t>(table_.at(s.sequence).length);
            if (s.rows > tokens_ - used)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", used, " of ", tokens_,
                     " tokens and cannot take ", s.rows, " more; raise .tokens");
        }
        const std::span<const row_range> ranges = table_.append(segments);
        for (std::size_t i = 0; i < segments.size(); ++i) slots_[i] = {segments[i].sequence.index, table_.at(segments[i].sequence).length};
        return ranges;
    }

    void select(sequence_id s) { slots_[0] = {s.index, table_.at(s).committed}; }

    std::tuple<run> view(std::size_t layer) const noexcept {
        std::byte* keys = data_.data() + shape_.planes() * layer * plane_bytes();
        return {run(keys, shape_.latent ? keys : keys + plane_bytes(), slots_.data(), shape_.kv_heads, tokens_, row_bytes())};
    }

    /// As shifting.hpp says. Cost: the rows from `first` on are moved.
    void remove(sequence_id s, position first, position last) {
        detail::require_shifting<Codec>();
        const detail::sequence_state& state = table_.at(s);
        detail::require_rope(shape_);
        detail::require_part(s, state, first, last);
        select(s);
        for (std::size_t layer = 0; layer < shape_.layers; ++layer)
            detail::move_rows(std::get<0>(view(layer)), shape_.kv_heads, first, last, static_cast<std::size_t>(state.length - last));
        table_.truncate(s, state.length - (last - first));
    }
    /// Cost: two exchanges of each row that moves.
    void shift(sequence_id s, position first, position last, position by) {
        detail::require_shifting<Codec>();
        detail::require_rope(shape_);
        const detail::rotated_part part = detail::require_move(s, table_.at(s), first, last, by);
        select(s);
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) detail::rotate_rows(std::get<0>(view(layer)), shape_.kv_heads, part);
    }
    /// What kernels rotate keys by.
    rotation_table* rotations() noexcept { return shifts_positions ? &rotations_ : nullptr; }
    const rotation_table* rotations() const noexcept { return shifts_positions ? &rotations_ : nullptr; }

private:
    static std::size_t data_bytes(const cache_shape& shape, const contiguous_options& o) {
        return ((((checked_size(shape.layers, "kv cache") * shape.planes()) * o.sequences) * shape.kv_heads) * o.tokens *
                Codec::row_bytes(shape.width()))
            .size();
    }
    std::size_t row_bytes() const noexcept { return Codec::row_bytes(shape_.width()); }
    std::size_t plane_bytes() const noexcept { return table_.size() * shape_.kv_heads * tokens_ * row_bytes(); }

    cache_shape shape_;
    std::size_t tokens_;
    detail::sequence_table table_;
    buffer<typename run::slot> slots_;
    rotation_table rotations_;  // of no positions where keys are rotated
    buffer<> data_;
};

/// The policy: `contiguous<f16>{{.tokens = 4096}}`.
template <class Codec = f16>
struct contiguous {
    static_assert(require_codec<Codec>());
    using cache = contiguous_cache<Codec>;
    contiguous_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const noexcept { return options.tokens; }
    std::string name() const { return concat("contiguous:", Codec::name); }
};

static_assert(kv_run<contiguous_run<f16>> && kv_cache<contiguous_cache<f16>> && policy<contiguous<f16>>);

}  // namespace skald::kv
