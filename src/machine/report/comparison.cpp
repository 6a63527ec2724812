// SPDX-License-Identifier: Apache-2.0
// Numbers side by side.
#include "machine/report/comparison.h"

#include <fmt/format.h>

namespace droste {

/// Less than this much away from the first run is no difference worth a colour.
constexpr double noise = 0.02;

Tone tone_of(double value, double first, Wish wish) {
    const double low = first * (1 - noise), high = first * (1 + noise);
    if (first <= 0 || wish == Wish::none || (value >= low && value <= high))
        return Tone::plain;
    return (value < low) == (wish == Wish::less) ? Tone::better : Tone::worse;
}

std::string run_head(std::span<const RunReport> runs, std::size_t i) {
    return runs.size() == 1 ? "" : fmt::format("{}", i + 1);
}

Column left_column(std::string head) {
    return {std::move(head), {}, true};
}

Comparison::Comparison(std::span<const RunReport> runs, const std::string& head, bool ratios)
    : ratios_(ratios && runs.size() > 1) {
    if (runs.size() > 1)
        group_.head = head;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        group_.columns.push_back({runs.size() == 1 ? head : run_head(runs, i), {}, false});
        if (ratios_ && i != 0)
            group_.columns.push_back({"", {}, false});
    }
}

void Comparison::row(const std::vector<Value>& values, NumberForm form, Wish wish) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        group_.columns[at++].cells.push_back({values[i] ? shown_number(*values[i], form) : "-", Tone::plain});
        if (!ratios_ || i == 0)
            continue;
        const bool both = values[i] && values[0];
        group_.columns[at++].cells.push_back({both ? shown_ratio(*values[i], *values[0]) : "",
                                              both ? tone_of(*values[i], *values[0], wish) : Tone::plain});
    }
}

}  // namespace droste
