// SPDX-License-Identifier: MIT
#pragma once
// Walks the head of a GGUF file once, from front to back. Every number is checked against what is left of the file before it
// is used; failures name the file, the item being read, the offset and the value.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/quote.hpp>

namespace skald::io::detail {

static_assert(std::endian::native == std::endian::little, "GGUF files are read on little-endian machines only");

/// A forward reader over a byte_source; the views it returns live as long as the source.
class gguf_cursor {
public:
    explicit gguf_cursor(const byte_source& source) noexcept : source_(source), window_(source.resident()) {}

    std::string_view file() const noexcept { return source_.name(); }
    std::uint64_t position() const noexcept { return base_ + at_; }
    std::uint64_t remaining() const noexcept { return source_.size() - position(); }

    /// Names the item that following failures belong to: enter("key", "general.name"); enter({}, {}) for the header.
    void enter(std::string_view what, std::string_view name) noexcept { what_ = what, item_ = name; }

    /// Throws errc::bad_file (or another code) with the current item before the sentence.
    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        refuse_as(errc::bad_file, parts...);
    }
    template <class... Parts>
    [[noreturn]] void refuse_as(errc code, const Parts&... parts) const {
        if (what_.empty()) fail(code, file(), parts...);
        fail(code, file(), what_, " ", in_quotes(item_), ": ", parts...);
    }

    /// The next `count` bytes; `what` says in a message what they are.
    std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
        if (count > window_.size() - at_) refill(count, what);
        const auto bytes = window_.subspan(at_, static_cast<std::size_t>(count));
        at_ += bytes.size();
        return bytes;
    }

    /// The next number of type T, little endian.
    template <class T>
    T number(std::string_view what) {
        T value;
        std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
        return value;
    }

    /// The next string: a 64-bit length, then the bytes.
    std::string_view string(std::string_view what) {
        const auto length = number<std::uint64_t>(what);
        if (length > remaining())
            refuse(what, " at offset ", position() - 8, " claims ", length, " bytes, but the file has only ", remaining(), " more");
        const auto bytes = take(length, what);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    /// Throws unless `count` things of at least `least` bytes fit into the rest of the file.
    void check_count(std::uint64_t count, std::uint64_t least, std::string_view things) const {
        if (count <= remaining() / least) return;
        const auto negative = static_cast<std::int64_t>(count);
        const std::string as_signed = negative < 0 ? concat(" (", negative, " as a signed number)") : std::string();
        refuse("claims ", count, as_signed, " ", things, ", but the file has only ", remaining(), " more bytes at offset ", position());
    }

private:
    static constexpr std::uint64_t read_ahead = 65536;  // of a source that reads on demand

    void refill(std::uint64_t count, std::string_view what) {
        if (count > remaining())
            refuse("the file ends inside ", what, ": ", count, " bytes are needed at offset ", position(), ", but only ", remaining(),
                   " are left; is it a partial download?");
        const std::uint64_t start = position();
        window_ = source_.view(start, std::min(remaining(), std::max(count, read_ahead)));
        base_ = start;
        at_ = 0;
    }

    const byte_source& source_;
    std::span<const std::byte> window_;
    std::uint64_t base_ = 0;  // offset of the window in the file
    std::size_t at_ = 0;      // place in the window
    std::string_view what_, item_;
};

}  // namespace skald::io::detail
