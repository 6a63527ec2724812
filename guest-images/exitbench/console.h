// SPDX-License-Identifier: Apache-2.0
// Text on COM1, and the end of the machine.
#pragma once

#include "x86.h"

namespace exitbench {

// Output is collected and sent by the line: every access to the UART is an exit, or thousands of them when nested.
class Console {
public:
    Console();
    void text(const char* words);
    void number(u64 value);
    void hex(u64 value);
    void end_line();
    void drain() const;

private:
    void put(char c);

    char line_[128];
    unsigned length_ = 0;
    unsigned burst_ = 1;
};

// Tries every way to switch off that QEMU's machines and a PC know; does not return.
[[noreturn]] void power_off(const Console& console);

} // namespace exitbench
