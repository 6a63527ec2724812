// SPDX-License-Identifier: Apache-2.0
// Tables as text and as HTML.
#include "machine/report/sheet.h"

#include <fmt/format.h>

#include <algorithm>

namespace droste {

namespace {

constexpr std::string_view bold = "\x1b[1m", dim = "\x1b[2m", green = "\x1b[32m", red = "\x1b[31m",
                           plain = "\x1b[0m";
constexpr std::size_t gap = 2, group_gap = 3;

std::size_t width_of(const Column& c) {
    std::size_t width = characters(c.head);
    for (const Cell& cell : c.cells)
        width = std::max(width, characters(cell.text));
    return width;
}

/// A group with the widths of its columns, the last one widened for the head of the group.
struct Laid {
    const Group* group;
    std::vector<std::size_t> widths;
    std::size_t total = 0;
    explicit Laid(const Group& g) : group(&g) {
        for (const Column& c : g.columns)
            widths.push_back(width_of(c));
        for (std::size_t i = 0; i < widths.size(); ++i)
            total += widths[i] + (i == 0 ? 0 : gap);
        if (const std::size_t head = characters(g.head); head > total && !widths.empty()) {
            widths.back() += head - total;
            total = head;
        }
    }
};

std::string padded(const std::string& text, std::size_t width, bool left) {
    const std::string clean = printable(text);
    const std::string space(width - std::min(width, characters(clean)), ' ');
    return left ? clean + space : space + clean;
}

std::string without_end_spaces(std::string line) {
    line.resize(line.find_last_not_of(' ') + 1);
    return line;
}

/// A group that is too wide becomes several; a column without a head stays with the one before it.
std::vector<Group> split(const Group& group, std::size_t width) {
    std::vector<Group> parts;
    std::size_t used = 0;
    for (std::size_t i = 0; i < group.columns.size(); ++i) {
        std::size_t more = 0;
        for (std::size_t j = i; j < group.columns.size() && (j == i || group.columns[j].head.empty()); ++j)
            more += gap + width_of(group.columns[j]);
        const bool follows = i != 0 && group.columns[i].head.empty();
        if (parts.empty() || (!follows && used + more > width)) {
            parts.push_back({group.head, {}});
            used = 0;
        }
        parts.back().columns.push_back(group.columns[i]);
        used += gap + width_of(group.columns[i]);
    }
    return parts;
}

class Writer {
public:
    Writer(const Sheet& sheet, bool colour)
        : sheet_(sheet), colour_(colour), label_group_{"", sheet.labels}, labels_(label_group_) {}

    std::string block(std::span<const Laid> groups) const {
        std::string out;
        if (std::any_of(groups.begin(), groups.end(), [](const Laid& g) { return !g.group->head.empty(); })) {
            std::string line(labels_.total, ' ');
            for (const Laid& g : groups)
                line += std::string(group_gap, ' ') + padded(g.group->head, g.total, true);
            out += paint(without_end_spaces(line), bold) + "\n";
        }
        std::string heads = cells(labels_, [](const Column& c) { return Cell{c.head, Tone::plain}; });
        for (const Laid& g : groups)
            heads += std::string(group_gap, ' ') + cells(g, [](const Column& c) {
                         return Cell{c.head, Tone::plain};
                     });
        if (heads = without_end_spaces(heads); !heads.empty())
            out += paint(heads, dim) + "\n";
        for (std::size_t row = 0; row < sheet_.rows(); ++row) {
            const auto cell = [&](const Column& c) { return c.cells[row]; };
            std::string line = cells(labels_, cell);
            for (const Laid& g : groups)
                line += std::string(group_gap, ' ') + cells(g, cell);
            out += without_end_spaces(line) + "\n";
        }
        return out;
    }
    std::size_t label_width() const { return labels_.total; }
    std::string paint(const std::string& text, std::string_view code) const {
        return colour_ && !text.empty() ? fmt::format("{}{}{}", code, text, plain) : text;
    }

private:
    template <class Pick> std::string cells(const Laid& g, Pick pick) const {
        std::string out;
        for (std::size_t i = 0; i < g.widths.size(); ++i) {
            const Column& c = g.group->columns[i];
            const Cell cell = pick(c);
            const std::string text = padded(cell.text, g.widths[i], c.left);
            out += std::string(i == 0 ? 0 : gap, ' ');
            out += cell.tone == Tone::plain ? text : paint(text, cell.tone == Tone::better ? green : red);
        }
        return out;
    }
    const Sheet& sheet_;
    const bool colour_;
    const Group label_group_;
    const Laid labels_;
};

}  // namespace

std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string printable(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
            c = '?';
    return out;
}

std::string escaped_markup(std::string_view text) {
    std::string out;
    for (const char c : printable(text))
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        default:
            out += c;
        }
    return out;
}

