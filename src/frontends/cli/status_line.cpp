// SPDX-License-Identifier: Apache-2.0
// The changing line, and signals that end a command.
#include "frontends/cli/status_line.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace droste {

namespace {

volatile sig_atomic_t caught = 0;
extern "C" void on_interrupt(int) {
    caught = 1;
}

}  // namespace

int fail(const std::string& text) {
    fmt::print(stderr, "droste: {}\n", text);
    return bad_usage;
}

void catch_interrupts() {
    signal(SIGINT, &on_interrupt);
    signal(SIGTERM, &on_interrupt);
}

bool interrupted() { return caught != 0; }

bool StatusLine::is_terminal() { return isatty(STDERR_FILENO) != 0; }

void StatusLine::show(const std::string& text) {
    last_ = std::chrono::steady_clock::now();
    winsize size{};
    const std::size_t columns =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : std::size_t{80};
    fmt::print(stderr, "\r\x1b[K{}", text.substr(0, columns - 1));
    std::fflush(stderr);
    shown_ = true;
}

void StatusLine::erase() {
    if (shown_)
        fmt::print(stderr, "\r\x1b[K");
    shown_ = false;
}

}  // namespace droste
