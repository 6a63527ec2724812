// SPDX-License-Identifier: Apache-2.0
// RunSummary: how a run ended and what it counted, for the exit status, the table and the JSON report.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"

namespace droste {

enum class EndKind : u8 {
    powered_off,
    debug_exit,  ///< the guest's own status
    reset,       ///< the guest asked for a reset; without firmware there is nothing to start again
    triple_fault,
    vmx_abort,
    dead_halt,     ///< halted with interrupts disabled, for good
    out_of_time,   ///< run.timeout
    out_of_ticks,  ///< run.max_ticks
    quit,          ///< by the user
};

struct RunEnd {
    EndKind kind = EndKind::quit;
    u32 code = 0;        ///< debug_exit
    std::string reason;  ///< a sentence
};

/// The exit status of the process.
int exit_status(const RunEnd& end);
/// What the report calls the ends that there are.
std::vector<std::string> end_names();

/// A byte of input and the moment at which the guest was given it.
struct StampedInput {
    u64 time;  ///< guest time in periods of the master clock
    u64 tick;
    u8 byte;
};

/// What one processor did.
struct ProcessorSummary {
    u64 ticks = 0, cycles = 0;
};

struct HashMark {
    u64 tick;
    u64 hash;
};

/// A field that a failed check of VM entry looked at.
struct ExplainedField {
    std::string name;
    u64 value = 0;
    std::string text;    ///< the value with the names of its bits
    std::string remedy;  ///< what change of it alone would let the check pass; empty: none
    std::string writer;  ///< a sentence; empty: not recorded
};

struct ExplainedControl {
    std::string name;
    std::string word;  ///< the field that holds it
    bool value = false;
    bool decides = false;  ///< the opposite value would let the check pass
    std::string writer;    ///< of the word
};

/// A check of VM entry that failed: how often, and the first time explained.
struct EntryFailureSummary {
    std::string check;
    std::string section;  ///< of the SDM
    std::string outcome;  ///< what the hypervisor sees
    u64 count = 0;
    u64 first_tick = 0;
    std::string instruction;  ///< VMLAUNCH or VMRESUME
    u64 rip = 0;              ///< linear address of the instruction
    u64 vmcs = 0;
    unsigned processor = 0;
    std::string detail;
    std::vector<ExplainedField> fields;
    std::vector<ExplainedControl> controls;
};
/// The failure in some lines.
std::string failure_text(const EntryFailureSummary& failure);
/// One field in a line, without its end.
std::string field_line(const ExplainedField& field);

/// VMX instructions that failed with one error.
struct VmFailSummary {
    u32 error = 0;  ///< the VM-instruction error; 0: VMfailInvalid
    std::string text;
    u64 count = 0;
    u64 first_tick = 0;
    std::string instruction;
    u64 rip = 0;  ///< linear address of the first
    u64 vmcs = 0;
};

/// One line of the exit table: round trips of one reason at one level, handled in the end by one owner. Everything
/// but `count` is of one round trip; the means are over all of them.
struct ExitSummary {
    unsigned level = 0, owner = 0;
    std::string reason;  ///< the SDM's name, lower snake case
    u16 reason_number = 0;
    u64 count = 0;
    u64 min = 0, p50 = 0, p99 = 0, max = 0;  ///< cycles
    double mean = 0;                         ///< cycles
    std::vector<double> cycles_by_level;     ///< mean cycles spent in level 0, 1, ... within the round trip
    double amplification = 0;                ///< mean hardware exits, the first included
    double world_switches = 0;               ///< mean hardware exits and entries
    double vmreads = 0, vmwrites = 0, walk_references = 0;  ///< means
};

/// When a level first ran.
struct LevelStart {
    u64 tick = 0, cycle = 0;  ///< by the count of the processor that ran it first
    u64 guest_ns = 0;
};

/// Exits that a routing design sent somewhere.
struct RouteSummary {
    unsigned level = 0, destination = 0;
    std::string reason, why;
    u64 count = 0;
};
/// Cycles of the round trips of one line of the exit table, and what each design would have made of them (means).
struct EstimateSummary {
    unsigned level = 0, owner = 0;
    std::string reason;
    u64 count = 0;
    double actual = 0;
    std::vector<std::pair<std::string, double>> designs;
};
/// A count of what the engine did, for tuning; engines and settings differ in it while runs are equal.
struct EngineCount {
    std::string name;
    u64 count = 0;
};

struct RunSummary {
    RunEnd end;
    /// The keys of the configuration that are not at their default, and their values; of a file its name alone.
    std::vector<std::pair<std::string, std::string>> configuration;
    std::string stack;
    u64 depth = 0;
    std::vector<EngineCount> engine_counts;  ///< in the order of a report
    std::string cpu_model, engine, timing_model, timing_table, timing_clock, routing_design;
    std::vector<RouteSummary> routes;
    std::vector<std::pair<std::string, u64>> route_fallbacks;  ///< by cause; those that occurred
    std::vector<EstimateSummary> estimates;                    ///< of the design `account`
    std::string routes_table, estimates_table;
    std::vector<std::string> features_left_out;  ///< vector extensions of the model that the host lacks
    u64 memory_bytes = 0;
    u64 ticks = 0, cycles = 0, guest_ns = 0;
    double host_seconds = 0;
    u64 console_bytes = 0;
    std::string console_sha256;
    u64 state_hash = 0;
    std::vector<HashMark> hash_trail;
    std::vector<StampedInput> input;
    std::vector<ProcessorSummary> processors;  ///< by number; `ticks` and `cycles` are the sums
    u64 walks = 0, walk_references = 0, ept_references = 0;
    /// Of each level that ran, level 0 first.
    std::vector<LevelStart> first_seen{LevelStart{}};
    u64 vm_exits = 0, unknown_exits = 0;
    std::vector<u64> cycles_in_level;
    std::vector<ExitSummary> exits;
    /// The exit table as text, made by the exit accounts. Empty: nothing ran in non-root operation.
    std::string levels_table;
    std::vector<EntryFailureSummary> entry_failures;
    std::vector<VmFailSummary> vm_fails;
    bool writers_recorded = false;  ///< run.explain_entries
    /// What led to a triple fault or a VMX abort.
    std::vector<std::string> death;
    /// The last VM exits, newest last, one line each; told when the guest died.
    std::vector<std::string> last_exits;
};

/// The version of the JSON's format: another one whenever a member changes its meaning or goes.
inline constexpr u64 report_version = 2;
/// The summary as JSON (docs/report.md); of its members only `wall_seconds` and `mips` differ between equal runs.
std::string summary_json(const RunSummary& summary);
/// The lines that end a run at the terminal.
std::string summary_text(const RunSummary& summary, bool colour);
/// What the engine did, a line for each count.
std::string engine_text(const RunSummary& summary);

}  // namespace droste
