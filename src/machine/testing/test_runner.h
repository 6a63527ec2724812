// SPDX-License-Identifier: Apache-2.0
// TestRunner: runs each test in a process of its own, several at a time, and judges how it ended.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "machine/testing/children.h"
#include "machine/testing/test_list.h"
#include "machine/testing/test_result.h"

namespace droste {

/// What a frontend sees while tests run. Called from run_tests, about ten times a second.
class RunnerWatcher {
public:
    struct Progress {
        std::size_t done = 0, bad = 0, total = 0;
        std::vector<std::string_view> running;  ///< oldest first
    };
    virtual ~RunnerWatcher() = default;
    virtual void progress(const Progress&) {}
    virtual void finished(const TestResult&) {}
    /// True: end the running tests and return.
    virtual bool stop() { return false; }
};

/// Results in the order of `tests`; fewer when the watcher stopped it.
std::vector<TestResult> run_tests(std::span<const TestCase* const> tests, const RunnerConfig& config,
                                  RunnerWatcher& watcher);

TestResult judge(const TestCase& test, const ChildEnd& end);

}  // namespace droste
