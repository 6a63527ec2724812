// SPDX-License-Identifier: Apache-2.0
// What exit routing tells of runs: where exits went, what fell back, what other designs would have cost.
#pragma once
#include <span>
#include <vector>

#include "machine/report/report_tables.h"

namespace droste {

/// Only tables of which some run has something.
std::vector<Sheet> routing_sheets(std::span<const RunReport> runs, const ReportFilter& filter);

}  // namespace droste
