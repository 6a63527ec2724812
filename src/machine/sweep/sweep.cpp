// SPDX-License-Identifier: Apache-2.0
// Resuming, running and recording of sweeps.
#include "machine/sweep/sweep.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "machine/program_version.h"
#include "machine/report/run_report.h"
#include "machine/sweep/digest.h"
#include "machine/testing/test_runner.h"

namespace droste {

namespace {

namespace fs = std::filesystem;

/// A report that is still being written.
constexpr const char* part_suffix = ".json.part";

std::string file_in(const SweepConfig& config, const std::string& name) {
    return (fs::path(config.folder) / name).string();
}

bool is_whole(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (in)
        text << in.rdbuf();
    return in && parse_run_report(text.str(), path);
}

/// How a run is judged when its plan does not say.
TestExpectation usual_expectation(const ChildEnd& end) {
    const Result<RunReport> report = parse_run_report(end.report, "");
    return report && report->end_kind == "powered_off" ? TestExpectation{.end = "powered_off"}
                                                       : TestExpectation{};
}

/// One sweep at a time in a folder.
class FolderLock {
public:
    explicit FolderLock(const std::string& file)
        : file_(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
        held_ = file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) == 0;
    }
    ~FolderLock() {
        if (file_ >= 0)
            close(file_);
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    bool held() const { return held_; }

private:
    const int file_;
    bool held_ = false;
};

class Recorder final : public ChildWatcher {
public:
    Recorder(const std::vector<SweepRun>& runs, const SweepConfig& config, SweepWatcher& watcher,
             SweepManifest& manifest)
        : runs_(runs), config_(config), watcher_(watcher), manifest_(manifest) {
        for (const SweepEntry& e : manifest.runs)
            now_.kept += e.state == SweepState::done;
        now_.total = manifest.runs.size();
        now_.done = now_.kept;
    }
    /// The run of this sweep behind each job.
    std::vector<std::size_t> run_of_job;
    std::vector<std::string> digests;  ///< of each run

