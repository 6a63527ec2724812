// SPDX-License-Identifier: Apache-2.0
// `droste report`: shows the reports of runs, side by side.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "machine/report/report_tables.h"

namespace droste {

class ReportCommand {
public:
    void add_to(CLI::App& app);
    /// The exit status: 0, or 2 for bad usage and files that are no reports.
    int go() const;

private:
    std::vector<std::string> files_;
    std::vector<u64> depths_;
    ReportFilter filter_;
    std::string format_ = "table", table_ = "exits", html_;
};

}  // namespace droste
