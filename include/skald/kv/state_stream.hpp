// SPDX-License-Identifier: MIT
#pragma once
// The bytes of a saved sequence on their way out and in: frames of at most 64 KiB, each followed by a checksum that goes on from the one
// before. A reader hands out no byte whose checksum it has not compared, and needs memory for one frame, whatever the stream says.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory_resource>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/checksum.hpp>
#include <skald/core/error.hpp>

namespace skald::kv {

static_assert(std::endian::native == std::endian::little, "saved sequences are read on little-endian machines only");

/// Takes the next bytes, all of them, or throws.
using state_sink = std::function<void(std::span<const std::byte>)>;

/// Fills `out` with the next bytes and returns how many; fewer than asked for at the end of the stream only.
using state_source = std::function<std::size_t(std::span<std::byte> out)>;

namespace detail {

inline constexpr std::size_t state_frame_bytes = std::size_t{1} << 16;

/// Writes frames. What the sink throws passes through.
class state_writer {
public:
    state_writer(const state_sink& sink, std::pmr::memory_resource* memory)
        : sink_(sink), frame_(state_frame_bytes + sizeof(std::uint64_t), memory) {}

    void put(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const std::size_t count = std::min(bytes.size(), state_frame_bytes - used_);
            std::memcpy(frame_.data() + used_, bytes.data(), count);
            used_ += count;
            bytes = bytes.subspan(count);
            if (used_ == state_frame_bytes) end_section();
        }
    }

    /// Writes the frame that is being filled.
    void end_section() {
        if (used_ == 0) return;
        sum_ = checksum(frame_.span().first(used_), sum_);
        std::memcpy(frame_.data() + used_, &sum_, sizeof sum_);
        sink_(frame_.span().first(used_ + sizeof sum_));
        used_ = 0;
    }

private:
    const state_sink& sink_;
    buffer<> frame_;
    std::size_t used_ = 0;
    std::uint64_t sum_ = 0;
};

/// Reads them. Throws errc::bad_file for a stream that ends early or is damaged; what the source throws passes through.
class state_reader {
public:
    state_reader(const state_source& source, std::string_view place, std::pmr::memory_resource* memory)
        : source_(source), place_(place), frame_(state_frame_bytes + sizeof(std::uint64_t), memory) {}

    /// Begins a section of that many bytes, the one before being read to its end.
    void begin_section(std::uint64_t bytes) noexcept { left_ = bytes; }

    /// Bytes of the section that were not read.
    std::uint64_t left() const noexcept { return left_ + (end_ - at_); }

    /// Bytes of the section, which has as many.
    void get(std::span<std::byte> out) {
        each_piece(out.size(), [&](std::span<const std::byte> piece) {
            std::memcpy(out.data(), piece.data(), piece.size());
            out = out.subspan(piece.size());
        });
    }

    /// Passes over bytes of the section.
    void skip(std::uint64_t count) {
        each_piece(count, [](std::span<const std::byte>) {});
    }

    /// Throws errc::bad_file unless the stream ends here.
    void expect_end() {
        std::byte more;
        if (fill({&more, 1}) != 0)
            fail(errc::bad_file, place_, "goes on after its end at byte ", position_, "; it holds one saved sequence");
    }

    /// Bytes of the stream that were read.
    std::uint64_t position() const noexcept { return position_; }

private:
    template <class F>
    void each_piece(std::uint64_t count, F&& f) {
        while (count != 0) {
            if (at_ == end_) next_frame();
            const auto some = static_cast<std::size_t>(std::min<std::uint64_t>(count, end_ - at_));
            f(std::span<const std::byte>(frame_.data() + at_, some));
            at_ += some;
            count -= some;
        }
    }

    void next_frame() {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, state_frame_bytes));
        const std::size_t whole = count + sizeof(std::uint64_t), got = fill(frame_.span().first(whole));
        if (got != whole) fail(errc::bad_file, place_, "is cut off: it ends after ", position_ + got, " bytes");
        const std::uint64_t sum = checksum(frame_.span().first(count), sum_);
        if (std::memcmp(frame_.data() + count, &sum, sizeof sum) != 0)
            fail(errc::bad_file, place_, "is damaged: the checksum of bytes ", position_, " to ", position_ + count, " differs");
        sum_ = sum;
        left_ -= count;
        position_ += whole;
        at_ = 0;
        end_ = count;
    }

    std::size_t fill(std::span<std::byte> out) const {
        const std::size_t got = source_(out);
        if (got > out.size())
            fail(errc::invalid_argument, place_, "the source says that it gave ", got, " bytes and was asked for ", out.size());
        return got;
    }

    const state_source& source_;
    std::string_view place_;
    buffer<> frame_;
    std::size_t at_ = 0, end_ = 0;           // what of the frame is still to be handed out
    std::uint64_t left_ = 0, position_ = 0;  // of the section, in no frame yet; of the stream, read
    std::uint64_t sum_ = 0;
};

}  // namespace detail

}  // namespace skald::kv
