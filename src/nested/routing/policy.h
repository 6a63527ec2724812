// SPDX-License-Identifier: Apache-2.0
// RoutePolicy: what decides about the exits of one reason. Presets: a policy for every reason, by the tables of shipped
// hypervisors.
#pragma once
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "base/types.h"
#include "vmx/exit_reasons.h"

namespace droste {

enum class Policy : u8 {
    by_design,  ///< what the design does by itself
    root,       ///< level 0
    bitmap,     ///< reason and exception bitmap of the exiting guest's VMCS
    top_down,   ///< the innermost hypervisor whose own controls ask for the exit
    bottom_up,  ///< the outermost one
    parent,     ///< the hypervisor of the exiting guest, whatever its controls say
    owner,      ///< of a guest-physical address: the hypervisor whose EPT lacks the permission
    level,      ///< a fixed level
};

/// As a policy table holds it, 4 bits a reason: the kind below 8, 8 + the level for Policy::level.
struct RoutePolicy {
    Policy kind = Policy::by_design;
    u8 level = 0;  ///< of Policy::level
    friend constexpr bool operator==(RoutePolicy, RoutePolicy) = default;
};
constexpr RoutePolicy policy_of_nibble(unsigned nibble) {
    if (nibble >= 8) return {Policy::level, static_cast<u8>(nibble - 8)};
    return {static_cast<Policy>(nibble == 7 ? 0 : nibble)};
}

/// How users write a policy: "parent", "top-down", "level-1".
struct PolicyName {
    std::string_view name;
    RoutePolicy policy;
};
std::span<const PolicyName> policy_names();
std::string_view name_of(RoutePolicy policy);

inline constexpr unsigned routed_reasons = 128;  ///< basic exit reasons that policies and bitmaps can name
using RoutePolicies = std::array<RoutePolicy, routed_reasons>;

/// Who receives what in a hypervisor, a firmware or a module that nests guests.
struct RoutePreset {
    std::string_view name;
    std::string_view help;
    RoutePolicy others;  ///< reasons without a row
    struct Row {
        const ExitRow* reason;
        RoutePolicy policy;
    };
    std::span<const Row> rows;
    RoutePolicies policies() const;
};
std::span<const RoutePreset> route_presets();

}  // namespace droste
