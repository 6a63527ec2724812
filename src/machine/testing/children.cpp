// SPDX-License-Identifier: Apache-2.0
// Child processes and their time limits.
#include "machine/testing/children.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace droste {

namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

/// A child ends by itself after run.timeout; one that does not within this time more hangs.
constexpr double grace_seconds = 20;
constexpr std::size_t most_output = 1 << 20;

double seconds_since(Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
}

std::string slurp(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

std::string tail(std::string text) {
    return text.size() <= most_output ? text : "(...)\n" + text.substr(text.size() - most_output);
}

struct Child {
    const ChildJob* job;
    std::size_t index;
    pid_t pid;
    Clock::time_point started;
    bool killed = false;
};

class Files {
public:
    Files(const RunnerConfig& config, const std::string& name)
        : base_((fs::path(config.log_folder) / name).string()), report_(base_ + config.report_suffix) {}
    std::string log() const { return base_ + ".log"; }
    const std::string& report() const { return report_; }
    std::string errors() const { return base_ + ".err"; }
    std::string progress() const { return base_ + ".progress"; }

private:
    const std::string base_, report_;
};

std::vector<std::string> command_of(const ChildJob& job, const RunnerConfig& config, const Files& files) {
    std::vector<std::string> words = {
        config.program, "boot", "--kernel", job.options->text("boot.kernel"), "--json", files.report()};
    for (const OptionRow* row : job.options->rows()) {
        if (row->key == "boot.kernel" || job.options->is_default(row->key))
            continue;
        words.push_back("--set");
        words.push_back(fmt::format("{}={}", row->key, job.options->shown(row->key)));
    }
    // Its default here is not that of the configuration.
    words.push_back("--set");
    words.push_back(fmt::format("run.timeout={}", job.options->shown("run.timeout")));
    if (config.ask_progress)
        words.insert(words.end(), {"--progress-file", files.progress()});
    words.insert(words.end(), config.arguments.begin(), config.arguments.end());
    return words;
}

/// -1: the host has no process for it.
pid_t start(const ChildJob& job, const RunnerConfig& config) {
    const Files files(config, job.name);
    std::error_code ignored;
    fs::remove(files.report(), ignored);
    std::vector<std::string> words = command_of(job, config, files);
    std::vector<char*> argv;
    for (std::string& w : words)
        argv.push_back(w.data());
    argv.push_back(nullptr);
    const std::string log = files.log(), errors = files.errors();
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto redirect = [](int target, const char* path, int flags) {
        const int file = open(path, flags, 0644);
        if (file < 0 || dup2(file, target) < 0)
            _exit(126);
    };
    redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
    redirect(STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC);
    execv(argv[0], argv.data());
    _exit(127);
}

ChildEnd end_of(const Child& child, int raw, const RunnerConfig& config) {
    const Files files(config, child.job->name);
    ChildEnd end;
    end.killed = child.killed;
    end.signal = WIFSIGNALED(raw) ? WTERMSIG(raw) : 0;
    end.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 0;
    end.report = slurp(files.report());
    end.errors = slurp(files.errors());
    end.output = tail(slurp(files.log()));
    std::ofstream(files.log(), std::ios::app | std::ios::binary) << "\n--- droste:\n" << end.errors;
    std::error_code ignored;
    fs::remove(files.errors(), ignored);
    fs::remove(files.progress(), ignored);
    end.seconds = seconds_since(child.started);
    return end;
}

ChildWatcher::Running seen(const Child& child, const RunnerConfig& config) {
    ChildWatcher::Running r{.name = child.job->name, .seconds = seconds_since(child.started)};
    if (!config.ask_progress)
        return r;
    double ticks = 0, seconds = 0;
    int level = 0;
    if (std::ifstream(Files(config, child.job->name).progress()) >> level >> ticks >> seconds && seconds > 0) {
        r.level = level;
        r.mips = ticks / seconds / 1e6;
    }
    return r;
}

void discard(const Child& child, const RunnerConfig& config) {
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    const Files files(config, child.job->name);
    std::error_code ignored;
    for (const std::string& file : {files.report(), files.errors(), files.progress(), files.log()})
        fs::remove(file, ignored);
}

double limit_of(const ChildJob& job) {
    const u64 ms = job.options->number("run.timeout");
    return ms == 0 ? 1e12 : static_cast<double>(ms) / 1000 + grace_seconds;
}

}  // namespace

void run_children(std::span<const ChildJob> jobs, const RunnerConfig& config, ChildWatcher& watcher) {
    std::vector<Child> children;
    std::size_t next = 0;
    while ((next < jobs.size() || !children.empty()) && !watcher.stop()) {
        while (next < jobs.size() && children.size() < std::max(1u, config.jobs)) {
            const std::size_t index = next++;
            const pid_t pid = start(jobs[index], config);
            if (pid > 0) {
                children.push_back({&jobs[index], index, pid, Clock::now()});
                continue;
            }
            ChildEnd none;
            none.started = false;
            watcher.ended(index, std::move(none));
        }
        for (std::size_t i = 0; i < children.size();) {
            Child& child = children[i];
            int raw = 0;
            if (waitpid(child.pid, &raw, WNOHANG) == child.pid) {
                const std::size_t index = child.index;
                ChildEnd end = end_of(child, raw, config);
                children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
                watcher.ended(index, std::move(end));
                continue;
            }
            if (!child.killed && seconds_since(child.started) > limit_of(*child.job)) {
                child.killed = true;
                kill(child.pid, SIGKILL);
            }
            ++i;
        }
        std::vector<ChildWatcher::Running> list;
        for (const Child& child : children)
            list.push_back(seen(child, config));
        watcher.running(list);
        std::this_thread::sleep_for(std::chrono::milliseconds(children.empty() ? 0 : 10));
    }
    for (const Child& child : children)
        discard(child, config);
}

}  // namespace droste
