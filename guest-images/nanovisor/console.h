// SPDX-License-Identifier: Apache-2.0
// Text on COM1, and the end of the machine by the debug-exit port. Guests of every level reach both without an exit.
#pragma once

#include "x86.h"

namespace nano {

void put(char c);
void text(const char* words);
void number(u64 value);
void hex(u64 value);
void end_line();

// The program ends with `status << 1 | 1`.
[[noreturn]] void finish(u32 status);

// Says why this instance cannot go on, and ends the machine.
[[noreturn]] void panic(const char* why, u64 value = 0);

// The level that panic() names.
void set_panic_level(unsigned level);

// Every exception is one that this program cannot have: the IDT leads to panic(). NMIs are counted.
void load_idt();

} // namespace nano
