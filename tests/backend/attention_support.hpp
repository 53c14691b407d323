// SPDX-License-Identifier: MIT
#pragma once
// A cache for the attention tests: per segment an array of encoded heads, cut into two runs at a position of choice.
#include <cstddef>
#include <tuple>
#include <vector>

#include <skald/kv/codec.hpp>

#include "backend/support.hpp"

namespace skald::test {

template <class Codec>
struct plain_run {
    using codec = Codec;
    std::byte* keys;
    std::byte* values;
    position first, last;  // of every segment
    std::size_t segment_bytes, head_bytes, row_stride;

    position begin(std::size_t) const { return first; }
    position end(std::size_t) const { return last; }
    std::size_t at(std::size_t segment, std::size_t head, position p) const {
        return segment * segment_bytes + head * head_bytes + static_cast<std::size_t>(p) * row_stride;
    }
    std::byte* key(std::size_t segment, std::size_t head, position p) const { return keys + at(segment, head, p); }
    std::byte* value(std::size_t segment, std::size_t head, position p) const { return values + at(segment, head, p); }
    std::size_t row_bytes() const { return row_stride; }
    std::size_t stretch(position p) const { return 3 - static_cast<std::size_t>(p) % 3; }  // uneven pieces
};

/// Keys and values of `segments` sequences of `length` tokens, filled with random heads. Bytes nobody may read are NaNs.
template <class Codec>
class plain_cache {
public:
    plain_cache(const attention_shape& shape, std::size_t segments, std::size_t length, unsigned seed)
        : shape_(shape), length_(length), row_bytes_(Codec::row_bytes(round_up(shape.head_dim, kv::lane_count))) {
        keys_.assign(segments * shape.kv_heads * room() * row_bytes_, std::byte{0xff});
        values_ = keys_;
        const std::size_t width = round_up(shape.head_dim, kv::lane_count);
        std::vector<float> head(width);
        const auto whole = run(0, length);
        for (std::size_t s = 0; s < segments; ++s)
            for (std::size_t h = 0; h < shape.kv_heads; ++h)
                for (std::size_t p = 0; p < length; ++p)
                    for (const bool key : {true, false}) {
                        const std::vector<float> x = random_floats(shape.head_dim, ++seed);
                        std::copy(x.begin(), x.end(), head.begin());
                        const auto at = static_cast<position>(p);
                        Codec::template encode<format::scalar>(head.data(), width, key ? whole.key(s, h, at) : whole.value(s, h, at));
                    }
    }

    plain_run<Codec> run(std::size_t first, std::size_t last) {
        return {keys_.data(),
                values_.data(),
                static_cast<position>(first),
                static_cast<position>(last),
                shape_.kv_heads * room() * row_bytes_,
                room() * row_bytes_,
                row_bytes_};
    }
    auto runs() { return std::tuple(run(0, length_)); }
    auto runs(std::size_t cut) { return std::tuple(run(0, cut), run(cut, length_)); }

private:
    std::size_t room() const { return length_ + 3; }

    attention_shape shape_;
    std::size_t length_, row_bytes_;
    std::vector<std::byte> keys_, values_;
};

/// q of all ranges through attend(). // (rows, heads · head_dim)
template <class Backend, class Variant, class Runs>
std::vector<float> attend(const Backend& backend, const std::vector<float>& q, const attention_shape& shape, const Variant& variant,
                          std::span<const row_range> ranges, const Runs& runs) {
    const std::size_t cols = shape.heads * shape.head_dim, rows = q.size() / cols;
    auto out = backend.make_activations(rows, cols);
    out.resize(rows, cols);
    auto scratch = backend.make_scratch(shape);
    backend.attend({q.data(), {rows, cols}}, shape, variant, ranges, runs, out, scratch);
    const auto values = std::as_const(out).values();
    return {values.data(), values.data() + rows * cols};
}

}  // namespace skald::test
