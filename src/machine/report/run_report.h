// SPDX-License-Identifier: Apache-2.0
// RunReport: the report of a run as it is read back from its JSON file, and how runs are named beside each
// other.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "machine/run_summary.h"

namespace droste {

struct RunReport {
    std::string file;
    std::string program, stack, cpu_model, engine, timing, timing_table, timing_clock, routing;
    u64 depth = 0, memory_bytes = 0;
    std::map<std::string, std::string> configuration;  ///< keys that are not at their default
    std::string end_kind, end_reason;
    u64 ticks = 0, cycles = 0, guest_ns = 0;
    double wall_seconds = 0, mips = 0;
    u64 walks = 0, walk_references = 0, ept_references = 0;
    u64 vm_exits = 0, unknown_exits = 0;
    std::vector<LevelStart> levels;    ///< index = level
    std::vector<u64> cycles_in_level;  ///< index = level
    std::vector<ExitSummary> exits;
    // Of routing designs; empty when the design does not tell.
    std::vector<RouteSummary> routes;
    std::vector<std::pair<std::string, u64>> route_fallbacks;  ///< by cause
    std::vector<EstimateSummary> estimates;

    /// Of a sweep: the name of its variant, and the keys that the variant stands for.
    std::string variant;
    std::vector<std::string> variant_keys;

    /// What tells this run from the others: "links, depth 2". Made by name_runs.
    std::string label;
    /// The label without the depth: runs of one design at several depths have it in common.
    std::string series;
};

/// Levels above it are refused as damage.
inline constexpr u64 deepest_reported_level = 64;

/// Reads a report; `file` names it in errors.
Result<RunReport> parse_run_report(std::string_view json, const std::string& file);
/// Reads files, and the finished runs of sweeps whose folders are named; names the runs. Only runs of
/// `depths`; empty: all. `notes` gets a sentence for each run of a sweep that is not there.
Result<std::vector<RunReport>> load_run_reports(const std::vector<std::string>& paths,
                                                const std::vector<u64>& depths,
                                                std::vector<std::string>& notes);
/// Gives each run its label and its series.
void name_runs(std::vector<RunReport>& runs);

}  // namespace droste
