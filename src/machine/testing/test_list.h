// SPDX-License-Identifier: Apache-2.0
// TestList: the file tests.toml, which says how to run each of a folder's test kernels and how it should end.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "machine/options.h"

namespace droste {

/// How a run should end: by an exit status, or by an end such as "triple_fault" (its name in the JSON
/// report).
struct TestExpectation {
    int status = 1;   ///< a test kernel that writes 0 to the debug-exit port
    std::string end;  ///< when not empty, this counts instead of the status
};

/// Of "3" or "triple_fault"; nothing when it is neither an exit status nor an end.
std::optional<TestExpectation> expectation_of(const std::string& text);
/// What an expectation may be, for messages.
std::string expectation_help();

struct TestCase {
    std::string name;
    std::string place;  ///< "tests.toml:12"
    Options options;    ///< kernel, command line, memory and the rest
    TestExpectation expect;
    int skip_status = 155;  ///< the kernel found that it cannot test here: debug-exit code 77
    std::vector<std::string> groups;
};

struct TestList {
    std::string folder;
    std::vector<TestCase> tests;
};

/// Which tests of a list to run.
struct TestSelection {
    std::vector<std::string> names;   ///< globs; empty: all
    std::vector<std::string> groups;  ///< empty: all
    /// Tests of the group `nodefault` run only when a glob or a group asks for them.
    bool wants(const TestCase& test) const;
};

/// Reads `path`, a list file or a folder with a tests.toml. Every kernel must exist. `sets` are "KEY=VALUE"
/// for all tests, over what the list says.
Result<TestList> load_test_list(const std::string& path, const std::vector<std::string>& sets = {});

}  // namespace droste
