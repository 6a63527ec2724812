// SPDX-License-Identifier: Apache-2.0
// Management events: the first hypervisor gets them all, and deals with failing pages under a running guest.
#pragma once

#include "monitor.h"

namespace nano {

// Reserves the pages that guests never see, and turns the machine's memory errors into NMIs.
void start_ras(Monitor& m);

// Hypercalls of the workload; hypervisors in between pass them on.
constexpr u64 report_call = 1, watch_call = 2;
inline void hypercall(u64 number) { asm volatile("vmcall" : : "a"(number) : "memory"); }

// The memory controller begins to report errors of what the deepest guest's workload uses.
void watch_memory(Monitor& m);

// After an exit by an NMI.
void handle_memory_error(Monitor& m);
// Before each entry: NMIs that came while this hypervisor ran. A hypervisor in between passes them to its guest.
void handle_nmis(Monitor& m);

// Prints what was done.
void report_ras(const Monitor& m);

// The workload: checks and rewrites 2 MiB at `fresh`, and prints what it found.
void check_memory(u64 fresh, unsigned level, unsigned rounds);

} // namespace nano
