// SPDX-License-Identifier: Apache-2.0
// ReportTables: what a report shows of its runs, side by side.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "machine/report/run_report.h"
#include "machine/report/sheet.h"

namespace droste {

/// Which lines of the exit tables to show.
struct ReportFilter {
    std::vector<u64> levels;           ///< empty: all
    std::vector<std::string> reasons;  ///< globs; empty: all
    bool all_lines = false;            ///< no line is left out for brevity
    bool wants(unsigned level, const std::string& reason) const;
};

/// One line of the exit table with what each run has of it.
struct ExitComparison {
    unsigned level = 0, owner = 0;
    std::string reason;
    std::vector<const ExitSummary*> runs;  ///< null: the run has no such line
    double weight = 0;                     ///< cycles of all round trips, of the run that spent most
};
/// By level, within a level those that took most cycles first.
std::vector<ExitComparison> compared_exits(std::span<const RunReport> runs, const ReportFilter& filter);

/// An error when the filter leaves nothing of runs that have exits: it names what there is.
Status check_filter(std::span<const RunReport> runs, const ReportFilter& filter);

/// All tables. Ratios are to the first run.
std::vector<Sheet> report_sheets(std::span<const RunReport> runs, const ReportFilter& filter);
/// The tables as text.
std::string report_text(std::span<const RunReport> runs, const ReportFilter& filter, std::size_t width,
                        bool colour);
/// The lines of the exit tables (`levels`: of the levels) as CSV, for a spreadsheet or a script.
enum class CsvTable : u8 { exits, levels };
std::string report_csv(std::span<const RunReport> runs, const ReportFilter& filter, CsvTable table);
/// All of it as JSON.
std::string report_json(std::span<const RunReport> runs, const ReportFilter& filter);
/// A page with figures, which needs nothing but itself.
std::string report_html(std::span<const RunReport> runs, const ReportFilter& filter);

}  // namespace droste
