// SPDX-License-Identifier: Apache-2.0
// Reports of runs: read back, named, set side by side, as text, CSV, JSON and HTML.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "machine/report/figures.h"
#include "machine/report/metrics.h"
#include "machine/report/report_tables.h"
#include "machine/xml_check.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ExitSummary exit_of(unsigned level, unsigned owner, const char* reason, u64 count, u64 p50) {
    ExitSummary e;
    e.level = level;
    e.owner = owner;
    e.reason = reason;
    e.reason_number = 10;
    e.count = count;
    e.min = p50 - 10;
    e.p50 = p50;
    e.p99 = 2 * p50;
    e.max = 3 * p50;
    e.mean = static_cast<double>(p50) + 0.5;
    e.amplification = 2 * level - 1;
    e.world_switches = 4 * level - 2;
    e.vmreads = 7.25;
    e.vmwrites = 3;
    e.walk_references = 1.5;
    e.cycles_by_level.assign(level + 1, 0);
    e.cycles_by_level[0] = 0.75 * static_cast<double>(p50);
    e.cycles_by_level[owner] += 0.25 * static_cast<double>(p50);
    return e;
}

/// A run in which level n's cpuid takes 1000 * factor^(n - 1) cycles.
RunSummary run_of(const char* design, unsigned depth, u64 factor) {
    RunSummary s;
    s.end = {EndKind::powered_off, 0, "the guest powered off"};
    s.stack = "tiny";
    s.depth = depth;
    s.cpu_model = "skylake-sp";
    s.engine = "interpreter";
    s.timing_model = "table";
    s.timing_table = "haswell";
    s.timing_clock = "cycles";
    s.routing_design = design;
    s.configuration = {{"stack.name", "tiny"}, {"boot.kernel", "k & <k>"}};
    s.memory_bytes = 1 << 30;
    s.ticks = 1'000'000 * depth;
    s.cycles = 1'500'000 * depth;
    s.guest_ns = 4'000'000 * depth;
    s.host_seconds = 0.5;
    s.vm_exits = 100 * depth;
    s.cycles_in_level.assign(depth + 1, 300'000);
    s.first_seen.clear();
    u64 cycles = 1000;
    for (unsigned level = 0; level <= depth; ++level) {
        s.first_seen.push_back({level * 200'000, level * 300'000, level * 1'000'000});
        if (level == 0)
            continue;
        s.exits.push_back(exit_of(level, level - 1, "cpuid", 40, cycles));
        s.exits.push_back(exit_of(level, 0, "external_interrupt", 3, 500));
        cycles *= factor;
    }
    return s;
}

RunReport report_of(const RunSummary& s, const std::string& file = "a.json") {
    Result<RunReport> r = parse_run_report(summary_json(s), file);
    EXPECT_TRUE(r) << r.error().text;
    return r ? *r : RunReport{};
}

std::vector<RunReport> reports_of(std::initializer_list<RunSummary> list) {
    std::vector<RunReport> runs;
    for (const RunSummary& s : list)
        runs.push_back(report_of(s, fmt::format("{}.json", static_cast<char>('a' + runs.size()))));
    name_runs(runs);
    return runs;
}

std::vector<std::string> labels(const std::vector<RunReport>& runs) {
    std::vector<std::string> out;
    for (const RunReport& r : runs)
        out.push_back(r.label);
    return out;
}

std::string sheet_of(const std::vector<RunReport>& runs, const std::string& title,
                     const ReportFilter& filter = {}) {
    for (const Sheet& s : report_sheets(runs, filter))
        if (s.title == title)
            return sheet_text(s, 200, false);
    return "no sheet " + title;
}

TEST(Report, ReadsBackWhatARunWrote) {
    const RunSummary s = run_of("sdm", 2, 20);
    const RunReport r = report_of(s);
    EXPECT_EQ(r.stack, "tiny");
    EXPECT_EQ(r.depth, 2u);
    EXPECT_EQ(r.routing, "sdm");
    EXPECT_EQ(r.timing_table, "haswell");
    EXPECT_EQ(r.configuration.at("boot.kernel"), "k & <k>");
    EXPECT_EQ(r.ticks, s.ticks);
    EXPECT_EQ(r.guest_ns, s.guest_ns);
    EXPECT_EQ(r.end_kind, "powered_off");
    ASSERT_EQ(r.levels.size(), 3u);
    EXPECT_EQ(r.levels[2].tick, 400'000u);
    EXPECT_EQ(r.levels[2].cycle, 600'000u);
    EXPECT_EQ(r.levels[2].guest_ns, 2'000'000u);
    ASSERT_EQ(r.exits.size(), s.exits.size());
    for (const Metric& m : exit_metrics())
        EXPECT_EQ(m.of(r.exits[2]), m.of(s.exits[2])) << m.name;
    EXPECT_EQ(r.exits[2].cycles_by_level, s.exits[2].cycles_by_level);
}

TEST(Report, EachMetricIsItsMember) {
    ExitSummary e;
    e.count = 1, e.min = 2, e.p50 = 3, e.p99 = 4, e.max = 5, e.mean = 6, e.amplification = 7,
    e.world_switches = 8;
    e.vmreads = 9, e.vmwrites = 10, e.walk_references = 11;
    std::vector<double> values;
    std::vector<std::string> heads;
    for (const Metric& m : exit_metrics()) {
        values.push_back(m.of(e));
        heads.emplace_back(m.head);
    }
    EXPECT_THAT(values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    EXPECT_THAT(heads, ElementsAre("count", "min", "p50", "p99", "max", "mean", "exits", "switches", "vmread",
                                   "vmwrite", "walk"));
}

TEST(Report, NumbersAreWrittenByTheirForm) {
    EXPECT_EQ(shown_number(1234567, NumberForm::count), "1,234,567");
    EXPECT_EQ(shown_number(999, NumberForm::count), "999");
    EXPECT_EQ(shown_number(28224, NumberForm::cycles), "28,224");
    EXPECT_EQ(shown_number(5'954'000, NumberForm::cycles), "5.95M");
    EXPECT_EQ(shown_number(2.5e9, NumberForm::cycles), "2.50G");
    EXPECT_EQ(shown_number(53.84, NumberForm::mean), "53.8");
    EXPECT_EQ(shown_number(1.9621, NumberForm::seconds), "1.962");
    EXPECT_EQ(shown_ratio(32, 100), "0.32x");
    EXPECT_EQ(shown_ratio(15'000, 100), "150x");
    EXPECT_EQ(shown_ratio(1e9, 1), "1.0e+09x");
    EXPECT_EQ(shown_ratio(1, 0), "-");
    EXPECT_EQ(level_shares(std::vector<double>{75, 25, 0.1}), "L0 75% L1 25%");
    EXPECT_EQ(level_shares(std::vector<double>{}), "");
}

TEST(Report, RunsAreNamedByWhatTellsThemApart) {
    EXPECT_THAT(labels(reports_of({run_of("sdm", 2, 20)})), ElementsAre("tiny, sdm, depth 2"));
    EXPECT_THAT(labels(reports_of({run_of("sdm", 2, 20), run_of("links", 2, 3)})),
                ElementsAre("sdm", "links"));
    EXPECT_THAT(labels(reports_of({run_of("sdm", 1, 20), run_of("sdm", 2, 20)})),
                ElementsAre("depth 1", "depth 2"));
    EXPECT_THAT(labels(reports_of({run_of("sdm", 1, 20), run_of("sdm", 1, 20)})),
                ElementsAre("a.json", "b.json"));
    EXPECT_THAT(labels(reports_of({run_of("sdm", 1, 2), run_of("sdm", 1, 2), run_of("links", 1, 2)})),
                ElementsAre("sdm (a.json)", "sdm (b.json)", "links"));
    RunSummary other = run_of("sdm", 2, 20);
    other.configuration.emplace_back("vmx.capabilities", "-vmcs_shadowing");
    other.configuration.emplace_back("run.timeout", "77");
    EXPECT_THAT(labels(reports_of({run_of("sdm", 2, 20), other})),
                ElementsAre("a.json", "vmx.capabilities=-vmcs_shadowing"));
    other.timing_model = "none";
    other.cpu_model = "haswell";
    other.engine = "jit";
    other.timing_clock = "ticks";
    other.stack = "big";
    EXPECT_EQ(labels(reports_of({run_of("sdm", 2, 20), other})).at(1),
              "big, haswell, timing none, clock ticks, jit, vmx.capabilities=-vmcs_shadowing");
}

TEST(Report, SeriesOfADesignSpanItsDepths) {
    const auto runs = reports_of({run_of("sdm", 1, 20), run_of("sdm", 2, 20), run_of("links", 2, 3)});
    EXPECT_EQ(runs[0].series, "sdm");
    EXPECT_EQ(runs[1].series, "sdm");
    EXPECT_EQ(runs[2].series, "links");
    const auto equal = reports_of({run_of("sdm", 2, 20), run_of("sdm", 2, 20)});
    EXPECT_NE(equal[0].series, equal[1].series) << "two runs of the same are two lines";
}

TEST(Report, VariantsOfASweepStandForTheirKeys) {
    RunSummary other = run_of("sdm", 2, 20);
    other.configuration.emplace_back("vmx.capabilities", "-vmcs_shadowing");
    std::vector<RunReport> runs = {report_of(run_of("sdm", 2, 20)), report_of(other)};
    runs[0].variant = "as it is";
    runs[1].variant = "no shadowing";
    runs[1].variant_keys = {"vmx.capabilities"};
    name_runs(runs);
    EXPECT_THAT(labels(runs), ElementsAre("as it is", "no shadowing"));
    runs = {report_of(run_of("sdm", 2, 20)), report_of(run_of("links", 2, 20))};
    runs[0].variant = "shipped";
    runs[1].variant = "linked";
    runs[1].variant_keys = {"routing.design"};
    name_runs(runs);
    EXPECT_THAT(labels(runs), ElementsAre("shipped", "linked"));
    EXPECT_EQ(runs[1].series, "linked");
}

TEST(Report, TableOfOneRun) {
    EXPECT_EQ(sheet_of(reports_of({run_of("sdm", 2, 20)}), "Round trips of level 2"),
              R"(Round trips of level 2
VM exit             owner   count      min      p50      p99      max     mean   exits   switches   vmread   vmwrite   walk   cycles within, by level
cpuid               L1         40   19,990   20,000   40,000   60,000   20,000     3.0        6.0      7.2       3.0    1.5   L0 75% L1 25%
external_interrupt  L0          3      490      500    1,000    1,500      500     3.0        6.0      7.2       3.0    1.5   L0 100%
)");
    EXPECT_EQ(sheet_of(reports_of({run_of("sdm", 2, 20)}),
                       "Levels: when each first ran, and the cycles that it spent"),
              R"(Levels: when each first ran, and the cycles that it spent
level   first ran at, guest ms   first ran at tick   cycles in it      %
L0                       0.000                   0        300,000   33.3
L1                       1.000             200,000        300,000   33.3
L2                       2.000             400,000        300,000   33.3
)");
    const std::string whole = sheet_of(reports_of({run_of("sdm", 2, 20)}), "Whole run");
    EXPECT_THAT(whole, AllOf(HasSubstr("ticks                     2,000,000\n"),
                             HasSubstr("guest time, s                 0.008\n"),
                             HasSubstr("MIPS                            4.0\n"),
                             HasSubstr("hardware exits                  200\n")));
}

TEST(Report, TableOfTwoRuns) {
    const auto runs = reports_of({run_of("sdm", 2, 20), run_of("links", 1, 3)});
    EXPECT_EQ(sheet_of(runs, "Round trips of level 1"),
              R"(Round trips of level 1
                            count           p50                   p99                   exits             switches          walk              cycles within, by level
VM exit             owner    1   2              1      2              1      2            1    2            1    2            1    2          1        2
cpuid               L0      40  40  1.00x   1,000  1,000  1.00x   2,000  2,000  1.00x   1.0  1.0  1.00x   2.0  2.0  1.00x   1.5  1.5  1.00x   L0 100%  L0 100%
external_interrupt  L0       3   3  1.00x     500    500  1.00x   1,000  1,000  1.00x   1.0  1.0  1.00x   2.0  2.0  1.00x   1.5  1.5  1.00x   L0 100%  L0 100%
)");
    EXPECT_THAT(sheet_of(runs, "Runs; ratios are to run 1"),
                HasSubstr("2  links, depth 1   tiny   1      links"));
    EXPECT_THAT(sheet_of(runs, "Round trips of level 2"),
                HasSubstr("cpuid               L1      40  -     20,000  - "));
}

TEST(Report, WholeRunHasEachTotal) {
    RunSummary s = run_of("sdm", 2, 20);
    s.vm_exits = 1234;
    s.unknown_exits = 7;
    s.walks = 11;
    s.walk_references = 22;
    s.ept_references = 33;
    EXPECT_EQ(sheet_of(reports_of({s}), "Whole run"), R"(Whole run
ticks                     2,000,000
cycles                    3,000,000
guest time, s                 0.008
host time, s                  0.500
MIPS                            4.0
hardware exits                1,234
  of unknown level                7
page walks                       11
  page-table references          22
  EPT references                 33
)");
}

TEST(Report, RatiosAreToTheFirst) {
    const auto runs = reports_of({run_of("sdm", 2, 20), run_of("links", 2, 5)});
    EXPECT_THAT(sheet_of(runs, "Round trips of level 2"), HasSubstr("20,000  5,000  0.25x"));
    const auto swapped = reports_of({run_of("links", 2, 5), run_of("sdm", 2, 20)});
    EXPECT_THAT(sheet_of(swapped, "Round trips of level 2"), HasSubstr("5,000  20,000  4.00x"));
    for (const Sheet& s : report_sheets(runs, {})) {
        const std::string coloured = sheet_text(s, 200, true);
        if (s.title == "Round trips of level 2") {
            EXPECT_THAT(coloured, HasSubstr("\x1b[32m0.25x\x1b[0m"));
        }
        EXPECT_EQ(sheet_text(s, 200, false).find('\x1b'), std::string::npos);
    }
    EXPECT_THAT(report_text(swapped, {}, 200, true), HasSubstr("\x1b[31m4.00x\x1b[0m"));
}

TEST(Report, MoreMipsAreBetter) {
    RunSummary slow = run_of("sdm", 2, 20);
    slow.host_seconds *= 2;
    const std::string text = report_text(reports_of({run_of("sdm", 2, 20), slow}), {}, 200, true);
    EXPECT_THAT(text, AllOf(HasSubstr("\x1b[31m0.50x\x1b[0m"), HasSubstr("\x1b[31m2.00x\x1b[0m"),
                            Not(HasSubstr("\x1b[32m"))));
}

TEST(Report, WideTablesGoOnBelow) {
    const auto runs = reports_of({run_of("sdm", 2, 20), run_of("links", 2, 5), run_of("layered", 2, 5),
                                  run_of("native", 2, 5), run_of("deferred", 2, 5)});
    for (const std::size_t width : {70u, 80u, 120u}) {
        std::size_t longest = 0, at = 0;
        for (const Sheet& s : report_sheets(runs, {}))
            if (s.title == "Round trips of level 2") {
                const std::string text = sheet_text(s, width, false);
                for (std::size_t end; (end = text.find('\n', at)) != text.npos; at = end + 1)
                    longest = std::max(longest, end - at);
                EXPECT_THAT(text, AllOf(HasSubstr("p50"), HasSubstr("walk"), HasSubstr("L0 75% L1 25%")));
            }
        EXPECT_LE(longest, width);
    }
}

TEST(Report, ManyReasonsAreCutUnlessAskedFor) {
    RunSummary s = run_of("sdm", 1, 20);
    for (unsigned i = 0; i < 20; ++i)
        s.exits.push_back(exit_of(1, 0, fmt::format("reason_{}", i).c_str(), 1, 100 + i));
    const auto runs = reports_of({s});
    EXPECT_THAT(sheet_of(runs, "Round trips of level 1"),
                AllOf(HasSubstr("10 more reasons: --all"), Not(HasSubstr("reason_3 "))));
    EXPECT_THAT(sheet_of(runs, "Round trips of level 1", {{}, {}, true}),
                AllOf(HasSubstr("reason_3 "), Not(HasSubstr("more"))));
    EXPECT_THAT(sheet_of(runs, "Round trips of level 1", {{}, {"reason_*"}, false}),
                AllOf(HasSubstr("reason_3 "), Not(HasSubstr("cpuid"))));
}

TEST(Report, FiltersByLevelAndReason) {
    const auto runs = reports_of({run_of("sdm", 3, 20)});
    const auto lines = [&](const ReportFilter& f) {
        std::vector<std::string> out;
        for (const ExitComparison& line : compared_exits(runs, f))
            out.push_back(fmt::format("{} {}", line.level, line.reason));
        return out;
    };
    EXPECT_THAT(lines({{2}, {}, false}), ElementsAre("2 cpuid", "2 external_interrupt"));
    EXPECT_THAT(lines({{}, {"CPU*"}, false}), ElementsAre("1 cpuid", "2 cpuid", "3 cpuid"));
    EXPECT_THAT(lines({{1, 3}, {"cpuid"}, false}), ElementsAre("1 cpuid", "3 cpuid"));
    EXPECT_TRUE(check_filter(runs, {{3}, {"cpuid"}, false}));
    const Status nothing = check_filter(runs, {{4}, {}, false});
    ASSERT_FALSE(nothing);
    EXPECT_THAT(nothing.error().text,
                AllOf(HasSubstr("levels 1, 2, 3"), HasSubstr("cpuid, external_interrupt")));
    RunSummary flat = run_of("sdm", 1, 20);
    flat.exits.clear();
    EXPECT_TRUE(check_filter(reports_of({flat}), {{4}, {}, false})) << "nothing there to be filtered";
}

TEST(Report, TablesOfTheRoutingDesign) {
    RunSummary one = run_of("links", 2, 3), two = run_of("layered", 2, 3);
    one.routes = {{2, 1, "cpuid", "bitmap", 40}, {2, 0, "hlt", "not linked", 7}};
    two.routes = {{2, 1, "cpuid", "bitmap", 20}};
    one.route_fallbacks = {{"list", 3}};
    two.route_fallbacks = {{"list", 6}, {"link", 1}};
    const auto runs = reports_of({one, two});
    EXPECT_EQ(sheet_of(runs, "Routes: where exits went, and why"), R"(Routes: where exits went, and why
                                 exits
level  VM exit  to  why           1   2
L2     cpuid    L1  bitmap       40  20  0.50x
L2     hlt      L0  not linked    7   -
)");
    EXPECT_THAT(sheet_of(runs, "Routes: where exits went, and why", {{}, {"hlt"}, false}),
                AllOf(Not(HasSubstr("cpuid")), HasSubstr("not linked")));
    EXPECT_THAT(
        sheet_of(runs, "Fallbacks: exits that went to level 0 because the design's way could not be taken"),
        AllOf(HasSubstr("list    3  6  2.00x"), HasSubstr("link    -  1")));
    EXPECT_EQ(report_sheets(reports_of({run_of("sdm", 2, 3)}), {}).back().title, "Round trips of level 2")
        << "nothing is told of routing";
}

TEST(Report, TableOfEstimates) {
    RunSummary s = run_of("account", 2, 20);
    s.estimates = {{2, 1, "cpuid", 40, 20'000, {{"links", 5000}, {"native", 2000}}}};
    EXPECT_EQ(sheet_of(reports_of({s}), "Estimates: mean cycles that each design would have taken"),
              R"(Estimates: mean cycles that each design would have taken
level  VM exit  owner   count   taken   links          native
L2     cpuid    L1         40  20,000   5,000  0.25x    2,000  0.10x
)");
    EXPECT_THAT(sheet_of(reports_of({run_of("sdm", 2, 20), s}),
                         "Estimates of run 2: mean cycles that each design would have taken"),
                HasSubstr("20,000   5,000"));
}

TEST(Report, TableOfLatencyByLevel) {
    const std::string title =
        "Cycles by level: half of the round trips take no longer; and the factor from the level before";
    EXPECT_EQ(
        sheet_of(reports_of({run_of("sdm", 1, 20), run_of("sdm", 2, 20), run_of("links", 2, 3)}), title),
        title + R"(
VM exit             runs       L1       L2
cpuid               sdm     1,000   20,000  20.00x
cpuid               links   1,000    3,000   3.00x
external_interrupt  sdm       500      500   1.00x
external_interrupt  links     500      500   1.00x
)");
    for (const Sheet& s : report_sheets(reports_of({run_of("sdm", 1, 20)}), {}))
        if (s.title == title) {
            EXPECT_EQ(s.rows(), 0u) << "one level has no factor";
        }
}

TEST(Report, CsvHasOneLineARunAndExit) {
    const auto runs = reports_of({run_of("sdm", 1, 20), run_of("links", 2, 5)});
    const std::string csv = report_csv(runs, {{1}, {"cpuid"}, false}, CsvTable::exits);
    EXPECT_EQ(
        csv,
        "run,file,stack,depth,routing,cpu_model,timing,timing_table,timing_clock,engine,level,reason,owner,"
        "count,min,p50,"
        "p99,max,mean,amplification,world_switches,vmreads,vmwrites,walk_references,count_ratio,p50_ratio,"
        "p99_ratio,"
        "amplification_ratio,world_switches_ratio,walk_references_ratio,cycles_in_level_0,cycles_in_level_1\n"
        "\"sdm, depth "
        "1\",a.json,tiny,1,sdm,skylake-sp,table,haswell,cycles,interpreter,1,cpuid,0,40,990,1000,2000,3000,"
        "1000.5,1,2,7.25,3,1.5,1,1,1,1,1,1,1000,0\n"
        "\"links, depth "
        "2\",b.json,tiny,2,links,skylake-sp,table,haswell,cycles,interpreter,1,cpuid,0,40,990,1000,2000,"
        "3000,1000.5,1,2,7.25,3,1.5,1,1,1,1,1,1,1000,0\n");
    EXPECT_THAT(report_csv(runs, {{2}, {}, false}, CsvTable::levels),
                AllOf(HasSubstr(",level,first_seen_tick,first_seen_cycle,first_seen_ns,cycles_in_level\n"),
                      HasSubstr("b.json,tiny,2,links,skylake-sp,table,haswell,cycles,interpreter,2,400000,"
                                "600000,2000000,300000\n"),
                      Not(HasSubstr("a.json"))));
    RunSummary odd = run_of("sdm", 1, 20);
    odd.stack = "says \"hi\"";
    EXPECT_THAT(report_csv(reports_of({odd}), {}, CsvTable::exits), HasSubstr("\"says \"\"hi\"\"\""));
}

TEST(Report, JsonHasRunsExitsAndRatios) {
    const auto j = nlohmann::json::parse(
        report_json(reports_of({run_of("sdm", 2, 20), run_of("links", 2, 5)}), {{2}, {"cpuid"}, false}));
    ASSERT_EQ(j["runs"].size(), 2u);
    const auto& e = j["runs"][1]["exits"];
    ASSERT_EQ(e.size(), 1u);
    EXPECT_EQ(e[0]["reason"], "cpuid");
    EXPECT_EQ(e[0]["p50"], 5000);
    EXPECT_EQ(e[0]["ratios"]["p50"], 0.25);
    EXPECT_EQ(j["runs"][1]["run"], "links");
    EXPECT_EQ(j["runs"][1]["levels"][2]["first_seen_ns"], 2'000'000);
    EXPECT_EQ(j["runs"][1]["configuration"]["stack.name"], "tiny");
}

TEST(ReportPage, IsWellFormedAndStandsAlone) {
    const std::string page = report_html(reports_of({run_of("sdm", 3, 20), run_of("<&\">", 3, 5)}), {});
    const XmlCheck xml(page);
    EXPECT_EQ(xml.problem(), "");
    for (const char* outside : {"src=", "href=", "url(", "@import", "<script", "<link"})
        EXPECT_THAT(page, Not(HasSubstr(outside)));
    EXPECT_THAT(page, AllOf(HasSubstr("prefers-color-scheme: dark"), HasSubstr("<title>"),
                            HasSubstr("&lt;&amp;&quot;&gt;")));
    EXPECT_GE(xml.all("table").size(), 6u);
}

TEST(ReportPage, LatencyLinesAreStraightForConstantFactors) {
    const auto runs = reports_of({run_of("sdm", 4, 10), run_of("links", 4, 1)});
    const XmlCheck xml("<x>" + latency_figures(runs, compared_exits(runs, {{}, {"cpuid"}, false})) + "</x>");
    ASSERT_EQ(xml.problem(), "");
    EXPECT_EQ(xml.all("polyline").size(), 2u) << "one line a design";
    std::vector<double> x, y;
    for (const XmlElement* c : xml.all("circle")) {
        x.push_back(std::stod(c->attributes.at("cx")));
        y.push_back(std::stod(c->attributes.at("cy")));
    }
    ASSERT_EQ(y.size(), 8u);
    for (int i : {0, 1}) {
        EXPECT_NEAR(y[i] - y[i + 1], y[i + 1] - y[i + 2], 0.2) << "sdm: a factor of 10 a level";
        EXPECT_NEAR(x[i + 1] - x[i], x[i + 2] - x[i + 1], 0.2);
    }
    EXPECT_GT(y[0] - y[1], 20);
    EXPECT_EQ(y[4], y[7]) << "links: flat";
    EXPECT_EQ(y[0], y[4]) << "level 1 costs the same";
}

TEST(ReportPage, ALevelStandsForTheRunOfItsDepth) {
    RunSummary two = run_of("sdm", 2, 10);
    two.exits[0].p50 = 77'777;  // level 1 below another hypervisor
    const auto runs = reports_of({two, run_of("sdm", 1, 10), run_of("sdm", 3, 10)});
    const std::string drawn = latency_figures(runs, compared_exits(runs, {{}, {"cpuid"}, false}));
    EXPECT_THAT(drawn, AllOf(HasSubstr("level 1: 1,000 cycles"), HasSubstr("level 2: 10,000"),
                             HasSubstr("level 3: 100,000"), Not(HasSubstr("77,777"))));
}

TEST(ReportPage, BarsAddUpToTheWholeRoundTrip) {
    const auto runs = reports_of({run_of("sdm", 2, 20), run_of("links", 2, 5)});
    const XmlCheck xml("<x>" + cycle_figures(runs, compared_exits(runs, {{}, {"cpuid"}, false})) + "</x>");
    ASSERT_EQ(xml.problem(), "");
    std::vector<double> widths;
    for (const XmlElement* r : xml.all("rect"))
        widths.push_back(std::stod(r->attributes.at("width")));
    ASSERT_EQ(widths.size(), 4u);
    EXPECT_NEAR(widths[0] / widths[1], 3.0, 0.01) << "75 % and 25 %";
    EXPECT_NEAR((widths[2] + widths[3]) / (widths[0] + widths[1]), 0.25, 0.001);
}

TEST(ReportPage, BootBarsEndWithTheRun) {
    const auto runs = reports_of({run_of("sdm", 2, 20)});
    const XmlCheck xml("<x>" + boot_figure(runs) + "</x>");
    ASSERT_EQ(xml.problem(), "");
    std::vector<double> widths;
    for (const XmlElement* r : xml.all("rect"))
        widths.push_back(std::stod(r->attributes.at("width")));
    ASSERT_EQ(widths.size(), 3u);  // levels come up at 0, 1 and 2 ms, the end is at 8 ms
    EXPECT_NEAR(widths[1], widths[0], 0.01);
    EXPECT_NEAR(widths[2] / widths[0], 6, 0.01);
}

TEST(ReportFile, BadOnesAreRefusedWithPlaceAndRemedy) {
    using Json = nlohmann::ordered_json;
    const Json good = Json::parse(summary_json(run_of("sdm", 2, 20)));
    struct Row {
        std::function<void(Json&)> damage;
        const char* said;
    };
    const Row rows[] = {
        {[](Json& j) { j.erase("format"); }, "no report of Droste"},
        {[](Json& j) { j = Json::array(); }, "no report of Droste"},
        {[](Json& j) { j = 3; }, "no report of Droste"},
        {[](Json& j) { j["format"] = "perfetto"; }, "kind \"perfetto\""},
        {[](Json& j) { j.erase("version"); }, "the version is missing"},
        {[](Json& j) { j["version"] = 1; }, "reads version 2; run it again"},
        {[](Json& j) { j["version"] = 3; }, "use the program that wrote it"},
        {[](Json& j) { j.erase("stack"); }, "stack is not a text"},
        {[](Json& j) { j["depth"] = "2"; }, "depth is not a whole number"},
        {[](Json& j) { j["depth"] = -2; }, "depth is not a whole number"},
        {[](Json& j) { j["ticks"] = 1.5; }, "ticks is not a whole number"},
        {[](Json& j) { j["mips"] = -1; }, "mips is not a number that is not negative"},
        {[](Json& j) { j["end"] = Json::array(); }, "end is not an object"},
        {[](Json& j) { j["end"].erase("kind"); }, "end.kind is not a text"},
        {[](Json& j) { j["configuration"]["x"] = 1; }, "configuration.x is not a text"},
        {[](Json& j) { j["exits"] = 1; }, "exits is not a list"},
        {[](Json& j) { j["exits"][1] = 1; }, "exits[1] is not an object"},
        {[](Json& j) { j["exits"][1]["level"] = 65; }, "exits[1].level is not a whole number of at most 64"},
        {[](Json& j) { j["exits"][2]["round_trip"]["p50"] = nullptr; },
         "exits[2].round_trip.p50 is not a whole number"},
        {[](Json& j) { j["exits"][0]["cycles_by_level"][0] = "x"; },
         "exits[0].cycles_by_level is not a list of numbers"},
        {[](Json& j) { j["levels"][1]["level"] = 2; }, "levels[1].level is not 1"},
        {[](Json& j) { j["levels"][1].erase("first_seen_ns"); }, "levels[1].first_seen_ns"},
        {[](Json& j) { j["cycles_in_level"][0] = -1; }, "cycles_in_level is not a list of whole numbers"},
        {[](Json& j) { j["routes"] = 7; }, "routes is not a list"},
        {[](Json& j) {
             j["routes"] = {{{"level", 2}}};
         },
         "routes[0].destination is not a whole number"},
        {[](Json& j) {
             j["route_fallbacks"] = {{"list", "x"}};
         },
         "route_fallbacks.list is not a whole number"},
        {[](Json& j) {
             j["account"] = {{{"level", 2}, {"designs", 1}}};
         },
         "account[0].owner"},
    };
    for (const Row& row : rows) {
        Json j = good;
        row.damage(j);
        const auto r = parse_run_report(j.dump(), "some/run.json");
        ASSERT_FALSE(r) << row.said;
        EXPECT_THAT(r.error().text, AllOf(HasSubstr("some/run.json: "), HasSubstr(row.said)));
    }
    EXPECT_THAT(parse_run_report("", "x").error().text, HasSubstr("x: the file is empty"));
    EXPECT_THAT(parse_run_report("{\"mips\": 1e999}", "x").error().text, HasSubstr("out of range"));
    EXPECT_THAT(parse_run_report("hello", "x").error().text, HasSubstr("x: this is not JSON (at byte 1)"));
    const std::string text = good.dump();
    EXPECT_THAT(parse_run_report(text.substr(0, text.size() / 2), "x").error().text,
                HasSubstr("this is not JSON"));
}

TEST(ReportFile, MissingOnesAreNamed) {
    std::vector<std::string> notes;
    EXPECT_THAT(load_run_reports({"/nowhere/a.json"}, {}, notes).error().text,
                HasSubstr("/nowhere/a.json: cannot be read"));
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("droste-report-{}", getpid());
    std::filesystem::create_directories(folder);
    EXPECT_THAT(load_run_reports({folder.string()}, {}, notes).error().text, HasSubstr("no manifest.json"));
    std::ofstream(folder / "a.json") << summary_json(run_of("sdm", 1, 20));
    const auto runs = load_run_reports({(folder / "a.json").string()}, {}, notes);
    ASSERT_TRUE(runs);
    EXPECT_EQ(runs->at(0).label, "tiny, sdm, depth 1");
    EXPECT_TRUE(load_run_reports({(folder / "a.json").string()}, {3, 1}, notes));
    EXPECT_THAT(load_run_reports({(folder / "a.json").string()}, {3, 4}, notes).error().text,
                HasSubstr("no run is 3 or 4 levels deep"));
    std::filesystem::remove_all(folder);
}

/// Damaged reports are refused or shown, whatever is in them, and a page is well-formed in any case.
TEST(ReportFile, DamageNeverCrashes) {
    RunSummary sample = run_of("sdm", 2, 20);
    sample.routes = {{2, 1, "cpuid", "bitmap", 40}};
    sample.route_fallbacks = {{"list", 3}};
    sample.estimates = {{2, 1, "cpuid", 40, 20'000, {{"links", 5000}, {"native", 2000}}}};
    const std::string good = nlohmann::ordered_json::parse(summary_json(sample)).dump();
    static const char* const tokens[] = {
        "0",    "-1",     "1e308", "18446744073709551615", "null",      "[]", "{}",
        "\"\"", "true",   "[[[[",  "\"\\u0000<&\"",        "\"level\"", ",",  ":",
        "64",   "1e-300", "\xff"};
    std::mt19937_64 random(7);
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    unsigned read = 0;
    for (int round = 0; round < 4000; ++round) {
        std::string text = good;
        for (std::size_t n = 1 + below(3); n-- > 0 && !text.empty();) {
            const std::size_t at = below(text.size());
            switch (below(5)) {
            case 0:
                text.resize(at);
                break;
            case 1:
                text[at] = static_cast<char>(random());
                break;
            case 2:
                text.erase(at, 1 + below(8));
                break;
            case 3:
                text.insert(at, tokens[below(std::size(tokens))]);
                break;
            default: {  // a value becomes another one
                const std::size_t colon = text.find(':', at), end = text.find_first_of(",}]", colon);
                if (colon != text.npos && end != text.npos)
                    text.replace(colon + 1, end - colon - 1, tokens[below(std::size(tokens))]);
            }
            }
        }
        const auto r = parse_run_report(text, "x");
        if (!r) {
            EXPECT_THAT(r.error().text, ::testing::StartsWith("x: "));
            continue;
        }
        ++read;
        std::vector<RunReport> runs = {*r, report_of(run_of("sdm", 1, 3))};
        name_runs(runs);
        report_text(runs, {}, 80, true);
        report_csv(runs, {}, CsvTable::exits);
        report_csv(runs, {}, CsvTable::levels);
        report_json(runs, {});
        const XmlCheck xml(report_html(runs, {}));
        ASSERT_EQ(xml.problem(), "") << text;
    }
    EXPECT_GT(read, 100u) << "some damage is none";
}

}  // namespace
}  // namespace droste
