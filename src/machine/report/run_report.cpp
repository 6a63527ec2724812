// SPDX-License-Identifier: Apache-2.0
// Reads the reports of runs.
#include "machine/report/run_report.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "machine/report/json_members.h"
#include "machine/sweep/manifest.h"

namespace droste {

namespace {

constexpr const char* run_format = "droste-run";
/// The members that routing designs add.
constexpr const char* routing_members[] = {"routes", "route_fallbacks", "account"};

ExitSummary exit_of(JsonMembers m) {
    ExitSummary e;
    e.level = static_cast<unsigned>(m.number("level", deepest_reported_level));
    e.owner = static_cast<unsigned>(m.number("owner", deepest_reported_level));
    e.reason = m.text("reason");
    e.reason_number = static_cast<u16>(m.number("reason_number", 0xFFFF));
    e.count = m.number("count");
    JsonMembers trip = m.object("round_trip");
    e.min = trip.number("min");
    e.p50 = trip.number("p50");
    e.p99 = trip.number("p99");
    e.max = trip.number("max");
    e.mean = trip.real("mean");
    for (const FileJson& cycles : m.list("cycles_by_level")) {
        if (!cycles.is_number() || e.cycles_by_level.size() > deepest_reported_level) {
            m.fail(m.path("cycles_by_level"), "a list of numbers, one a level");
            break;
        }
        e.cycles_by_level.push_back(cycles.get<double>());
    }
    e.amplification = m.real("amplification");
    e.world_switches = m.real("world_switches");
    e.vmreads = m.real("vmreads");
    e.vmwrites = m.real("vmwrites");
    e.walk_references = m.real("walk_references");
    return e;
}

/// What a design tells is shown as it is: words and numbers of each line.
std::vector<RoutingLine> routing_lines(JsonMembers& m, const char* name) {
    std::vector<RoutingLine> lines;
    const FileJson* table = m.member(name);
    if (table == nullptr)
        return lines;
    const auto line_of = [&](const FileJson& object, const std::string& key) {
        RoutingLine line;
        if (!key.empty())
            line.words.emplace_back("cause", key);
        if (object.is_number())
            line.numbers.emplace_back("count", object.get<double>());
        if (object.is_object())
            for (const auto& [member, value] : object.items()) {
                if (value.is_string())
                    line.words.emplace_back(member, value.template get<std::string>());
                else if (value.is_number())
                    line.numbers.emplace_back(member, value.template get<double>());
            }
        lines.push_back(std::move(line));
    };
    if (table->is_array())
        for (const FileJson& element : *table)
            line_of(element, "");
    else if (table->is_object())
        for (const auto& [key, value] : table->items())
            line_of(value, key);
    else
        m.fail(m.path(name), "a list or an object");
    return lines;
}

void read_levels(JsonMembers& m, RunReport& r) {
    const FileJson& levels = m.list("levels");
    for (std::size_t i = 0; i < levels.size(); ++i) {
        JsonMembers level = m.element("levels", levels[i], i);
        if (level.number("level", deepest_reported_level) != i)
            level.fail(level.path("level"), fmt::format("{}", i));
        r.levels.push_back({.tick = level.number("first_seen_tick"),
                            .cycle = level.number("first_seen_cycle"),
                            .guest_ns = level.number("first_seen_ns")});
    }
    for (const FileJson& cycles : m.list("cycles_in_level")) {
        if (!cycles.is_number_unsigned() || r.cycles_in_level.size() > deepest_reported_level) {
            m.fail("cycles_in_level", "a list of whole numbers, one a level");
            break;
        }
        r.cycles_in_level.push_back(cycles.get<u64>());
    }
}

RunReport report_of(JsonMembers& m) {
    RunReport r;
    r.program = m.text("program");
    r.stack = m.text("stack");
    r.depth = m.number("depth");
    r.cpu_model = m.text("cpu_model");
    r.memory_bytes = m.number("memory_bytes");
    r.engine = m.text("engine");
    r.timing = m.text("timing");
    r.timing_table = m.text("timing_table");
    r.timing_clock = m.text("timing_clock");
    r.routing = m.text("routing");
    for (const auto& [key, value] : m.object("configuration").json().items()) {
        if (!value.is_string())
            m.fail("configuration." + key, "a text");
        else
            r.configuration[key] = value.template get<std::string>();
    }
    JsonMembers end = m.object("end");
    r.end_kind = end.text("kind");
    r.end_reason = end.text("reason");
    r.ticks = m.number("ticks");
    r.cycles = m.number("cycles");
    r.guest_ns = m.number("guest_ns");
    r.wall_seconds = m.real("wall_seconds");
    r.mips = m.real("mips");
    JsonMembers walks = m.object("page_walks");
    r.walks = walks.number("walks");
    r.walk_references = walks.number("references");
    r.ept_references = walks.number("ept_references");
    r.vm_exits = m.number("vm_exits");
    r.unknown_exits = m.number("unknown_exits");
    read_levels(m, r);
    const FileJson& exits = m.list("exits");
    for (std::size_t i = 0; i < exits.size(); ++i)
        r.exits.push_back(exit_of(m.element("exits", exits[i], i)));
    for (const char* name : routing_members)
        if (std::vector<RoutingLine> lines = routing_lines(m, name); !lines.empty())
            r.routing_tables[name] = std::move(lines);
    return r;
}

/// The head of a file of another kind, or of another version.
Status check_head(const FileJson& json, const std::string& file) {
    const auto format = json.is_object() ? json.find("format") : json.end();
    if (!json.is_object() || format == json.end() || !format->is_string())
        return Error{fmt::format(
            "{}: this is JSON, but no report of Droste; name a file that `droste run --json` wrote", file)};
    if (*format != run_format)
        return Error{
            fmt::format("{}: this is a file of the kind \"{}\", not \"{}\"; name a file that `droste run "
                        "--json` wrote, or the folder of a sweep",
                        file, format->get<std::string>(), run_format)};
    const auto version = json.find("version");
    if (version == json.end() || !version->is_number_unsigned())
        return Error{fmt::format("{}: the version is missing: the file is damaged; make it again", file)};
    if (*version != report_version)
        return Error{fmt::format("{}: this is a report of version {}, and this program reads version {}; {}",
                                 file, version->get<u64>(), report_version,
                                 version->get<u64>() < report_version ? "run it again with this program"
                                                                      : "use the program that wrote it")};
    return {};
}

Result<std::string> read_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (in)
        text << in.rdbuf();
    if (!in)
        return Error{fmt::format("{}: cannot be read; name a file that `droste run --json` wrote", path)};
    return text.str();
}

Status load_sweep(const std::string& folder, std::vector<RunReport>& runs, std::vector<std::string>& notes) {
    Result<SweepManifest> manifest = load_manifest(folder);
    if (!manifest)
        return manifest.error();
    for (const SweepEntry& entry : manifest->runs) {
        if (entry.state != SweepState::done) {
            notes.push_back(fmt::format("{}: {} {}{}{}", folder, entry.name,
                                        entry.state == SweepState::failed ? "failed" : "has not run yet",
                                        entry.reason.empty() ? "" : ": ", entry.reason));
            continue;
        }
        const std::string file = (std::filesystem::path(folder) / entry.file).string();
        Result<std::string> text = read_text(file);
        if (!text)
            return text.error();
        Result<RunReport> run = parse_run_report(*text, file);
        if (!run)
            return run.error();
        run->variant = entry.variant;
        run->variant_keys = entry.variant_keys;
        runs.push_back(std::move(*run));
    }
    return {};
}

}  // namespace

