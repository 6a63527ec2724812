// SPDX-License-Identifier: Apache-2.0
// `droste test`: runs a folder of test kernels.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace droste {

class TestCommand {
public:
    void add_to(CLI::App& app);
    /// The exit status: 0 nothing failed, 1 something did, 2 bad usage, 130 ended by the user.
    int go() const;

private:
    std::string path_, junit_, logs_;
    unsigned jobs_ = 0;
    std::vector<std::string> names_, groups_, sets_;
    bool list_ = false, explain_ = false;
};

}  // namespace droste
