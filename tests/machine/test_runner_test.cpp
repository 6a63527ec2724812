// SPDX-License-Identifier: Apache-2.0
// Verdicts over child processes, and the reports over verdicts.
#include "machine/testing/test_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TestCase test_case(TestExpectation expect = {}) {
    TestCase t;
    t.name = "t";
    t.expect = std::move(expect);
    return t;
}

ChildEnd ended(const std::string& kind, int status) {
    ChildEnd e;
    e.status = status;
    e.report = R"({"end": {"kind": ")" + kind + R"(", "status": 0, "reason": "so it ended"}, "ticks": 42})";
    e.output = "first\nlast words\n\n";
    return e;
}

TEST(Judge, ByStatusAndByEnd) {
    struct Row {
        const char* kind;
        int status;
        TestExpectation expect;
        Verdict verdict;
    };
    const Row rows[] = {
        {"debug_exit", 1, {}, Verdict::passed},
        {"debug_exit", 3, {}, Verdict::failed},
        {"debug_exit", 3, {3, ""}, Verdict::passed},
        {"debug_exit", 155, {}, Verdict::skipped},
        {"debug_exit", 155, {155, ""}, Verdict::passed},
        {"powered_off", 155, {}, Verdict::failed},
        {"powered_off", 0, {}, Verdict::failed},
        {"powered_off", 0, {0, ""}, Verdict::passed},
        {"powered_off", 0, {1, "powered_off"}, Verdict::passed},
        {"triple_fault", 3, {}, Verdict::failed},
        {"triple_fault", 3, {1, "triple_fault"}, Verdict::passed},
        {"vmx_abort", 3, {1, "triple_fault"}, Verdict::failed},
        {"out_of_time", 124, {}, Verdict::timeout},
        {"out_of_ticks", 124, {}, Verdict::timeout},
        {"out_of_ticks", 124, {1, "out_of_ticks"}, Verdict::passed},
        {"out_of_time", 124, {124, ""}, Verdict::passed},
    };
    for (const Row& row : rows) {
        const TestResult r = judge(test_case(row.expect), ended(row.kind, row.status));
        EXPECT_EQ(r.verdict, row.verdict) << row.kind << " " << row.status << " " << row.expect.end;
        EXPECT_EQ(r.ticks, 42u);
        EXPECT_EQ(r.last_line, "last words");
        EXPECT_EQ(r.reason.empty(), row.verdict == Verdict::passed);
    }
    EXPECT_THAT(judge(test_case(), ended("debug_exit", 3)).reason,
                AllOf(HasSubstr("status 3 instead of 1"), HasSubstr("so it ended")));
    EXPECT_THAT(judge(test_case({1, "reset"}), ended("debug_exit", 3)).reason,
                HasSubstr("debug_exit instead of reset"));
    EXPECT_EQ(judge(test_case(), ended("debug_exit", 155)).reason, "last words");
}

TEST(Judge, WithoutAReport) {
    ChildEnd e;
    e.status = 2;
    e.errors = "droste: boot.kernel: bad\n";
    EXPECT_EQ(judge(test_case(), e).verdict, Verdict::refused);
    EXPECT_THAT(judge(test_case(), e).reason, HasSubstr("boot.kernel: bad"));
    e.errors = "";
    EXPECT_THAT(judge(test_case(), e).reason, HasSubstr("refused to start"));
    e.status = 1;
    EXPECT_EQ(judge(test_case(), e).verdict, Verdict::crashed) << "even the expected status";
    for (const char* text : {"[]", "{", "{\"end\": 1}", "{\"end\": {}}"}) {
        e.report = text;
        EXPECT_EQ(judge(test_case(), e).verdict, Verdict::crashed) << text;
    }
    e = ended("debug_exit", 1);
    e.signal = SIGSEGV;
    EXPECT_EQ(judge(test_case(), e).verdict, Verdict::crashed);
    EXPECT_THAT(judge(test_case(), e).reason, HasSubstr("Segmentation"));
    e.killed = true;
    EXPECT_EQ(judge(test_case(), e).verdict, Verdict::timeout);
}

