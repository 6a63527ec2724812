// SPDX-License-Identifier: Apache-2.0
// Timing tables from TOML.
#include "machine/timing_table.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "machine/options.h"

namespace droste {

namespace {

std::string_view nearest_event(std::string_view name) {
    const auto& names = cost_event_names();
    return *std::min_element(names.begin(), names.end(),
                             [&](auto a, auto b) { return edit_distance(a, name) < edit_distance(b, name); });
}

Status read_events(const toml::table& cycles, const std::string& name, CostTable& costs,
                   std::vector<bool>& seen) {
    constexpr i64 most = 10'000'000;
    const auto& names = cost_event_names();
    for (const auto& [key, node] : cycles) {
        const std::string place = fmt::format("{}:{}", name, key.source().begin.line);
        const auto event = std::find(names.begin(), names.end(), key.str());
        if (event == names.end())
            return Error{fmt::format("{}: cycles.{}: there is no such event; did you mean {}?", place,
                                     key.str(), nearest_event(key.str()))};
        const auto* value = node.as_integer();
        if (value == nullptr || value->get() < 0 || value->get() > most)
            return Error{fmt::format("{}: cycles.{} must be a whole number of cycles from 0 to {}", place,
                                     key.str(), most)};
        const auto index = static_cast<std::size_t>(event - names.begin());
        costs.cycles[index] = static_cast<u32>(value->get());
        seen[index] = true;
    }
    return {};
}

}  // namespace

Result<CostTable> parse_cost_table(std::string_view text, const std::string& name) {
    toml::table table;
    try {
        table = toml::parse(text, name);
    } catch (const toml::parse_error& problem) {
        return Error{fmt::format("{}:{}:{}: this is not TOML: {}", name, problem.source().begin.line,
                                 problem.source().begin.column, problem.description())};
    }
    for (const auto& [key, node] : table)
        if (key.str() != "cycles")
            return Error{fmt::format("{}:{}: {}: a timing table has the section [cycles] alone", name,
                                     key.source().begin.line, key.str())};
    const toml::table* cycles = table["cycles"].as_table();
    if (cycles == nullptr)
        return Error{fmt::format("{}: the section [cycles] is missing", name)};
    CostTable costs;
    std::vector<bool> seen(cost_event_count);
    if (Status s = read_events(*cycles, name, costs, seen); !s)
        return s.error();
    for (std::size_t i = 0; i < cost_event_count; ++i)
        if (!seen[i])
            return Error{fmt::format("{}: [cycles] has no value for {}; add it, 0 if it shall cost nothing",
                                     name, cost_event_names()[i])};
    return costs;
}

Result<CostTable> load_cost_table(const std::string& table, std::string_view place) {
    if (table.ends_with(".toml")) {
        std::ifstream file(table, std::ios::binary);
        if (!file)
            return Error{fmt::format("{}: {}: cannot be opened; check the path", place, table)};
        std::ostringstream text;
        text << file.rdbuf();
        return parse_cost_table(text.str(), table);
    }
    std::string known;
    for (const ShippedTable& t : shipped_timing_tables()) {
        if (t.name == table)
            return parse_cost_table(t.toml, fmt::format("configs/timing/{}.toml", t.name));
        known += fmt::format("{}{}", known.empty() ? "" : ", ", t.name);
    }
    return Error{fmt::format("{}: there is no table \"{}\"; choose one of {}, or name a .toml file", place, table,
                             known)};
}

}  // namespace droste
