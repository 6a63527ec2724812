// SPDX-License-Identifier: Apache-2.0
// Metrics: what is told of a line of the exit table, one row each; tables, CSV and JSON derive from the rows.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "machine/run_summary.h"

namespace droste {

enum class NumberForm : u8 {
    count,      ///< 1,234,567
    cycles,     ///< 28,224; from a million on 5.95M
    mean,       ///< 53.8
    seconds,    ///< 1.962 s
    megaticks,  ///< 203.2
};
std::string shown_number(double value, NumberForm form);

/// Which of two runs did better.
enum class Wish : u8 { none, less, more };

struct Metric {
    std::string_view name;  ///< in CSV and JSON
    std::string_view head;  ///< of its column
    std::string_view help;
    NumberForm form;
    Wish wish;
    bool compared;  ///< several runs stand side by side in it, with ratios
    double (*of)(const ExitSummary&);
};
/// In the order of the columns.
std::span<const Metric> exit_metrics();

/// Shares of the levels that spent a percent or so: "L0 61% L1 39%".
std::string level_shares(std::span<const double> cycles);
/// "0.32x"; "-" when there is nothing to divide by.
std::string shown_ratio(double value, double first);

}  // namespace droste
