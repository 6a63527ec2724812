// SPDX-License-Identifier: Apache-2.0
// RoutingDesign: which level receives an exit, decided by a pure function of the exit and what the levels say to it.
//
//   RouteQuestion --decide()--> RouteDecision --RoutingUnit--> carried out, or level 0 with the state untouched
#pragma once
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "nested/routing/policy.h"
#include "vmx/vmcs_fields.h"

namespace droste {

/// Most levels that links can chain: routing.max_levels is at most this.
inline constexpr unsigned most_routed_levels = 32;

/// What is known about an exit and about each level when a design decides.
struct RouteQuestion {
    const ExitRow* reason = nullptr;
    bool nmi = false;            ///< reason 0 by an NMI
    u8 vector = 0;               ///< of reason 0
    unsigned running = 1;        ///< the level that exits, n: level k runs by V_k, which is the hypervisor's of level k-1
    /// VM-entry event injection by the hypervisor of this level made the event.
    std::optional<unsigned> injector;
    RoutePolicy policy;          ///< what configuration and policy table say about this reason
    struct Level {
        bool linked = false;         ///< links lead from level k to the hypervisor of level k-1, and are valid
        bool reason_bit = false;     ///< reason bitmap of level k
        bool exception_bit = false;  ///< routing exception bitmap of level k
        bool wants = false;          ///< the hypervisor of level k-1 asks for the event, by its own controls for level k
        bool lacks = false;          ///< its EPT for level k lacks the permission, or is malformed there
    };
    std::array<Level, most_routed_levels + 1> level{};  ///< index 1 to running
};

struct RouteDecision {
    bool claimed = true;      ///< false: no hypervisor asks for the event
    unsigned destination = 0; ///< level of the hypervisor that receives it; 0 also for an unclaimed one
    std::string_view why;
    unsigned walked = 0;      ///< levels that were asked
    friend constexpr bool operator==(const RouteDecision& a, const RouteDecision& b) {
        return a.claimed == b.claimed && a.destination == b.destination && a.walked == b.walked;
    }
};

struct RoutingDesign {
    std::string_view name;
    u8 number;                ///< MSR routing_capability[7:0]
    bool programmable;        ///< software programs links in the VMCS: the exit-routing control exists
    Field link;               ///< of a programmable one: the field that leads to the VMCS of the hypervisor
    /// Decides about an exit whose policy is by_design. Null: every exit goes to level 0.
    RouteDecision (*decide)(const RouteQuestion&);
    std::string_view help;
    bool in_vmx = false;      ///< built into VMX itself (vmx/native.cpp): nothing is left to decide
};
std::span<const RoutingDesign> routing_designs();
const RoutingDesign& routing_design(std::string_view name);  ///< one of the table

/// The whole decision: events that are always level 0's, injected events, the policy, the design.
RouteDecision decide(const RoutingDesign& design, const RouteQuestion& question);

// The designs (design_*.cpp) and the orders that policies use.
RouteDecision decide_links(const RouteQuestion& question);
RouteDecision decide_layered(const RouteQuestion& question);
RouteDecision decide_deferred(const RouteQuestion& question);
RouteDecision decide_parent_context(const RouteQuestion& question);
RouteDecision top_down(const RouteQuestion& question);
RouteDecision bottom_up(const RouteQuestion& question);
RouteDecision induced(const RouteQuestion& question, unsigned injector);
RouteDecision ept_owner(const RouteQuestion& question);

}  // namespace droste
