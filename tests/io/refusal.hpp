// SPDX-License-Identifier: MIT
#pragma once
// Checks that a file is refused, and that the error says what it must: the code, the file, the place, the value.
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>

#include "support/catch.hpp"

namespace skald::test {

/// The skald::error that `f` throws, or nothing; other exceptions pass through.
template <class F>
std::optional<error> error_of(F&& f) {
    try {
        f();
    } catch (const error& e) {
        return e;
    }
    return std::nullopt;
}

/// Runs `f`; the error must have that code, name that file, and contain each of `parts`.
template <class F>
void check_error(F&& f, errc code, std::string_view file, std::initializer_list<std::string_view> parts) {
    const std::optional<error> e = error_of(f);
    REQUIRE(e.has_value());
    const std::string text = e->what();
    CAPTURE(text);
    CHECK(to_string(e->code()) == to_string(code));
    CHECK(e->place().substr(0, file.size()) == file);
    for (const std::string_view part : parts) {
        CAPTURE(std::string(part));
        CHECK(text.find(part) != text.npos);
    }
}

/// Opens bytes under the name bad.gguf, which must fail.
inline void check_refused(std::vector<std::byte> bytes, std::initializer_list<std::string_view> parts, errc code = errc::bad_file) {
    bytes.shrink_to_fit();  // a read past the end is a read past the allocation
    check_error([&] { io::gguf_file::from_bytes(bytes, "bad.gguf"); }, code, "bad.gguf", parts);
}

}  // namespace skald::test
