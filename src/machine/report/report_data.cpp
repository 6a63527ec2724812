// SPDX-License-Identifier: Apache-2.0
// A report for programs: CSV and JSON.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "machine/report/metrics.h"
#include "machine/report/report_tables.h"

namespace droste {

namespace {

using Runs = std::span<const RunReport>;
using Json = nlohmann::ordered_json;

/// What each line says of its run.
struct RunColumn {
    const char* name;
    std::string (*of)(const RunReport&);
};
constexpr RunColumn run_columns[] = {
    {"run", [](const RunReport& r) { return r.label; }},
    {"file", [](const RunReport& r) { return r.file; }},
    {"stack", [](const RunReport& r) { return r.stack; }},
    {"depth", [](const RunReport& r) { return fmt::format("{}", r.depth); }},
    {"routing", [](const RunReport& r) { return r.routing; }},
    {"cpu_model", [](const RunReport& r) { return r.cpu_model; }},
    {"timing", [](const RunReport& r) { return r.timing; }},
    {"timing_table", [](const RunReport& r) { return r.timing_table; }},
    {"timing_clock", [](const RunReport& r) { return r.timing_clock; }},
    {"engine", [](const RunReport& r) { return r.engine; }},
};

/// RFC 4180.
std::string csv_field(const std::string& text) {
    if (text.find_first_of(",\"\n\r") == text.npos)
        return text;
    std::string out = "\"";
    for (const char c : text)
        out.append(c == '"' ? 2 : 1, c);
    return out + "\"";
}

std::string csv_line(const std::vector<std::string>& fields) {
    std::string out;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (i != 0)
            out += ',';
        out += csv_field(fields[i]);
    }
    return out + "\n";
}

std::string plain_number(double v) {
    return fmt::format("{:.12g}", v);
}

std::vector<std::string> run_fields(const RunReport& r) {
    std::vector<std::string> fields;
    for (const RunColumn& c : run_columns)
        fields.push_back(c.of(r));
    return fields;
}

std::vector<std::string> run_heads(std::initializer_list<const char*> more) {
    std::vector<std::string> heads;
    for (const RunColumn& c : run_columns)
        heads.emplace_back(c.name);
    heads.insert(heads.end(), more.begin(), more.end());
    return heads;
}

std::string levels_csv(Runs runs, const ReportFilter& filter) {
    std::string out = csv_line(
        run_heads({"level", "first_seen_tick", "first_seen_cycle", "first_seen_ns", "cycles_in_level"}));
    for (const RunReport& r : runs)
        for (std::size_t level = 0; level < r.levels.size(); ++level) {
            if (!ReportFilter{filter.levels, {}, true}.wants(static_cast<unsigned>(level), ""))
                continue;
            std::vector<std::string> fields = run_fields(r);
            const LevelStart& s = r.levels[level];
            for (const u64 v : {u64{level}, s.tick, s.cycle, s.guest_ns,
                                level < r.cycles_in_level.size() ? r.cycles_in_level[level] : u64{0}})
                fields.push_back(fmt::format("{}", v));
            out += csv_line(fields);
        }
    return out;
}

std::string exits_csv(Runs runs, const ReportFilter& filter) {
    const std::vector<ExitComparison> lines = compared_exits(runs, filter);
    std::size_t levels = 0;
    for (const ExitComparison& line : lines)
        for (const ExitSummary* e : line.runs)
            levels = e == nullptr ? levels : std::max(levels, e->cycles_by_level.size());
    std::vector<std::string> heads = run_heads({"level", "reason", "owner"});
    for (const Metric& m : exit_metrics())
        heads.emplace_back(m.name);
    for (const Metric& m : exit_metrics())
        if (m.compared)
            heads.push_back(fmt::format("{}_ratio", m.name));
    for (std::size_t level = 0; level < levels; ++level)
        heads.push_back(fmt::format("cycles_in_level_{}", level));
    std::string out = csv_line(heads);
    for (const ExitComparison& line : lines)
        for (std::size_t i = 0; i < runs.size(); ++i) {
            const ExitSummary* e = line.runs[i];
            if (e == nullptr)
                continue;
            std::vector<std::string> fields = run_fields(runs[i]);
            for (const std::string& f :
                 {fmt::format("{}", line.level), line.reason, fmt::format("{}", line.owner)})
                fields.push_back(f);
            for (const Metric& m : exit_metrics())
                fields.push_back(plain_number(m.of(*e)));
            for (const Metric& m : exit_metrics())
                if (m.compared) {
                    const double first = line.runs[0] == nullptr ? 0 : m.of(*line.runs[0]);
                    fields.push_back(first > 0 ? plain_number(m.of(*e) / first) : "");
                }
            for (std::size_t level = 0; level < levels; ++level)
                fields.push_back(level < e->cycles_by_level.size() ? plain_number(e->cycles_by_level[level])
                                                                   : "");
            out += csv_line(fields);
        }
    return out;
}

Json exit_json(const ExitSummary& e, const ExitSummary* first) {
    Json j = {{"level", e.level}, {"reason", e.reason}, {"owner", e.owner}};
    for (const Metric& m : exit_metrics())
        j[std::string(m.name)] = m.of(e);
    j["cycles_by_level"] = e.cycles_by_level;
    j["ratios"] = Json::object();
    for (const Metric& m : exit_metrics())
        if (m.compared && first != nullptr && m.of(*first) > 0)
            j["ratios"][std::string(m.name)] = m.of(e) / m.of(*first);
    return j;
}

}  // namespace

std::string report_csv(Runs runs, const ReportFilter& filter, CsvTable table) {
    return table == CsvTable::exits ? exits_csv(runs, filter) : levels_csv(runs, filter);
}

std::string report_json(Runs runs, const ReportFilter& filter) {
    const std::vector<ExitComparison> lines = compared_exits(runs, filter);
    Json list = Json::array();
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const RunReport& r = runs[i];
        Json run = Json::object();
        for (const RunColumn& c : run_columns)
            run[c.name] = c.of(r);
        run["depth"] = r.depth;
        run["configuration"] = r.configuration;
        run["end"] = r.end_kind;
        run["ticks"] = r.ticks;
        run["cycles"] = r.cycles;
        run["guest_ns"] = r.guest_ns;
        run["vm_exits"] = r.vm_exits;
        run["unknown_exits"] = r.unknown_exits;
        run["levels"] = Json::array();
        for (std::size_t level = 0; level < r.levels.size(); ++level)
            run["levels"].push_back({{"level", level},
                                     {"first_seen_tick", r.levels[level].tick},
                                     {"first_seen_cycle", r.levels[level].cycle},
                                     {"first_seen_ns", r.levels[level].guest_ns}});
        run["cycles_in_level"] = r.cycles_in_level;
        run["exits"] = Json::array();
        for (const ExitComparison& line : lines)
            if (line.runs[i] != nullptr)
                run["exits"].push_back(exit_json(*line.runs[i], line.runs[0]));
        list.push_back(std::move(run));
    }
    Json j = {{"format", "droste-comparison"}, {"version", 1}};
    j["runs"] = std::move(list);
    return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";  // a file may have any name
}

}  // namespace droste
