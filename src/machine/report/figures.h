// SPDX-License-Identifier: Apache-2.0
// Figures of a report as SVG that stands within HTML, well-formed as XML; colours come from the page's style.
#pragma once
#include <span>
#include <string>

#include "machine/report/report_tables.h"

namespace droste {

/// Latency by level on a logarithmic axis: one figure a reason, one line a design. Empty: nothing nests.
std::string latency_figures(std::span<const RunReport> runs, std::span<const ExitComparison> lines);
/// Where the cycles of a round trip go: one bar a run and reason, of the deepest level; stacked by level.
std::string cycle_figures(std::span<const RunReport> runs, std::span<const ExitComparison> lines);
/// When each level came up: one bar a run.
std::string boot_figure(std::span<const RunReport> runs);

/// Series and levels have so many colours; further ones begin anew.
inline constexpr unsigned figure_colours = 8;

}  // namespace droste
