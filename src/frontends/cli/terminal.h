// SPDX-License-Identifier: Apache-2.0
// Terminal: raw keyboard input for the guest, the guest's console, and a progress line; all undone on every
// way out.
#pragma once
#include <chrono>
#include <string>

#include "machine/host_console.h"

namespace droste {

/// One object at a time: it changes the terminal of the process and its signal handlers.
class Terminal final : public HostConsole {
public:
    enum class Quiet : u8 { no, yes };
    explicit Terminal(Quiet quiet = Quiet::no);
    ~Terminal() override;
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    void put(u8 byte) override;
    void poll_input(std::vector<u8>& typed) override;
    bool quit_requested() override;
    void progress(const RunProgress& progress) override;
    void note(std::string_view text) override;
    bool wait_for_input() override;

    /// Progress goes to this file too: the deepest level, the ticks and the seconds that they took. Empty: to none.
    void write_progress_to(std::string file) { progress_file_ = std::move(file); }
    /// Writes out what is buffered and removes the progress line.
    void flush();

private:
    void erase_progress();
    void take(u8 byte, std::vector<u8>& typed);

    const bool interactive_;  // the keyboard is a terminal
    const bool shows_progress_;
    bool input_open_ = true;
    bool escape_ = false;  // Ctrl-A was typed
    bool quit_ = false;
    bool at_line_start_ = true, progress_shown_ = false;
    std::string out_, progress_file_;
    std::chrono::steady_clock::time_point started_, last_progress_, last_rate_;
    u64 last_rate_ticks_ = 0;
    double mips_ = 0;
};

}  // namespace droste
