// SPDX-License-Identifier: Apache-2.0
// The keys of exit routing; those of the reasons are written by the compiler from the rows.
#include "machine/routing_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace droste {

namespace {

constexpr OptionRow rows[] = {
    {.key = "routing.design",
     .type = OptionType::choice,
     .default_text = "sdm",
     .help = "Which level receives a VM exit. `sdm`: always level 0, the shipped architecture. `account`: the same, and "
             "the report says what the other designs would have cost. `links`, `layered`, `deferred`, "
             "`parent-context`: hardware that a level 0 which knows it programs (docs/routing.md). `native`: VMX "
             "instructions of every level execute in the CPU; no level knows (docs/native.md).",
     .choices = "sdm|account|links|layered|deferred|parent-context|native"},
    {.key = "routing.preset",
     .type = OptionType::choice,
     .default_text = "none",
     .help = "Who receives which exit, by the table of a shipped hypervisor, instead of the design's own rules. "
             "Needs a design whose links software programs.",
     .choices = "none|kvm|xen|tdx|skip-level|firmware-ras"},
    {.key = "routing.max_levels",
     .type = OptionType::integer,
     .default_text = "8",
     .help = "Most levels above root that links may chain: an exit of a longer chain goes to level 0. With native, levels that run "
             "by the processor: VMX instructions above them exit.",
     .unit = "levels",
     .min = 2,
     .max = most_routed_levels},
    {.key = "routing.direct_entry",
     .type = OptionType::boolean,
     .default_text = "false",
     .help = "VMRESUME of a guest hypervisor enters the guest that exited last without level 0, when nothing but its "
             "guest-state area was written since."},
    {.key = "routing.walk_cycles",
     .type = OptionType::integer,
     .default_text = "model",
     .help = "Cycles for each level that a decision asks. `model`: route_level of the timing table.",
     .unit = "cycles",
     .max = 100'000,
     .of_model = true},
};

constexpr std::string_view reason_choices =
    "design|root|bitmap|top-down|bottom-up|parent|owner|level-1|level-2|level-3|level-4|level-5|level-6|level-7";
constexpr std::string_view prefix = "routing.reasons.";

struct Text {
    std::array<char, 192> data{};
    std::size_t size = 0;
    constexpr void add(std::string_view s) {
        for (const char c : s) data[size++] = c;
    }
    constexpr std::string_view view() const { return {data.data(), size}; }
};

constexpr auto keys = [] {
    std::array<Text, exit_rows.size()> list{};
    for (std::size_t i = 0; i < list.size(); ++i) {
        list[i].add(prefix);
        list[i].add(exit_rows[i].name);
    }
    return list;
}();

constexpr auto reason_rows = [] {
    std::array<OptionRow, exit_rows.size()> list{};
    for (std::size_t i = 0; i < list.size(); ++i)
        list[i] = {.key = keys[i].view(),
                   .type = OptionType::choice,
                   .default_text = "design",
                   .help = "Who receives exits of this reason. `design`: as routing.preset or the design has it. `parent`: the "
                           "guest's own hypervisor. `top-down`, `bottom-up`: the innermost or outermost one whose controls "
                           "ask for it. `owner`: the one whose EPT lacks the permission.",
                   .choices = reason_choices};
    return list;
}();

}  // namespace

std::span<const OptionRow> routing_options() { return rows; }
std::span<const OptionRow> routing_reason_options() { return reason_rows; }

Result<RoutingConfig> routing_config(const Options& o) {
    RoutingConfig c;
    c.design = &routing_design(o.text("routing.design"));
    c.estimate = c.design->name == "account";
    c.max_levels = static_cast<unsigned>(o.number("routing.max_levels"));
    c.direct_entry = o.flag("routing.direct_entry");
    if (!o.left_to_model("routing.walk_cycles")) c.walk_cycles = static_cast<u32>(o.number("routing.walk_cycles"));
    const auto refuse = [&](std::string_view key) {
        return Error{fmt::format("{} ({}): the design {} takes no orders about exits; set routing.design to links, layered, "
                                 "deferred or parent-context",
                                 key, o.origin(key), c.design->name)};
    };
    for (const std::string_view key : {"routing.preset", "routing.max_levels", "routing.direct_entry"})
        if (!c.design->programmable && !o.is_default(key) && !(c.design->in_vmx && key == "routing.max_levels"))
            return refuse(key);
    for (const RoutePreset& preset : route_presets())
        if (preset.name == o.text("routing.preset")) c.policies = preset.policies();
    for (std::size_t i = 0; i < reason_rows.size(); ++i) {
        const std::string& value = o.text(reason_rows[i].key);
        if (value == "design") continue;
        if (!c.design->programmable) return refuse(reason_rows[i].key);
        const auto names = policy_names();
        const auto named = std::find_if(names.begin(), names.end(), [&](const PolicyName& n) { return n.name == value; });
        ASSERT(named != names.end());  // the row's choices are these names
        if (named->policy.kind == Policy::level && named->policy.level >= c.max_levels)
            return Error{fmt::format("{} ({}): {} has no guest that could exit; routing.max_levels is {}, choose a lower level",
                                     reason_rows[i].key, o.origin(reason_rows[i].key), value, c.max_levels)};
        c.policies[exit_rows[i].number] = named->policy;
    }
    return c;
}

}  // namespace droste
