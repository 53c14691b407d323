// SPDX-License-Identifier: MIT
#pragma once
// Runs the program as a user does: arguments, standard input, and what comes out. POSIX.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/temporary_folder.hpp"

extern char** environ;

namespace skald::test {

/// Whether the tests, and with them the program, are built with a sanitizer that takes over memory.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

inline std::string read_text(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// How a run of the program ended.
struct outcome {
    int status = -1;  ///< exit status; 128 + the signal that killed it
    std::string out, err;

    /// A failure as the program promises it: nothing but one line.
    bool one_error_line(std::string_view part = {}) const {
        return err.starts_with("skald: error: ") && err.find('\n') == err.size() - 1 && err.find(part) != std::string::npos;
    }
};

/// A program in the middle of its work.
class running {
public:
    running(const temporary_folder& folder, std::vector<std::string> arguments, std::string_view input = {}, const char* out = nullptr)
        : out_(out != nullptr ? std::filesystem::path(out) : folder.path() / "stdout"), err_(folder.path() / "stderr") {
        const std::filesystem::path in = folder.write("stdin", std::as_bytes(std::span(input)));
        arguments.insert(arguments.begin(), SKALD_PROGRAM);
        std::vector<char*> argv;
        for (std::string& a : arguments) argv.push_back(a.data());
        argv.push_back(nullptr);
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&files, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        posix_spawn_file_actions_addopen(&files, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const int failed = posix_spawn(&process_, SKALD_PROGRAM, &files, nullptr, argv.data(), environ);
        posix_spawn_file_actions_destroy(&files);
        if (failed != 0) throw std::runtime_error("cannot start " SKALD_PROGRAM);
    }
    running(const running&) = delete;
    running& operator=(const running&) = delete;
    ~running() {
        if (process_ > 0) signal(SIGKILL), wait();
    }

    void signal(int number) const { ::kill(process_, number); }
    const std::filesystem::path& out() const noexcept { return out_; }

    outcome wait() {
        int status = 0;
        while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
        }
        process_ = -1;
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return {code, std::filesystem::is_regular_file(out_) ? read_text(out_) : std::string(), read_text(err_)};
    }

private:
    std::filesystem::path out_, err_;
    pid_t process_ = -1;
};

inline outcome skald_program(const temporary_folder& folder, std::vector<std::string> arguments, std::string_view input = {}) {
    return running(folder, std::move(arguments), input).wait();
}

/// A file of tests/data.
inline std::string data_file(std::string_view name) { return SKALD_TEST_DATA "/" + std::string(name); }

}  // namespace skald::test
