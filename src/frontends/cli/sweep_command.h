// SPDX-License-Identifier: Apache-2.0
// `droste sweep`: makes the runs of a grid of configurations.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace droste {

class SweepCommand {
public:
    void add_to(CLI::App& app);
    /// The exit status: 0 all runs are there, 1 some failed, 2 bad usage, 130 ended by the user.
    int go() const;

private:
    std::vector<std::string> files_, sets_;
    std::string out_;
    unsigned jobs_ = 0;
    bool list_ = false, again_ = false;
};

}  // namespace droste
