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
    std::size_t segment_bytes, head_bytes, row_stride, block;

    position begin(std::size_t) const { return first; }
    position end(std::size_t) const { return last; }
    std::size_t at(std::size_t segment, std::size_t head, position p) const {
        return segment * segment_bytes + head * head_bytes + static_cast<std::size_t>(p) * row_stride;
    }
    std::byte* key(std::size_t segment, std::size_t head, position p) const { return keys + at(segment, head, p); }
    std::byte* value(std::size_t segment, std::size_t head, position p) const { return values + at(segment, head, p); }
    std::size_t row_bytes() const { return row_stride; }
    std::size_t stretch(position p) const { return block - static_cast<std::size_t>(p) % block; }
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

    plain_run<Codec> run(std::size_t first, std::size_t last, std::size_t block = 3) {
        return {keys_.data(),
                values_.data(),
                static_cast<position>(first),
                static_cast<position>(last),
                shape_.kv_heads * room() * row_bytes_,
                room() * row_bytes_,
                row_bytes_,
                block};
    }
    /// Of stretches that kernels read whole, and of such that they cannot.
    auto runs() { return std::tuple(run(0, length_, 16)); }
    auto runs(std::size_t cut) { return std::tuple(run(0, cut, 3), run(cut, length_, 8)); }

private:
    std::size_t room() const { return length_ + 3; }

    attention_shape shape_;
    std::size_t length_, row_bytes_;
    std::vector<std::byte> keys_, values_;
};

/// Rows of q one after another through one backend.
template <class Backend>
class attending {
public:
    attending(const Backend& backend, const attention_shape& shape, std::size_t most_rows)
        : backend_(backend),
          shape_(shape),
          out_(backend.make_activations(most_rows, shape.heads * shape.head_dim)),
          scratch_(backend.make_scratch(shape)) {}

    /// q: (rows, heads · head_dim), the rows of all ranges; their results are added to `to`.
    template <class Variant, class Runs>
    void add(std::span<const float> q, const Variant& variant, std::span<const row_range> ranges, const Runs& runs,
             std::vector<float>& to) {
        const std::size_t cols = shape_.heads * shape_.head_dim, rows = q.size() / cols;
        out_.resize(rows, cols);
        backend_.attend({q.data(), {rows, cols}}, shape_, variant, ranges, runs, out_, scratch_);
        const auto values = std::as_const(out_).values();
        to.insert(to.end(), values.data(), values.data() + rows * cols);
    }

private:
    const Backend& backend_;
    attention_shape shape_;
    decltype(std::declval<const Backend&>().make_activations(1, 1)) out_;
    decltype(std::declval<const Backend&>().make_scratch(std::declval<const attention_shape&>())) scratch_;
};

/// q of all ranges through attend(). // (rows, heads · head_dim)
template <class Backend, class Variant, class Runs>
std::vector<float> attend(const Backend& backend, const std::vector<float>& q, const attention_shape& shape, const Variant& variant,
                          std::span<const row_range> ranges, const Runs& runs) {
    std::vector<float> out;
    attending(backend, shape, q.size() / (shape.heads * shape.head_dim)).add(q, variant, ranges, runs, out);
    return out;
}

/// Rows 0 … length - 1 in steps of `chunk`.
template <class Backend, class Variant, class Runs>
std::vector<float> in_chunks(const Backend& backend, const std::vector<float>& q, const attention_shape& shape, const Variant& variant,
                             std::size_t length, std::size_t chunk, const Runs& runs) {
    const std::size_t cols = shape.heads * shape.head_dim;
    attending steps(backend, shape, chunk);
    std::vector<float> out;
    for (std::size_t at = 0; at < length; at += chunk) {
        const row_range range{0, std::min(chunk, length - at), static_cast<position>(at)};
        steps.add(std::span(q).subspan(at * cols, range.rows * cols), variant, std::span(&range, 1), runs, out);
    }
    return out;
}

/// Attention against the naive backend.
/// A convex combination of values of magnitude about 1, with weights e^s: c · eps, with room for the scores' own rounding. Words round
/// each operand by 2^-16 of a row's length, some sqrt(head_dim), and weights by 2^-16 of theirs; scores are scale · sqrt(head_dim)
/// products.
inline double tolerance_of(compute policy, float scale, std::size_t head_dim) {
    if (policy == compute::exact) return 64 * std::numeric_limits<float>::epsilon();
    const double length = std::sqrt(static_cast<double>(head_dim));
    return 16.0 / 65536 * (4 + scale * length * length);
}

template <class Arch, class Codec, class Variant>
void check(const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges, std::size_t length, std::size_t cut) {
    CAPTURE(shape.heads, shape.kv_heads, shape.head_dim, length, cut);
    plain_cache<Codec> cache(shape, ranges.size(), length, 1);
    std::size_t rows = 0;
    for (const row_range& r : ranges) rows += r.rows;
    const std::vector<float> q = random_floats(rows * shape.heads * shape.head_dim, 2);
    const std::vector<float> want = attend(reference::naive(), q, shape, variant, ranges, cache.runs());
    for (const compute policy : {compute::exact, compute::native}) {
        const cpu<Arch> backend({.policy = policy});
        const std::vector<float> got = attend(backend, q, shape, variant, ranges, cache.runs());
        const double tolerance = tolerance_of(policy, variant.scale, shape.head_dim);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < want.size(); ++i) wrong += !(std::fabs(got[i] - want[i]) <= tolerance);
        CHECK(wrong == 0);
        CHECK(same_bits(attend(backend, q, shape, variant, ranges, cache.runs(cut)), got));
    }
}

}  // namespace skald::test
