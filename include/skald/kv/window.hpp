// SPDX-License-Identifier: MIT
#pragma once
// Window storage with attention sinks (StreamingLLM, Xiao et al. 2023), for texts without end on models whose layers see everything: the
// first `sinks` tokens of a sequence stay, the last `window` go round in a ring, and between them nothing is kept. Rows see only that,
// which is what the user asks for here; the ring of models that see no more by themselves is ring.hpp.
//
// Positions are those in the cache, as in the paper. Let k tokens be sinks and w the window; a row at p sees the sinks j < k and, of the
// others, j > p - w. Up to p = k + w - 1 nothing is missing and every token stands at its own position. From there on the paper moves the
// window's keys and the query down to end at k + w - 1: distances inside the window are as before, and the distance to sink j is
// k + w - 1 - j. Here keys stay where they are and the row's query is turned back to k + w - 1 where it reads the sinks: the same
// distances, and no key is ever rotated twice. What a row reads is a function of its position and the one read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>

#include <skald/core/buffer.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/ring.hpp>

namespace skald::kv {

struct window_options {
    std::size_t window = 0;     ///< the last tokens that a row sees, its own included
    std::size_t sinks = 4;      ///< the first tokens, which every row sees; 0: none
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t context = 0;    ///< tokens one sequence is meant to reach, which costs nothing; 0: as many as there are positions
};

/// The first tokens of each sequence, for rows that are at most `farthest` away.
template <codec Codec>
class sink_run {
public:
    using codec = Codec;
    using slot = typename ring_run<Codec>::slot;

    sink_run(std::byte* keys, std::byte* values, const slot* slots, std::size_t kv_heads, std::size_t sinks, position farthest,
             std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          sinks_(static_cast<position>(sinks)),
          farthest_(farthest),
          head_stride_(sinks * row_bytes),
          sequence_stride_(kv_heads * head_stride_),
          row_bytes_(row_bytes) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return std::min(sinks_, slots_[segment].end); }
    position_range seen_by(position) const noexcept { return {0, sinks_}; }
    position farthest() const noexcept { return farthest_; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(sinks_ - p); }

private:
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return slots_[segment].sequence * sequence_stride_ + kv_head * head_stride_ + static_cast<std::size_t>(p) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const slot* slots_;
    position sinks_, farthest_;
    std::size_t head_stride_, sequence_stride_, row_bytes_;
};

/// A ring of which each row sees the last `window` positions, but none of the sinks.
template <codec Codec>
class window_run : public ring_run<Codec> {
public:
    window_run(const ring_run<Codec>& ring, std::size_t window, std::size_t sinks) noexcept
        : ring_run<Codec>(ring), window_(static_cast<position>(window)), sinks_(static_cast<position>(sinks)) {}
    position_range seen_by(position p) const noexcept { return {std::max(sinks_, p - window_ + 1), p + 1}; }

private:
    position window_, sinks_;
};

/// Memory: that of a ring, and layers × 2 × sequences × kv_heads × sinks encoded rows.
/// // (layers, {k, v}, sequences, kv_heads, sinks, row_bytes)
template <codec Codec>
class window_cache {
public:
    static constexpr bool schedule_invariant = true;
    using ring = ring_cache<Codec>;

    window_cache(const cache_shape& shape, const window_options& options, std::pmr::memory_resource* memory)
        : options_(options), ring_(shape, ring_options_of(options), memory), sinks_(sink_bytes(shape, options), memory) {}

    static std::size_t bytes(const cache_shape& shape, const window_options& options) {
        return ring::bytes(shape, ring_options_of(options)) + buffer<>::bytes_for(sink_bytes(shape, options));
    }
    static std::size_t max_length(const window_options& o) noexcept {
        return o.context == 0 ? ring::longest : std::min(o.context, ring::longest);
    }

