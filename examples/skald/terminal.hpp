// SPDX-License-Identifier: MIT
#pragma once
// The program's edges: standard streams, the terminal, files, Ctrl-C.
#include <cstddef>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace cli {

bool input_is_terminal();   // standard input
bool output_is_terminal();  // standard output
bool errors_are_terminal();

/// Thrown when nobody reads standard output any more: the program ends without a word.
struct output_closed {};

/// Appends to standard output; what stands there appears with flush(). Throws output_closed, or skald::error if writing fails.
void write(std::string_view text);
void flush();

/// Writes to standard error at once.
void tell(std::string_view text) noexcept;

/// All of a file, or of standard input for "-".
std::string read_all(const std::string& path);

/// `value` with that many digits after the point.
std::string fixed(double value, int digits);

/// Text in a column of that width, at its left or at its right; longer text stays as it is.
std::string padded(std::string_view text, std::size_t width);
std::string padded_left(std::string_view text, std::size_t width);

/// Bytes for people: `1.25 GB`.
std::string human_bytes(std::size_t bytes);

/// Text from a file, made safe to show in one line: control characters escaped, at most `limit` bytes.
std::string printable(std::string_view text, std::size_t limit);

/// One line that redraws itself on standard error; silent unless that is a terminal.
class progress_bar {
public:
    explicit progress_bar(std::string label) : label_(std::move(label)) {}
    progress_bar(const progress_bar&) = delete;
    progress_bar& operator=(const progress_bar&) = delete;
    ~progress_bar() { clear(); }

    void show(std::size_t done, std::size_t total);
    void clear() noexcept;

private:
    std::string label_;
    int shown_ = -1;  // percent
};

/// Receives SIGINT and SIGTERM for the program, on a thread of its own. While an `interruptible` lives, the first one asks it to
/// stop; any other ends the program. Make one in main(), before other threads start.
class interrupts {
public:
    interrupts();
    interrupts(const interrupts&) = delete;
    interrupts& operator=(const interrupts&) = delete;
    ~interrupts();

private:
    std::thread watcher_;
};

/// Work that ends early when the user presses Ctrl-C. One at a time.
class interruptible {
public:
    interruptible();
    interruptible(const interruptible&) = delete;
    interruptible& operator=(const interruptible&) = delete;
    ~interruptible();

    std::stop_token token() const { return source_.get_token(); }
    bool interrupted() const { return source_.stop_requested(); }

private:
    std::stop_source source_;
};

}  // namespace cli
