// SPDX-License-Identifier: Apache-2.0
// Makes the tables of a report.
#include "machine/report/report_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "machine/report/comparison.h"
#include "machine/report/latency.h"
#include "machine/report/metrics.h"
#include "machine/report/routing_tables.h"

namespace droste {

namespace {

using Runs = std::span<const RunReport>;
using Value = Comparison::Value;

constexpr std::size_t most_lines = 12;

/// The lines above the tables: which run is which.
Sheet runs_sheet(Runs runs) {
    Sheet s;
    s.title = runs.size() == 1 ? "Run" : "Runs; ratios are to run 1";
    s.labels = {{"", {}, false}};
    if (runs.size() > 1)
        s.labels.push_back(left_column("run"));
    Group g;
    for (const char* head : {"stack", "depth", "design", "processor", "timing", "engine", "end", "file"})
        g.columns.push_back(left_column(head));
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const RunReport& r = runs[i];
        s.labels[0].cells.push_back({fmt::format("{}", i + 1), Tone::plain});
        if (runs.size() > 1)
            s.labels[1].cells.push_back({r.label, Tone::plain});
        const std::string timing =
            r.timing == "table" ? fmt::format("{} ({})", r.timing_table, r.timing_clock) : r.timing;
        const std::string cells[] = {
            r.stack, fmt::format("{}", r.depth), r.routing, r.cpu_model, timing, r.engine, r.end_kind,
            r.file};
        for (std::size_t c = 0; c < std::size(cells); ++c)
            g.columns[c].cells.push_back(
                {cells[c], c == 6 && r.end_kind != "powered_off" && r.end_kind != "debug_exit"
                               ? Tone::worse
                               : Tone::plain});
    }
    s.groups.push_back(std::move(g));
    return s;
}

struct TotalRow {
    const char* name;
    NumberForm form;
    Wish wish;
    double (*of)(const RunReport&);
};
constexpr TotalRow totals[] = {
    {"ticks", NumberForm::count, Wish::less, [](const RunReport& r) { return static_cast<double>(r.ticks); }},
    {"cycles", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.cycles); }},
    {"guest time, s", NumberForm::seconds, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.guest_ns) / 1e9; }},
    {"host time, s", NumberForm::seconds, Wish::less, [](const RunReport& r) { return r.wall_seconds; }},
    {"MIPS", NumberForm::megaticks, Wish::more, [](const RunReport& r) { return r.mips; }},
    {"hardware exits", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.vm_exits); }},
    {"  of unknown level", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.unknown_exits); }},
    {"page walks", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.walks); }},
    {"  page-table references", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.walk_references); }},
    {"  EPT references", NumberForm::count, Wish::less,
     [](const RunReport& r) { return static_cast<double>(r.ept_references); }},
};

Sheet totals_sheet(Runs runs) {
    Sheet s;
    s.title = "Whole run";
    s.labels = {left_column("")};
    Comparison all(runs, "", true);
    for (const TotalRow& row : totals) {
        s.labels[0].cells.push_back({row.name, Tone::plain});
        std::vector<Value> values;
        for (const RunReport& r : runs)
            values.emplace_back(row.of(r));
        all.row(values, row.form, row.wish);
    }
    s.groups.push_back(all.take());
    return s;
}

Sheet levels_sheet(Runs runs) {
    std::size_t levels = 0;
    for (const RunReport& r : runs)
        levels = std::max(levels, r.levels.size());
    Sheet s;
    s.title = "Levels: when each first ran, and the cycles that it spent";
    s.labels = {left_column("level")};
    Comparison when(runs, "first ran at, guest ms", true), tick(runs, "first ran at tick", true),
        cycles(runs, "cycles in it", true);
    Comparison share(runs, "%", false);
    for (std::size_t level = 0; level < levels; ++level) {
        s.labels[0].cells.push_back({fmt::format("L{}", level), Tone::plain});
        std::vector<Value> w, t, c, p;
        for (const RunReport& r : runs) {
            const bool has = level < r.levels.size(), spent = has && level < r.cycles_in_level.size();
            double sum = 0;
            for (const u64 v : r.cycles_in_level)
                sum += static_cast<double>(v);
            w.push_back(has ? Value(static_cast<double>(r.levels[level].guest_ns) / 1e6) : Value());
            t.push_back(has ? Value(static_cast<double>(r.levels[level].tick)) : Value());
            c.push_back(spent ? Value(static_cast<double>(r.cycles_in_level[level])) : Value());
            p.push_back(spent && sum > 0 ? Value(100 * static_cast<double>(r.cycles_in_level[level]) / sum)
                                         : Value());
        }
        when.row(w, NumberForm::seconds, Wish::less);
        tick.row(t, NumberForm::count, Wish::less);
        cycles.row(c, NumberForm::count, Wish::less);
        share.row(p, NumberForm::mean, Wish::none);
    }
    for (Comparison* c : {&when, &tick, &cycles, &share})
        s.groups.push_back(c->take());
    return s;
}

