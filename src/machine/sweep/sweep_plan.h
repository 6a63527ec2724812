// SPDX-License-Identifier: Apache-2.0
// SweepPlan: a file of configs/sweeps, which says what to run in all combinations.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "machine/options.h"
#include "machine/testing/test_list.h"

namespace droste {

struct SweepRun {
    std::string name;  ///< of its files
    Options options;
    std::optional<TestExpectation> expect;  ///< nothing: it powers off, or ends with debug-exit code 0
    std::string variant;
    std::vector<std::string> variant_keys;
    std::vector<std::pair<std::string, std::string>> settings;  ///< its place in the grid
};

/// The runs of a file, in the order of the grid: what stands first there changes last. `sets` are "KEY=VALUE"
/// for all runs, over what the file says.
Result<std::vector<SweepRun>> load_sweep_plan(const std::string& path,
                                              const std::vector<std::string>& sets = {});

}  // namespace droste