Result<RunReport> parse_run_report(std::string_view text, const std::string& file) {
    if (text.find_first_not_of(" \n\r\t") == text.npos)
        return Error{
            fmt::format("{}: the file is empty; the run that should have written it did not end", file)};
    FileJson json;
    try {  // the place of an error comes by exception only
        json = FileJson::parse(text);
    } catch (const FileJson::parse_error& problem) {
        return Error{fmt::format(
            "{}: this is not JSON (at byte {}); name a file that `droste run --json` wrote, whole", file,
            problem.byte)};
    } catch (const FileJson::exception&) {
        return Error{fmt::format("{}: a number is out of range: the file is damaged; make it again", file)};
    }
    if (Status s = check_head(json, file); !s)
        return s.error();
    Status status;
    JsonMembers members(json, file, "", status);
    RunReport report = report_of(members);
    if (!status)
        return status.error();
    report.file = file;
    return report;
}

Result<std::vector<RunReport>> load_run_reports(const std::vector<std::string>& paths,
                                                std::vector<std::string>& notes) {
    std::vector<RunReport> runs;
    for (const std::string& path : paths) {
        std::error_code ignored;
        if (std::filesystem::is_directory(path, ignored)) {
            if (Status s = load_sweep(path, runs, notes); !s)
                return s.error();
            continue;
        }
        Result<std::string> text = read_text(path);
        if (!text)
            return text.error();
        Result<RunReport> run = parse_run_report(*text, path);
        if (!run)
            return run.error();
        runs.push_back(std::move(*run));
    }
    if (runs.empty())
        return Error{fmt::format("{}: no run of it has ended well yet; `droste sweep` goes on with it",
                                 paths.empty() ? "the report" : paths.front())};
    name_runs(runs);
    return runs;
}

}  // namespace droste
