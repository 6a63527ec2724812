// SPDX-License-Identifier: Apache-2.0
// The table of results, and JUnit's XML.
#include "machine/testing/test_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace droste {

namespace {

struct VerdictRow {
    Verdict verdict;
    std::string_view name;
    std::string_view colour;
    std::string_view element;  ///< of JUnit; empty: none
};
constexpr std::string_view green = "\x1b[32m", red = "\x1b[31m", yellow = "\x1b[33m", plain = "\x1b[0m";
constexpr std::array<VerdictRow, 6> verdicts = {{
    {Verdict::passed, "passed", green, ""},
    {Verdict::failed, "failed", red, "failure"},
    {Verdict::skipped, "skipped", yellow, "skipped"},
    {Verdict::timeout, "timeout", red, "failure"},
    {Verdict::crashed, "crashed", red, "error"},
    {Verdict::refused, "refused", red, "error"},
}};

const VerdictRow& row_of(Verdict v) {
    return *std::find_if(verdicts.begin(), verdicts.end(),
                         [&](const VerdictRow& r) { return r.verdict == v; });
}

std::size_t count(std::span<const TestResult> results, std::string_view element) {
    return static_cast<std::size_t>(std::count_if(results.begin(), results.end(), [&](const TestResult& r) {
        return row_of(r.verdict).element == element;
    }));
}

/// Text for XML 1.0, which has no control characters but tab, line feed and carriage return.
std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        switch (c) {
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '&':
            out += "&amp;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\r':
            break;
        default:
            // What guests print need not be UTF-8: bytes above 7FH are written as the characters of Latin-1.
            if (u >= 0x80)
                out += fmt::format("&#x{:X};", u);
            else
                out += u < 0x20 && c != '\n' && c != '\t' ? '?' : c;
        }
    }
    return out;
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
    return row_of(verdict).name;
}

std::string last_line_of(std::string_view output) {
    while (!output.empty()) {
        const std::size_t newline = output.find_last_of("\r\n");
        std::string_view line = newline == output.npos ? output : output.substr(newline + 1);
        output = newline == output.npos ? std::string_view() : output.substr(0, newline);
        std::string clean;
        for (const char c : line)
            clean += c >= ' ' && c <= '~' ? c : ' ';
        const std::size_t first = clean.find_first_not_of(' ');
        if (first != clean.npos)
            return clean.substr(first, clean.find_last_not_of(' ') + 1 - first);
    }
    return "";
}

std::string results_table(std::span<const TestResult> results, bool colour) {
    std::size_t width = 4;
    for (const TestResult& r : results)
        width = std::max(width, r.name.size());
    std::string out = fmt::format("{:<{}}  {:<7}  {:>15}  {:>8}  {}\n", "test", width, "result", "ticks",
                                  "seconds", "last line, or why not");
    double seconds = 0;
    for (const TestResult& r : results) {
        const VerdictRow& row = row_of(r.verdict);
        constexpr std::size_t most = 100;
        std::string note = is_bad(r.verdict) ? r.reason : r.last_line;
        if (is_bad(r.verdict) && !r.last_line.empty())
            note += " | " + r.last_line;
        if (note.size() > most)
            note = note.substr(0, most - 3) + "...";
        out += fmt::format("{:<{}}  {}{:<7}{}  {:>15}  {:>8.2f}  {}\n", r.name, width,
                           colour ? row.colour : "", row.name, colour ? plain : "", r.ticks, r.seconds, note);
        seconds += r.seconds;
    }
    std::string counts;
    for (const VerdictRow& row : verdicts) {
        const auto n = std::count_if(results.begin(), results.end(),
                                     [&](const TestResult& r) { return r.verdict == row.verdict; });
        if (n != 0 || row.verdict == Verdict::passed)
            counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", n, row.name);
    }
    return out + fmt::format("{}; {:.1f} s of runs\n", counts, seconds);
}

std::string results_junit(std::string_view suite, std::span<const TestResult> results) {
    double seconds = 0;
    for (const TestResult& r : results)
        seconds += r.seconds;
    std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    const std::string counts = fmt::format(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\"", results.size(),
        count(results, "failure"), count(results, "error"), count(results, "skipped"), seconds);
    out += fmt::format("<testsuites {}>\n<testsuite name=\"{}\" {}>\n", counts, escaped(suite), counts);
    for (const TestResult& r : results) {
        const VerdictRow& row = row_of(r.verdict);
        out += fmt::format("<testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\">\n", escaped(suite),
                           escaped(r.name), r.seconds);
        if (row.element == "skipped")
            out += fmt::format("<skipped message=\"{}\"/>\n", escaped(r.reason));
        else if (!row.element.empty())
            out += fmt::format("<{0} message=\"{1}\" type=\"{2}\"/>\n", row.element, escaped(r.reason),
                               row.name);
        out += fmt::format("<system-out>{}</system-out>\n</testcase>\n", escaped(r.output));
    }
    return out + "</testsuite>\n</testsuites>\n";
}

}  // namespace droste
