// SPDX-License-Identifier: MIT
#pragma once
// An arithmetic coder in its range form (Martin 1979; carries as in LZMA): symbols become bytes at the cost that a model's frequencies give
// them. Integers only, so that every compiler and machine writes and reads the same bytes. Knows no models: symbol_model.hpp.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

namespace skald::kv::detail {

/// The greatest total of frequencies; with it a symbol costs at most 1/256 more than its share says.
inline constexpr unsigned most_total_bits = 16;
inline constexpr std::uint32_t least_range = std::uint32_t{1} << 24;

/// Writes symbols. A symbol is the part [begin, begin + frequency) of [0, total); frequency > 0, total <= 2¹⁶.
class range_encoder {
public:
    explicit range_encoder(std::pmr::memory_resource* memory) : bytes_(memory) {}

    void put(std::uint32_t begin, std::uint32_t frequency, std::uint32_t total) {
        const std::uint32_t unit = range_ / total;
        low_ += std::uint64_t{unit} * begin;
        range_ = unit * frequency;
        for (; range_ < least_range; range_ <<= 8) shift();
    }

    /// The lower bits of a number, at most 16, as they are.
    void put_bits(std::uint32_t value, unsigned count) { put(value, 1, std::uint32_t{1} << count); }

    /// All bytes; nothing can be put after it.
    std::span<const std::byte> finish() {
        for (int i = 0; i < 5; ++i) shift();
        return bytes_;
    }

private:
    /// Takes the upper byte from the 32 bits of low_. It waits while a carry could still reach it.
    void shift() {
        const auto carry = static_cast<std::uint8_t>(low_ >> 32);
        const auto low = static_cast<std::uint32_t>(low_);
        if (low < 0xff000000u || carry != 0) {
            for (; waiting_ != 0; --waiting_, held_ = 0xff)
                bytes_.push_back(static_cast<std::byte>(static_cast<std::uint8_t>(held_ + carry)));
            held_ = static_cast<std::uint8_t>(low >> 24);
        }
        ++waiting_;
        low_ = std::uint64_t{low & 0x00ffffffu} << 8;
    }

    std::pmr::vector<std::byte> bytes_;
    std::uint64_t low_ = 0, waiting_ = 1;  // waiting_: held_ and 0xff after it
    std::uint32_t range_ = 0xffffffffu;
    std::uint8_t held_ = 0;
};

/// Reads them. Any bytes are symbols of some kind; past their end zeros are read, and at_end() is false.
class range_decoder {
public:
    explicit range_decoder(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {
        for (int i = 0; i < 5; ++i) code_ = code_ << 8 | next();
    }

    /// Where in [0, total) the next symbol lies; take() passes over it.
    std::uint32_t find(std::uint32_t total) noexcept {
        unit_ = range_ / total;
        return std::min(code_ / unit_, total - 1);
    }
    void take(std::uint32_t begin, std::uint32_t frequency) noexcept {
        code_ -= unit_ * begin;
        range_ = unit_ * frequency;
        for (; range_ < least_range; range_ <<= 8) code_ = code_ << 8 | next();
    }

    std::uint32_t get_bits(unsigned count) noexcept {
        const std::uint32_t value = find(std::uint32_t{1} << count);
        take(value, 1);
        return value;
    }

    /// Whether exactly the bytes of an encoder were read.
    bool at_end() const noexcept { return read_ == bytes_.size(); }

private:
    std::uint32_t next() noexcept {
        const std::size_t at = read_++;
        return at < bytes_.size() ? std::to_integer<std::uint32_t>(bytes_[at]) : 0;
    }

    std::span<const std::byte> bytes_;
    std::size_t read_ = 0;
    std::uint32_t code_ = 0, range_ = 0xffffffffu, unit_ = 1;
};

}  // namespace skald::kv::detail
