// SPDX-License-Identifier: MIT
#pragma once

// Catch2, version 2 (one header) or 3: the test files include this and use what both have.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
