// SPDX-License-Identifier: MIT
#pragma once
// A file of packed weights: what a backend made of a model's matrices, kept to be mapped at the next start. It is a cache of one
// model's file for one layout, bound to both by numbers that the model loader computes, and never more than that: it holds no
// offsets or sizes that are used, and every byte of it is under a checksum.
//
// Layout, little endian: a head of 4096 bytes ("SKALDPK\n", the fields of packed_seal and the checksums as 64-bit numbers, zeros), then
// the payload.
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <skald/core/executor.hpp>
#include <skald/core/once.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/file_writer.hpp>
#include <skald/io/mapped_file.hpp>

namespace skald::io {

/// What a file of packed weights must be to be used.
struct packed_seal {
    std::uint64_t model = 0;   ///< stands for the model's file and what is in it
    std::uint64_t layout = 0;  ///< stands for how it is packed
    std::uint64_t bytes = 0;   ///< of the payload
};

/// Writes such a file, which appears when it is finished. All members throw errc::io.
class packed_writer {
public:
    packed_writer(const std::filesystem::path& path, const packed_seal& seal);

    /// The next bytes of the payload.
    void write(std::span<const std::byte> bytes);

    /// Throws errc::invalid_argument unless seal.bytes were written.
    void finish();

private:
    void flush();

    packed_seal seal_;
    file_writer file_;
    std::vector<std::byte> piece_;       // that is being filled
    std::vector<std::uint64_t> pieces_;  // checksums of those before
};

/// Such a file, open: mapped, or copied as `options` say.
class packed_file {
public:
    static constexpr std::size_t head_bytes = 4096;
    static constexpr std::size_t piece_bytes = std::size_t{1} << 20;  ///< of the payload, that have a checksum together

    /// Reads and checks all of it, on `pool`. Throws errc::io if the file cannot be opened, errc::bad_file, saying why, if it is another
    /// than the seal says, of another version, or damaged.
    static packed_file open(const std::filesystem::path& path, const packed_seal& seal, const open_options& options, executor* pool);

    /// Valid as long as the file, also across moves.
    std::span<const std::byte> payload() const noexcept { return source_->resident().subspan(head_bytes); }

private:
    explicit packed_file(std::unique_ptr<const byte_source> source) : source_(std::move(source)) {}

    std::unique_ptr<const byte_source> source_;
};

}  // namespace skald::io

#if SKALD_DEFINES
#include <skald/io/packed_file_impl.hpp>
#endif
