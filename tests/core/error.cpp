// SPDX-License-Identifier: MIT
// The exception type and the sentences it carries.
#include <cmath>
#include <exception>
#include <set>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>

#include "support/catch.hpp"

using namespace skald;

TEST_CASE("an error reads place, then sentence, and gives both with its code", "[error]") {
    const error e(errc::bad_file, "model.gguf", "has 3 tensors too many");
    CHECK(std::string_view(e.what()) == "model.gguf: has 3 tensors too many");
    CHECK(e.place() == "model.gguf");
    CHECK(e.code() == errc::bad_file);
}

TEST_CASE("an error without a place is its sentence", "[error]") {
    const error e(errc::io, "", "the disk is gone");
    CHECK(std::string_view(e.what()) == "the disk is gone");
    CHECK(e.place().empty());
}

TEST_CASE("the place of an error survives a copy and a change of hands", "[error]") {
    std::exception_ptr kept;
    try {
        fail(errc::busy, "pipeline", "is in use");
    } catch (...) {
        kept = std::current_exception();
    }
    try {
        std::rethrow_exception(kept);
    } catch (const error& e) {
        const error copy = e;
        CHECK(copy.place() == "pipeline");
        CHECK(std::string_view(copy.what()) == "pipeline: is in use");
        CHECK(copy.code() == errc::busy);
    }
}

TEST_CASE("fail joins texts and numbers", "[error]") {
    try {
        fail(errc::invalid_argument, "top_p", "is ", 1.5f, ", not in ", std::string("(0, 1]"), '!', true, -7, 18446744073709551615u);
        FAIL("nothing was thrown");
    } catch (const std::runtime_error& e) {
        CHECK(std::string_view(e.what()) == "top_p: is 1.5, not in (0, 1]!true-718446744073709551615");
    }
}

TEST_CASE("concat writes numbers so that they read back", "[error]") {
    CHECK(concat() == "");
    CHECK(concat(0.1f, ' ', 0.1, ' ', 1e300, ' ', -0.0) == "0.1 0.1 1e+300 -0");
    CHECK(std::stod(concat(1.0 / 3)) == 1.0 / 3);
    CHECK(concat(std::nan("")) == "nan");
    CHECK(concat(static_cast<unsigned char>(200)) == "200");
}

TEST_CASE("every code has a name of its own", "[error]") {
    std::set<std::string_view> names;
    for (int code = 0; code <= static_cast<int>(errc::busy); ++code) names.insert(to_string(static_cast<errc>(code)));
    CHECK(names.size() == static_cast<std::size_t>(errc::busy) + 1);
    CHECK_FALSE(names.contains("unknown"));
    CHECK(to_string(errc::memory_limit) == "memory_limit");
}
