// SPDX-License-Identifier: MIT
#pragma once
// An open file of a POSIX system, closed at the end of its scope.
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>

namespace skald::io::detail {

struct descriptor {
    explicit descriptor(int n) noexcept : number(n) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (number >= 0) ::close(number);
    }
    int number;  // negative: none was opened
};

}  // namespace skald::io::detail

#endif
