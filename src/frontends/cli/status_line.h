// SPDX-License-Identifier: Apache-2.0
// What commands that run many children share at the terminal: a line that changes, failures in one sentence, Ctrl-C.
#pragma once
#include <chrono>
#include <string>

namespace droste {

inline constexpr int some_failed = 1, bad_usage = 2, ended_by_user = 130;  ///< exit statuses

/// Prints `text` on standard error; the exit status for bad usage.
int fail(const std::string& text);

/// From now on SIGINT and SIGTERM only make interrupted() true.
void catch_interrupts();
bool interrupted();

/// One line on standard error that changes; nothing where standard error is no terminal.
class StatusLine {
public:
    /// Changes at most once in `interval`.
    explicit StatusLine(std::chrono::milliseconds interval) : interval_(interval) {}
    ~StatusLine() { erase(); }
    bool on_terminal() const { return terminal_; }
    /// It is time to show a new text.
    bool due() const { return terminal_ && (!shown_ || std::chrono::steady_clock::now() - last_ >= interval_); }
    /// As much of `text` as the terminal is wide.
    void show(const std::string& text);
    void erase();

private:
    const std::chrono::milliseconds interval_;
    const bool terminal_ = is_terminal();
    static bool is_terminal();
    bool shown_ = false;
    std::chrono::steady_clock::time_point last_{};
};

}  // namespace droste
