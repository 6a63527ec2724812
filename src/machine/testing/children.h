// SPDX-License-Identifier: Apache-2.0
// Children: runs of the program in processes of their own, several at a time.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "machine/options.h"

namespace droste {

struct RunnerConfig {
    std::string program;     ///< the command-line program, which is started with `boot`
    std::string log_folder;  ///< exists; gets NAME.log and the report of each run
    unsigned jobs = 1;
    std::vector<std::string> arguments{};  ///< more for every run
    std::string report_suffix = ".json";   ///< of the report's name
    /// Children say how far they are in NAME.progress, so that a watcher sees it.
    bool ask_progress = false;
};

/// What to run.
struct ChildJob {
    std::string name;  ///< of its files
    const Options* options;
};

/// The end of a child process, to be judged.
struct ChildEnd {
    bool killed = false;  ///< by the runner, since it did not end by itself
    int signal = 0;       ///< 0: it exited
    int status = 0;
    std::string report;  ///< JSON; empty: none was written
    std::string errors;  ///< standard error
    std::string output;
    bool started = true;  ///< the host had a process for it
    double seconds = 0;   ///< of the host
};

/// Called from run_children, progress about ten times a second.
class ChildWatcher {
public:
    struct Running {
        std::string_view name;
        double seconds = 0;
        int level = -1;  ///< with ask_progress: the deepest that has run; -1: not known
        double mips = 0;
    };
    virtual ~ChildWatcher() = default;
    virtual void running(const std::vector<Running>& oldest_first) = 0;
    virtual void ended(std::size_t job, ChildEnd end) = 0;
    /// True: kill the running ones and return.
    virtual bool stop() = 0;
};

void run_children(std::span<const ChildJob> jobs, const RunnerConfig& config, ChildWatcher& watcher);

}  // namespace droste
