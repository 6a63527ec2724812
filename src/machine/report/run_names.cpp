// SPDX-License-Identifier: Apache-2.0
// Names of runs: what tells them from each other.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "machine/report/run_report.h"

namespace droste {

namespace {

struct Fact {
    std::string key;
    std::string text;  ///< as it stands in a label; empty: nothing to say
};

/// A member of the report that says keys of the configuration.
struct MemberFact {
    std::string_view name;
    std::initializer_list<std::string_view> keys;
    std::string (*text)(const RunReport&);
};
const MemberFact member_facts[] = {
    {"stack", {"stack.name"}, [](const RunReport& r) { return r.stack; }},
    {"routing", {"routing.design"}, [](const RunReport& r) { return r.routing; }},
    {"variant", {}, [](const RunReport& r) { return r.variant; }},
    {"depth", {"stack.depth"}, [](const RunReport& r) { return fmt::format("depth {}", r.depth); }},
    {"cpu", {"cpu.model"}, [](const RunReport& r) { return r.cpu_model; }},
    {"timing",
     {"timing.model", "timing.table"},
     [](const RunReport& r) {
         return r.timing == "table" ? r.timing_table : fmt::format("timing {}", r.timing);
     }},
    {"clock", {"timing.clock"}, [](const RunReport& r) { return fmt::format("clock {}", r.timing_clock); }},
    {"engine", {"engine"}, [](const RunReport& r) { return r.engine; }},
};
/// Sections that change how a run is made, not the run.
constexpr std::string_view of_no_matter[] = {"run.", "jit."};

std::string shortened(const std::string& text) {
    constexpr std::size_t most = 40;
    return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

/// `variant_keys`: what the variants of all runs stand for.
std::vector<Fact> facts_of(const RunReport& r, const std::set<std::string>& keys,
                           const std::set<std::string>& variant_keys) {
    std::vector<Fact> facts;
    for (const MemberFact& m : member_facts) {
        const bool by_variant = std::any_of(m.keys.begin(), m.keys.end(), [&](std::string_view key) {
            return variant_keys.contains(std::string(key));
        });
        facts.push_back({std::string(m.name), by_variant ? "" : m.text(r)});
    }
    for (const std::string& key : keys) {
        const auto found = r.configuration.find(key);
        facts.push_back(
            {key, found == r.configuration.end() ? "" : shortened(fmt::format("{}={}", key, found->second))});
    }
    return facts;
}

std::string joined(const std::vector<Fact>& facts, const std::set<std::string>& differing, bool with_depth) {
    std::string out;
    for (const Fact& f : facts)
        if (!f.text.empty() && differing.contains(f.key) && (with_depth || f.key != "depth"))
            out += fmt::format("{}{}", out.empty() ? "" : ", ", f.text);
    return out;
}

/// Keys of the configuration that may tell runs apart.
std::set<std::string> keys_of(const std::vector<RunReport>& runs, const std::set<std::string>& variant_keys) {
    std::set<std::string> keys;
    for (const RunReport& r : runs)
        for (const auto& [key, value] : r.configuration)
            keys.insert(key);
    for (const std::string& key : variant_keys)
        keys.erase(key);
    for (const MemberFact& m : member_facts)
        for (const std::string_view key : m.keys)
            keys.erase(std::string(key));
    std::erase_if(keys, [](const std::string& key) {
        return std::any_of(std::begin(of_no_matter), std::end(of_no_matter),
                           [&](std::string_view section) { return key.starts_with(section); });
    });
    return keys;
}

}  // namespace

void name_runs(std::vector<RunReport>& runs) {
    std::set<std::string> variant_keys;
    for (const RunReport& r : runs)
        variant_keys.insert(r.variant_keys.begin(), r.variant_keys.end());
    const std::set<std::string> keys = keys_of(runs, variant_keys);
    std::vector<std::vector<Fact>> facts;
    for (const RunReport& r : runs)
        facts.push_back(facts_of(r, keys, variant_keys));
    std::set<std::string> differing;
    for (const auto& of_run : facts)
        for (std::size_t i = 0; i < of_run.size(); ++i)
            if (of_run[i].text != facts[0][i].text)
                differing.insert(of_run[i].key);
    std::set<std::string> always = differing;
    always.insert(variant_keys.contains("routing.design") ? "variant" : "routing");
    for (std::size_t i = 0; i < runs.size(); ++i) {
        runs[i].label = joined(facts[i], differing, true);
        runs[i].series = joined(facts[i], always, false);
    }
    if (runs.size() == 1) {
        runs[0].label = joined(facts[0], {"stack", "routing", "variant", "depth"}, true);
        return;
    }
    std::map<std::string, unsigned> used;
    for (const RunReport& r : runs)
        ++used[r.label];
    for (RunReport& r : runs) {
        if (r.label.empty() || used[r.label] > 1) {
            const std::string name = std::filesystem::path(r.file).filename().string();
            r.label += r.label.empty() ? name : fmt::format(" ({})", name);
        }
    }
    std::map<std::pair<std::string, u64>, unsigned> lines;
    for (const RunReport& r : runs)
        ++lines[{r.series, r.depth}];
    for (RunReport& r : runs)  // equal configurations: a line each
        if (lines[{r.series, r.depth}] > 1)
            r.series = r.label;
}

}  // namespace droste
