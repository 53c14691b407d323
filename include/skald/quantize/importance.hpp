// SPDX-License-Identifier: MIT
#pragma once
// Importance matrices: for each matrix of a model the mean square of each of its inputs over a text. A weight's rounding error
// costs the product that much in the mean, so encoders weigh errors by it. Files are those of llama.cpp's imatrix, as GGUF.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/gguf_writer.hpp>

namespace skald::quantize {

/// The inputs of one tensor's matrices: for each its sums of squares and the rows that were summed.
struct input_squares {
    std::size_t cols = 0;
    std::vector<float> sums;    // (matrices, cols)
    std::vector<float> counts;  // (matrices)
};

/// What the text was, for the file's keys.
struct importance_source {
    std::string text;  ///< its name
    std::uint32_t chunks = 0, chunk_tokens = 0;
};

class importance_matrix {
public:
    importance_matrix() = default;

    /// Throws errc::bad_file for a file of another kind or with sums that cannot be: negative, not finite, without a count.
    static importance_matrix read(const io::gguf_file& file) {
        importance_matrix out;
        if (const auto type = file.meta().get<std::string_view>("general.type"); type && *type != "imatrix")
            fail(errc::bad_file, file.name(), "key 'general.type' is ", io::detail::in_quotes(*type), ", not 'imatrix'");
        for (const io::tensor_entry& t : file.tensors()) {
            if (!t.name.ends_with(sums_suffix)) continue;
            const std::string name = t.name.substr(0, t.name.size() - sums_suffix.size());
            const io::tensor_entry& counts = file.require(name + std::string(counts_suffix));
            input_squares one{static_cast<std::size_t>(t.cols()), floats(file, t), floats(file, counts)};
            if (one.counts.size() * one.cols != one.sums.size())
                fail(errc::bad_file, file.name(), "tensor ", io::detail::in_quotes(t.name), " has ", one.sums.size(), " sums of ", one.cols,
                     " columns for ", one.counts.size(), " counts");
            out.put(name, std::move(one));
        }
        if (out.means_.empty()) fail(errc::bad_file, file.name(), "has no tensor named '…", sums_suffix, "': it is no importance matrix");
        return out;
    }

    /// Adds a tensor's sums; what was there under that name is replaced.
    void put(std::string name, input_squares squares) {
        std::vector<float> mean = squares.sums;
        for (std::size_t m = 0; m < squares.counts.size(); ++m)
            for (float& x : std::span(mean).subspan(m * squares.cols, squares.cols))
                x = squares.counts[m] > 0 ? x / squares.counts[m] : 1;  // an expert that was never asked: all columns alike
        means_[name] = std::move(mean);
        squares_[std::move(name)] = std::move(squares);
    }

    /// A tensor's mean squares, or nothing. // (matrices, cols)
    std::span<const float> of(std::string_view tensor) const {
        const auto found = means_.find(tensor);
        return found == means_.end() ? std::span<const float>() : std::span<const float>(found->second);
    }

    std::size_t size() const noexcept { return means_.size(); }

    /// Writes it as llama.cpp does. Throws errc::io, and errc::invalid_argument for a tensor name too long for GGUF.
    void write(const std::filesystem::path& path, const importance_source& source) const {
        io::gguf_keys keys;
        const io::metadata_array texts(std::vector<std::string_view>{source.text});
        keys.set("general.type", {io::value_kind::string, std::string_view("imatrix")});
        keys.set("imatrix.datasets", {io::value_kind::array, &texts});
        keys.set("imatrix.chunk_count", {io::value_kind::u32, std::uint64_t{source.chunks}});
        keys.set("imatrix.chunk_size", {io::value_kind::u32, std::uint64_t{source.chunk_tokens}});
        std::vector<io::gguf_tensor> tensors;
        for (const auto& [name, squares] : squares_) {
            tensors.push_back({name + std::string(sums_suffix), dtype::f32, {squares.cols, squares.counts.size()}});
            tensors.push_back({name + std::string(counts_suffix), dtype::f32, {1, squares.counts.size()}});
        }
        io::gguf_writer writer(path, keys, tensors);
        for (const auto& [name, squares] : squares_) {
            writer.write(std::as_bytes(std::span(squares.sums)));
            writer.write(std::as_bytes(std::span(squares.counts)));
        }
        writer.finish();
    }

private:
    static constexpr std::string_view sums_suffix = ".in_sum2", counts_suffix = ".counts";

    static std::vector<float> floats(const io::gguf_file& file, const io::tensor_entry& t) {
        const auto refuse = [&](const auto&... parts) {
            fail(errc::bad_file, file.name(), "tensor ", io::detail::in_quotes(t.name), " ", parts...);
        };
        if (t.type != dtype::f32) refuse("is of the type ", to_string(t.type), ", not f32");
        std::vector<float> out(static_cast<std::size_t>(t.bytes / sizeof(float)));
        file.read(t, std::as_writable_bytes(std::span(out)));
        for (std::size_t i = 0; i < out.size(); ++i)
            if (!(out[i] >= 0 && std::isfinite(out[i])))
                refuse("has the value ", out[i], " at ", i, "; sums of squares and counts cannot be that");
        return out;
    }

    std::map<std::string, input_squares, std::less<>> squares_;
    std::map<std::string, std::vector<float>, std::less<>> means_;
};

}  // namespace skald::quantize
