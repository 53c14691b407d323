// SPDX-License-Identifier: MIT
#pragma once
// A model's matrices in a file of packed weights: where each one lies, what binds the file to the model's own, and how it is written.
// The places follow from the model and the backend; the file is not asked.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include <skald/backend/ops.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/io/packed_file.hpp>
#include <skald/model/identity.hpp>
#include <skald/model/load_options.hpp>
#include <skald/model/source.hpp>

namespace skald {

/// How a matrix of that role lies in memory. Tables that rows are looked up in, and never multiplied with, keep the rows of the file.
inline packing packing_of(tensor_role role, const model_source& source, packing wanted) {
    const bool table = role == tensor_role::position_embedding || (role == tensor_role::token_embedding && source.has(tensor_role::output));
    return table ? packing::none : wanted;
}

/// An open file of a model's packed matrices.
template <viewing_backend Backend>
class packed_weights {
public:
    /// Bytes of the file that would hold them.
    static std::size_t file_bytes(const Backend& backend, const model_source& source, packing wanted) {
        return io::packed_file::head_bytes + static_cast<std::size_t>(plan(backend, source, wanted).seal.bytes);
    }

    /// Opens the file that the options name. One that is not there, or is not this model's, or is damaged, is written anew, and the logger
    /// told so. Throws errc::io if it cannot be written, errc::cancelled, and what the backend throws.
    static packed_weights open(const Backend& backend, const model_source& source, const load_options& options) {
        places where = plan(backend, source, options.packing);
        const io::open_options how{.copy = options.copy, .memory = options.memory};
        try {
            return {io::packed_file::open(options.packed_file, where.seal, how, options.pool), std::move(where), 0};
        } catch (const error& e) {
            if (e.code() != errc::io && e.code() != errc::bad_file) throw;
            if (options.logger)
                options.logger(e.code() == errc::io ? log_level::info : log_level::warning, concat(e.what(), "; packing the weights anew"));
        }
        const std::size_t read = write(backend, source, options, where.seal);
        return {io::packed_file::open(options.packed_file, where.seal, how, options.pool), std::move(where), read};
    }

    /// The packed bytes of a matrix.
    const std::byte* at(tensor_role role, std::size_t layer, std::size_t expert) const {
        return file_.payload().data() + places_.offset.at({role, layer, expert});
    }

    /// Bytes of the model's own file that were read to write this one; 0: it was there.
    std::size_t bytes_read() const noexcept { return read_; }

private:
    static constexpr std::size_t alignment = 64, slice_bytes = std::size_t{16} << 20;

    struct places {
        io::packed_seal seal;
        std::map<std::tuple<tensor_role, std::size_t, std::size_t>, std::size_t> offset;  // in the payload
    };

    packed_weights(io::packed_file file, places where, std::size_t read) : file_(std::move(file)), places_(std::move(where)), read_(read) {}

    /// The model's number covers the times its files were changed, and name, type, shape and some bytes of each matrix.
    static places plan(const Backend& backend, const model_source& source, packing wanted) {
        places out;
        checked_size end(0, source.file());
        out.seal.model = detail::add_numbers(out.seal.model, source.reader()->stamp());
        out.seal.layout = detail::add_numbers(out.seal.layout, Backend::layout, backend.policy());
        source.for_each([&](tensor_role role, std::size_t layer, std::size_t expert, const weight_view& w) {
            if (!is_matrix_role(role)) return;
            const packing how = packing_of(role, source, wanted);
            const std::size_t bytes = backend.view_bytes(w, how);
            out.seal.layout = detail::add_numbers(out.seal.layout, how, bytes);
            out.seal.model = detail::add_tensor(out.seal.model, source, role, layer, expert, w);
            source.release(role, layer, expert);
            out.offset[{role, layer, expert}] = end.size();
            end = round_up(end + bytes, alignment);
        });
        out.seal.bytes = end.value();
        return out;
    }

    /// Packs slices of matrices and writes them; needs little memory.
    static std::size_t write(const Backend& backend, const model_source& source, const load_options& options, const io::packed_seal& seal) {
        constexpr std::array<std::byte, alignment> zeros{};
        std::size_t done = 0, total = 0;
        source.for_each([&](tensor_role, std::size_t, std::size_t, const weight_view& w) { total += w.bytes(); });
        io::packed_writer out(options.packed_file, seal);
        source.for_each([&](tensor_role role, std::size_t layer, std::size_t expert, const weight_view& shape) {
            if (!is_matrix_role(role)) return;
            const weight_view w = source.fetch(role, layer, expert);
            const packing how = packing_of(role, source, options.packing);
            const std::size_t rows =
                std::max<std::size_t>(slice_bytes / row_bytes(w.type, w.cols) / Backend::row_unit, 1) * Backend::row_unit;
            for (std::size_t first = 0; first < w.rows; first += rows) {
                weight_view slice = w;
                slice.data = w.row(first);
                slice.rows = std::min(rows, w.rows - first);
                const typename Backend::matrix m = backend.pack(slice, how);
                out.write({m.data(), backend.view_bytes(slice, how)});
                if (options.stop.stop_requested()) fail(errc::cancelled, source.file(), "loading was cancelled");
            }
            const std::size_t bytes = backend.view_bytes(shape, how);
            out.write(std::span(zeros).first(skald::round_up(bytes, alignment) - bytes));
            source.release(role, layer, expert);
            done += w.bytes();
            if (options.progress) options.progress(done, total);
        });
        out.finish();
        return done;
    }

    io::packed_file file_;
    places places_;
    std::size_t read_;
};

}  // namespace skald
