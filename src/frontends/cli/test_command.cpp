// SPDX-License-Identifier: Apache-2.0
// Running lists of tests at the terminal.
#include "frontends/cli/test_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "frontends/cli/status_line.h"
#include "frontends/cli/this_program.h"
#include "machine/testing/test_runner.h"

namespace droste {

namespace {

constexpr const char* examples = R"(Examples:
  droste test guest-images/out/test-kernels
  droste test x86 --filter 'vmx*' --filter apic --jobs 4 --junit results.xml
  droste test x86 --group vmx --set cpu.model=max --explain-entries

FOLDER holds a list tests.toml (docs/testing-kernels.md); it may also be the list itself. The output of each
test is left in the folder of --logs as NAME.log, and its report as NAME.json.

Exit status: 0 nothing failed; 1 a test failed; 2 bad usage, or a bad list; 130 ended by the user.)";

/// One line that changes on a terminal, one line for each test elsewhere.
class ProgressLine final : public RunnerWatcher {
public:
    void progress(const Progress& p) override {
        if (!line_.due())
            return;
        std::string line = fmt::format("{}/{} done", p.done, p.total);
        if (p.bad != 0)
            line += fmt::format(", {} bad", p.bad);
        for (std::size_t i = 0; i < p.running.size(); ++i)
            line += fmt::format("{}{}", i == 0 ? "   running: " : ", ", p.running[i]);
        line_.show(line);
    }
    void finished(const TestResult& r) override {
        if (line_.on_terminal() && !is_bad(r.verdict))
            return;
        line_.erase();
        fmt::print(stderr, "{} {} ({:.2f} s){}{}\n", verdict_name(r.verdict), r.name, r.seconds,
                   r.reason.empty() ? "" : ": ", r.reason);
    }
    bool stop() override { return interrupted(); }

private:
    StatusLine line_{std::chrono::milliseconds(100)};
};

}  // namespace

void TestCommand::add_to(CLI::App& app) {
    CLI::App& c = *app.add_subcommand("test", "Run a folder of test kernels");
    c.add_option("FOLDER", path_, "A folder with a list tests.toml, or a list")->required();
    c.add_option("--junit", junit_, "Write the results as JUnit's XML")->type_name("FILE");
    c.add_option("--jobs,-j", jobs_, "How many tests at a time; as many as the host has processors")
        ->type_name("N")
        ->check(CLI::Range(1u, 1024u));
    c.add_option("--filter,-f", names_, "Only tests whose name matches this glob; may be repeated")
        ->type_name("GLOB");
    c.add_option("--group,-g", groups_, "Only tests of this group; may be repeated")->type_name("NAME");
    c.add_option("--logs", logs_, "Where logs and reports go; default: logs beside the list")
        ->type_name("FOLDER");
    c.add_option("--set", sets_, "Set a key of the configuration for all tests; may be repeated")
        ->type_name("KEY=VALUE");
    for (const char* repeated : {"--filter", "--group", "--set"})  // one value each: the folder may follow
        c.get_option(repeated)->allow_extra_args(false);
    c.add_flag("--list", list_, "Show the tests that would run");
    c.add_flag("--explain-entries", explain_, "Let every test explain the VM entries that fail");
    c.footer(examples);
}

int TestCommand::go() const {
    Result<TestList> list = load_test_list(path_, sets_);
    if (!list)
        return fail(list.error().text);
    const TestSelection selection{names_, groups_};
    std::vector<const TestCase*> tests;
    for (const TestCase& t : list->tests)
        if (selection.wants(t))
            tests.push_back(&t);
    if (tests.empty())
        return fail(
            fmt::format("{}: none of its {} tests is chosen by --filter and --group; --list shows them",
                        path_, list->tests.size()));
    if (list_) {
        for (const TestCase* t : tests)
            fmt::print("{}\n", t->name);
        return 0;
    }
    const std::string logs = logs_.empty() ? (std::filesystem::path(list->folder) / "logs").string() : logs_;
    std::error_code problem;
    std::filesystem::create_directories(logs, problem);
    if (problem || access(logs.c_str(), W_OK) != 0)
        return fail(fmt::format("--logs: the folder {} cannot be written; name another", logs));
    if (!junit_.empty() && !std::ofstream(junit_))
        return fail(
            fmt::format("--junit: {} cannot be written; name a file in a folder that exists", junit_));
    const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    RunnerConfig config{.program = this_program(),
                        .log_folder = logs,
                        .jobs = jobs_ == 0 ? processors : jobs_,
                        .arguments = {}};
    if (explain_)
        config.arguments.push_back("--explain-entries");
    catch_interrupts();
    std::vector<TestResult> results;
    {
        ProgressLine line;
        results = run_tests(tests, config, line);
    }
    fmt::print("{}", results_table(results, isatty(STDOUT_FILENO) != 0));
    if (!junit_.empty()) {
        const std::string suite = std::filesystem::path(list->folder).lexically_normal().filename().string();
        std::ofstream file(junit_, std::ios::binary);
        file << results_junit(suite.empty() || suite == "." ? "tests" : suite, results);
        if (!file.flush())
            return fail(fmt::format("--junit: {} cannot be written to its end; is the disk full?", junit_));
    }
    if (interrupted())
        return ended_by_user;
    for (const TestResult& r : results)
        if (is_bad(r.verdict))
            return some_failed;
    return 0;
}

}  // namespace droste
