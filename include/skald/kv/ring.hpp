// SPDX-License-Identifier: MIT
#pragma once
// Ring storage, for models whose layers all see a window (Beltagy et al. 2020; the rolling buffer of Mistral 7B, Jiang et al. 2023):
// every sequence owns a circle of window + step tokens in which position p lies at p % (window + step), so that its memory does not
// grow with its length. Not for layers that see more than the window: a forward refuses them.
//
// Let a sequence have c committed tokens; it may have `step` pending ones. Position c + step - 1 takes the place of c - window - 1, and
// the row at c, the first after any rollback, reads from c - window + 1 on: pending tokens never overwrite what a rollback needs.
// With H the greatest length since the sequence was empty, the positions from H - window - step on are there, and a row at `length`
// reads from max(0, length - window + 1) on. So truncate() can go back to any length where H <= window + step, else to
// length >= H - step - 1; and always to 0.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>

namespace skald::kv {

struct ring_options {
    std::size_t window = 0;     ///< tokens that a row sees, its own included: at least the window of every layer
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t context = 0;    ///< tokens one sequence is meant to reach, which costs nothing; 0: as many as there are positions
};

/// One run over what a step reads of ring storage at one layer: of a segment whose first row stands at p, the positions from
/// max(0, p - window + 1) on.
template <codec Codec>
class ring_run {
public:
    using codec = Codec;

    /// Where the segments of the step lie: sequence index, first position that is read, and length.
    struct slot {
        std::uint32_t sequence;
        position begin, end;
    };

    ring_run(std::byte* keys, std::byte* values, const slot* slots, std::size_t kv_heads, std::size_t capacity,
             std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          capacity_(static_cast<std::uint32_t>(capacity)),
          head_stride_(capacity * row_bytes),
          sequence_stride_(kv_heads * head_stride_),
          row_bytes_(row_bytes) {}

    position begin(std::size_t segment) const noexcept { return slots_[segment].begin; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return capacity_ - place(p); }

private:
    std::uint32_t place(position p) const noexcept { return static_cast<std::uint32_t>(p) % capacity_; }
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return slots_[segment].sequence * sequence_stride_ + kv_head * head_stride_ + place(p) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const slot* slots_;
    std::uint32_t capacity_;
    std::size_t head_stride_, sequence_stride_, row_bytes_;
};

/// Memory: layers × 2 × sequences × kv_heads × (window + step) encoded rows. // (layers, {k, v}, sequences, kv_heads, window + step,
/// row_bytes)
template <codec Codec>
class ring_cache {
public:
    static constexpr bool schedule_invariant = true;  // of layers that see no more than the window
    using run = ring_run<Codec>;

    /// Tokens that a sequence can reach: positions end there, less what tiles and restarts of attention are rounded up by.
    static constexpr std::size_t longest = static_cast<std::size_t>(std::numeric_limits<position>::max()) - 1023;

    ring_cache(const cache_shape& shape, const ring_options& options, std::pmr::memory_resource* memory)
        : shape_(shape),
          options_(options),
          capacity_(checked_capacity(options)),
          table_(options.sequences, memory),
          slots_(options.sequences, memory),
          firsts_(options.sequences, memory),
          data_(data_bytes(shape, options), memory) {
        prefer_large_pages(data_.span());
    }

    static std::size_t bytes(const cache_shape& shape, const ring_options& options) {
        return detail::sequence_table::bytes(options.sequences) + buffer<typename run::slot>::bytes_for(options.sequences) +
               buffer<position>::bytes_for(options.sequences) + buffer<>::bytes_for(data_bytes(shape, options));
    }
    static std::size_t max_length(const ring_options& o) noexcept { return o.context == 0 ? longest : std::min(o.context, longest); }

    const cache_shape& shape() const noexcept { return shape_; }
    std::size_t context() const noexcept { return max_length(options_); }
    std::size_t window() const noexcept { return options_.window; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + slots_.bytes() + firsts_.bytes() + data_.bytes();
    }

    sequence_id open() {
        const sequence_id s = table_.open();
        firsts_[s.index] = 0;
        return s;
    }
    void close(sequence_id s) { table_.at(s).open = false; }
    position length(sequence_id s) const { return table_.at(s).length; }
    checkpoint mark(sequence_id s) const { return {table_.at(s).length}; }
    void rollback(sequence_id s, checkpoint to) { table_.rollback(s, to); }
    void commit(sequence_id s) { table_.commit(s); }

