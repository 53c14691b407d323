// SPDX-License-Identifier: MIT
#pragma once
// How many threads this process can really run at a time: the scheduler's affinity mask and the control group's CPU quota,
// which std::thread::hardware_concurrency does not know.
#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace skald {

namespace detail {

/// Whole CPUs of a control group's quota, rounded up; 0: no quota. Version 2 has "quota period" in cpu.max, version 1 a file each.
inline std::size_t cgroup_quota() {
    double quota = 0, period = 0;
    std::string word;
    if (std::ifstream in("/sys/fs/cgroup/cpu.max"); in >> word >> period && word != "max") {
        quota = std::strtod(word.c_str(), nullptr);
    } else {
        std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
        std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
    }
    if (!(quota > 0) || !(period > 0)) return 0;
    return static_cast<std::size_t>(std::max(1.0, (quota + period - 1) / period));
}

}  // namespace detail

/// At least 1. Reads the system each time it is called.
inline std::size_t available_concurrency() {
    std::size_t n = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
#endif
    if (const std::size_t quota = detail::cgroup_quota(); quota != 0) n = std::min(n, quota);
    return n;
}

}  // namespace skald
