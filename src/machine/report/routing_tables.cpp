// SPDX-License-Identifier: Apache-2.0
// Tables of routes, fallbacks and estimates.
#include "machine/report/routing_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "machine/report/comparison.h"

namespace droste {

namespace {

using Runs = std::span<const RunReport>;
using Value = Comparison::Value;

Sheet routes_sheet(Runs runs, const ReportFilter& filter) {
    using Key = std::tuple<unsigned, std::string, unsigned, std::string>;
    std::map<Key, std::vector<Value>> lines;
    for (std::size_t i = 0; i < runs.size(); ++i)
        for (const RouteSummary& r : runs[i].routes)
            if (filter.wants(r.level, r.reason)) {
                std::vector<Value>& counts = lines[{r.level, r.reason, r.destination, r.why}];
                counts.resize(runs.size());
                counts[i] = counts[i].value_or(0) + static_cast<double>(r.count);
            }
    Sheet s;
    s.title = "Routes: where exits went, and why";
    for (const char* head : {"level", "VM exit", "to", "why"})
        s.labels.push_back(left_column(head));
    Comparison counts(runs, "exits", true);
    for (const auto& [key, values] : lines) {
        const auto& [level, reason, destination, why] = key;
        s.labels[0].cells.push_back({fmt::format("L{}", level), Tone::plain});
        s.labels[1].cells.push_back({reason, Tone::plain});
        s.labels[2].cells.push_back({fmt::format("L{}", destination), Tone::plain});
        s.labels[3].cells.push_back({why, Tone::plain});
        counts.row(values, NumberForm::count, Wish::none);
    }
    s.groups.push_back(counts.take());
    return s;
}

Sheet fallbacks_sheet(Runs runs) {
    std::map<std::string, std::vector<Value>> causes;
    for (std::size_t i = 0; i < runs.size(); ++i)
        for (const auto& [cause, count] : runs[i].route_fallbacks) {
            causes[cause].resize(runs.size());
            causes[cause][i] = static_cast<double>(count);
        }
    Sheet s;
    s.title = "Fallbacks: exits that went to level 0 because the design's way could not be taken";
    s.labels = {left_column("cause")};
    Comparison counts(runs, "exits", true);
    for (const auto& [cause, values] : causes) {
        s.labels[0].cells.push_back({cause, Tone::plain});
        counts.row(values, NumberForm::count, Wish::less);
    }
    s.groups.push_back(counts.take());
    return s;
}

/// Of one run: what each design would have made of its round trips, and the ratio to what they took.
Sheet estimates_sheet(const RunReport& run, std::string title, const ReportFilter& filter) {
    Sheet s;
    s.title = std::move(title);
    for (const char* head : {"level", "VM exit", "owner"})
        s.labels.push_back(left_column(head));
    std::vector<std::string> designs;
    for (const EstimateSummary& e : run.estimates)
        for (const auto& [name, cycles] : e.designs)
            if (std::find(designs.begin(), designs.end(), name) == designs.end())
                designs.push_back(name);
    Group taken{"", {{"count", {}, false}, {"taken", {}, false}}};
    std::vector<Group> columns;
    for (const std::string& name : designs)
        columns.push_back({"", {{name, {}, false}, {"", {}, false}}});
    for (const EstimateSummary& e : run.estimates) {
        if (!filter.wants(e.level, e.reason))
            continue;
        s.labels[0].cells.push_back({fmt::format("L{}", e.level), Tone::plain});
        s.labels[1].cells.push_back({e.reason, Tone::plain});
        s.labels[2].cells.push_back({fmt::format("L{}", e.owner), Tone::plain});
        taken.columns[0].cells.push_back(
            {shown_number(static_cast<double>(e.count), NumberForm::count), Tone::plain});
        taken.columns[1].cells.push_back({shown_number(e.actual, NumberForm::cycles), Tone::plain});
        for (std::size_t d = 0; d < designs.size(); ++d) {
            const auto found = std::find_if(e.designs.begin(), e.designs.end(),
                                            [&](const auto& one) { return one.first == designs[d]; });
            const bool has = found != e.designs.end();
            columns[d].columns[0].cells.push_back(
                {has ? shown_number(found->second, NumberForm::cycles) : "-", Tone::plain});
            columns[d].columns[1].cells.push_back(
                {has ? shown_ratio(found->second, e.actual) : "",
                 has ? tone_of(found->second, e.actual, Wish::less) : Tone::plain});
        }
    }
    s.groups.push_back(std::move(taken));
    for (Group& g : columns)
        s.groups.push_back(std::move(g));
    return s;
}

}  // namespace

std::vector<Sheet> routing_sheets(Runs runs, const ReportFilter& filter) {
    std::vector<Sheet> sheets = {routes_sheet(runs, filter), fallbacks_sheet(runs)};
    for (std::size_t i = 0; i < runs.size(); ++i)
        if (!runs[i].estimates.empty()) {
            const std::string which = runs.size() == 1 ? "" : fmt::format(" of run {}", i + 1);
            sheets.push_back(estimates_sheet(
                runs[i], fmt::format("Estimates{}: mean cycles that each design would have taken", which),
                filter));
        }
    std::erase_if(sheets, [](const Sheet& s) { return s.rows() == 0; });
    return sheets;
}

}  // namespace droste
