// SPDX-License-Identifier: Apache-2.0
// The tables of routes and of estimates.
#include "machine/routing_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "nested/routing/estimates.h"
#include "nested/routing/route_accounts.h"
#include "vmx/exit_reasons.h"

namespace droste {

namespace {

std::string_view reason_name(u16 number) {
    const ExitRow* row = exit_row(number);
    return row == nullptr ? "unknown" : row->name;
}

}  // namespace

void report_routes(const RouteAccounts& accounts, RunSummary& to) {
    for (const auto& [key, count] : accounts.routes())
        to.routes.push_back({key.level, key.destination, std::string(reason_name(key.reason)), std::string(key.why), count});
    for (std::size_t i = 1; i < static_cast<std::size_t>(RouteFallback::count); ++i) {
        const auto cause = static_cast<RouteFallback>(i);
        if (accounts.fallbacks(cause) != 0)
            to.route_fallbacks.emplace_back(name_of(cause), accounts.fallbacks(cause));
    }
    if (to.routes.empty())
        return;
    std::string& out = to.routes_table;
    out = fmt::format("{:<34} {:>5} {:>9} {:>12}  {}\n", "routed exit", "level", "to level", "count", "why");
    for (const RouteSummary& r : to.routes)
        out += fmt::format("  {:<32} {:>5} {:>9} {:>12}  {}\n", r.reason, r.level, r.destination, r.count, r.why);
    for (const auto& [cause, count] : to.route_fallbacks)
        out += fmt::format("  fell back to level 0 {} time{}: {}\n", count, count == 1 ? "" : "s", cause);
}

void report_estimates(const RouteEstimates& estimates, RunSummary& to) {
    for (const auto& [key, line] : estimates.lines()) {
        EstimateSummary e;
        e.level = key.level;
        e.owner = key.owner;
        e.reason = reason_name(key.reason);
        e.count = line.count;
        const auto mean = [&](u64 sum) { return static_cast<double>(sum) / static_cast<double>(line.count); };
        e.actual = mean(line.actual);
        for (std::size_t i = 0; i < line.estimated.size(); ++i)
            e.designs.emplace_back(estimated_designs()[i].name, mean(line.estimated[i]));
        to.estimates.push_back(std::move(e));
    }
    // Level 1's exits are the same in every design.
    if (std::none_of(to.estimates.begin(), to.estimates.end(), [](const auto& e) { return e.level >= 2; }))
        return;
    std::string& out = to.estimates_table;
    out = fmt::format("{:<28} {:>5} {:>5} {:>9}", "mean cycles by design", "level", "owner", "count");
    for (const EstimatedDesign& d : estimated_designs())
        out += fmt::format(" {:>{}}", d.name, std::max<std::size_t>(d.name.size(), 9));
    out += "\n";
    for (const EstimateSummary& e : to.estimates) {
        if (e.level < 2)
            continue;
        out += fmt::format("  {:<26} {:>5} {:>5} {:>9}", e.reason, e.level, fmt::format("L{}", e.owner), e.count);
        for (const auto& [name, cycles] : e.designs)
            out += fmt::format(" {:>{}.0f}", cycles, std::max<std::size_t>(name.size(), 9));
        out += "\n";
    }
}

}  // namespace droste
