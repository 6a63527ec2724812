// SPDX-License-Identifier: Apache-2.0
// Draws the figures of a report.
#include "machine/report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "machine/report/latency.h"
#include "machine/report/metrics.h"

namespace droste {

namespace {

using Runs = std::span<const RunReport>;
using Lines = std::span<const ExitComparison>;

constexpr std::size_t most_reasons = 12;

std::string text_at(double x, double y, const char* anchor, const std::string& text, const char* style = "") {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"t {}\">{}</text>\n", x, y,
                       anchor, style, escaped_markup(text));
}

std::string line_at(double x1, double y1, double x2, double y2, const char* style) {
    return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1,
                       y1, x2, y2, style);
}

std::string figure(double width, double height, const std::string& title, const std::string& body) {
    return fmt::format(
        "<figure><figcaption>{0}</figcaption>\n<svg viewBox=\"0 0 {1:.0f} {2:.0f}\" width=\"{1:.0f}\" "
        "height=\"{2:.0f}\" role=\"img\" aria-label=\"{0}\" xmlns=\"http://www.w3.org/2000/svg\">\n{3}"
        "</svg></figure>\n",
        escaped_markup(title), width, height, body);
}

std::string legend(const std::vector<std::string>& names) {
    std::string out = "<p class=\"legend\">";
    for (std::size_t i = 0; i < names.size(); ++i)
        out += fmt::format("<span><i class=\"b{}\"></i>{}</span> ", i % figure_colours,
                           escaped_markup(names[i]));
    return out + "</p>\n";
}

std::string legend_of_levels(std::size_t levels) {
    std::vector<std::string> names;
    for (std::size_t level = 0; level < levels; ++level)
        names.push_back(fmt::format("level {}", level));
    return legend(names);
}

std::string short_number(double v) {
    return v >= 1e9   ? fmt::format("{:.3g}G", v / 1e9)
           : v >= 1e6 ? fmt::format("{:.3g}M", v / 1e6)
           : v >= 1e3 ? fmt::format("{:.3g}k", v / 1e3)
                      : fmt::format("{:.3g}", v);
}

class LatencyFigure {
public:
    LatencyFigure(const std::vector<std::string>& names, unsigned levels, double low, double high)
        : names_(names), levels_(levels), low_(std::floor(std::log10(low))),
          high_(std::max(std::ceil(std::log10(high)), low_ + 1)) {}

    std::string draw(const std::string& reason, const LatencySeries& series) const {
        std::string out;
        for (double decade = low_; decade <= high_; ++decade) {
            const double y = y_of(std::pow(10, decade));
            out += line_at(left, y, width - right, y, "grid");
            out += text_at(left - 6, y + 4, "end", short_number(std::pow(10, decade)));
        }
        for (unsigned level = 1; level <= levels_; ++level)
            out += text_at(x_of(level), height - 8, "middle", fmt::format("L{}", level));
        for (std::size_t i = 0; i < names_.size(); ++i)
            if (const auto found = series.find(names_[i]); found != series.end())
                out += line(found->second, i, names_[i], names_.size() == 1);
        return figure(width, height, fmt::format("{}: p50 of a round trip, cycles", reason), out);
    }

private:
    static constexpr double width = 340, height = 230, left = 48, right = 24, top = 14, bottom = 30;
    double x_of(unsigned level) const {
        const double room = width - left - right;
        return levels_ < 2
                   ? left + room / 2
                   : left + room * 0.08 + room * 0.84 * (level - 1) / static_cast<double>(levels_ - 1);
    }
    double y_of(double cycles) const {
        return top + (height - top - bottom) * (high_ - std::log10(cycles)) / (high_ - low_);
    }
    std::string line(const LatencyLine& series, std::size_t colour, const std::string& name,
                     bool numbered) const {
        std::string points, marks;
        const std::size_t c = colour % figure_colours;
        for (const auto& [level, p] : series) {
            points += fmt::format("{:.1f},{:.1f} ", x_of(level), y_of(p.cycles));
            marks += fmt::format(
                "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" class=\"f{}\"><title>{}, level {}: {} "
                "cycles</title></circle>\n",
                x_of(level), y_of(p.cycles), c, escaped_markup(name), level,
                shown_number(p.cycles, NumberForm::count));
            if (numbered)
                marks += text_at(x_of(level), y_of(p.cycles) - 9, "middle", short_number(p.cycles), "strong");
        }
        const std::string path =
            series.size() < 2 ? "" : fmt::format("<polyline points=\"{}\" class=\"s{}\"/>\n", points, c);
        return path + marks;
    }
    const std::vector<std::string>& names_;
    const unsigned levels_;
    const double low_, high_;
};

/// One bar: parts by level, from left to right.
std::string stacked_bar(double x, double y, double height, double scale, std::span<const double> parts,
                        const std::string& what) {
    std::string out;
    for (std::size_t level = 0; level < parts.size(); ++level) {
        const double width = parts[level] * scale;
        if (width <= 0)
            continue;
        out += fmt::format("<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" "
                           "class=\"f{}\"><title>{}, level {}: {}</title></rect>\n",
                           x, y, width, height, level % figure_colours, escaped_markup(what), level,
                           shown_number(parts[level], NumberForm::count));
        x += width;
    }
    return out;
}

