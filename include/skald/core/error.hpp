// SPDX-License-Identifier: MIT
#pragma once
// The one exception type of the library. An error carries a code to branch on, the place (a file, a tensor, an option) and
// a sentence that gives the value found and what to do. Memory that the host's own allocator refuses arrives as the
// std::bad_alloc that allocator threw: building a sentence would need memory too.
#include <charconv>
#include <concepts>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace skald {

/// What kind of failure an `error` reports.
enum class errc {
    invalid_argument,  ///< the caller passed a value outside the documented range
    io,                ///< the operating system refused to open, read or write
    bad_file,          ///< the bytes of a file break its format or contradict each other
    unsupported,       ///< a well-formed request for something this build does not have
    cache_full,        ///< a KV cache has no room for the tokens asked for
    memory_limit,      ///< a cap set by the host would be exceeded
    cancelled,         ///< the host's stop token asked to stop
    busy,              ///< the object is in use by a generation that still lives
};

/// The code's name as it stands in the enumeration.
constexpr std::string_view to_string(errc code) noexcept {
    switch (code) {
        case errc::invalid_argument: return "invalid_argument";
        case errc::io: return "io";
        case errc::bad_file: return "bad_file";
        case errc::unsupported: return "unsupported";
        case errc::cache_full: return "cache_full";
        case errc::memory_limit: return "memory_limit";
        case errc::cancelled: return "cancelled";
        case errc::busy: return "busy";
    }
    return "unknown";
}

/// Thrown for every failure the library detects. `what()` reads `place: sentence`, or the sentence alone without a place.
class error : public std::runtime_error {
public:
    error(errc code, std::string_view place, std::string_view sentence)
        : std::runtime_error(place.empty() ? std::string(sentence) : std::string(place).append(": ").append(sentence)),
          code_(code),
          place_length_(place.size()) {}

    errc code() const noexcept { return code_; }

    /// The file, tensor or option the failure belongs to; empty when there is none. Lives as long as the error.
    std::string_view place() const noexcept { return std::string_view(what()).substr(0, place_length_); }

private:
    errc code_;
    std::size_t place_length_;
};

namespace detail {

// Cold: called, so that a sentence is a row of calls wherever it is said.
[[gnu::cold]] inline void append(std::string& out, std::string_view text) { out += text; }
[[gnu::cold]] inline void append(std::string& out, const char* text) { out += text; }
[[gnu::cold]] inline void append(std::string& out, const std::string& text) { out += text; }
[[gnu::cold]] inline void append(std::string& out, char c) { out += c; }
[[gnu::cold]] inline void append(std::string& out, bool b) { out += b ? "true" : "false"; }

template <class T>
    requires std::is_arithmetic_v<T>
[[gnu::cold]] void append(std::string& out, T value) {
    char digits[64];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

[[noreturn, gnu::cold]] inline void throw_error(errc code, std::string_view place, const std::string& sentence) {
    throw error(code, place, sentence);
}

}  // namespace detail

/// Joins texts and numbers into one string, numbers in their shortest exact form: `concat("has ", 7, " values")`.
template <class... Parts>
std::string concat(const Parts&... parts) {
    std::string out;
    (detail::append(out, parts), ...);
    return out;
}

/// Throws `error{code, place, concat(parts...)}`.
template <class... Parts>
[[noreturn, gnu::cold]] void fail(errc code, std::string_view place, const Parts&... parts) {
    detail::throw_error(code, place, concat(parts...));
}

}  // namespace skald
