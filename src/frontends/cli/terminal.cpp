// SPDX-License-Identifier: Apache-2.0
// Terminal modes, signals and the progress line.
#include "frontends/cli/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

namespace droste {

namespace {

using Clock = std::chrono::steady_clock;

/// What a signal handler needs. A handler has no other way to it than a variable of static storage.
volatile sig_atomic_t raw_mode_on = 0;
volatile sig_atomic_t quit_signal = 0;
termios cooked_mode;

constexpr int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr int dying_signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

void restore_mode() {
    if (raw_mode_on == 0)
        return;
    raw_mode_on = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &cooked_mode);  // async-signal-safe (POSIX)
}

void die_of(int signal_number) {
    restore_mode();
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    sigaction(signal_number, &plain, nullptr);
    raise(signal_number);
}

/// The first asks for an orderly end with a report, the second ends at once.
extern "C" void on_ending_signal(int signal_number) {
    if (quit_signal != 0)
        die_of(signal_number);
    quit_signal = signal_number;
}

extern "C" void on_dying_signal(int signal_number) {
    die_of(signal_number);
}

void handle_signals(void (*ending)(int), void (*dying)(int)) {
    struct sigaction action {};
    sigemptyset(&action.sa_mask);
    action.sa_handler = ending;
    for (const int s : ending_signals)
        sigaction(s, &action, nullptr);
    action.sa_handler = dying;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    for (const int s : dying_signals)
        sigaction(s, &action, nullptr);
}

void write_all(int file, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = write(file, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            pollfd p{file, POLLOUT, 0};
            ::poll(&p, 1, 1000);
            continue;
        }
        if (n <= 0)
            return;  // the reader is gone; the run goes on
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

constexpr u8 ctrl_a = 1;
constexpr std::string_view erase_line = "\r\x1b[K";

}  // namespace

Terminal::Terminal(Quiet quiet)
    : interactive_(isatty(STDIN_FILENO) != 0),
      shows_progress_(quiet == Quiet::no && isatty(STDERR_FILENO) != 0), started_(Clock::now()),
      last_progress_(started_), last_rate_(started_) {
    quit_signal = 0;
    signal(SIGPIPE, SIG_IGN);
    handle_signals(&on_ending_signal, &on_dying_signal);
    if (!interactive_ || tcgetattr(STDIN_FILENO, &cooked_mode) != 0)
        return;
    termios raw = cooked_mode;
    raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INLCR | IGNCR | ISTRIP | IXON);
    raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    raw_mode_on = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

Terminal::~Terminal() {
    flush();
    restore_mode();
    handle_signals(SIG_DFL, SIG_DFL);
}

void Terminal::put(u8 byte) {
    erase_progress();
    out_.push_back(static_cast<char>(byte));
    at_line_start_ = byte == '\n';
    if (byte == '\n' || out_.size() >= 4096) {
        write_all(STDOUT_FILENO, out_);
        out_.clear();
    }
}

void Terminal::flush() {
    erase_progress();
    write_all(STDOUT_FILENO, out_);
    out_.clear();
}

void Terminal::take(u8 byte, std::vector<u8>& typed) {
    if (!interactive_) {
        typed.push_back(byte);
        return;
    }
    if (!escape_) {
        if (byte == ctrl_a)
            escape_ = true;
        else
            typed.push_back(byte);
        return;
    }
    escape_ = false;
    if (byte == 'x' || byte == 'X')
        quit_ = true;
    else if (byte == 'a' || byte == ctrl_a)
        typed.push_back(ctrl_a);
    else
        write_all(STDERR_FILENO, "\r\nCtrl-A x ends the run, Ctrl-A a sends Ctrl-A\r\n");
}

void Terminal::poll_input(std::vector<u8>& typed) {
    if (!out_.empty()) {  // a prompt without a newline
        write_all(STDOUT_FILENO, out_);
        out_.clear();
    }
    pollfd p{STDIN_FILENO, POLLIN, 0};
    if (!input_open_ || ::poll(&p, 1, 0) <= 0)
        return;
    u8 bytes[64];
    const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n == 0 && !interactive_)
        input_open_ = false;
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        input_open_ = false;
    for (ssize_t i = 0; i < n; ++i)
        take(bytes[i], typed);
}

bool Terminal::quit_requested() {
    return quit_ || quit_signal != 0;
}

bool Terminal::wait_for_input() {
    if (!input_open_ || !interactive_)
        return false;
    pollfd p{STDIN_FILENO, POLLIN, 0};
    ::poll(&p, 1, 20);
    return true;
}

void Terminal::progress(const RunProgress& progress) {
    if (!shows_progress_ && progress_file_.empty())
        return;
    using namespace std::chrono_literals;
    const Clock::time_point now = Clock::now();
    if (now - last_progress_ < 250ms)
        return;
    last_progress_ = now;
    const double elapsed = std::chrono::duration<double>(now - started_).count();
    if (!progress_file_.empty())  // a reader may find it empty, and reads again
        std::ofstream(progress_file_) << progress.level << ' ' << progress.ticks << ' ' << elapsed << '\n';
    if (!shows_progress_)
        return;
    if (now - last_rate_ > 900ms) {
        const double seconds = std::chrono::duration<double>(now - last_rate_).count();
        mips_ = static_cast<double>(progress.ticks - last_rate_ticks_) / seconds / 1e6;
        last_rate_ = now;
        last_rate_ticks_ = progress.ticks;
    }
    if (!at_line_start_)
        return;  // never write into an unfinished line of the guest
    write_all(
        STDERR_FILENO,
        fmt::format("{}\x1b[2mlevel {}   {:.2f} G ticks   guest {:.1f} s   {:.0f} s   {:.0f} MIPS\x1b[0m",
                    erase_line, progress.level, static_cast<double>(progress.ticks) / 1e9,
                    static_cast<double>(progress.guest_ns) / 1e9, elapsed, mips_));
    progress_shown_ = true;
}

void Terminal::note(std::string_view text) {
    flush();
    write_all(STDERR_FILENO, text);
}

void Terminal::erase_progress() {
    if (!progress_shown_)
        return;
    write_all(STDERR_FILENO, erase_line);
    progress_shown_ = false;
}

}  // namespace droste
