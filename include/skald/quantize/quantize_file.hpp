// SPDX-License-Identifier: MIT
#pragma once
// A model written as a GGUF file with its tensors in other formats. Tensors go one after another, in slabs of rows: memory holds a slab,
// never a model.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/executor.hpp>
#include <skald/format/encode.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/gguf_writer.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/quantize/content.hpp>
#include <skald/quantize/recipe.hpp>

namespace skald::quantize {

/// The importance of a tensor's columns: mean squares of what they are multiplied by; for the matrices of experts one list after the
/// other. Empty: not known. // (matrices, cols)
using importance_of = std::function<std::span<const float>(std::string_view tensor)>;

struct options {
    std::function<std::optional<dtype>(std::string_view tensor)> override_type{};  ///< goes before the recipe's choice
    importance_of importance{};
    executor* pool = nullptr;                                                 ///< runs the parallel parts; null: the calling thread
    std::function<void(std::uint64_t done, std::uint64_t total)> progress{};  ///< in values
    std::stop_token stop{};                                                   ///< ends the work with errc::cancelled
    std::uint64_t max_file_bytes = 0;                                         ///< see io::gguf_writer_options
};

/// What became of a tensor.
struct tensor_report {
    std::string name;
    dtype from, to;
    std::uint64_t values, bytes_before, bytes;
};

struct report {
    std::vector<tensor_report> tensors;
    std::size_t files = 1;
    std::vector<std::string> notes{};  ///< see content::notes
};

namespace detail {

/// One tensor on its way from one format to another.
template <format::float_vector V>
class conversion {
public:
    static constexpr std::uint64_t slab_bytes = 8 << 20;  // of each worker's share, decoded: large enough to keep it busy

    conversion(const content& in, const content_tensor& t, dtype to, const options& o)
        : place_(concat(in.file, ": tensor ", io::detail::in_quotes(t.name))),
          options_(o),
          tensor_(t),
          to_(to),
          cols_(checked_size(t.shape[0], place_).size()),
          rows_a_matrix_(t.shape.size() < 2 ? 1 : static_cast<std::size_t>(t.shape[1])) {
        for (const stretch& s : t.stretches) rows_ += s.rows;
        if (o.importance) importance_ = o.importance(t.name);
        const std::size_t matrices = rows_ / rows_a_matrix_;
        if (!importance_.empty() && importance_.size() != cols_ * matrices)
            fail(errc::invalid_argument, place_, "has ", matrices, " × ", cols_, " columns, but its importance ", importance_.size(),
                 " values");
    }

    /// Calls done(values) after each slab.
    template <class F>
    void run(io::gguf_writer& out, F&& done) {
        std::size_t first = 0;
        for (const stretch& s : tensor_.stretches) {
            const std::byte* source = s.read();
            if (s.type == to_ && tensor_.order.turned == 0) {
                check_stop(first);
                out.write({source, s.rows * row_bytes(to_, cols_)});
                done(s.rows * cols_);
            } else {
                convert(s, source, first, out, done);
            }
            s.release();
            first += s.rows;
        }
    }

private:
    template <class F>
    void convert(const stretch& s, const std::byte* source, std::size_t first_row, io::gguf_writer& out, F&& done) {
        const auto decode = format::decoder<V>(format::all{}, s.type, place_);
        const auto encode = format::encoder_of<V>(format::written{}, to_, place_);
        const std::size_t workers = options_.pool == nullptr ? 1 : options_.pool->concurrency();
        const std::size_t rows = std::clamp<std::size_t>(slab_bytes / (cols_ * sizeof(float)), 1, ceil_div(s.rows, workers));
        const std::size_t slab = std::min(s.rows, rows * workers);
        const std::size_t from_bytes = row_bytes(s.type, cols_), to_bytes = row_bytes(to_, cols_);
        const bool is_vector = rows_ == 1;
        buffer<std::byte> encoded(slab * to_bytes);
        for (std::size_t first = 0; first < s.rows; first += slab) {
            check_stop(first_row + first);
            const std::size_t count = std::min(slab, s.rows - first);
            const auto share = [&](std::size_t w) {
                buffer<float> row(cols_), turned(is_vector ? cols_ : 0);
                for (std::size_t r = first + count * w / workers; r < first + count * (w + 1) / workers; ++r) {
                    const std::size_t from = is_vector ? r : tensor_.order(r);
                    decode(source + from * from_bytes, cols_ / info(s.type).block_size, row.data());
                    for (std::size_t i = 0; i < turned.size(); ++i) turned[i] = row[tensor_.order(i)];
                    const std::span<const float> values = is_vector ? turned.span() : row.span();
                    check(values, first_row + r);
                    encode(values.data(), cols_, importance_of_row(first_row + r), encoded.data() + (r - first) * to_bytes);
                }
            };
            if (options_.pool == nullptr)
                share(0);
            else
                options_.pool->run(workers, share);
            out.write(encoded.span().first(count * to_bytes));
            done(count * cols_);
        }
    }

