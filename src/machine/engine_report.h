// SPDX-License-Identifier: Apache-2.0
// What the engine counted, named for --stats.
#pragma once
#include <vector>

#include "machine/run_summary.h"

namespace droste {

struct Cpu;

/// The counts of the engine that all processors share; `summary` has the sums over the processors.
std::vector<EngineCount> engine_counts(const Cpu& first, const RunSummary& summary);

}  // namespace droste
