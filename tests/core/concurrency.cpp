// SPDX-License-Identifier: MIT
// How many processors a process has: quotas of made-up control groups, the affinity mask of this very thread.
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <skald/core/concurrency.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

/// A folder that looks like /sys/fs/cgroup, removed at the end.
class group_tree {
public:
    group_tree() : root_(std::filesystem::temp_directory_path() / ("skald-cgroup-" + std::to_string(std::random_device{}()))) {
        std::filesystem::create_directories(root_);
    }
    ~group_tree() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    group_tree(const group_tree&) = delete;
    group_tree& operator=(const group_tree&) = delete;

    void write(const std::string& path, const std::string& text) const {
        std::filesystem::create_directories((root_ / path).parent_path());
        std::ofstream(root_ / path) << text << '\n';
    }

    /// The quota of a process whose /proc/self/cgroup reads `groups`.
    std::size_t quota(const std::string& groups) const {
        write("groups", groups);
        return detail::cgroup_quota((root_ / "groups").string(), root_.string());
    }

private:
    std::filesystem::path root_;
};

}  // namespace

TEST_CASE("a quota of version 2 is rounded up to whole processors", "[concurrency]") {
    const group_tree tree;
    tree.write("a/cpu.max", "150000 100000");
    CHECK(tree.quota("0::/a") == 2);
    tree.write("a/cpu.max", "200000 100000");
    CHECK(tree.quota("0::/a") == 2);
    tree.write("a/cpu.max", "1000 100000");
    CHECK(tree.quota("0::/a") == 1);
    tree.write("a/cpu.max", "max 100000");
    CHECK(tree.quota("0::/a") == detail::no_quota);
}

TEST_CASE("the tightest quota on the way to the root holds", "[concurrency]") {
    const group_tree tree;
    tree.write("a/b/cpu.max", "max 100000");
    tree.write("a/cpu.max", "300000 100000");
    CHECK(tree.quota("0::/a/b") == 3);
    tree.write("cpu.max", "100000 100000");
    CHECK(tree.quota("0::/a/b") == 1);
    CHECK(tree.quota("0::/") == 1);
}

TEST_CASE("a path from outside the container leads to the container's own group", "[concurrency]") {
    const group_tree tree;
    tree.write("cpu.max", "400000 100000");
    CHECK(tree.quota("0::/system.slice/docker-4711.scope") == 4);
}

TEST_CASE("a quota of version 1 has a file for each number", "[concurrency]") {
    const group_tree tree;
    tree.write("cpu/x/cpu.cfs_quota_us", "250000");
    tree.write("cpu/x/cpu.cfs_period_us", "100000");
    CHECK(tree.quota("5:cpuset:/y\n4:cpu,cpuacct:/x") == 3);
    tree.write("cpu/x/cpu.cfs_quota_us", "-1");
    CHECK(tree.quota("4:cpu,cpuacct:/x") == detail::no_quota);
}

TEST_CASE("what is no quota sets no limit", "[concurrency]") {
    const group_tree tree;
    for (const std::string text : {"", "max", "12", "x y", "0 100000", "100000 0", "-5 100000", "99999999999999999999 1"}) {
        CAPTURE(text);
        tree.write("a/cpu.max", text);
        CHECK(tree.quota("0::/a") == detail::no_quota);
    }
    for (const std::string groups : {"", ":", "::", "no colon", "1:memory:/a", "0::/missing"}) {
        CAPTURE(groups);
        CHECK(tree.quota(groups) == detail::no_quota);
    }
    CHECK(detail::cgroup_quota("", "") == detail::no_quota);
}

TEST_CASE("there is always at least one processor", "[concurrency]") { CHECK(available_concurrency() >= 1); }

#if defined(__linux__)
TEST_CASE("the affinity mask of the calling thread counts", "[concurrency]") {
    std::size_t seen = 0;
    std::thread([&seen] {
        cpu_set_t all, one;
        CPU_ZERO(&one);
        if (sched_getaffinity(0, sizeof all, &all) != 0) return;
        int cpu = 0;
        while (!CPU_ISSET(cpu, &all)) ++cpu;
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) == 0) seen = available_concurrency();
    }).join();
    CHECK(seen == 1);
}
#endif