TEST(TestResults, LastLine) {
    EXPECT_EQ(last_line_of(""), "");
    EXPECT_EQ(last_line_of("\n \r\n"), "");
    EXPECT_EQ(last_line_of("a\r\n  b c \r\n\r\n"), "b c");
    EXPECT_EQ(last_line_of("x\x1b[0m"), "x [0m");
}

std::vector<TestResult> some_results() {
    std::vector<TestResult> results(6);
    const Verdict verdicts[] = {Verdict::passed,  Verdict::failed,  Verdict::skipped,
                                Verdict::timeout, Verdict::crashed, Verdict::refused};
    for (std::size_t i = 0; i < results.size(); ++i) {
        results[i].name = "test-" + std::to_string(i);
        results[i].verdict = verdicts[i];
        results[i].seconds = 0.25;
        results[i].ticks = 1000 + i;
        if (i != 0)
            results[i].reason = "why " + std::to_string(i);
        results[i].last_line = "line";
        results[i].output = "text <&\"> \x01\xE9\n";
    }
    return results;
}

TEST(TestResults, TableHasALineForEachAndCounts) {
    const std::string table = results_table(some_results(), false);
    EXPECT_THAT(table,
                AllOf(HasSubstr("test-0  passed              1000      0.25  line\n"),
                      HasSubstr("test-1  failed              1001      0.25  why 1 | line\n"),
                      HasSubstr("test-2  skipped             1002      0.25  line\n"),
                      HasSubstr("1 passed, 1 failed, 1 skipped, 1 timeout, 1 crashed, 1 refused; 1.5 s"),
                      Not(HasSubstr("\x1b"))));
    const std::string coloured = results_table(some_results(), true);
    for (const char* part : {"\x1b[32mpassed", "\x1b[31mfailed", "\x1b[33mskipped", "\x1b[31mtimeout",
                             "\x1b[31mcrashed", "\x1b[31mrefused", "\x1b[0m"})
        EXPECT_THAT(coloured, HasSubstr(part));
    EXPECT_THAT(results_table({}, false), HasSubstr("0 passed"));
}

TEST(TestResults, JunitCountsAndEscapes) {
    const std::string xml = results_junit("x86 & more", some_results());
    EXPECT_THAT(
        xml,
        AllOf(
            HasSubstr("<testsuites tests=\"6\" failures=\"2\" errors=\"2\" skipped=\"1\" time=\"1.500\">"),
            HasSubstr("<testsuite name=\"x86 &amp; more\" tests=\"6\""),
            HasSubstr("<testcase classname=\"x86 &amp; more\" name=\"test-0\" time=\"0.250\">\n<system-out>"),
            HasSubstr("<failure message=\"why 1\" type=\"failed\"/>"),
            HasSubstr("<skipped message=\"why 2\"/>"),
            HasSubstr("<failure message=\"why 3\" type=\"timeout\"/>"),
            HasSubstr("<error message=\"why 4\" type=\"crashed\"/>"),
            HasSubstr("<error message=\"why 5\" type=\"refused\"/>"),
            HasSubstr("text &lt;&amp;&quot;&gt; ?&#xE9;\n")));
}