std::string sheet_text(const Sheet& sheet, std::size_t width, bool colour) {
    if (sheet.rows() == 0)
        return "";
    const Writer writer(sheet, colour);
    std::string out = writer.paint(printable(sheet.title), bold) + "\n";
    const std::size_t room =
        width > writer.label_width() + group_gap + 20 ? width - writer.label_width() - group_gap : 20;
    std::vector<Group> parts;
    for (const Group& g : sheet.groups)
        for (Group& part : split(g, room))
            parts.push_back(std::move(part));
    const std::vector<Laid> groups(parts.begin(), parts.end());
    for (std::size_t from = 0; from < groups.size();) {
        std::size_t to = from, used = writer.label_width();
        while (to < groups.size() && (to == from || used + group_gap + groups[to].total <= width))
            used += group_gap + groups[to++].total;
        if (from != 0)
            out += '\n';
        out += writer.block(std::span<const Laid>(groups).subspan(from, to - from));
        from = to;
    }
    if (!sheet.note.empty())
        out += printable(sheet.note) + "\n";
    return out;
}

std::string sheet_html(const Sheet& sheet) {
    if (sheet.rows() == 0)
        return "";
    const bool grouped =
        std::any_of(sheet.groups.begin(), sheet.groups.end(), [](const Group& g) { return !g.head.empty(); });
    std::string out = fmt::format("<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead>\n",
                                  escaped_markup(sheet.title));
    const auto head = [&](const Column& c, bool first) {
        out += fmt::format("<th scope=\"col\" class=\"{}{}\">{}</th>", c.left ? "l" : "r", first ? " g" : "",
                           escaped_markup(c.head));
    };
    if (grouped) {
        out += fmt::format("<tr><td colspan=\"{}\"></td>", sheet.labels.size());
        for (const Group& g : sheet.groups)
            out += fmt::format("<th scope=\"colgroup\" colspan=\"{}\" class=\"l g\">{}</th>",
                               g.columns.size(), escaped_markup(g.head));
        out += "</tr>\n";
    }
    out += "<tr>";
    for (const Column& c : sheet.labels)
        head(c, false);
    for (const Group& g : sheet.groups)
        for (const Column& c : g.columns)
            head(c, &c == &g.columns.front());
    out += "</tr>\n</thead>\n<tbody>\n";
    constexpr std::string_view tones[] = {"", " better", " worse"};  // by Tone
    for (std::size_t row = 0; row < sheet.rows(); ++row) {
        out += "<tr>";
        for (const Column& c : sheet.labels)
            out += fmt::format("<th scope=\"row\" class=\"{}\">{}</th>", c.left ? "l" : "r",
                               escaped_markup(c.cells[row].text));
        for (const Group& g : sheet.groups)
            for (const Column& c : g.columns)
                out += fmt::format(
                    "<td class=\"{}{}{}\">{}</td>", c.left ? "l" : "r", &c == &g.columns.front() ? " g" : "",
                    tones[static_cast<unsigned>(c.cells[row].tone)], escaped_markup(c.cells[row].text));
        out += "</tr>\n";
    }
    out += "</tbody>\n</table></div>\n";
    if (!sheet.note.empty())
        out += fmt::format("<p class=\"note\">{}</p>\n", escaped_markup(sheet.note));
    return out;
}

}  // namespace droste