Sheet exits_sheet(Runs runs, unsigned level, std::span<const ExitComparison> lines, std::size_t left_out) {
    Sheet s;
    s.title = fmt::format("Round trips of level {}", level);
    s.labels = {left_column("VM exit"), left_column("owner")};
    for (const ExitComparison& line : lines) {
        s.labels[0].cells.push_back({line.reason, Tone::plain});
        s.labels[1].cells.push_back({fmt::format("L{}", line.owner), Tone::plain});
    }
    for (const Metric& m : exit_metrics()) {
        if (runs.size() > 1 && !m.compared)
            continue;
        Comparison c(runs, std::string(m.head), true);
        for (const ExitComparison& line : lines) {
            std::vector<Value> values;
            for (const ExitSummary* e : line.runs)
                values.push_back(e == nullptr ? Value() : Value(m.of(*e)));
            c.row(values, m.form, m.wish);
        }
        s.groups.push_back(c.take());
    }
    Group within;
    within.head = runs.size() == 1 ? "" : "cycles within, by level";
    for (std::size_t i = 0; i < runs.size(); ++i) {
        Column c = left_column(runs.size() == 1 ? "cycles within, by level" : run_head(runs, i));
        for (const ExitComparison& line : lines)
            c.cells.push_back(
                {line.runs[i] == nullptr ? "-" : level_shares(line.runs[i]->cycles_by_level), Tone::plain});
        within.columns.push_back(std::move(c));
    }
    s.groups.push_back(std::move(within));
    if (left_out != 0)
        s.note = fmt::format("{} more reasons: --all shows them", left_out);
    return s;
}

}  // namespace

bool ReportFilter::wants(unsigned level, const std::string& reason) const {
    const bool level_fits = levels.empty() || std::find(levels.begin(), levels.end(), level) != levels.end();
    return level_fits &&
           (reasons.empty() || std::any_of(reasons.begin(), reasons.end(), [&](const std::string& glob) {
                return fnmatch(glob.c_str(), reason.c_str(), FNM_CASEFOLD) == 0;
            }));
}

std::vector<ExitComparison> compared_exits(Runs runs, const ReportFilter& filter) {
    using Key = std::tuple<unsigned, std::string, unsigned>;
    std::map<Key, ExitComparison> found;
    for (std::size_t i = 0; i < runs.size(); ++i)
        for (const ExitSummary& e : runs[i].exits) {
            if (!filter.wants(e.level, e.reason))
                continue;
            ExitComparison& line = found[{e.level, e.reason, e.owner}];
            if (line.runs.empty()) {
                line.level = e.level;
                line.owner = e.owner;
                line.reason = e.reason;
                line.runs.resize(runs.size());
            }
            line.runs[i] = &e;
            line.weight = std::max(line.weight, e.mean * static_cast<double>(e.count));
        }
    std::vector<ExitComparison> lines;
    for (auto& [key, line] : found)
        lines.push_back(std::move(line));
    std::stable_sort(lines.begin(), lines.end(), [](const ExitComparison& a, const ExitComparison& b) {
        return a.level != b.level ? a.level < b.level : a.weight > b.weight;
    });
    return lines;
}

Status check_filter(Runs runs, const ReportFilter& filter) {
    if (!compared_exits(runs, filter).empty())
        return {};
    std::set<std::string> reasons;
    std::set<unsigned> levels;
    for (const RunReport& r : runs)
        for (const ExitSummary& e : r.exits) {
            reasons.insert(e.reason);
            levels.insert(e.level);
        }
    if (levels.empty())
        return {};
    return Error{
        fmt::format("--level, --reason: nothing of the reports fits both; there are the levels {} and the "
                    "reasons {}",
                    fmt::join(levels, ", "), fmt::join(reasons, ", "))};
}

std::vector<Sheet> report_sheets(Runs runs, const ReportFilter& filter) {
    std::vector<Sheet> sheets = {runs_sheet(runs), totals_sheet(runs), levels_sheet(runs)};
    const std::vector<ExitComparison> lines = compared_exits(runs, filter);
    sheets.push_back(latency_sheet(runs, lines));
    for (std::size_t from = 0; from < lines.size();) {
        std::size_t to = from;
        while (to < lines.size() && lines[to].level == lines[from].level)
            ++to;
        const bool brief = !filter.all_lines && filter.reasons.empty();
        const std::size_t shown = brief ? std::min(to - from, most_lines) : to - from;
        sheets.push_back(
            exits_sheet(runs, lines[from].level, std::span(lines).subspan(from, shown), to - from - shown));
        from = to;
    }
    for (Sheet& sheet : routing_sheets(runs, filter))
        sheets.push_back(std::move(sheet));
    return sheets;
}

std::string report_text(Runs runs, const ReportFilter& filter, std::size_t width, bool colour) {
    std::string out;
    for (const Sheet& s : report_sheets(runs, filter))
        if (const std::string text = sheet_text(s, width, colour); !text.empty())
            out += fmt::format("{}{}", out.empty() ? "" : "\n", text);
    return out;
}

}  // namespace droste