/// A stand-in for the program: a shell script that does what the test's command line says.
class RunTests : public ::testing::Test, public RunnerWatcher {
protected:
    void SetUp() override {
        folder_ = std::filesystem::temp_directory_path() / ("droste-runner-" + std::to_string(getpid()));
        std::filesystem::create_directories(folder_);
        std::ofstream(program()) << R"(#!/bin/sh
report=$5
echo "$*" > "$report.args"
case "$*" in
*do-pass*) echo fine; echo '{"end": {"kind": "debug_exit", "reason": "r"}, "ticks": 5}' > "$report"; exit 1;;
*do-crash*) kill -SEGV $$;;
*do-hang*) exec sleep 1000;;
*do-refuse*) echo 'droste: no' >&2; exit 2;;
esac
)";
        std::filesystem::permissions(program(), std::filesystem::perms::owner_all);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    std::string program() const { return (folder_ / "program").string(); }
    TestCase test(const std::string& name, const std::string& does) const {
        TestCase t;
        t.name = name;
        EXPECT_TRUE(t.options.set("boot.kernel", "k.flat", "test"));
        EXPECT_TRUE(t.options.set("boot.append", does, "test"));
        return t;
    }
    std::vector<TestResult> run(const std::vector<TestCase>& tests, unsigned jobs = 2) {
        std::vector<const TestCase*> pointers;
        for (const TestCase& t : tests)
            pointers.push_back(&t);
        return run_tests(pointers, {program(), folder_.string(), jobs, {}}, *this);
    }
    std::string text(const std::string& name) const {
        std::ifstream in(folder_ / name);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void progress(const Progress& p) override {
        most_running = std::max(most_running, p.running.size());
        last = p;
    }
    void finished(const TestResult& r) override { finished_names.push_back(r.name); }
    bool stop() override { return stop_at != 0 && finished_names.size() >= stop_at; }

    std::filesystem::path folder_;
    std::size_t most_running = 0, stop_at = 0;
    std::vector<std::string> finished_names;
    Progress last;
};

TEST_F(RunTests, EachInAProcessOfItsOwn) {
    const auto r =
        run({test("a", "do-pass"), test("b", "do-crash"), test("c", "do-refuse"), test("d", "do-pass")});
    ASSERT_EQ(r.size(), 4u);
    EXPECT_EQ(r[0].verdict, Verdict::passed);
    EXPECT_EQ(r[0].ticks, 5u);
    EXPECT_EQ(r[0].last_line, "fine");
    EXPECT_EQ(r[1].verdict, Verdict::crashed);
    EXPECT_EQ(r[2].verdict, Verdict::refused);
    EXPECT_EQ(r[3].name, "d");
    EXPECT_EQ(finished_names.size(), 4u);
    EXPECT_EQ(last.done, 4u);
    EXPECT_EQ(last.bad, 2u);
    EXPECT_LE(most_running, 2u);
    EXPECT_THAT(text("a.log"), HasSubstr("fine\n"));
    EXPECT_THAT(text("c.log"), HasSubstr("--- droste:\ndroste: no"));
    EXPECT_THAT(text("a.json.args"),
                AllOf(HasSubstr("boot --kernel k.flat --json "), HasSubstr("--set boot.append=do-pass"),
                      HasSubstr("--set run.timeout=")));
}

TEST_F(RunTests, OneAtATimeWhenToldSo) {
    run({test("a", "do-pass"), test("b", "do-pass"), test("c", "do-pass")}, 1);
    EXPECT_EQ(most_running, 1u);
    EXPECT_EQ(finished_names, (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(RunTests, StoppingEndsWhatRuns) {
    stop_at = 1;
    const auto r = run({test("a", "do-pass"), test("b", "do-hang")});
    ASSERT_EQ(r.size(), 1u);
    EXPECT_EQ(r[0].name, "a");
}

TEST_F(RunTests, AReportOfAnEarlierRunDoesNotCount) {
    std::ofstream(folder_ / "b.json") << R"({"end": {"kind": "debug_exit", "reason": "r"}, "ticks": 5})";
    EXPECT_EQ(run({test("b", "do-crash")})[0].verdict, Verdict::crashed);
    EXPECT_EQ(text("b.json"), "");
}

TEST_F(RunTests, AProgramThatIsNotThere) {
    std::filesystem::remove(program());
    EXPECT_EQ(run({test("a", "do-pass")})[0].verdict, Verdict::crashed);
}

}  // namespace
}  // namespace droste
