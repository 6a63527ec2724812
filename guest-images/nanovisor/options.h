// SPDX-License-Identifier: Apache-2.0
// The words of the command line.
#pragma once

#include "x86.h"

namespace nano {

enum class Routing : u8 { sdm, links, layered, parent_context };

// A kind of exit that the workload causes.
struct WorkloadName {
    const char* name;
    bool needs_hypervisor; // cannot be measured at level 0
};
constexpr WorkloadName workloads[] = {
    {"vmcall", true}, {"cpuid", false},     {"rdmsr", false}, {"wrmsr", false},     {"out", false},       {"in", false},
    {"hlt", true},    {"cr_access", false}, {"ud", true},     {"gp", true},         {"pf", true},         {"ept_fault", true},
};
constexpr unsigned workload_count = sizeof workloads / sizeof workloads[0];

struct Options {
    unsigned level = 0;       // of this instance; every instance tells its guest
    unsigned depth = 1;       // the level that runs the workload
    u32 workload = ~0u;       // one bit for each row of `workloads`
    unsigned iterations = 11; // of each kind
    bool every_level = false; // measure=all: the instances below measure, too, before they start their guest
    bool shadow = true;       // vmcs=trap: do not offer VMCS shadowing
    u32 not_nested = 0;       // nested=LEVEL:0: the instances at these levels do not emulate VMX
    Routing routing = Routing::sdm;
    bool ras = false;
    bool linux_guest = false;
    const char* rest = "";    // what stands behind "--": the command line of Linux
};

// Ends the machine on a word that it does not know.
Options parse_options(const char* command_line);

// Writes the words by which the guest of an instance with these options continues; returns their length.
unsigned write_options(const Options& options, unsigned level, char* to);

} // namespace nano
