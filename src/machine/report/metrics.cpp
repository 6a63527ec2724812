// SPDX-License-Identifier: Apache-2.0
// The table of metrics, and how their numbers are written.
#include "machine/report/metrics.h"

#include <fmt/format.h>

namespace droste {

namespace {

constexpr Metric rows[] = {
    {"count", "count", "round trips that were completed", NumberForm::count, Wish::none, true,
     [](const ExitSummary& e) { return static_cast<double>(e.count); }},
    {"min", "min", "cycles of the shortest round trip", NumberForm::cycles, Wish::less, false,
     [](const ExitSummary& e) { return static_cast<double>(e.min); }},
    {"p50", "p50", "cycles that half of the round trips do not exceed", NumberForm::cycles, Wish::less, true,
     [](const ExitSummary& e) { return static_cast<double>(e.p50); }},
    {"p99", "p99", "cycles that 99 of 100 round trips do not exceed", NumberForm::cycles, Wish::less, true,
     [](const ExitSummary& e) { return static_cast<double>(e.p99); }},
    {"max", "max", "cycles of the longest round trip", NumberForm::cycles, Wish::less, false,
     [](const ExitSummary& e) { return static_cast<double>(e.max); }},
    {"mean", "mean", "cycles of a round trip on average", NumberForm::cycles, Wish::less, false,
     [](const ExitSummary& e) { return e.mean; }},
    {"amplification", "exits", "hardware exits within a round trip, the first included", NumberForm::mean,
     Wish::less, true, [](const ExitSummary& e) { return e.amplification; }},
    {"world_switches", "switches", "hardware exits and entries within a round trip", NumberForm::mean,
     Wish::less, true, [](const ExitSummary& e) { return e.world_switches; }},
    {"vmreads", "vmread", "VMREADs within a round trip that did not exit", NumberForm::mean, Wish::less,
     false, [](const ExitSummary& e) { return e.vmreads; }},
    {"vmwrites", "vmwrite", "VMWRITEs within a round trip that did not exit", NumberForm::mean, Wish::less,
     false, [](const ExitSummary& e) { return e.vmwrites; }},
    {"walk_references", "walk", "reads of page-table and EPT entries within a round trip", NumberForm::mean,
     Wish::less, true, [](const ExitSummary& e) { return e.walk_references; }},
};

std::string in_thousands(double v) {
    std::string s = fmt::format("{:.0f}", v);
    for (int at = static_cast<int>(s.size()) - 3; at > 0; at -= 3)
        s.insert(static_cast<std::size_t>(at), 1, ',');
    return s;
}

}  // namespace

std::span<const Metric> exit_metrics() {
    return rows;
}

std::string shown_number(double v, NumberForm form) {
    switch (form) {
    case NumberForm::count:
        return in_thousands(v);
    case NumberForm::cycles:
        return v >= 1e9   ? fmt::format("{:.2f}G", v / 1e9)
               : v >= 1e6 ? fmt::format("{:.2f}M", v / 1e6)
                          : in_thousands(v);
    case NumberForm::mean:
    case NumberForm::megaticks:
        return v >= 1e5 ? in_thousands(v) : fmt::format("{:.1f}", v);
    case NumberForm::seconds:
        return fmt::format("{:.3f}", v);
    }
    return "";
}

std::string level_shares(std::span<const double> cycles) {
    double sum = 0;
    for (const double c : cycles)
        sum += c;
    std::string out;
    for (std::size_t level = 0; level < cycles.size() && sum > 0; ++level)
        if (cycles[level] >= 0.005 * sum)
            out += fmt::format("{}L{} {:.0f}%", out.empty() ? "" : " ", level, 100 * cycles[level] / sum);
    return out;
}

std::string shown_ratio(double value, double first) {
    if (first <= 0)
        return "-";
    const double ratio = value / first;
    return ratio >= 1e4    ? fmt::format("{:.1e}x", ratio)
           : ratio >= 99.5 ? fmt::format("{:.0f}x", ratio)
                           : fmt::format("{:.2f}x", ratio);
}

}  // namespace droste
