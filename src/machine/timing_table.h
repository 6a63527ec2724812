// SPDX-License-Identifier: Apache-2.0
// Reads the costs of the timing model `table`.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cpu/timing/costs.h"

namespace droste {

/// A table of configs/timing, as it was when the program was built.
struct ShippedTable {
    std::string_view name;
    std::string_view toml;
};
std::span<const ShippedTable> shipped_timing_tables();

/// `table`: the name of a shipped table, or a file whose name ends in .toml.
Result<CostTable> load_cost_table(const std::string& table, std::string_view place = "timing.table");
/// Every event must have a cost: a missing or unknown one is an error that names file, line and event.
Result<CostTable> parse_cost_table(std::string_view toml, const std::string& name);

}  // namespace droste
