// SPDX-License-Identifier: Apache-2.0
// Sweep: makes the runs of plans, several at a time, into a folder that remembers what is done.
#pragma once
#include <string>
#include <vector>

#include "machine/sweep/manifest.h"
#include "machine/sweep/sweep_plan.h"
#include "machine/testing/children.h"

namespace droste {

struct SweepConfig {
    std::string program;  ///< the command-line program
    std::string folder;   ///< gets the manifest, and NAME.json and NAME.log of each run
    unsigned jobs = 1;
    bool again = false;  ///< finished runs too
};

struct SweepProgress {
    std::size_t total = 0, done = 0, failed = 0;
    std::size_t kept = 0;                        ///< of `done`: finished by an earlier sweep
    double seconds_left = -1;                    ///< estimated; -1: nothing to estimate by
    std::vector<ChildWatcher::Running> running;  ///< oldest first
};

class SweepWatcher {
public:
    virtual ~SweepWatcher() = default;
    virtual void progress(const SweepProgress&) {}
    virtual void finished(const SweepEntry&) {}
    /// True: end the running ones and return. What is finished stays.
    virtual bool stop() { return false; }
};

/// Makes what is not there yet. The manifest says what came of it; it is on disk after each run.
Result<SweepManifest> run_sweep(const std::vector<SweepRun>& runs, const SweepConfig& config,
                                SweepWatcher& watcher);
/// What is there, without running anything.
Result<SweepManifest> sweep_state(const std::vector<SweepRun>& runs, const SweepConfig& config);

}  // namespace droste
