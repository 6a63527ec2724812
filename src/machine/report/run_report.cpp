// SPDX-License-Identifier: Apache-2.0
// Reads the reports of runs.
#include "machine/report/run_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "machine/report/json_members.h"
#include "machine/sweep/manifest.h"

namespace droste {

namespace {

constexpr const char* run_format = "droste-run";

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

unsigned level_of(JsonMembers& m, const char* name) {
    return static_cast<unsigned>(m.number(name, deepest_reported_level));
}

RouteSummary route_of(JsonMembers m) {
    return {.level = level_of(m, "level"),
            .destination = level_of(m, "destination"),
            .reason = m.text("reason"),
            .why = m.text("why"),
            .count = m.number("count")};
}

EstimateSummary estimate_of(JsonMembers m) {
    EstimateSummary e;
    e.level = level_of(m, "level");
    e.owner = level_of(m, "owner");
    e.reason = m.text("reason");
    e.count = m.number("count");
    e.actual = m.real("actual");
    JsonMembers designs = m.object("designs");
    for (const auto& [name, value] : designs.json().items())
        e.designs.emplace_back(name, designs.real(name.c_str()));
    return e;
}

/// Members that are there when the routing design has something to tell.
void read_routing(JsonMembers& m, RunReport& r) {
    const auto each = [&](const char* name, auto read) {
        if (m.member(name) == nullptr)
            return;
        const FileJson& list = m.list(name);
        for (std::size_t i = 0; i < list.size(); ++i)
            read(m.element(name, list[i], i));
    };
    each("routes", [&](JsonMembers line) { r.routes.push_back(route_of(line)); });
    each("account", [&](JsonMembers line) { r.estimates.push_back(estimate_of(line)); });
    if (m.member("route_fallbacks") == nullptr)
        return;
    JsonMembers causes = m.object("route_fallbacks");
    for (const auto& [cause, value] : causes.json().items())
        r.route_fallbacks.emplace_back(cause, causes.number(cause.c_str()));
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
    read_routing(m, r);
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
                                                const std::vector<u64>& depths,
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
    if (!depths.empty())
        std::erase_if(runs, [&](const RunReport& r) {
            return std::find(depths.begin(), depths.end(), r.depth) == depths.end();
        });
    if (runs.empty())
        return Error{fmt::format("--depth: no run is {} levels deep", fmt::join(depths, " or "))};
    name_runs(runs);
    return runs;
}

}  // namespace droste
