// SPDX-License-Identifier: Apache-2.0
// Verdicts over child processes.
#include "machine/testing/test_runner.h"

#include <fmt/format.h>
#include <string.h>

#include <nlohmann/json.hpp>
#include <optional>

namespace droste {

namespace {

/// Judges children as they end.
class TestWatcher final : public ChildWatcher {
public:
    TestWatcher(std::span<const TestCase* const> tests, RunnerWatcher& watcher)
        : tests_(tests), watcher_(watcher), results_(tests.size()) {}
    void running(const std::vector<Running>& list) override {
        RunnerWatcher::Progress p{.done = done_, .bad = bad_, .total = tests_.size(), .running = {}};
        for (const Running& r : list)
            p.running.push_back(r.name);
        watcher_.progress(p);
    }
    void ended(std::size_t job, ChildEnd end) override {
        TestResult r = judge(*tests_[job], end);
        ++done_;
        bad_ += is_bad(r.verdict) ? 1 : 0;
        watcher_.finished(r);
        results_[job] = std::move(r);
    }
    bool stop() override { return watcher_.stop(); }
    std::vector<TestResult> take() {
        std::vector<TestResult> out;
        for (std::optional<TestResult>& r : results_)
            if (r)
                out.push_back(std::move(*r));
        return out;
    }

private:
    std::span<const TestCase* const> tests_;
    RunnerWatcher& watcher_;
    std::vector<std::optional<TestResult>> results_;
    std::size_t done_ = 0, bad_ = 0;
};

}  // namespace

TestResult judge(const TestCase& test, const ChildEnd& end) {
    TestResult r;
    r.name = test.name;
    r.output = end.output;
    r.seconds = end.seconds;
    r.last_line = last_line_of(end.output);
    const auto verdict = [&](Verdict v, std::string reason) {
        r.verdict = v;
        r.reason = std::move(reason);
        return r;
    };
    if (!end.started)
        return verdict(Verdict::refused, "the host cannot start another process");
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
    std::vector<ChildJob> jobs;
    for (const TestCase* t : tests)
        jobs.push_back({t->name, &t->options});
    TestWatcher judge_of_all(tests, watcher);
    run_children(jobs, config, judge_of_all);
    return judge_of_all.take();
}

}  // namespace droste
