// SPDX-License-Identifier: Apache-2.0
// The page of a report: figures and tables in one file, well-formed as XML, without scripts.
#include <fmt/format.h>

#include "machine/program_version.h"
#include "machine/report/figures.h"
#include "machine/report/metrics.h"
#include "machine/report/report_tables.h"

namespace droste {

namespace {

/// Colours that are told apart with any kind of colour vision; each theme has its own shades.
constexpr const char* light_colours[figure_colours] = {"#3b6fb6", "#d9822b", "#2a9d78", "#b5483a",
                                                       "#7a5aa6", "#8c6d1f", "#3a9fbf", "#6b7280"};
constexpr const char* dark_colours[figure_colours] = {"#6ea3e8", "#f0a45c", "#52c7a0", "#e57f70",
                                                      "#b094dd", "#cfae55", "#6cc8e6", "#a4abb6"};

std::string variables(const char* const* colours) {
    std::string out;
    for (unsigned i = 0; i < figure_colours; ++i)
        out += fmt::format("--c{}:{};", i, colours[i]);
    return out;
}

std::string style() {
    std::string out =
        ":root{color-scheme:light dark;--paper:#ffffff;--ink:#1c2430;--soft:#5b6675;--rule:#d9dee5;"
        "--good:#1d7a4c;--bad:#b3261e;" +
        variables(light_colours) + "}\n";
    out += "@media (prefers-color-scheme: "
           "dark){:root{--paper:#14181e;--ink:#e5e9ef;--soft:#9aa5b3;--rule:#303844;"
           "--good:#63cf97;--bad:#ff8f85;" +
           variables(dark_colours) + "}}\n";
    out +=
        R"(body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.25rem 0 .5rem;border-bottom:1px solid var(--rule)}
p{margin:.4rem 0;max-width:80ch}.note,.legend,figcaption,caption{color:var(--soft);font-size:.88rem}
.figures{display:flex;flex-wrap:wrap;gap:.75rem 1.25rem}figure{margin:.5rem 0}svg{max-width:100%;height:auto;display:block}
.legend span{margin-right:1.2em;white-space:nowrap}.legend i{display:inline-block;width:.85em;height:.85em;border-radius:2px;margin-right:.4em;vertical-align:-.08em}
.t{font:12px system-ui,sans-serif;fill:var(--soft)}.strong{fill:var(--ink)}.grid{stroke:var(--rule);stroke-width:1}
polyline{fill:none;stroke-width:2.2}circle,rect{stroke:var(--paper);stroke-width:1}
.scroll{overflow-x:auto;margin:1rem 0}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;color:var(--ink);padding-bottom:.3rem}
th,td{padding:.16rem .55rem;border-bottom:1px solid var(--rule);white-space:nowrap;font-weight:400}
thead th{color:var(--soft);font-weight:600}.l{text-align:left}.r{text-align:right}.g{padding-left:1.4rem}
.better{color:var(--good)}.worse{color:var(--bad)}
)";
    for (unsigned i = 0; i < figure_colours; ++i)
        out += fmt::format(
            ".f{0}{{fill:var(--c{0})}}.s{0}{{stroke:var(--c{0})}}.b{0}{{background:var(--c{0})}}\n", i);
    return out;
}

/// What the heads of the columns mean.
std::string glossary() {
    std::string out = "<p class=\"note\">";
    for (const Metric& m : exit_metrics())
        out += fmt::format("<b>{}</b> {}; ", m.head, m.help);
    return out + "from exits on they are means.</p>\n";
}

std::string section(const char* title, const char* text, const std::string& body) {
    return body.empty() ? ""
                        : fmt::format("<section>\n<h2>{}</h2>\n<p>{}</p>\n{}</section>\n", title, text, body);
}

}  // namespace

std::string report_html(std::span<const RunReport> runs, const ReportFilter& filter) {
    const std::vector<ExitComparison> lines = compared_exits(runs, filter);
    const std::string title = runs.size() == 1
                                  ? runs[0].label
                                  : fmt::format("{}: {} runs side by side", runs[0].stack, runs.size());
    std::string out = "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
                      "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width\"/>\n";
    out += fmt::format("<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
                       escaped_markup(title), style(), escaped_markup(title));
    out += fmt::format(
        "<p class=\"note\">Report of droste {}. A round trip goes from the cycle at which an exit is "
        "recognised to the cycle at which its level retires its next instruction.</p>\n",
        escaped_markup(program_version()));
    out += section(
        "Latency by level",
        "Half of the round trips of a level take no longer. A straight line on the logarithmic axis is a "
        "constant factor from each level to the next.",
        latency_figures(runs, lines));
    out += section(
        "Where the cycles of a round trip go",
        "At the deepest level: the cycles that each level spent until the guest went on. In each figure the "
        "longest bar is as wide as the figure.",
        cycle_figures(runs, lines));
    out += section("Boot time", "Guest time, idle time included.", boot_figure(runs));
    std::string tables;
    for (const Sheet& s : report_sheets(runs, filter))
        tables += sheet_html(s);
    out += section("Tables",
                   runs.size() > 1
                       ? "Numbers with an x are ratios to run 1; a colour means more than 2 % away from it."
                       : "Everything but the counts is of one round trip.",
                   tables);
    out += glossary();
    return out + "</body>\n</html>\n";
}

}  // namespace droste
