// SPDX-License-Identifier: Apache-2.0
// What the levels of a run have to tell: the exit accounts as data and as a table of text.
#pragma once
#include <string>
#include <vector>

#include "machine/run_summary.h"

namespace droste {

class LevelObserver;

/// Fills the summary's levels, exits and table.
void report_levels(const LevelObserver& observer, RunSummary& to);
/// The last exits, newest last, one line each.
std::vector<std::string> recent_exits(const LevelObserver& observer);

}  // namespace droste
