// SPDX-License-Identifier: Apache-2.0
// Opening TOML files.
#include "machine/toml_file.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

namespace droste {

Result<toml::table> read_toml_file(const std::string& path, const std::string& hint) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (in)
        text << in.rdbuf();
    if (!in)
        return Error{fmt::format("{}: cannot be opened; {}", path, hint)};
    try {  // the library as Debian builds it reports by exception
        return toml::parse(text.str(), path);
    } catch (const toml::parse_error& problem) {
        return Error{fmt::format("{}:{}:{}: this is not TOML: {}", path, problem.source().begin.line,
                                 problem.source().begin.column, problem.description())};
    }
}

std::optional<std::string> toml_scalar(const toml::node& node) {
    if (const auto* s = node.as_string())
        return s->get();
    if (const auto* i = node.as_integer())
        return fmt::format("{}", i->get());
    if (const auto* f = node.as_floating_point())
        return fmt::format("{:.9g}", f->get());
    if (const auto* b = node.as_boolean())
        return b->get() ? "true" : "false";
    return std::nullopt;
}

std::optional<std::vector<std::string>> toml_strings(const toml::node& node) {
    const auto* array = node.as_array();
    if (array == nullptr)
        return std::nullopt;
    std::vector<std::string> out;
    for (const toml::node& element : *array) {
        const auto* text = element.as_string();
        if (text == nullptr)
            return std::nullopt;
        out.push_back(text->get());
    }
    return out;
}

}  // namespace droste
