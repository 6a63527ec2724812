// SPDX-License-Identifier: Apache-2.0
// Showing reports at the terminal and as pages.
#include "frontends/cli/report_command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "frontends/cli/status_line.h"

namespace droste {

namespace {

constexpr const char* examples = R"(Examples:
  droste run configs/kvm-stack.toml --depth 2 --json sdm.json
  droste report sdm.json                              one run
  droste report sdm.json other.json --level 2         side by side, with ratios to the first
  droste report sweep-nanovisor-designs --depth 3     designs side by side at one depth
  droste report sweep-kvm-depth --html depth.html     the runs of a sweep, with figures
  droste report sdm.json --reason 'vm*' --format csv  for a spreadsheet

What stands in the tables: docs/reports.md.)";

/// Columns of the terminal; elsewhere lines may be long, but not without end.
std::size_t width_of_output() {
    winsize size{};
    if (isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col;
    return 160;
}

}  // namespace

void ReportCommand::add_to(CLI::App& app) {
    CLI::App& c = *app.add_subcommand("report", "Show reports of runs, side by side");
    c.add_option("RUN", files_,
                 "Reports that --json wrote, or folders of sweeps; ratios are to the first run")
        ->required();
    c.add_option("--depth", depths_, "Only runs of this depth; may be repeated")->type_name("N");
    c.add_option("--level", filter_.levels, "Only exits of this level; may be repeated")->type_name("N");
    c.add_option("--reason", filter_.reasons, "Only exits whose reason matches this glob; may be repeated")
        ->type_name("GLOB");
    c.add_flag("--all", filter_.all_lines, "All reasons, not only those that take most cycles");
    c.add_option("--format", format_, "table, json or csv")->check(CLI::IsMember({"table", "json", "csv"}));
    c.add_option("--table", table_, "Of --format csv: exits or levels")
        ->check(CLI::IsMember({"exits", "levels"}));
    c.add_option("--html", html_, "Write a page with figures to FILE, \"-\" for standard output")
        ->type_name("FILE");
    for (const char* repeated : {"--depth", "--level", "--reason"})  // one value each: a file may follow
        c.get_option(repeated)->allow_extra_args(false);
    c.footer(examples);
}

int ReportCommand::go() const {
    std::vector<std::string> notes;
    Result<std::vector<RunReport>> runs = load_run_reports(files_, depths_, notes);
    for (const std::string& note : notes)
        fmt::print(stderr, "droste: {}\n", printable(note));
    if (!runs)
        return fail(printable(runs.error().text));
    if (Status s = check_filter(*runs, filter_); !s)
        return fail(printable(s.error().text));
    if (html_ == "-") {
        fmt::print("{}", report_html(*runs, filter_));
        return 0;
    }
    if (!html_.empty()) {
        std::ofstream page(html_, std::ios::binary);
        page << report_html(*runs, filter_);
        if (!page.flush())
            return fail(
                fmt::format("--html: {} cannot be written; name a file in a folder that exists", html_));
        fmt::print(stderr, "{}: {} run{}\n", html_, runs->size(), runs->size() == 1 ? "" : "s");
        return 0;
    }
    if (format_ == "csv")
        fmt::print("{}", report_csv(*runs, filter_, table_ == "exits" ? CsvTable::exits : CsvTable::levels));
    else if (format_ == "json")
        fmt::print("{}", report_json(*runs, filter_));
    else
        fmt::print("{}", report_text(*runs, filter_, width_of_output(), isatty(STDOUT_FILENO) != 0));
    return 0;
}

}  // namespace droste
