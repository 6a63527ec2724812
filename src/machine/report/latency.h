// SPDX-License-Identifier: Apache-2.0
// Latency by level: for each design, what a round trip takes at each level, from the runs of several depths.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "machine/report/report_tables.h"

namespace droste {

/// The p50 of a level, and where it came from.
struct LatencyPoint {
    unsigned level;
    double cycles;
    u64 depth;  ///< of the run
    u64 count;  ///< of its exits
};
using LatencyLine = std::map<unsigned, LatencyPoint>;      // by level
using LatencySeries = std::map<std::string, LatencyLine>;  // by RunReport::series

/// The lines of one reason. A level is taken from the run for which it is the deepest, where there is one:
/// there stands the guest that was measured; else from the shallowest run that has it. Of several owners the
/// busiest counts.
LatencySeries latency_by_level(std::span<const RunReport> runs, std::span<const ExitComparison> lines,
                               const std::string& reason);
/// Reasons, the ones of most levels first, then those that take most cycles.
std::vector<std::string> main_reasons(std::span<const ExitComparison> lines, std::size_t most);
/// In the order of the runs.
std::vector<std::string> series_names(std::span<const RunReport> runs);
/// The table of it, with the factor from level to level; without rows when no reason occurs at two levels.
Sheet latency_sheet(std::span<const RunReport> runs, std::span<const ExitComparison> lines);

}  // namespace droste