    bool keeps(sequence_id s, position length) const {
        return table_.keeps(s, length) && (length == 0 || firsts_[s.index] <= first_read(length));
    }
    /// Throws errc::invalid_argument, too, where the ring has overwritten what a row at `length` would read.
    void truncate(sequence_id s, position length) {
        if (table_.keeps(s, length) && !keeps(s, length))
            fail(errc::invalid_argument, "kv cache", "truncation to ", length, " of a sequence of ", table_.at(s).length,
                 " tokens of which the ring has those from ", firsts_[s.index], " on; a row there reads from ", first_read(length),
                 " on: truncate to 0 and read the text again, or raise .step");
        table_.truncate(s, length);
        if (length == 0) firsts_[s.index] = 0;
    }

    /// Copies the committed tokens that are there. Cost: as many bytes as they take, at most a ring.
    sequence_id fork(sequence_id s) {
        const position length = table_.at(s).committed;
        const sequence_id copy = table_.open();
        table_.at(copy) = {.length = length, .committed = length, .open = true};
        firsts_[copy.index] = firsts_[s.index];
        const std::size_t head = capacity_ * row_bytes(), sequence = shape_.kv_heads * head;
        const std::size_t used = std::min(static_cast<std::size_t>(length), capacity_) * row_bytes();
        for (std::size_t plane = 0; plane < 2 * shape_.layers; ++plane)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                std::byte* base = data_.data() + plane * plane_bytes() + h * head;
                std::memcpy(base + copy.index * sequence, base + s.index * sequence, used);
            }
        return copy;
    }

    /// Throws errc::cache_full for more than `step` pending tokens of a sequence, and at the end of positions.
    std::span<const row_range> plan(std::span<const segment> segments) {
        table_.check(segments);
        for (const segment& s : segments) {
            const detail::sequence_state& state = table_.at(s.sequence);
            const auto pending = static_cast<std::size_t>(state.length - state.committed);
            if (s.rows > options_.step - pending)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", pending, " pending tokens and cannot take ",
                     s.rows, " more: the ring has room for ", options_.step, "; raise .step or take fewer rows a step");
            if (s.rows > longest - static_cast<std::size_t>(state.length))
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", state.length, " tokens and cannot take ",
                     s.rows, " more: positions end at ", longest);
        }
        const std::span<const row_range> ranges = table_.append(segments);
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const std::uint32_t s = segments[i].sequence.index;
            const position end = table_.states()[s].length;
            slots_[i] = {.sequence = s, .begin = first_read(ranges[i].first_position), .end = end};
            firsts_[s] = std::max(firsts_[s], end - static_cast<position>(capacity_));
        }
        return ranges;
    }

    /// view(layer) then shows what is kept of the committed tokens of s.
    void select(sequence_id s) {
        slots_[0] = {.sequence = s.index, .begin = std::max<position>(0, firsts_[s.index]), .end = table_.at(s).committed};
    }

    /// Where the segments of the planned step lie.
    const typename run::slot* slots() const noexcept { return slots_.data(); }

    std::tuple<run> view(std::size_t layer) const noexcept {
        std::byte* keys = data_.data() + 2 * layer * plane_bytes();
        return {run(keys, keys + plane_bytes(), slots_.data(), shape_.kv_heads, capacity_, row_bytes())};
    }

private:
    static std::size_t checked_capacity(const ring_options& o) {
        if (o.window == 0 || o.window >= longest || o.step == 0 || o.step > longest - o.window)
            fail(errc::invalid_argument, "kv cache", "a ring with a window of ", o.window, " tokens and steps of ", o.step,
                 "; .window and .step must be positive and no more than ", longest, " together");
        return o.window + o.step;
    }
    static std::size_t data_bytes(const cache_shape& shape, const ring_options& o) {
        require_values(shape);
        return ((((checked_size(shape.layers, "kv cache") * 2) * o.sequences) * shape.kv_heads) * checked_capacity(o) *
                Codec::row_bytes(shape.width()))
            .size();
    }
    std::size_t row_bytes() const noexcept { return Codec::row_bytes(shape_.width()); }
    std::size_t plane_bytes() const noexcept { return table_.size() * shape_.kv_heads * capacity_ * row_bytes(); }
    /// The first position that a row at p reads.
    position first_read(position p) const noexcept { return std::max<position>(0, p - static_cast<position>(options_.window) + 1); }

    cache_shape shape_;
    ring_options options_;
    std::size_t capacity_;
    detail::sequence_table table_;
    buffer<typename run::slot> slots_;
    buffer<position> firsts_;  // (sequences), the first position that is not overwritten
    buffer<> data_;
};

/// The policy: `ring<f16>{{.window = 4096}}`.
template <class Codec = f16>
struct ring {
    static_assert(require_codec<Codec>() && require_rotated<Codec>());
    using cache = ring_cache<Codec>;
    ring_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const noexcept { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return concat("ring/", options.window, ":", Codec::name); }
};

static_assert(kv_run<ring_run<f16>> && kv_cache<ring_cache<f16>> && policy<ring<f16>>);

}  // namespace skald::kv