constexpr double bar_height = 14, bar_step = 20, label_room = 250, bar_room = 430, number_room = 90;

std::string label_of_bar(const RunReport& r) {
    constexpr std::size_t most = 38;
    return r.label.size() <= most ? r.label : r.label.substr(0, most - 3) + "...";
}

}  // namespace

std::string latency_figures(Runs runs, Lines lines) {
    const std::vector<std::string> names = series_names(runs);
    double low = 0, high = 0;
    unsigned levels = 0;
    std::vector<std::pair<std::string, LatencySeries>> drawn;
    for (const std::string& reason : main_reasons(lines, most_reasons)) {
        LatencySeries series = latency_by_level(runs, lines, reason);
        for (const auto& [name, points] : series)
            for (const auto& [level, p] : points) {
                low = low == 0 ? p.cycles : std::min(low, p.cycles);
                high = std::max(high, p.cycles);
                levels = std::max(levels, level);
            }
        if (!series.empty())
            drawn.emplace_back(reason, std::move(series));
    }
    if (drawn.empty())
        return "";
    const LatencyFigure plot(names, levels, low, high);
    std::string out = legend(names) + "<div class=\"figures\">\n";
    for (const auto& [reason, series] : drawn)
        out += plot.draw(reason, series);
    return out + "</div>\n";
}

std::string cycle_figures(Runs runs, Lines lines) {
    unsigned deepest = 0;
    std::size_t levels = 0;
    for (const ExitComparison& line : lines)
        deepest = std::max(deepest, line.level);
    std::string out;
    std::size_t reasons = 0;
    for (const ExitComparison& line : lines) {
        if (line.level != deepest || deepest == 0 || reasons == most_reasons)
            continue;
        double longest = 0;
        std::size_t bars = 0;
        for (const ExitSummary* e : line.runs)
            if (e != nullptr && e->mean > 0) {
                longest = std::max(longest, e->mean);
                levels = std::max(levels, e->cycles_by_level.size());
                ++bars;
            }
        if (bars == 0)
            continue;
        ++reasons;
        std::string body;
        double y = 4;
        for (std::size_t i = 0; i < runs.size(); ++i) {
            const ExitSummary* e = line.runs[i];
            if (e == nullptr || e->mean <= 0)
                continue;
            double sum = 0;
            for (const double part : e->cycles_by_level)
                sum += std::max(0.0, part);
            // By level it sums up to the mean but for the instruction that is retired last.
            const double scale = sum > 0 ? bar_room * e->mean / longest / sum : 0;
            body += text_at(label_room - 8, y + 11, "end", label_of_bar(runs[i]));
            body += stacked_bar(label_room, y, bar_height, scale, e->cycles_by_level, runs[i].label);
            body += text_at(label_room + bar_room * e->mean / longest + 6, y + 11, "start",
                            short_number(e->mean));
            y += bar_step;
        }
        out += figure(
            label_room + bar_room + number_room, y + 2,
            fmt::format("{} of level {}, owner L{}: mean cycles", line.reason, line.level, line.owner), body);
    }
    return out.empty() ? "" : legend_of_levels(levels) + out;
}

std::string boot_figure(Runs runs) {
    double longest = 0;
    std::size_t levels = 0;
    for (const RunReport& r : runs) {
        longest = std::max(longest, static_cast<double>(r.guest_ns));
        levels = std::max(levels, r.levels.size());
    }
    if (longest == 0 || levels < 2)
        return "";
    std::string body;
    double y = 4;
    for (const RunReport& r : runs) {
        std::vector<double> parts;
        for (std::size_t level = 0; level < r.levels.size(); ++level) {
            const u64 from = r.levels[level].guest_ns;
            const u64 to = level + 1 < r.levels.size() ? r.levels[level + 1].guest_ns : r.guest_ns;
            parts.push_back(to > from ? static_cast<double>(to - from) : 0);
        }
        body += text_at(label_room - 8, y + 11, "end", label_of_bar(r));
        body += stacked_bar(label_room, y, bar_height, bar_room / longest, parts,
                            r.label + ", ns until the next level or the end, from");
        body += text_at(label_room + bar_room * static_cast<double>(r.guest_ns) / longest + 6, y + 11,
                        "start", fmt::format("{:.3f} s", static_cast<double>(r.guest_ns) / 1e9));
        y += bar_step;
    }
    std::vector<std::string> names;
    for (std::size_t level = 0; level < levels; ++level)
        names.push_back(level == 0            ? "until level 1 runs"
                        : level + 1 == levels ? fmt::format("from level {} on", level)
                                              : fmt::format("from level {} to level {}", level, level + 1));
    return legend(names) +
           figure(label_room + bar_room + number_room, y + 2, "guest time from power-on to the end", body);
}

}  // namespace droste
