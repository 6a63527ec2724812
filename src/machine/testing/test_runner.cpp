// SPDX-License-Identifier: Apache-2.0
// Child processes, their time limits and their verdicts.
#include "machine/testing/test_runner.h"

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
#include <nlohmann/json.hpp>
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

struct Running {
    const TestCase* test;
    std::size_t index;
    pid_t pid;
    Clock::time_point started;
    bool killed = false;
};

class Files {
public:
    Files(const std::string& folder, const std::string& name) : base_((fs::path(folder) / name).string()) {}
    std::string log() const { return base_ + ".log"; }
    std::string report() const { return base_ + ".json"; }
    std::string errors() const { return base_ + ".err"; }

private:
    std::string base_;
};

std::vector<std::string> command_of(const TestCase& test, const RunnerConfig& config, const Files& files) {
    std::vector<std::string> words = {
        config.program, "boot", "--kernel", test.options.text("boot.kernel"), "--json", files.report()};
    for (const OptionRow* row : test.options.rows()) {
        if (row->key == "boot.kernel" || test.options.is_default(row->key))
            continue;
        words.push_back("--set");
        words.push_back(fmt::format("{}={}", row->key, test.options.shown(row->key)));
    }
    // Its default here is not that of the configuration.
    words.push_back("--set");
    words.push_back(fmt::format("run.timeout={}", test.options.shown("run.timeout")));
    words.insert(words.end(), config.arguments.begin(), config.arguments.end());
    return words;
}

/// -1: the host has no process for it.
pid_t start(const TestCase& test, const RunnerConfig& config) {
    const Files files(config.log_folder, test.name);
    std::error_code ignored;
    fs::remove(files.report(), ignored);
    std::vector<std::string> words = command_of(test, config, files);
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

ChildEnd end_of(const Running& child, int raw, const RunnerConfig& config) {
    const Files files(config.log_folder, child.test->name);
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
    return end;
}

double limit_of(const TestCase& test) {
    const u64 ms = test.options.number("run.timeout");
    return ms == 0 ? 1e12 : static_cast<double>(ms) / 1000 + grace_seconds;
}

}  // namespace

TestResult judge(const TestCase& test, const ChildEnd& end) {
    TestResult r;
    r.name = test.name;
    r.output = end.output;
    r.last_line = last_line_of(end.output);
    const auto verdict = [&](Verdict v, std::string reason) {
        r.verdict = v;
        r.reason = std::move(reason);
        return r;
    };
    if (end.killed)
        return verdict(Verdict::timeout, "it did not end after run.timeout and was killed");
    if (end.signal != 0)
        return verdict(Verdict::crashed,
                       fmt::format("the emulator died of signal {} ({})", end.signal, strsignal(end.signal)));
    const auto report = nlohmann::json::parse(end.report, nullptr, false);
    std::string kind, why;
    if (report.is_object() && report.contains("end") && report["end"].is_object()) {
        kind = report["end"].value("kind", "");
        why = report["end"].value("reason", "");
        r.ticks = report.value("ticks", u64(0));
    }
    if (kind.empty()) {
        const std::string said = last_line_of(end.errors);
        if (end.status == 2)
            return verdict(Verdict::refused, said.empty() ? "the emulator refused to start" : said);
        return verdict(Verdict::crashed, fmt::format("the emulator ended with status {} and no report{}{}",
                                                     end.status, said.empty() ? "" : ": ", said));
    }
    const TestExpectation& expect = test.expect;
    if (expect.end.empty() ? end.status == expect.status : kind == expect.end)
        return verdict(Verdict::passed, "");
    if (kind == "out_of_time" || kind == "out_of_ticks")
        return verdict(Verdict::timeout, why);
    if (kind == "debug_exit" && end.status == test.skip_status)
        return verdict(Verdict::skipped, r.last_line.empty() ? why : r.last_line);
    return verdict(Verdict::failed,
                   expect.end.empty()
                       ? fmt::format("exit status {} instead of {}: {}", end.status, expect.status, why)
                       : fmt::format("{} instead of {}: {}", kind, expect.end, why));
}

std::vector<TestResult> run_tests(std::span<const TestCase* const> tests, const RunnerConfig& config,
                                  RunnerWatcher& watcher) {
    std::vector<std::optional<TestResult>> results(tests.size());
    std::vector<Running> running;
    std::size_t next = 0, done = 0, bad = 0;
    const auto finish = [&](std::size_t index, TestResult r) {
        ++done;
        bad += is_bad(r.verdict) ? 1 : 0;
        watcher.finished(r);
        results[index] = std::move(r);
    };
    while ((next < tests.size() || !running.empty()) && !watcher.stop()) {
        while (next < tests.size() && running.size() < std::max(1u, config.jobs)) {
            const std::size_t index = next++;
            const pid_t pid = start(*tests[index], config);
            if (pid > 0) {
                running.push_back({tests[index], index, pid, Clock::now()});
                continue;
            }
            TestResult r;
            r.name = tests[index]->name;
            r.reason = "the host cannot start another process";
            finish(index, std::move(r));
        }
        for (std::size_t i = 0; i < running.size();) {
            Running& child = running[i];
            int raw = 0;
            if (waitpid(child.pid, &raw, WNOHANG) == child.pid) {
                TestResult r = judge(*child.test, end_of(child, raw, config));
                r.seconds = seconds_since(child.started);
                finish(child.index, std::move(r));
                running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
                continue;
            }
            if (!child.killed && seconds_since(child.started) > limit_of(*child.test)) {
                child.killed = true;
                kill(child.pid, SIGKILL);
            }
            ++i;
        }
        RunnerWatcher::Progress p{.done = done, .bad = bad, .total = tests.size(), .running = {}};
        for (const Running& child : running)
            p.running.push_back(child.test->name);
        watcher.progress(p);
        std::this_thread::sleep_for(std::chrono::milliseconds(running.empty() ? 0 : 10));
    }
    for (const Running& child : running) {
        kill(child.pid, SIGKILL);
        waitpid(child.pid, nullptr, 0);
    }
    std::vector<TestResult> out;
    for (std::optional<TestResult>& r : results)
        if (r)
            out.push_back(std::move(*r));
    return out;
}

}  // namespace droste
