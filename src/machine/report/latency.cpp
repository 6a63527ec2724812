// SPDX-License-Identifier: Apache-2.0
// Picks the runs that stand for each level.
#include "machine/report/latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "machine/report/comparison.h"

namespace droste {

using Runs = std::span<const RunReport>;
using Lines = std::span<const ExitComparison>;

LatencySeries latency_by_level(Runs runs, Lines lines, const std::string& reason) {
    LatencySeries all;
    for (const ExitComparison& line : lines) {
        if (line.reason != reason || line.level == 0)
            continue;
        for (std::size_t i = 0; i < runs.size(); ++i) {
            const ExitSummary* e = line.runs[i];
            if (e == nullptr || e->p50 == 0)
                continue;
            const LatencyPoint p{line.level, static_cast<double>(e->p50), runs[i].depth, e->count};
            auto [at, is_new] = all[runs[i].series].try_emplace(line.level, p);
            const bool nearer =
                p.depth >= p.level && (at->second.depth < p.level || p.depth < at->second.depth);
            if (!is_new && (nearer || (p.depth == at->second.depth && p.count > at->second.count)))
                at->second = p;
        }
    }
    return all;
}

std::vector<std::string> main_reasons(Lines lines, std::size_t most) {
    struct Rank {
        std::set<unsigned> levels;
        double weight = 0;
    };
    std::map<std::string, Rank> ranks;
    for (const ExitComparison& line : lines) {
        ranks[line.reason].levels.insert(line.level);
        ranks[line.reason].weight += line.weight;
    }
    std::vector<std::string> names;
    for (const auto& [name, rank] : ranks)
        names.push_back(name);
    std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
        const Rank &x = ranks[a], &y = ranks[b];
        return x.levels.size() != y.levels.size() ? x.levels.size() > y.levels.size() : x.weight > y.weight;
    });
    if (names.size() > most)
        names.resize(most);
    return names;
}

std::vector<std::string> series_names(Runs runs) {
    std::vector<std::string> names;
    for (const RunReport& r : runs)
        if (std::find(names.begin(), names.end(), r.series) == names.end())
            names.push_back(r.series);
    return names;
}

Sheet latency_sheet(Runs runs, Lines lines) {
    Sheet s;
    s.title = "Cycles by level: half of the round trips take no longer; and the factor from the level before";
    const std::vector<std::string> names = series_names(runs);
    unsigned levels = 0;
    for (const ExitComparison& line : lines)
        levels = std::max(levels, line.level);
    s.labels = {left_column("VM exit"), left_column(names.size() > 1 ? "runs" : "")};
    for (unsigned level = 1; level <= levels; ++level) {
        Group g;
        g.columns.push_back({fmt::format("L{}", level), {}, false});
        if (level > 1)
            g.columns.push_back({"", {}, false});
        s.groups.push_back(std::move(g));
    }
    for (const std::string& reason : main_reasons(lines, ~std::size_t{0})) {
        const LatencySeries series = latency_by_level(runs, lines, reason);
        if (std::all_of(series.begin(), series.end(), [](const auto& one) { return one.second.size() < 2; }))
            continue;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const auto found = series.find(names[i]);
            if (found == series.end())
                continue;
            s.labels[0].cells.push_back({reason, Tone::plain});
            s.labels[1].cells.push_back({names.size() > 1 ? names[i] : "", Tone::plain});
            const LatencyLine& line = found->second;
            for (unsigned level = 1; level <= levels; ++level) {
                const auto here = line.find(level), above = line.find(level - 1);
                Group& g = s.groups[level - 1];
                g.columns[0].cells.push_back(
                    {here == line.end() ? "-" : shown_number(here->second.cycles, NumberForm::count),
                     Tone::plain});
                const bool both = here != line.end() && above != line.end();
                if (level > 1)
                    g.columns[1].cells.push_back(
                        {both ? shown_ratio(here->second.cycles, above->second.cycles) : "", Tone::plain});
            }
        }
    }
    return s;
}

}  // namespace droste