    void running(const std::vector<Running>& list) override {
        now_.running = list;
        now_.seconds_left = estimate(list);
        watcher_.progress(now_);
    }
    void ended(std::size_t job, ChildEnd end) override {
        if (watcher_.stop())
            return;  // Ctrl-C reaches the runs too: how they end then says nothing
        const std::size_t index = run_of_job[job];
        SweepEntry& entry = manifest_.runs[index];
        TestCase as_test;
        as_test.name = entry.name;
        as_test.expect = runs_[index].expect.value_or(usual_expectation(end));
        const TestResult result = judge(as_test, end);
        entry.seconds = end.seconds;
        spent_ += end.seconds;
        ++ended_;
        std::error_code problem;
        const std::string part = file_in(config_, entry.name + part_suffix);
        const bool good = result.verdict == Verdict::passed && is_whole(part);
        if (good)
            fs::rename(part, file_in(config_, entry.file), problem);
        else  // for those who look for the reason
            fs::rename(part, file_in(config_, entry.name + ".failed.json"), problem);
        entry.state = good && !problem ? SweepState::done : SweepState::failed;
        entry.digest = digests[index];
        entry.reason = entry.state == SweepState::done ? ""
                       : good                          ? "its report cannot be kept: " + problem.message()
                       : result.reason.empty()         ? "its report is not whole"
                                                       : result.reason;
        ++(entry.state == SweepState::done ? now_.done : now_.failed);
        saved_ = save_manifest(manifest_, config_.folder);
        watcher_.finished(entry);
    }
    bool stop() override { return !saved_ || watcher_.stop(); }
    const Status& saved() const { return saved_; }

private:
    /// By the mean of the runs that ended; those that run count with what they lack of it.
    double estimate(const std::vector<Running>& list) const {
        if (ended_ == 0)
            return -1;
        const double mean = spent_ / static_cast<double>(ended_);
        double left = mean * static_cast<double>(now_.total - now_.done - now_.failed - list.size());
        for (const Running& r : list)
            left += std::max(0.0, mean - r.seconds);
        return left / std::max(1u, config_.jobs);
    }
    const std::vector<SweepRun>& runs_;
    const SweepConfig& config_;
    SweepWatcher& watcher_;
    SweepManifest& manifest_;
    SweepProgress now_;
    Status saved_;
    double spent_ = 0;
    std::size_t ended_ = 0;
};

/// The manifest of the plan with what an earlier sweep finished. `digests` gets that of each run.
Result<SweepManifest> resumed(const std::vector<SweepRun>& runs, const SweepConfig& config,
                              std::vector<std::string>& digests) {
    SweepManifest before;
    std::error_code ignored;
    if (fs::exists(manifest_path(config.folder), ignored)) {
        Result<SweepManifest> found = load_manifest(config.folder);
        if (!found)
            return found.error();
        before = std::move(*found);
    } else if (fs::exists(config.folder, ignored) && !fs::is_empty(config.folder, ignored)) {
        return Error{
            fmt::format("--out: the folder {} holds other things than a sweep; name another", config.folder)};
    }
    RunDigests digest(config.program);
    SweepManifest manifest;
    manifest.program = program_version();
    for (const SweepRun& run : runs) {
        const std::string expect =
            run.expect ? fmt::format("expect {} {}", run.expect->status, run.expect->end) : "";
        digests.push_back(digest.of(run.options, expect));
        SweepEntry entry;
        entry.name = run.name;
        entry.file = run.name + ".json";
        entry.variant = run.variant;
        entry.variant_keys = run.variant_keys;
        entry.settings = run.settings;
        const SweepEntry* old = before.find(run.name);
        if (!config.again && old != nullptr && old->state == SweepState::done &&
            old->digest == digests.back() && is_whole(file_in(config, entry.file))) {
            entry.state = SweepState::done;
            entry.digest = old->digest;
            entry.seconds = old->seconds;
        }
        manifest.runs.push_back(std::move(entry));
    }
    return manifest;
}

Status unique_names(const std::vector<SweepRun>& runs) {
    std::map<std::string, int> used;
    for (const SweepRun& run : runs)
        if (++used[run.name] > 1)
            return Error{
                fmt::format("two sweeps have a run {}; give one of them another name in [sweep]", run.name)};
    return {};
}

}  // namespace

Result<SweepManifest> sweep_state(const std::vector<SweepRun>& runs, const SweepConfig& config) {
    if (Status s = unique_names(runs); !s)
        return s.error();
    std::vector<std::string> digests;
    return resumed(runs, config, digests);
}

Result<SweepManifest> run_sweep(const std::vector<SweepRun>& runs, const SweepConfig& config,
                                SweepWatcher& watcher) {
    if (Status s = unique_names(runs); !s)
        return s.error();
    std::vector<std::string> digests;
    Result<SweepManifest> manifest = resumed(runs, config, digests);
    if (!manifest)
        return manifest;
    std::error_code problem;
    fs::create_directories(config.folder, problem);
    const FolderLock lock(file_in(config, "lock"));
    if (!lock.held())
        return Error{
            problem || access(config.folder.c_str(), W_OK) != 0
                ? fmt::format("--out: the folder {} cannot be written; name another", config.folder)
                : fmt::format("--out: another sweep is at work in {}; wait for it, or name another folder",
                              config.folder)};
    Recorder recorder(runs, config, watcher, *manifest);
    recorder.digests = std::move(digests);
    std::vector<ChildJob> jobs;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        if (manifest->runs[i].state == SweepState::done)
            continue;
        // What a sweep that was killed, or a failed run, has left.
        for (const char* left : {part_suffix, ".err", ".progress", ".failed.json", ".json"})
            fs::remove(file_in(config, runs[i].name + left), problem);
        recorder.run_of_job.push_back(i);
        jobs.push_back({runs[i].name, &runs[i].options});
    }
    if (Status s = save_manifest(*manifest, config.folder); !s)
        return s.error();
    run_children(jobs,
                 {.program = config.program,
                  .log_folder = config.folder,
                  .jobs = config.jobs,
                  .report_suffix = part_suffix,
                  .ask_progress = true},
                 recorder);
    if (!recorder.saved())
        return recorder.saved().error();
    return manifest;
}

}  // namespace droste
