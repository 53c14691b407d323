// SPDX-License-Identifier: MIT
#pragma once
#include <functional>

#include <skald/core/error.hpp>

#include "support/catch.hpp"

namespace skald::test {

/// The code of the skald::error that `f` throws; fails the test if it throws none.
inline errc code_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const error& e) {
        return e.code();
    }
    FAIL("nothing was thrown");
    return {};
}

}  // namespace skald::test
