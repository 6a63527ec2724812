// SPDX-License-Identifier: Apache-2.0
// Sheet: a table whose columns stand in groups, to be written as text or as HTML.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

enum class Tone : unsigned char { plain, better, worse };

struct Cell {
    std::string text;
    Tone tone = Tone::plain;
};

struct Column {
    std::string head;
    std::vector<Cell> cells;  ///< one a row
    bool left = false;        ///< aligned to the left
};

/// Columns that stay together under one head.
struct Group {
    std::string head;  ///< empty: its columns have heads of their own only
    std::vector<Column> columns;
};

struct Sheet {
    std::string title;
    std::vector<Column> labels;  ///< repeated when the groups do not fit side by side
    std::vector<Group> groups;
    std::string note;  ///< a line below
    std::size_t rows() const { return labels.empty() ? 0 : labels.front().cells.size(); }
};

/// Aligned text. Groups that do not fit into `width` go on below, with the labels again.
std::string sheet_text(const Sheet& sheet, std::size_t width, bool colour);
/// A <table>, well-formed as XML.
std::string sheet_html(const Sheet& sheet);
/// For text within HTML and XML; control characters become '?'.
std::string escaped_markup(std::string_view text);
/// For the terminal: control characters become '?'.
std::string printable(std::string_view text);
/// Characters of UTF-8.
std::size_t characters(std::string_view text);

}  // namespace droste
