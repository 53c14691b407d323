// SPDX-License-Identifier: MIT
#pragma once
// What a test has just shown to work, told to the file that the environment variable SKALD_SUPPORT names: the README's tables of what is
// supported are made of these lines by tests/scripts/make_support_table.py. Without the variable nothing happens.
#include <cstdlib>
#include <fstream>
#include <string_view>

namespace skald::test {

/// Puts `value` into a cell of a table; a cell lists its values. Call it behind the checks.
inline void covered(std::string_view table, std::string_view row, std::string_view column, std::string_view value) {
    const char* path = std::getenv("SKALD_SUPPORT");
    if (path == nullptr) return;
    std::ofstream out(path, std::ios::app);
    out << table << '\t' << row << '\t' << column << '\t' << value << '\n';
}

}  // namespace skald::test
