// SPDX-License-Identifier: MIT
#include "terminal.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <mutex>
#include <system_error>

#include <pthread.h>
#include <unistd.h>

#include <skald/core/error.hpp>

namespace cli {

namespace {

using skald::errc;
using skald::fail;

std::string reason() { return std::error_code(errno, std::generic_category()).message(); }

void check_output(bool written) {
    if (written) return;
    if (errno == EPIPE) throw output_closed();
    fail(errc::io, "standard output", "cannot be written: ", reason());
}

// What the watcher thread and the working thread share.
std::mutex interrupt_mutex;
std::stop_source* interrupt_target = nullptr;

sigset_t watched_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR2);  // from ~interrupts: the watcher's work is over
    return set;
}

void watch() {
    const sigset_t set = watched_signals();
    for (int signal = 0;;) {
        if (sigwait(&set, &signal) != 0) continue;
        if (signal == SIGUSR2) return;
        const std::scoped_lock lock(interrupt_mutex);
        if (interrupt_target != nullptr && interrupt_target->request_stop()) continue;
        if (errors_are_terminal()) tell("\n");
        std::_Exit(128 + signal);
    }
}

}  // namespace

bool input_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool output_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool errors_are_terminal() { return isatty(STDERR_FILENO) == 1; }

void write(std::string_view text) {
    if (!text.empty()) check_output(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}
void flush() { check_output(std::fflush(stdout) == 0); }

void tell(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stderr); }

std::string read_all(const std::string& path) {
    const bool standard = path == "-";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(standard ? stdin : std::fopen(path.c_str(), "rb"),
                                                               standard ? +[](std::FILE*) { return 0; } : std::fclose);
    const std::string name = standard ? "standard input" : path;
    if (!file) fail(errc::io, name, "cannot be opened: ", reason());
    std::string text;
    char part[1 << 16];
    while (const std::size_t n = std::fread(part, 1, sizeof part, file.get())) text.append(part, n);
    if (std::ferror(file.get()) != 0) fail(errc::io, name, "cannot be read: ", reason());
    return text;
}

std::string fixed(double value, int digits) {
    char text[400];
    const int n = std::snprintf(text, sizeof text, "%.*f", digits, value);
    return std::string(text, static_cast<std::size_t>(std::max(n, 0)));
}

std::string padded(std::string_view text, std::size_t width) { return std::string(text).append(width - std::min(width, text.size()), ' '); }

std::string padded_left(std::string_view text, std::size_t width) {
    return std::string(width - std::min(width, text.size()), ' ').append(text);
}

std::string human_bytes(std::size_t bytes) {
    const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1000.0 && unit + 1 < std::size(units)) value /= 1000.0, ++unit;
    return fixed(value, unit == 0 ? 0 : 2) + " " + units[unit];
}

std::string printable(std::string_view text, std::size_t limit) {
    std::size_t shown = std::min(text.size(), limit);
    while (shown > 0 && shown < text.size() && (static_cast<unsigned char>(text[shown]) & 0xC0) == 0x80) --shown;
    std::string out;
    for (const char c : text.substr(0, shown)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') {
            out += "\\n";
        } else if (byte < 0x20 || byte == 0x7F) {
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
            out += escaped;
        } else {
            out += c;
        }
    }
    return out += shown < text.size() ? "…" : "";
}

void progress_bar::show(std::size_t done, std::size_t total) {
    if (!errors_are_terminal()) return;
    const int percent = total == 0 ? 100 : static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total));
    if (percent == shown_) return;
    shown_ = percent;
    std::string bar(30, ' ');
    std::fill_n(bar.begin(), percent * 30 / 100, '#');
    tell(skald::concat("\r", label_, " [", bar, "] ", percent, " %"));
}

void progress_bar::clear() noexcept {
    if (shown_ >= 0) tell("\r\x1b[K");
    shown_ = -1;
}

interrupts::interrupts() {
    const sigset_t set = watched_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);  // threads started later inherit it
    watcher_ = std::thread(watch);
}

interrupts::~interrupts() {
    pthread_kill(watcher_.native_handle(), SIGUSR2);
    watcher_.join();
}

interruptible::interruptible() {
    const std::scoped_lock lock(interrupt_mutex);
    interrupt_target = &source_;
}

interruptible::~interruptible() {
    const std::scoped_lock lock(interrupt_mutex);
    interrupt_target = nullptr;
}

}  // namespace cli
