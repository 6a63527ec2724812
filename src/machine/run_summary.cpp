// SPDX-License-Identifier: Apache-2.0
// Reports of a run.
#include "machine/run_summary.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/assert.h"

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

double mips(const RunSummary& s) {
    return s.host_seconds > 0 ? static_cast<double>(s.ticks) / s.host_seconds / 1e6 : 0;
}

}  // namespace

int exit_status(const RunEnd& end) {
    const int status = row_of(end.kind).status;
    return status == from_guest ? static_cast<int>((end.code << 1 | 1) & 0xFF) : status;
}

std::vector<std::string> end_names() {
    std::vector<std::string> names;
    for (const EndRow& row : ends)
        names.emplace_back(row.name);
    return names;
}

std::string summary_json(const RunSummary& s) {
    using Json = nlohmann::ordered_json;
    Json trail = Json::array(), input = Json::array();
    for (const HashMark& m : s.hash_trail)
        trail.push_back({{"tick", m.tick}, {"hash", fmt::format("{:016x}", m.hash)}});
    for (const StampedInput& i : s.input)
        input.push_back({{"time", i.time}, {"tick", i.tick}, {"byte", i.byte}});
    Json failures = Json::array();
    for (const EntryFailureCount& f : s.entry_failures)
        failures.push_back({{"check", f.check}, {"count", f.count}, {"first_tick", f.first_tick}});
    Json j = {
        {"format", "droste-run"},
        {"version", 1},
        {"stack", s.stack},
        {"depth", s.depth},
        {"cpu_model", s.cpu_model},
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
        {"last_exits", s.last_exits},
    };
    j["processors"] = Json::array();
    for (const ProcessorSummary& p : s.processors)
        j["processors"].push_back({{"ticks", p.ticks}, {"cycles", p.cycles}});
    j["wall_seconds"] = s.host_seconds;
    j["mips"] = mips(s);
    j["levels"] = Json::array();
    for (std::size_t level = 0; level < s.first_seen_tick.size(); ++level)
        j["levels"].push_back({{"level", level}, {"first_seen_tick", s.first_seen_tick[level]}});
    j["cycles_in_level"] = s.cycles_in_level;
    j["vm_exits"] = s.vm_exits;
    j["unknown_exits"] = s.unknown_exits;
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
                              {"vmreads", e.vmreads},
                              {"vmwrites", e.vmwrites},
                              {"walk_references", e.walk_references}});
    return j.dump(2) + "\n";
}

std::string summary_text(const RunSummary& s, bool colour) {
    const char* bold = colour ? "\x1b[1m" : "";
    const char* off = colour ? "\x1b[0m" : "";
    std::string out;
    if (!s.levels_table.empty())
        out += s.levels_table + "\n";
    for (const EntryFailureCount& f : s.entry_failures)
        out += fmt::format("VM entry failed {} time{}, first at tick {}: {}\n", f.count,
                           f.count == 1 ? "" : "s", f.first_tick, f.check);
    const bool died = exit_status(s.end) == 3;
    if (died && !s.last_exits.empty()) {
        out += "last VM exits:\n";
        for (const std::string& line : s.last_exits)
            out += fmt::format("  {}\n", line);
    }
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
