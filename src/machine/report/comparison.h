// SPDX-License-Identifier: Apache-2.0
// Comparison: the columns of a table that hold one number of each run, with ratios to the first run.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "machine/report/metrics.h"
#include "machine/report/run_report.h"
#include "machine/report/sheet.h"

namespace droste {

class Comparison {
public:
    using Value = std::optional<double>;
    Comparison(std::span<const RunReport> runs, const std::string& head, bool ratios);
    /// One value a run; none: the run has no such thing.
    void row(const std::vector<Value>& values, NumberForm form, Wish wish);
    Group take() { return std::move(group_); }

private:
    const bool ratios_;
    Group group_;
};

/// The colour of a value beside that of the first run.
Tone tone_of(double value, double first, Wish wish);
Column left_column(std::string head);
/// What stands over a run's column: its number, nothing when it is the only one.
std::string run_head(std::span<const RunReport> runs, std::size_t i);

}  // namespace droste
