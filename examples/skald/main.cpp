// SPDX-License-Identifier: MIT
// skald: the library as a program. Exit status 0, or 1 with one line on standard error, or 2 for a command line it cannot read.
#include <csignal>
#include <exception>
#include <new>
#include <string_view>

#include "commands.hpp"
#include "terminal.hpp"

namespace {

/// The message as one line, whatever a file's name put into it. Needs no memory.
void report(std::string_view message) noexcept {
    cli::tell("skald: error: ");
    for (const char& c : message) cli::tell(c == '\n' || c == '\r' ? std::string_view(" ") : std::string_view(&c, 1));
    cli::tell("\n");
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write
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
