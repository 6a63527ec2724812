// SPDX-License-Identifier: Apache-2.0
// What `config list` and `config explain` print.
#include <fmt/format.h>

#include <algorithm>

#include "machine/options.h"

namespace droste {

namespace {

std::string_view type_word(const OptionRow& row) {
    switch (row.type) {
    case OptionType::text:
        return "text";
    case OptionType::name_or_file:
        return "name or file";
    case OptionType::path:
        return "file";
    case OptionType::paths:
        return "files";
    case OptionType::boolean:
        return row.of_model ? "true|false|model" : "true|false";
    case OptionType::integer:
        return "number";
    case OptionType::size:
        return "size";
    case OptionType::seconds:
        return "time";
    case OptionType::choice:
        return row.choices;
    }
    return "?";
}

std::string_view first_sentence(std::string_view help) {
    for (std::size_t i = 0; i + 1 < help.size(); ++i)
        if ((help[i] == '.' || help[i] == ':') && help[i + 1] == ' ')
            return help.substr(0, i);
    return help.ends_with('.') ? help.substr(0, help.size() - 1) : help;
}

std::string wrapped(std::string_view text, std::size_t width, std::string_view indent) {
    std::string out(indent);
    std::size_t column = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (column != 0 && column + 1 + end > width) {
            out += fmt::format("\n{}", indent);
            column = 0;
        }
        if (column != 0)
            out += ' ', ++column;
        out += text.substr(0, end);
        column += end;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out + "\n";
}

std::string shown_bound(const OptionRow& row, u64 v) {
    if (row.type == OptionType::size)
        return show_size(v);
    if (row.type == OptionType::seconds)
        return fmt::format("{}", v / 1000);
    return fmt::format("{}", v);
}

}  // namespace

std::string list_options(const Options& options, bool colour) {
    std::vector<const OptionRow*> rows = options.rows();
    std::stable_sort(rows.begin(), rows.end(), [](auto* a, auto* b) {
        return a->key.substr(0, a->key.find('.')) < b->key.substr(0, b->key.find('.'));
    });
    std::size_t key_width = 0, value_width = 0;
    const auto shown = [&](const OptionRow& row) {
        const std::string v = options.shown(row.key);
        return v.empty() ? std::string("-") : v;
    };
    for (const OptionRow* row : rows) {
        key_width = std::max(key_width, row->key.size());
        value_width = std::max(value_width, std::min<std::size_t>(shown(*row).size(), 24));
    }
    std::string out;
    std::string_view section;
    for (const OptionRow* row : rows) {
        const std::string_view its = row->key.substr(0, row->key.find('.'));
        if (its != section && !out.empty())
            out += '\n';
        section = its;
        const bool changed = !options.is_default(row->key);
        const std::string_view on = !colour   ? ""
                                    : changed ? "\x1b[1;33m"
                                              : "\x1b[1m",
                               off = colour ? "\x1b[0m" : "";
        const std::string_view dim = colour ? "\x1b[2m" : "";
        out += fmt::format("{}{:<{}}{}  {:<{}}  {}{}{}\n", on, row->key, key_width, off, shown(*row),
                           value_width, dim, first_sentence(row->help), off);
    }
    return out;
}

Result<std::string> explain_option(const Options& options, std::string_view key) {
    const OptionRow* row = options.find(key);
    if (row == nullptr) {
        std::string inside;  // a section was named: list its keys
        for (const OptionRow* r : options.rows())
            if (r->key.starts_with(key) && r->key.substr(key.size()).starts_with('.'))
                inside += fmt::format("{:<24} {}\n", r->key, first_sentence(r->help));
        if (!inside.empty())
            return inside;
        const std::string_view near = options.nearest(key);
        return Error{fmt::format("config explain: {}: there is no such key; {}", key,
                                 near.empty() ? std::string("`droste config list` shows all keys")
                                              : fmt::format("did you mean {}?", near))};
    }
    std::string out = fmt::format("{}\n{}", row->key, wrapped(row->help, 90, "  "));
    out += fmt::format("  type:     {}{}\n", type_word(*row),
                       row->unit.empty() ? "" : fmt::format(", in {}", row->unit));
    out += fmt::format("  default:  {}\n", row->default_text.empty() ? "(none)" : row->default_text);
    const bool number =
        row->type == OptionType::integer || row->type == OptionType::size || row->type == OptionType::seconds;
    if (number && (row->min != 0 || row->max != ~0ull)) {
        out += fmt::format("  range:    {} to {}\n", shown_bound(*row, row->min),
                           row->max == ~0ull ? "no limit" : shown_bound(*row, row->max));
    }
    if (!options.is_default(key))
        out += fmt::format("  now:      {}  ({})\n", options.shown(key), options.origin(key));
    const std::size_t dot = row->key.find('.');
    const std::string_view value = row->default_text.empty() ? "..." : row->default_text;
    const bool quoted = (!number && row->type != OptionType::boolean) || value == "model";
    const bool bare = (number && value.find_first_not_of("0123456789") == std::string_view::npos) ||
                      (!number && !quoted);
    const std::string toml = bare ? std::string(value) : fmt::format("\"{}\"", value);
    if (dot == std::string_view::npos)
        out += fmt::format("  in a stack file:      {} = {}\n", row->key, toml);
    else
        out += fmt::format("  in a stack file:      [{}]\n                        {} = {}\n",
                           row->key.substr(0, dot), row->key.substr(dot + 1),
                           row->type == OptionType::paths ? "[\"...\"]" : toml);
    out += fmt::format("  on the command line:  --set {}={}\n", row->key, value);
    return out;
}

}  // namespace droste
