// SPDX-License-Identifier: MIT
#pragma once
// The keys and values of a chunk of tokens as bytes: bins whose size depends on quality, layer and spread, the anchors, and every channel
// by delta_coder.hpp. A chunk needs no other one.
//
// Anchors are rows that many later ones attend to, and whose error all of them would see: the first tokens of a sequence, and those whose
// value is much shorter than others of its layer and head, which is where attention rests that finds nothing (StreamingLLM, Xiao et al.
// 2023). They are coded eight times finer.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/transport/delta_coder.hpp>
#include <skald/kv/transport/range_coder.hpp>
#include <skald/kv/transport/symbol_model.hpp>

namespace skald::kv::detail {

inline constexpr std::size_t encoded_chunk = 256;  // tokens
inline constexpr std::size_t first_anchors = 4;    // tokens of a sequence
inline constexpr float anchor_length = 0.5f;       // of the median length of values

/// Sizes of bins, as shares of the root mean square of what keys or values differ from their channel's mean: of the first, middle and
/// last third of the layers.
struct bin_sizes {
    std::array<float, 3> keys, values;
};

/// The keys and values of one layer of a chunk.
inline std::size_t chunk_floats(const cache_shape& shape, std::string_view place) {
    return (((checked_size(encoded_chunk, place) * 2) * shape.kv_heads) * shape.head_dim).size();
}

/// Which of bin_sizes a layer has.
inline std::size_t third_of(std::size_t layer, std::size_t layers) noexcept { return 3 * layer / layers; }

/// Encodes chunks.
class chunk_encoder {
public:
    chunk_encoder(const cache_shape& shape, std::string_view place, std::pmr::memory_resource* memory)
        : shape_(shape),
          memory_(memory),
          tables_(memory),
          channels_(shape.head_dim, encoded_chunk, place, memory),
          rows_(chunk_floats(shape, place), memory),
          anchors_((checked_size(encoded_chunk, place) * shape.kv_heads).size(), memory),
          numbers_(encoded_chunk, memory),
          lengths_(2 * encoded_chunk, memory) {}

    /// Hands the bytes of `count` tokens from `first` on to `use`. load(layer, keys and values) fills // (2, kv_heads, count, head_dim)
    template <class Load, class Use>
    void encode(std::size_t first, std::size_t count, const bin_sizes& bins, Load&& load, Use&& use) {
        range_encoder out(memory_);
        channel_models keys, values;
        counting_model<2> flags;
        const std::size_t plane = count * shape_.head_dim, heads = shape_.kv_heads;
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            const std::span<float> rows = rows_.span().first(2 * heads * plane);
            load(layer, rows);
            for (float& x : rows)
                if (!std::isfinite(x)) x = 0;
            for (std::size_t h = 0; h < heads; ++h)
                find_anchors(rows.subspan((heads + h) * plane, plane), first, anchors_.span().subspan(h * count, count));
            const std::size_t third = third_of(layer, shape_.layers);
            const float unit_of_keys = unit(rows.first(heads * plane), count, bins.keys[third]);
            const float unit_of_values = unit(rows.subspan(heads * plane), count, bins.values[third]);
            put_float(out, unit_of_keys);
            put_float(out, unit_of_values);
            for (std::size_t h = 0; h < heads; ++h) {
                const std::span<const std::uint8_t> anchor(anchors_.data() + h * count, count);
                for (const std::uint8_t a : anchor) flags.put(out, a);
                put_rows(out, keys, rows.subspan(h * plane, plane), unit_of_keys, anchor);
                put_rows(out, values, rows.subspan((heads + h) * plane, plane), unit_of_values, anchor);
            }
        }
        use(out.finish());
    }

private:
    static void put_float(range_encoder& out, float x) {
        const auto bits = std::bit_cast<std::uint32_t>(x);
        out.put_bits(bits >> 16, 16);
        out.put_bits(bits & 0xffff, 16);
    }

    void find_anchors(std::span<const float> values, std::size_t first, std::span<std::uint8_t> anchor) noexcept {
        const std::size_t n = anchor.size(), width = shape_.head_dim;
        const std::span<float> lengths = lengths_.span().first(n), sorted = lengths_.span().subspan(encoded_chunk, n);
        for (std::size_t i = 0; i < n; ++i) {
            double squares = 0;
            for (std::size_t c = 0; c < width; ++c)
                squares += static_cast<double>(values[i * width + c]) * static_cast<double>(values[i * width + c]);
            sorted[i] = lengths[i] = static_cast<float>(std::sqrt(squares));
        }
        const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(n / 2);
        std::nth_element(sorted.begin(), middle, sorted.end());
        for (std::size_t i = 0; i < n; ++i) anchor[i] = first + i < first_anchors || lengths[i] < anchor_length * *middle ? 1 : 0;
    }

