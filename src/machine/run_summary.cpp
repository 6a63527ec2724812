// SPDX-License-Identifier: Apache-2.0
// Reports of a run.
#include "machine/run_summary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "machine/program_version.h"

namespace droste {

namespace {

struct EndRow {
    EndKind kind;
    const char* name;
    int status;
};
constexpr int from_guest = -1;
constexpr EndRow ends[] = {
    {EndKind::powered_off, "powered_off", 0},
    {EndKind::debug_exit, "debug_exit", from_guest},
    {EndKind::reset, "reset", 3},
    {EndKind::triple_fault, "triple_fault", 3},
    {EndKind::vmx_abort, "vmx_abort", 3},
    {EndKind::dead_halt, "dead_halt", 3},
    {EndKind::out_of_time, "out_of_time", 124},
    {EndKind::out_of_ticks, "out_of_ticks", 124},
    {EndKind::quit, "quit", 130},
};

const EndRow& row_of(EndKind kind) {
    const EndRow& row = ends[static_cast<unsigned>(kind)];
    ASSERT(row.kind == kind);
    return row;
}

std::string in_thousands(u64 v) {
    std::string s = fmt::format("{}", v);
    for (int at = static_cast<int>(s.size()) - 3; at > 0; at -= 3)
        s.insert(static_cast<std::size_t>(at), 1, ',');
    return s;
}

using Json = nlohmann::ordered_json;

std::string hexadecimal(u64 v) {
    return fmt::format("{:#x}", v);
}

Json failure_json(const EntryFailureSummary& f) {
    Json fields = Json::array(), controls = Json::array();
    for (const ExplainedField& x : f.fields)
        fields.push_back({{"name", x.name},
                          {"value", hexadecimal(x.value)},
                          {"text", x.text},
                          {"remedy", x.remedy},
                          {"writer", x.writer}});
    for (const ExplainedControl& x : f.controls)
        controls.push_back({{"name", x.name},
                            {"word", x.word},
                            {"value", x.value},
                            {"decides", x.decides},
                            {"writer", x.writer}});
    Json j = {{"check", f.check},
              {"section", f.section},
              {"outcome", f.outcome},
              {"count", f.count},
              {"first_tick", f.first_tick},
              {"instruction", f.instruction},
              {"rip", hexadecimal(f.rip)},
              {"vmcs", hexadecimal(f.vmcs)},
              {"processor", f.processor},
              {"detail", f.detail}};
    j["fields"] = std::move(fields);
    j["controls"] = std::move(controls);
    return j;
}

double mips(const RunSummary& s) {
    return s.host_seconds > 0 ? static_cast<double>(s.ticks) / s.host_seconds / 1e6 : 0;
}

}  // namespace

int exit_status(const RunEnd& end) {
    const int status = row_of(end.kind).status;
    return status == from_guest ? static_cast<int>((end.code << 1 | 1) & 0xFF) : status;
}

std::string field_line(const ExplainedField& f) {
    return fmt::format("  {} = {}{}{}", f.name, f.text, f.remedy.empty() ? "" : ": " + f.remedy,
                       f.writer.empty() ? "" : "\n      " + f.writer);
}

// Fields and controls that could mend it; when none alone could, all that the check looked at.
std::string failure_text(const EntryFailureSummary& f) {
    const std::string processor = f.processor == 0 ? "" : fmt::format(" of processor {}", f.processor);
    std::string out =
        fmt::format("VM entry failed at tick {}{}: {} at RIP {:#x}, VMCS {:#x}: {}\n", f.first_tick, processor,
                    f.instruction, f.rip, f.vmcs, f.outcome);
    out += fmt::format("  {} (SDM \"{}\")\n", f.check, f.section);
    if (!f.detail.empty())
        out += fmt::format("  {}\n", f.detail);
    const bool decided =
        std::any_of(f.fields.begin(), f.fields.end(), [](const auto& x) { return !x.remedy.empty(); }) ||
        std::any_of(f.controls.begin(), f.controls.end(), [](const auto& x) { return x.decides; });
    for (const ExplainedField& field : f.fields)
        if (!decided || !field.remedy.empty())
            out += field_line(field) + "\n";
    for (const ExplainedControl& c : f.controls) {
        if (decided && !c.decides)
            continue;
        const char* const remedy = c.value ? ": clearing it would pass" : ": setting it would pass";
        out += fmt::format("  {} is {} in {}{}{}\n", c.name, c.value ? 1 : 0, c.word, c.decides ? remedy : "",
                           c.writer.empty() ? "" : "\n      " + c.writer);
    }
    return out;
}

std::vector<std::string> end_names() {
    std::vector<std::string> names;
    for (const EndRow& row : ends)
        names.emplace_back(row.name);
    return names;
}

std::string summary_json(const RunSummary& s) {
    Json trail = Json::array(), input = Json::array();
    for (const HashMark& m : s.hash_trail)
        trail.push_back({{"tick", m.tick}, {"hash", fmt::format("{:016x}", m.hash)}});
    for (const StampedInput& i : s.input)
        input.push_back({{"time", i.time}, {"tick", i.tick}, {"byte", i.byte}});
    Json failures = Json::array();
    for (const EntryFailureSummary& f : s.entry_failures)
        failures.push_back(failure_json(f));
    Json vm_fails = Json::array();
    for (const VmFailSummary& f : s.vm_fails)
        vm_fails.push_back({{"error", f.error},
                            {"text", f.text},
                            {"count", f.count},
                            {"first_tick", f.first_tick},
                            {"instruction", f.instruction},
                            {"rip", hexadecimal(f.rip)},
                            {"vmcs", hexadecimal(f.vmcs)}});
    Json j = {
        {"format", "droste-run"},
        {"version", report_version},
        {"program", program_version()},
        {"stack", s.stack},
        {"depth", s.depth},
        {"cpu_model", s.cpu_model},
        {"features_left_out", s.features_left_out},
        {"memory_bytes", s.memory_bytes},
        {"engine", s.engine},
        {"timing", s.timing_model},
        {"timing_table", s.timing_table},
        {"timing_clock", s.timing_clock},
        {"routing", s.routing_design},
        {"end",
         {{"kind", row_of(s.end.kind).name}, {"status", exit_status(s.end)}, {"reason", s.end.reason}}},
        {"ticks", s.ticks},
        {"cycles", s.cycles},
        {"guest_ns", s.guest_ns},
        {"console_bytes", s.console_bytes},
        {"console_sha256", s.console_sha256},
        {"state_hash", fmt::format("{:016x}", s.state_hash)},
        {"page_walks",
         {{"walks", s.walks}, {"references", s.walk_references}, {"ept_references", s.ept_references}}},
        {"hash_trail", std::move(trail)},
        {"input", std::move(input)},
        {"vm_entry_failures", std::move(failures)},
        {"vm_fails", std::move(vm_fails)},
        {"death", s.death},
        {"last_exits", s.last_exits},
    };
    j["configuration"] = Json::object();
    for (const auto& [key, value] : s.configuration)
        j["configuration"][key] = value;
    j["engine_counts"] = Json::object();
    for (const EngineCount& c : s.engine_counts)
        j["engine_counts"][c.name] = c.count;
    j["processors"] = Json::array();
    for (const ProcessorSummary& p : s.processors)
        j["processors"].push_back({{"ticks", p.ticks}, {"cycles", p.cycles}});
    j["wall_seconds"] = s.host_seconds;
    j["mips"] = mips(s);
    j["levels"] = Json::array();
    for (std::size_t level = 0; level < s.first_seen.size(); ++level)
        j["levels"].push_back({{"level", level},
                               {"first_seen_tick", s.first_seen[level].tick},
                               {"first_seen_cycle", s.first_seen[level].cycle},
                               {"first_seen_ns", s.first_seen[level].guest_ns}});
    j["cycles_in_level"] = s.cycles_in_level;
    j["vm_exits"] = s.vm_exits;
    j["unknown_exits"] = s.unknown_exits;
    if (!s.routes.empty()) {
        j["routes"] = Json::array();
        for (const RouteSummary& r : s.routes)
            j["routes"].push_back({{"level", r.level},
                                   {"reason", r.reason},
                                   {"destination", r.destination},
                                   {"why", r.why},
                                   {"count", r.count}});
        j["route_fallbacks"] = Json::object();
        for (const auto& [cause, count] : s.route_fallbacks)
            j["route_fallbacks"][cause] = count;
    }
    if (!s.estimates.empty()) {
        j["account"] = Json::array();
        for (const EstimateSummary& e : s.estimates) {
            Json designs = Json::object();
            for (const auto& [name, cycles] : e.designs)
                designs[name] = cycles;
            j["account"].push_back({{"level", e.level},
                                    {"reason", e.reason},
                                    {"owner", e.owner},
                                    {"count", e.count},
                                    {"actual", e.actual},
                                    {"designs", std::move(designs)}});
        }
    }
    j["exits"] = Json::array();
    for (const ExitSummary& e : s.exits)
        j["exits"].push_back({{"level", e.level},
                              {"reason", e.reason},
                              {"reason_number", e.reason_number},
                              {"owner", e.owner},
                              {"count", e.count},
                              {"round_trip",
                               {{"min", e.min}, {"p50", e.p50}, {"p99", e.p99}, {"max", e.max}, {"mean", e.mean}}},
                              {"cycles_by_level", e.cycles_by_level},
                              {"amplification", e.amplification},
                              {"world_switches", e.world_switches},
                              {"vmreads", e.vmreads},
                              {"vmwrites", e.vmwrites},
                              {"walk_references", e.walk_references}});
    return j.dump(2) + "\n";
}

std::string engine_text(const RunSummary& s) {
    std::string out = fmt::format("engine {}:\n", s.engine);
    for (const EngineCount& c : s.engine_counts)
        out += fmt::format("  {:>16}  {}\n", in_thousands(c.count), c.name);
    return out;
}

std::string summary_text(const RunSummary& s, bool colour) {
    const char* bold = colour ? "\x1b[1m" : "";
    const char* off = colour ? "\x1b[0m" : "";
    std::string out;
    if (!s.levels_table.empty())
        out += s.levels_table + "\n";
    if (!s.routes_table.empty())
        out += s.routes_table + "\n";
    if (!s.estimates_table.empty())
        out += s.estimates_table + "\n";
    for (const EntryFailureSummary& f : s.entry_failures) {
        if (!s.writers_recorded)
            out += failure_text(f);
        if (f.count != 1 || s.writers_recorded)
            out += fmt::format("VM entry failed {} time{}: {}\n", f.count, f.count == 1 ? "" : "s", f.check);
    }
    if (!s.entry_failures.empty() && !s.writers_recorded)
        out += "run again with --explain-entries to see who wrote the fields, and every failure as it "
               "happens\n";
    for (const VmFailSummary& f : s.vm_fails)
        out += fmt::format("{} ({}) {} time{}, first at tick {}: {} at RIP {:#x}\n",
                           f.error == 0 ? "VMfailInvalid" : fmt::format("VMfailValid {}", f.error), f.text,
                           f.count, f.count == 1 ? "" : "s", f.first_tick, f.instruction, f.rip);
    const bool died = s.end.kind != EndKind::debug_exit && exit_status(s.end) == 3;
    for (const std::string& line : s.death)
        out += line + "\n";
    if (died && !s.last_exits.empty()) {
        out += "last VM exits:\n";
        for (const std::string& line : s.last_exits)
            out += fmt::format("  {}\n", line);
    }
    if (!s.features_left_out.empty())
        out += fmt::format("the host lacks {}: {} went without, and runs differ from those of hosts that have them\n",
                           fmt::join(s.features_left_out, ", "), s.cpu_model);
    out += fmt::format("{}{}{}\n", bold, s.end.reason, off);
    out += fmt::format("ticks {}   cycles {}   guest time {:.3f} s   host time {:.2f} s   {:.1f} MIPS\n",
                       in_thousands(s.ticks), in_thousands(s.cycles), static_cast<double>(s.guest_ns) / 1e9,
                       s.host_seconds, mips(s));
    if (s.processors.size() > 1) {
        out += fmt::format("ticks by processor:");
        for (const ProcessorSummary& p : s.processors)
            out += fmt::format(" {}", in_thousands(p.ticks));
        out += "\n";
    }
    out += fmt::format("console {} bytes, sha256 {}   state {:016x}\n", in_thousands(s.console_bytes),
                       s.console_sha256.substr(0, 16), s.state_hash);
    return out;
}

}  // namespace droste