    void check_stop(std::size_t row) const {
        if (options_.stop.stop_requested()) fail(errc::cancelled, place_, "cancelled at row ", row, " of ", rows_);
    }

    /// Scales are binary16 numbers; f32 and bf16 hold whatever a float can be.
    void check(std::span<const float> row, std::size_t r) const {
        if (to_ == dtype::f32 || to_ == dtype::bf16) return;
        for (std::size_t i = 0; i < row.size(); ++i)
            if (!(std::abs(row[i]) <= 65504.0f))
                fail(errc::bad_file, place_, "row ", r, " column ", i, " is ", row[i], ", which ", to_string(to_),
                     " cannot hold (at most 65504); keep it as f32 or bf16");
    }

    const float* importance_of_row(std::size_t r) const noexcept {
        return importance_.empty() ? nullptr : importance_.data() + r / rows_a_matrix_ * cols_;
    }

    std::string place_;
    const options& options_;
    const content_tensor& tensor_;
    dtype to_;
    std::size_t cols_, rows_ = 0, rows_a_matrix_;
    std::span<const float> importance_;
};

}  // namespace detail

/// Writes a model to `out` as GGUF, its matrices as the recipe has them; keys, names, order and other tensors as the content has them.
/// V is the vector to compute with, as a backend's. Throws errc::io, errc::bad_file for values that a format cannot hold,
/// errc::unsupported for formats that cannot be read or written, and errc::cancelled; then nothing of `out` is left, and a file that was
/// there is as it was.
template <format::float_vector V>
report quantize_content(content in, const std::filesystem::path& out, const recipe& how, const options& o = {}) {
    in.facts.importance = static_cast<bool>(o.importance);
    report result;
    result.notes = std::move(in.notes);
    std::vector<io::gguf_tensor> tensors;
    std::uint64_t total = 0, done = 0;
    for (const content_tensor& t : in.tensors) {
        dtype to = is_quantized(t.name, t.shape) ? type_in(how, t.name, t.shape[0], in.facts) : t.plain;
        if (o.override_type)
            if (const auto asked = o.override_type(t.name)) to = fitting(*asked, t.shape[0]);
        tensors.push_back({t.name, to, t.shape});
        const std::uint64_t values = tensors.back().values();
        const dtype from = t.stretches.front().type;
        const auto before = (checked_size(values / info(from).block_size, in.file) * info(from).block_bytes).value();
        result.tensors.push_back({t.name, from, to, values, before, tensors.back().bytes()});
        total += values;
    }
    in.keys.put("general.file_type", how.file_type);
    in.keys.put("general.quantization_version", std::uint32_t{2});

    io::gguf_writer writer(out, in.keys, tensors, {.max_file_bytes = o.max_file_bytes});
    result.files = writer.shards();
    const auto advance = [&](std::uint64_t values) {
        done += values;
        if (o.progress) o.progress(done, total);
    };
    for (std::size_t i = 0; i < tensors.size(); ++i) detail::conversion<V>(in, in.tensors[i], tensors[i].type, o).run(writer, advance);
    writer.finish();
    return result;
}

/// Writes a GGUF file again, but for its keys of a split model: the result is as one file says, or split anew. `out` may be `in`.
template <format::float_vector V>
report quantize_file(const io::gguf_file& in, const std::filesystem::path& out, const recipe& how, const options& o = {}) {
    return quantize_content<V>(content_of(in), out, how, o);
}

/// Writes a Hugging Face folder as a GGUF file; see content_of.
template <format::float_vector V>
report quantize_file(const io::hf_folder& in, const std::filesystem::path& out, const recipe& how, const options& o = {}) {
    return quantize_content<V>(content_of(in), out, how, o);
}

}  // namespace skald::quantize
