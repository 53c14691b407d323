// SPDX-License-Identifier: MIT
#pragma once
// Rows of activations and what products read instead of them: int8 blocks and bf16, encoded once however many matrices ask.
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <skald/backend/cpu/parallel.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// 32 activations: value i ≈ scale · q[i], with scale = max |value| / 127 and q rounded to nearest, ties to even.
struct int8_block {
    static constexpr std::size_t size = 32;

    std::int8_t q[size];
    float scale;
    float sum;              ///< scale · Σq, for the minima of weights
    std::int32_t start[2];  ///< -128 · Σq and -8 · Σq: where a dot product with codes around 128 or 8 begins

    template <int Zero>
    SKALD_INLINE std::int32_t start_for() const noexcept {
        static_assert(Zero == 128 || Zero == 8 || Zero == 0);
        return Zero == 0 ? 0 : start[Zero == 8];
    }
};

/// Encodes 32 floats.
template <class Arch>
SKALD_INLINE void encode_int8(const float* x, int8_block& out) noexcept {
    using V = simd<Arch>;
    const V a = V::load(x), b = V::load(x + lanes);
    const float greatest = reduce_max(max(abs(a), abs(b)));
    const V inverse = V::broadcast(greatest > 0.0f ? 127.0f / greatest : 0.0f);
    (a * inverse).store_i8(out.q);
    (b * inverse).store_i8(out.q + lanes);
    // Sums of bytes: psadbw adds unsigned ones, so 128 is added to each and 32 · 128 taken off.
    const __m128i flip = _mm_set1_epi8(-128), zero = _mm_setzero_si128();
    const auto* q = reinterpret_cast<const __m128i*>(out.q);
    const __m128i sums = _mm_add_epi32(_mm_sad_epu8(_mm_xor_si128(_mm_loadu_si128(q), flip), zero),
                                       _mm_sad_epu8(_mm_xor_si128(_mm_loadu_si128(q + 1), flip), zero));
    const std::int32_t sum = _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums))) - 32 * 128;
    out.scale = greatest / 127.0f;
    out.sum = out.scale * static_cast<float>(sum);
    out.start[0] = -128 * sum;
    out.start[1] = -8 * sum;
}

/// Which encodings a product reads.
enum encoding : unsigned { plain = 0, int8 = 1, bf16_pairs = 2 };

/// Rows of floats (rows, cols), dense, and their encodings. Move-only; memory is taken once, for the greatest size.
/// Ops that produce rows call begin(), fill rows, encode each while it is in the cache with finish(row), and end(). What they
/// encode is what the last product asked for; a product encodes what is missing, so that results never depend on it.
template <class Arch>
class activations {
public:
    activations(std::size_t rows, std::size_t cols, bool encoded, std::pmr::memory_resource* memory)
        : max_rows_(rows),
          max_cols_(cols),
          values_(rows * cols, memory),
          int8_(encoded ? rows * (cols / int8_block::size) : 0, memory),
          pairs_(encoded && has_bf16_dot ? rows * round_up(cols, 2) : 0, memory) {}

    static std::size_t bytes(std::size_t rows, std::size_t cols, bool encoded) noexcept {
        std::size_t total = buffer<float>::bytes_for(rows * cols);
        if (encoded) total += buffer<int8_block>::bytes_for(rows * (cols / int8_block::size));
        if (encoded && has_bf16_dot) total += buffer<bfloat16>::bytes_for(rows * round_up(cols, 2));
        return total;
    }

    /// Throws errc::invalid_argument beyond the size it was made for. Contents are lost.
    void resize(std::size_t rows, std::size_t cols) {
        if (rows > max_rows_ || cols > max_cols_)
            fail(errc::invalid_argument, "activations", rows, " × ", cols, " values, in room for ", max_rows_, " × ", max_cols_);
        rows_ = rows;
        cols_ = cols;
        present_ = plain;
    }

    std::size_t rows() const noexcept { return rows_; }
    std::size_t cols() const noexcept { return cols_; }

    /// The rows, to write; encodings made before are forgotten. // (rows, cols)
    matrix_view<float> values() noexcept {
        present_ = plain;
        return {values_.data(), {rows_, cols_}};
    }
    matrix_view<const float> values() const noexcept { return {values_.data(), {rows_, cols_}}; }

    float* begin() noexcept { return values().data(); }
    SKALD_INLINE void finish(std::size_t row) noexcept { encode(row, wanted_); }
    void end() noexcept { present_ = wanted_; }

    /// Makes these encodings present.
    void require(unsigned encodings, const workers& w) {
        wanted_ = encodings;
        const unsigned missing = encodings & ~present_;
        if (missing == plain) return;
        w.split(rows_, 1 + 8192 / (cols_ + 1), [&](std::size_t begin, std::size_t end) {
            for (std::size_t r = begin; r < end; ++r) encode(r, missing);
        });
        present_ |= missing;
    }

    const float* row(std::size_t r) const noexcept { return values_.data() + r * cols_; }
    const int8_block* int8_row(std::size_t r) const noexcept { return int8_.data() + r * (cols_ / int8_block::size); }
    const bfloat16* pairs_row(std::size_t r) const noexcept { return pairs_.data() + r * round_up(cols_, 2); }

private:
    void encode(std::size_t r, unsigned encodings) noexcept {
        const float* x = row(r);
        if (encodings & int8) {
            int8_block* out = int8_.data() + r * (cols_ / int8_block::size);
            for (std::size_t b = 0; b < cols_ / int8_block::size; ++b) encode_int8<Arch>(x + b * int8_block::size, out[b]);
        }
        if (encodings & bf16_pairs) {
            bfloat16* out = pairs_.data() + r * round_up(cols_, 2);
            std::size_t k = 0;
            for (; k + lanes <= cols_; k += lanes) simd<Arch>::load(x + k).store_bfloat16(out + k);
            for (; k < cols_; ++k) out[k] = to_bfloat16(x[k]);
            if (cols_ % 2 != 0) out[cols_] = bfloat16{};
        }
    }

    std::size_t max_rows_, max_cols_, rows_ = 0, cols_ = 0;
    unsigned wanted_ = plain, present_ = plain;
    buffer<float> values_;
    buffer<int8_block> int8_;
    buffer<bfloat16> pairs_;
};

}  // namespace skald::inline SKALD_ISA::kernels