    /// An eighth of the bins' size. Channels that hardly differ from their means still need them. // rows: (kv_heads, count, head_dim)
    float unit(std::span<const float> rows, std::size_t count, float share) const noexcept {
        constexpr double least_share = 1.0 / 1024;  // of the values' root mean square
        const std::size_t width = shape_.head_dim;
        double squares = 0, differences = 0;
        std::size_t differing = 0;
        for (std::size_t h = 0; h < shape_.kv_heads; ++h)
            for (std::size_t c = 0; c < width; ++c) {
                const float* x = rows.data() + h * count * width + c;
                double sum = 0, square = 0;
                std::size_t some = 0;
                for (std::size_t i = 0; i < count; ++i) {
                    const auto value = static_cast<double>(x[i * width]);
                    squares += value * value;
                    if (anchors_[h * count + i] != 0) continue;
                    sum += value;
                    square += value * value;
                    ++some;
                }
                if (some != 0) differences += std::max(0.0, square - sum * sum / static_cast<double>(some));
                differing += some;
            }
        const double whole = std::sqrt(squares / static_cast<double>(rows.size()));
        const double spread = differing != 0 ? std::sqrt(differences / static_cast<double>(differing)) : whole;
        const double size = std::max(spread * static_cast<double>(share), whole * least_share) / units_a_bin;
        return size > 1e-30 ? static_cast<float>(std::min(size, 1e30)) : 0.0f;
    }

    // rows: (count, head_dim)
    void put_rows(range_encoder& out, channel_models& models, std::span<const float> rows, float unit,
                  std::span<const std::uint8_t> anchor) {
        const std::size_t n = anchor.size(), width = shape_.head_dim;
        const std::span<std::int32_t> values = numbers_.span().first(n);
        const float inverse = unit > 0 ? 1.0f / unit : 0.0f;
        constexpr auto most = static_cast<float>(most_units);
        for (std::size_t c = 0; c < width; ++c) {
            for (std::size_t i = 0; i < n; ++i)
                values[i] = static_cast<std::int32_t>(std::nearbyint(std::clamp(rows[i * width + c] * inverse, -most, most)));
            channels_.put(out, models, tables_, c, values, anchor);
        }
    }

    cache_shape shape_;
    std::pmr::memory_resource* memory_;
    bell_tables tables_;
    delta_encoder channels_;
    buffer<float> rows_;
    buffer<std::uint8_t> anchors_;  // (kv_heads, tokens)
    buffer<std::int32_t> numbers_;
    buffer<float> lengths_;
};

/// Decodes them.
class chunk_decoder {
public:
    chunk_decoder(const cache_shape& shape, std::string_view place, std::pmr::memory_resource* memory)
        : shape_(shape),
          place_(place),
          tables_(memory),
          channels_(shape.head_dim, encoded_chunk, place, memory),
          rows_(chunk_floats({.layers = 1, .kv_heads = 1, .head_dim = shape.head_dim}, place), memory) {}

    /// The most bytes that a chunk of `count` tokens can have: no symbol costs more than 8.
    static std::uint64_t most_bytes(const cache_shape& shape, std::size_t count, std::string_view place) {
        return (((checked_size(shape.head_dim, place) * 2 * (count + 4 + 2 * most_neighbours) + count) * shape.kv_heads + 8) *
                    shape.layers * 8 +
                64)
            .value();
    }

    /// Calls store(layer, head, keys, values) for every layer and head in order, each // (count, head_dim); it may change them. Throws
    /// errc::bad_file for bytes that encode() did not write, as far as that shows; values are finite in any case.
    template <class Store>
    void decode(std::span<const std::byte> bytes, std::size_t count, Store&& store) {
        range_decoder in(bytes);
        channel_models keys, values;
        counting_model<2> flags;
        const std::size_t plane = count * shape_.head_dim;
        std::array<std::uint8_t, encoded_chunk> anchor{};
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            const float unit_of_keys = get_unit(in), unit_of_values = get_unit(in);
            for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                for (std::size_t i = 0; i < count; ++i) anchor[i] = static_cast<std::uint8_t>(flags.get(in));
                const std::span<float> k = rows_.span().first(plane), v = rows_.span().subspan(plane, plane);
                get_rows(in, keys, k, unit_of_keys, std::span(anchor).first(count));
                get_rows(in, values, v, unit_of_values, std::span(anchor).first(count));
                store(layer, h, k, v);
            }
        }
        if (!in.at_end()) fail(errc::bad_file, place_, "a chunk of ", bytes.size(), " bytes does not end where its values do");
    }

private:
    float get_unit(range_decoder& in) const {
        const std::uint32_t high = in.get_bits(16), bits = high << 16 | in.get_bits(16);
        const auto unit = std::bit_cast<float>(bits);
        if (!(unit >= 0 && unit <= 1e30f))
            fail(errc::bad_file, place_, "the size of a chunk's bins is ", unit, "; it must be from 0 to 1e30");
        return unit;
    }

    void get_rows(range_decoder& in, channel_models& models, std::span<float> rows, float unit,
                  std::span<const std::uint8_t> anchor) noexcept {
        for (std::size_t c = 0; c < shape_.head_dim; ++c)
            channels_.get(in, models, tables_, c, anchor,
                          [&](std::size_t i, std::int32_t value) { rows[i * shape_.head_dim + c] = static_cast<float>(value) * unit; });
    }

    cache_shape shape_;
    std::string_view place_;
    bell_tables tables_;
    delta_decoder channels_;
    buffer<float> rows_;
};

}  // namespace skald::kv::detail
