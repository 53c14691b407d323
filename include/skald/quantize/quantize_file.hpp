// SPDX-License-Identifier: MIT
#pragma once
// A GGUF file written again with its tensors in other formats. Tensors go one after another, in slabs of rows: memory holds a slab,
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
};

/// What mixtures ask about the model in a file; what it does not say has its default.
inline model_facts read_facts(const io::gguf_file& file) {
    const io::metadata& meta = file.meta();
    const std::string prefix = meta.get<std::string>("general.architecture").value_or("") + ".";
    const auto number = [&](std::string_view key) -> std::size_t {
        const io::metadata_value* v = meta.find(concat(prefix, key));  // some models have a list of one a layer
        return v == nullptr ? 0 : io::value_as<std::size_t>(*v).value_or(0);
    };
    const std::size_t heads = number("attention.head_count"), kv_heads = number("attention.head_count_kv");
    return {.layers = number("block_count"),
            .heads_per_kv_head = kv_heads == 0 ? 1 : heads / kv_heads,
            .experts = number("expert_count"),
            .tied = file.find("output.weight") == nullptr};
}

namespace detail {

/// One tensor on its way from one format to another.
template <format::float_vector V>
class conversion {
public:
    static constexpr std::uint64_t slab_bytes = 8 << 20;  // of each worker's share, decoded: large enough to keep it busy

    conversion(const io::gguf_file& in, const io::tensor_entry& t, dtype to, const options& o)
        : place_(concat(in.name(), ": tensor ", io::detail::in_quotes(t.name))),
          options_(o),
          entry_(t),
          to_(to),
          cols_(checked_size(t.cols(), place_).size()),
          rows_(checked_size(t.rows(), place_).size()),
          rows_a_matrix_(t.shape.size() < 2 ? 1 : static_cast<std::size_t>(t.shape[1])),
          decode_(format::decoder<V>(format::all{}, t.type, place_)),
          encode_(format::encoder_of<V>(format::written{}, to, place_)) {
        if (o.importance) importance_ = o.importance(t.name);
        const std::size_t matrices = rows_ / rows_a_matrix_;
        if (!importance_.empty() && importance_.size() != cols_ * matrices)
            fail(errc::invalid_argument, place_, "has ", matrices, " × ", cols_, " columns, but its importance ", importance_.size(),
                 " values");
    }

    /// Calls done(values) after each slab.
    template <class F>
    void run(const io::gguf_file& in, io::gguf_writer& out, F&& done) {
        const std::size_t workers = options_.pool == nullptr ? 1 : options_.pool->concurrency();
        const std::size_t rows = std::clamp<std::size_t>(slab_bytes / (cols_ * sizeof(float)), 1, ceil_div(rows_, workers));
        const std::size_t slab = std::min(rows_, rows * workers);
        const std::size_t from_bytes = row_bytes(entry_.type, cols_), to_bytes = row_bytes(to_, cols_);
        buffer<std::byte> encoded(slab * to_bytes);
        const std::span<const std::byte> source = in.bytes(entry_);
        for (std::size_t first = 0; first < rows_; first += slab) {
            if (options_.stop.stop_requested()) fail(errc::cancelled, place_, "cancelled at row ", first, " of ", rows_);
            const std::size_t count = std::min(slab, rows_ - first);
            const auto share = [&](std::size_t w) {
                buffer<float> row(cols_);
                for (std::size_t r = first + count * w / workers; r < first + count * (w + 1) / workers; ++r) {
                    decode_(source.data() + r * from_bytes, cols_ / info(entry_.type).block_size, row.data());
                    check(row.span(), r);
                    encode_(row.data(), cols_, importance_of_row(r), encoded.data() + (r - first) * to_bytes);
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

private:
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
    const io::tensor_entry& entry_;
    dtype to_;
    std::size_t cols_, rows_, rows_a_matrix_;
    std::span<const float> importance_;
    format::block_decoder decode_;
    format::row_encoder encode_;
};

}  // namespace detail

/// Writes `in` again to `out`, its matrices as the recipe has them; keys, names, order and other tensors stay. Keys for a split model
/// are left out: the result is as one file says, or split anew. V is the vector to compute with, as a backend's. Throws errc::io,
/// errc::bad_file for values that a format cannot hold, errc::unsupported for formats that cannot be read or written, and
/// errc::cancelled; then nothing of `out` is left, and a file that was there is as it was. `out` may be `in`.
template <format::float_vector V>
report quantize_file(const io::gguf_file& in, const std::filesystem::path& out, const recipe& how, const options& o = {}) {
    model_facts facts = read_facts(in);
    facts.importance = static_cast<bool>(o.importance);
    report result;
    std::vector<io::gguf_tensor> tensors;
    std::uint64_t total = 0, done = 0;
    for (const io::tensor_entry& t : in.tensors()) {
        dtype to = is_quantized(t.name, t.shape) ? type_in(how, t.name, t.cols(), facts) : t.type;
        if (o.override_type)
            if (const auto asked = o.override_type(t.name)) to = fitting(*asked, t.cols());
        tensors.push_back({t.name, to, t.shape});
        result.tensors.push_back({t.name, t.type, to, tensors.back().values(), t.bytes, tensors.back().bytes()});
        total += result.tensors.back().values;
    }

    io::gguf_keys keys(in.meta());
    keys.set("general.file_type", {io::value_kind::u32, std::uint64_t{how.file_type}});
    keys.set("general.quantization_version", {io::value_kind::u32, std::uint64_t{2}});
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) keys.erase(key);

    io::gguf_writer writer(out, keys, tensors, {.max_file_bytes = o.max_file_bytes});
    result.files = writer.shards();
    const auto advance = [&](std::uint64_t values) {
        done += values;
        if (o.progress) o.progress(done, total);
    };
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const io::tensor_entry& t = in.tensors()[i];
        if (tensors[i].type != t.type) {
            detail::conversion<V>(in, t, tensors[i].type, o).run(in, writer, advance);
        } else {
            writer.write(in.bytes(t));
            advance(result.tensors[i].values);
        }
    }
    writer.finish();
    return result;
}

}  // namespace skald::quantize
