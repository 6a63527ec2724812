// SPDX-License-Identifier: Apache-2.0
// What the levels of a run have to tell: the exit accounts as data and as a table of text.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "machine/run_summary.h"

namespace droste {

class LevelObserver;

/// Fills the summary's levels, exits and table. One observer a processor; what they saw is added up. Guest time counts
/// in periods of a clock of `master_hz`.
void report_levels(std::span<const LevelObserver* const> observers, u64 master_hz, RunSummary& to);
/// The last exits, newest last, one line each.
std::vector<std::string> recent_exits(std::span<const LevelObserver* const> observers);

}  // namespace droste
