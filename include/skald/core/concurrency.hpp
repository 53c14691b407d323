// SPDX-License-Identifier: MIT
#pragma once
// How many threads this process can really run at a time: the scheduler's affinity mask and the control group's CPU quota,
// which std::thread::hardware_concurrency does not know.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace skald {

namespace detail {

inline constexpr std::size_t no_quota = std::numeric_limits<std::size_t>::max();

/// The first line of a file; empty where it cannot be read.
inline std::string first_line(const std::string& path) {
    std::string line;
    std::ifstream in(path);
    std::getline(in, line);
    return line;
}

/// quota / period in whole CPUs, rounded up, at least 1; no_quota where either is not a positive number ("max", "-1").
inline std::size_t quota_cpus(std::string_view quota, std::string_view period) {
    const auto number = [](std::string_view text) {
        std::int64_t value = 0;
        const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
        return status == std::errc{} && end == text.data() + text.size() ? value : 0;
    };
    const std::int64_t q = number(quota), p = number(period);
    return q > 0 && p > 0 ? static_cast<std::size_t>(q / p + (q % p != 0)) : no_quota;
}

/// The quota of one folder: version 2 has "quota period" in cpu.max, version 1 a file for each.
inline std::size_t folder_quota(const std::string& folder) {
    const std::string line = first_line(folder + "/cpu.max");
    if (const std::size_t space = line.find(' '); space != std::string::npos)
        return quota_cpus(std::string_view(line).substr(0, space), std::string_view(line).substr(space + 1));
    return quota_cpus(first_line(folder + "/cpu.cfs_quota_us"), first_line(folder + "/cpu.cfs_period_us"));
}

/// The least quota of the groups a process is in, those they lie in included. `groups` is its /proc/self/cgroup, of lines
/// "number:controllers:/path"; `mount` is where the groups are mounted. Within a container the paths may be those outside it: what
/// cannot be read sets no limit, and the mount's root is the container's own group.
inline std::size_t cgroup_quota(const std::string& groups, const std::string& mount) {
    std::size_t least = no_quota;
    const auto climb = [&least](const std::string& root, std::string path) {
        while (true) {
            least = std::min(least, folder_quota(root + path));
            const std::size_t slash = path.rfind('/');
            if (slash == std::string::npos) return;
            path.resize(slash);
        }
    };
    std::ifstream in(groups);
    for (std::string line; std::getline(in, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first == std::string::npos ? first : first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
        if (controllers.empty())
            climb(mount, path);  // version 2
        else if (("," + controllers + ",").find(",cpu,") != std::string::npos)
            climb(mount + "/cpu", path);  // version 1; /cpu is a link where the folder is called "cpu,cpuacct"
    }
    return least;
}

}  // namespace detail

/// At least 1. Reads the system each time it is called.
inline std::size_t available_concurrency() {
    std::size_t n = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
    n = std::min(n, detail::cgroup_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
#endif
    return n;
}

}  // namespace skald
