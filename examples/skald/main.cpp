// SPDX-License-Identifier: MIT
// skald: the library as a program. Exit status 0, or 1 with one line on standard error, or 2 for a command line it cannot read.
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include <unistd.h>

#include "commands.hpp"
#include "terminal.hpp"

namespace {

/// The message as one line, whatever a file's name put into it. Needs no memory.
void report(std::string_view message) noexcept {
    cli::tell("skald: error: ");
    for (const char& c : message) cli::tell(c == '\n' || c == '\r' ? std::string_view(" ") : std::string_view(&c, 1));
    cli::tell("\n");
}

/// A page of a mapped file could not be read: somebody made the file shorter, or its disk fails.
void on_bus_error(int) {
    constexpr std::string_view line = "skald: error: a file became shorter or unreadable while it was read; run again once it is whole\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
    std::_Exit(1);
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write
    std::signal(SIGBUS, on_bus_error);
    try {
        const cli::interrupts watch;
        return cli::run_command_line(argc, argv);
    } catch (const cli::output_closed&) {
        return 0;
    } catch (const std::bad_alloc&) {
        report("out of memory");
    } catch (const std::exception& e) {
        report(e.what());
    }
    return 1;
}
