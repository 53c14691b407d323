// SPDX-License-Identifier: MIT
#pragma once
// What packed_file.hpp declares.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/core/checksum.hpp>
#include <skald/core/error.hpp>
#include <skald/io/packed_file.hpp>

namespace skald::io {

namespace detail {

static_assert(std::endian::native == std::endian::little, "packed files are read on little-endian machines only");

inline constexpr std::array<char, 8> packed_magic{'S', 'K', 'A', 'L', 'D', 'P', 'K', '\n'};

struct packed_head {
    std::array<char, 8> magic = packed_magic;
    std::uint64_t version = 1;
    packed_seal seal;
    std::uint64_t payload = 0;  // its checksum
    std::uint64_t head = 0;     // that of the fields above
};
static_assert(sizeof(packed_head) == 56 && sizeof(packed_head) <= packed_file::head_bytes);

inline std::uint64_t checksum_of(const packed_head& head) noexcept {
    return checksum(std::as_bytes(std::span(&head, 1)).first(offsetof(packed_head, head)));
}

inline std::uint64_t checksum_of(std::span<const std::uint64_t> pieces) noexcept { return checksum(std::as_bytes(pieces)); }

}  // namespace detail

SKALD_FUNCTION packed_writer::packed_writer(const std::filesystem::path& path, const packed_seal& seal) : seal_(seal), file_(path) {
    piece_.reserve(packed_file::piece_bytes);
    file_.seek(packed_file::head_bytes);
}

SKALD_FUNCTION void packed_writer::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto some = bytes.first(std::min(bytes.size(), packed_file::piece_bytes - piece_.size()));
        piece_.insert(piece_.end(), some.begin(), some.end());
        bytes = bytes.subspan(some.size());
        if (piece_.size() == packed_file::piece_bytes) flush();
    }
}

SKALD_FUNCTION void packed_writer::flush() {
    pieces_.push_back(checksum(piece_));
    file_.write(piece_);
    piece_.clear();
}

SKALD_FUNCTION void packed_writer::finish() {
    if (!piece_.empty()) flush();
    const std::uint64_t written = file_.position() - packed_file::head_bytes;
    if (written != seal_.bytes)
        fail(errc::invalid_argument, file_.name(), written, " bytes of packed weights were written, and ", seal_.bytes, " announced");
    detail::packed_head head{.seal = seal_, .payload = detail::checksum_of(pieces_)};
    head.head = detail::checksum_of(head);
    std::array<std::byte, packed_file::head_bytes> bytes{};
    std::memcpy(bytes.data(), &head, sizeof head);
    file_.seek(0);
    file_.write(bytes);
    file_.finish();
}

SKALD_FUNCTION packed_file packed_file::open(const std::filesystem::path& path, const packed_seal& seal, const open_options& options,
                                             executor* pool) {
    packed_file file(open_file(path, options));
    const byte_source& source = *file.source_;
    const auto refuse = [&](const auto&... parts) { fail(errc::bad_file, source.name(), parts...); };
    detail::packed_head head;
    std::array<std::byte, head_bytes> first;
    if (source.size() < head_bytes) refuse("is no file of packed weights: it has ", source.size(), " bytes");
    source.read(0, first);
    std::memcpy(&head, first.data(), sizeof head);
    if (head.magic != detail::packed_magic) refuse("is no file of packed weights");
    if (head.version != detail::packed_head{}.version) refuse("holds packed weights of version ", head.version, ", which is not read");
    const bool padded = std::all_of(first.begin() + sizeof head, first.end(), [](std::byte b) { return b == std::byte{0}; });
    if (head.head != detail::checksum_of(head) || !padded) refuse("is damaged: the checksum of its head differs");
    if (head.seal.model != seal.model) refuse("was made of another model file, or the file has changed since");
    if (head.seal.layout != seal.layout || head.seal.bytes != seal.bytes) refuse("is packed in another way than this program packs");
    if (source.size() - head_bytes != seal.bytes)
        refuse("is cut off or too long: it has ", source.size() - head_bytes, " bytes of packed weights; its head says ", seal.bytes);

    const std::span<const std::byte> payload = file.payload();
    std::vector<std::uint64_t> pieces(ceil_div(payload.size(), piece_bytes));
    const auto sum = [&](std::size_t i) {
        pieces[i] = checksum(payload.subspan(i * piece_bytes, std::min(piece_bytes, payload.size() - i * piece_bytes)));
    };
    inline_executor alone;
    (pool != nullptr ? *pool : static_cast<executor&>(alone)).run(pieces.size(), sum);
    if (head.payload != detail::checksum_of(pieces)) refuse("is damaged: the checksum of its weights differs");
    return file;
}

}  // namespace skald::io