    const cache_shape& shape() const noexcept { return ring_.shape(); }
    /// No row sees farther, however long its sequence is.
    std::size_t context() const noexcept { return std::min(max_length(options_), options_.window + options_.sinks); }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept { return ring_.bytes() + sinks_.bytes(); }
    /// The position that queries of rows past it are turned to where they read sinks.
    position farthest() const noexcept { return static_cast<position>(options_.window + options_.sinks - 1); }
    /// What keys and values depend on besides the tokens and the codec, as saved sequences name it.
    std::string reading() const { return concat("w", options_.window, "+", options_.sinks); }

    sequence_id open() { return ring_.open(); }
    void close(sequence_id s) { ring_.close(s); }
    position length(sequence_id s) const { return ring_.length(s); }
    checkpoint mark(sequence_id s) const { return ring_.mark(s); }
    void rollback(sequence_id s, checkpoint to) { ring_.rollback(s, to); }
    void commit(sequence_id s) { ring_.commit(s); }
    bool keeps(sequence_id s, position length) const { return ring_.keeps(s, length); }
    /// As of a ring.
    void truncate(sequence_id s, position length) { ring_.truncate(s, length); }

    /// Copies the committed tokens that are there. Cost: as many bytes as they take, at most a ring and the sinks.
    sequence_id fork(sequence_id s) {
        const sequence_id copy = ring_.fork(s);
        const std::size_t used = std::min(static_cast<std::size_t>(ring_.length(copy)), options_.sinks) * row_bytes();
        for (std::size_t plane = 0; used != 0 && plane < 2 * shape().layers; ++plane)
            for (std::size_t h = 0; h < shape().kv_heads; ++h) {
                const auto rows = [&](sequence_id of) {
                    return sinks_.data() + plane * plane_bytes() + (of.index * shape().kv_heads + h) * options_.sinks * row_bytes();
                };
                std::memcpy(rows(copy), rows(s), used);
            }
        return copy;
    }

    /// Throws as a ring's does.
    std::span<const row_range> plan(std::span<const segment> segments) { return ring_.plan(segments); }
    void select(sequence_id s) { ring_.select(s); }

    std::tuple<sink_run<Codec>, window_run<Codec>> view(std::size_t layer) const noexcept {
        const auto [run] = ring_.view(layer);
        std::byte* keys = sinks_.data() + 2 * layer * plane_bytes();
        return {sink_run<Codec>(keys, keys + plane_bytes(), ring_.slots(), shape().kv_heads, options_.sinks, farthest(), row_bytes()),
                window_run<Codec>(run, options_.window, options_.sinks)};
    }

private:
    static ring_options ring_options_of(const window_options& o) {
        if (o.window == 0 || o.sinks > ring::longest || o.window > ring::longest - o.sinks)
            fail(errc::invalid_argument, "kv cache", "a window of ", o.window, " tokens and ", o.sinks,
                 " sinks; .window must be positive, and both together no more than ", ring::longest);
        return {.window = o.window, .step = o.step, .sequences = o.sequences, .context = o.context};
    }
    static std::size_t sink_bytes(const cache_shape& shape, const window_options& o) {
        return ((((checked_size(shape.layers, "kv cache") * 2) * o.sequences) * shape.kv_heads) * o.sinks * Codec::row_bytes(shape.width()))
            .size();
    }
    std::size_t row_bytes() const noexcept { return Codec::row_bytes(shape().width()); }
    std::size_t plane_bytes() const noexcept { return options_.sequences * shape().kv_heads * options_.sinks * row_bytes(); }

    window_options options_;
    ring ring_;
    buffer<> sinks_;
};

/// The policy: `window<f16>{{.window = 1024, .sinks = 4}}`.
template <class Codec = f16>
struct window {
    static_assert(require_codec<Codec>() && require_rotated<Codec>());
    using cache = window_cache<Codec>;
    window_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const noexcept { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return concat("window/", options.window, "+", options.sinks, ":", Codec::name); }
};

static_assert(turning_run<sink_run<f16>> && selective_run<window_run<f16>> && kv_cache<window_cache<f16>> && policy<window<f16>>);

}  // namespace skald::kv
