// SPDX-License-Identifier: Apache-2.0
// The exit table.
#include "machine/levels_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "nested/level_observer.h"
#include "vmx/exit_reasons.h"

namespace droste {

namespace {

std::string_view reason_name(u16 number) {
    for (const ExitRow& row : exit_rows)
        if (row.number == number)
            return row.name;
    return "unknown";
}

struct Entry {
    ExitKey key;
    const ExitLine* line;
    double cycles() const { return line->round_trip.mean() * static_cast<double>(line->count); }
};

/// By level, within a level by cycles spent, most first; equal ones by reason and owner, so that the order is
/// the same in every run.
std::vector<Entry> sorted(const ExitAccounts& accounts) {
    std::vector<Entry> entries;
    for (const auto& [key, line] : accounts.lines())
        entries.push_back({key, &line});
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return a.key.level != b.key.level ? a.key.level < b.key.level : a.cycles() > b.cycles();
    });
    return entries;
}

double per(u64 sum, u64 count) {
    return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
}

std::string with_unit(double v) {
    if (v >= 1e9)
        return fmt::format("{:.2f}G", v / 1e9);
    if (v >= 1e6)
        return fmt::format("{:.2f}M", v / 1e6);
    if (v >= 1e5)
        return fmt::format("{:.0f}k", v / 1e3);
    return fmt::format("{:.0f}", v);
}

/// Levels that spent anything: "L0 61% L1 39%".
std::string shares(const std::vector<u64>& cycles) {
    u64 sum = 0;
    for (const u64 c : cycles)
        sum += c;
    std::string out;
    for (std::size_t level = 0; level < cycles.size() && sum != 0; ++level)
        if (cycles[level] != 0)
            out += fmt::format("{}L{} {:.0f}%", out.empty() ? "" : " ", level, 100 * per(cycles[level], sum));
    return out;
}

/// What all processors saw.
struct Seen {
    ExitAccounts accounts;
    std::vector<FirstSeen> first;  // of each level, of the processor that was the first
    explicit Seen(std::span<const LevelObserver* const> observers) {
        for (const LevelObserver* o : observers) {
            accounts.add(o->accounts());
            const std::vector<FirstSeen>& theirs = o->first_seen();
            for (std::size_t level = 0; level < theirs.size(); ++level) {
                if (level == first.size()) first.push_back(theirs[level]);
                if (theirs[level].time < first[level].time) first[level] = theirs[level];
            }
        }
    }
};

/// Empty when nothing ran in non-root operation.
std::string levels_table(const Seen& seen) {
    const ExitAccounts& a = seen.accounts;
    if (a.exits() == 0)
        return "";
    constexpr std::size_t most_lines = 12;  // of a level; the JSON report has all
    std::string out = fmt::format(
        "{:<28} {:>5} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6}  {}\n", "VM exit", "owner",
        "count", "min", "p50", "p99", "max", "mean", "exits", "vmread", "vmwrt", "walk", "cycles within");
    const std::vector<Entry> entries = sorted(a);
    for (std::size_t i = 0; i < entries.size();) {
        const unsigned level = entries[i].key.level;
        const u64 first = level < seen.first.size() ? seen.first[level].tick : 0;
        out += fmt::format("level {}, first ran at tick {}\n", level, first);
        std::size_t shown = 0, left_out = 0;
        for (; i < entries.size() && entries[i].key.level == level; ++i) {
            if (++shown > most_lines) {
                ++left_out;
                continue;
            }
            const ExitLine& l = *entries[i].line;
            const Distribution& d = l.round_trip;
            out += fmt::format(
                "  {:<26} {:>5} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6.1f} {:>6.1f} {:>6.1f} {:>6.1f}  "
                "{}\n",
                reason_name(entries[i].key.reason), fmt::format("L{}", entries[i].key.owner), l.count,
                with_unit(static_cast<double>(d.min())), with_unit(static_cast<double>(d.quantile(0.5))),
                with_unit(static_cast<double>(d.quantile(0.99))), with_unit(static_cast<double>(d.max())),
                with_unit(d.mean()), per(l.exits, l.count), per(l.vmreads, l.count), per(l.vmwrites, l.count),
                per(l.walk_references, l.count), shares(l.cycles_by_level));
        }
        if (left_out != 0)
            out += fmt::format("  ({} more reasons: see --json)\n", left_out);
    }
    out +=
        fmt::format("{} exits, {} of unknown level ({:.2f}%); cycles by level: {}\n", a.exits(),
                    a.unknown_exits(), 100 * per(a.unknown_exits(), a.exits()), shares(a.cycles_in_level()));
    return out;
}

}  // namespace

void report_levels(std::span<const LevelObserver* const> observers, u64 master_hz, RunSummary& to) {
    const Seen seen(observers);
    const ExitAccounts& a = seen.accounts;
    to.first_seen.clear();
    for (const FirstSeen& f : seen.first)
        to.first_seen.push_back({f.tick, f.cycle, static_cast<u64>(u128(f.time) * 1'000'000'000 / master_hz)});
    const std::size_t levels = to.first_seen.size();
    to.vm_exits = a.exits();
    to.unknown_exits = a.unknown_exits();
    to.cycles_in_level.assign(a.cycles_in_level().begin(), a.cycles_in_level().begin() + static_cast<long>(levels));
    for (const Entry& e : sorted(a)) {
        const ExitLine& l = *e.line;
        const Distribution& d = l.round_trip;
        ExitSummary x;
        x.level = e.key.level;
        x.owner = e.key.owner;
        x.reason = reason_name(e.key.reason);
        x.reason_number = e.key.reason;
        x.count = l.count;
        x.min = d.min();
        x.p50 = d.quantile(0.5);
        x.p99 = d.quantile(0.99);
        x.max = d.max();
        x.mean = d.mean();
        for (std::size_t level = 0; level < levels; ++level)
            x.cycles_by_level.push_back(per(l.cycles_by_level[level], l.count));
        x.amplification = per(l.exits, l.count);
        x.world_switches = per(l.exits + l.entries, l.count);
        x.vmreads = per(l.vmreads, l.count);
        x.vmwrites = per(l.vmwrites, l.count);
        x.walk_references = per(l.walk_references, l.count);
        to.exits.push_back(std::move(x));
    }
    to.levels_table = levels_table(seen);
}

std::vector<std::string> recent_exits(std::span<const LevelObserver* const> observers) {
    constexpr std::size_t most = 16;
    std::vector<RecentExit> recent;
    for (const LevelObserver* o : observers)
        recent.insert(recent.end(), o->recent().begin(), o->recent().end());
    std::stable_sort(recent.begin(), recent.end(),
                     [](const RecentExit& a, const RecentExit& b) { return a.time < b.time; });
    if (recent.size() > most) recent.erase(recent.begin(), recent.end() - most);
    std::vector<std::string> out;
    for (const RecentExit& e : recent)
        out.push_back(
            (observers.size() == 1 ? "" : fmt::format("processor {:>2}  ", e.processor)) +
            fmt::format("tick {:>14}  level {}  {:<26} qualification {:#x}  rip {:#x}{}", e.tick, e.level,
                        e.reason, e.qualification, e.linear_rip,
                        e.has_guest_physical ? fmt::format("  guest-physical {:#x}", e.guest_physical) : ""));
    return out;
}

}  // namespace droste
