// SPDX-License-Identifier: Apache-2.0
// The table of designs, and what they have in common.
#include "nested/routing/design.h"

#include <algorithm>

#include "base/assert.h"

namespace droste {

namespace {

constexpr RoutingDesign designs[] = {
    {"sdm", 0, false, {}, nullptr, "The shipped architecture: every exit goes to level 0."},
    {"account", 1, false, {}, nullptr, "As sdm; books what the other designs would have cost."},
    {"links", 2, true, "control_link"_f, decide_links,
     "Control and state link, reason and exception bitmap: an exit goes to the hypervisor that owns the guest."},
    {"layered", 3, true, "parent_link"_f, decide_layered,
     "A chain of parent links; each level's own controls ask for events, innermost or outermost first."},
    {"deferred", 4, true, "control_link"_f, decide_deferred,
     "VMREAD and VMWRITE of a guest hypervisor are memory accesses on its VMCS, seen by level 0 at the next entry."},
    {"parent-context", 5, true, "parent_link"_f, decide_parent_context,
     "Hypercalls go from a guest's context to its parent's; level 0 sees the registers of neither."},
    {"native", 6, false, {}, nullptr, "The CPU executes VMX instructions of every level.", true},
};

/// Machine checks, INIT and SIPI are the machine's: no link leads them elsewhere.
bool always_root(const RouteQuestion& q) {
    constexpr u8 machine_check = 18;
    return q.reason->kind == ExitKind::entry || q.reason == "init_signal"_exit || q.reason == "startup_ipi"_exit ||
           (q.reason == "exception_or_nmi"_exit && !q.nmi && q.vector == machine_check);
}

RouteDecision by_policy(const RoutingDesign& design, const RouteQuestion& q) {
    const unsigned n = q.running;
    // Policies of reason 0 mean exceptions: an NMI is the platform's.
    if (q.nmi && q.policy.kind >= Policy::top_down) return bottom_up(q);
    switch (q.policy.kind) {
    case Policy::root: return {.destination = 0, .why = "policy: root"};
    case Policy::bitmap: return decide_links(q);
    case Policy::top_down: return top_down(q);
    case Policy::bottom_up: return bottom_up(q);
    case Policy::owner: return ept_owner(q);
    case Policy::parent: return {.destination = n - 1, .why = "policy: parent", .walked = 1};
    case Policy::level:
        if (q.policy.level < n) return {.destination = q.policy.level, .why = "policy: level", .walked = n - q.policy.level};
        return {.destination = 0, .why = "policy: level above the guest"};
    default: return design.decide == nullptr ? RouteDecision{.why = "sdm"} : design.decide(q);
    }
}

}  // namespace

std::span<const RoutingDesign> routing_designs() { return designs; }

const RoutingDesign& routing_design(std::string_view name) {
    const auto* const row =
        std::find_if(std::begin(designs), std::end(designs), [&](const RoutingDesign& d) { return d.name == name; });
    ASSERT(row != std::end(designs));
    return *row;
}

RouteDecision decide(const RoutingDesign& design, const RouteQuestion& q) {
    ASSERT(q.running >= 1 && q.running <= most_routed_levels);
    RouteDecision d;
    if (always_root(q)) d.why = "always root";
    else if (q.injector) d = induced(q, *q.injector);
    else d = by_policy(design, q);
    ASSERT(d.destination < q.running && d.walked <= q.running);
    return d;
}

RouteDecision top_down(const RouteQuestion& q) {
    for (unsigned k = q.running; k >= 1; --k)
        if (q.level[k].wants) return {.destination = k - 1, .why = "top-down", .walked = q.running - k + 1};
    return {.claimed = false, .why = "unclaimed", .walked = q.running};
}

RouteDecision bottom_up(const RouteQuestion& q) {
    for (unsigned k = 1; k <= q.running; ++k)
        if (q.level[k].wants) return {.destination = k - 1, .why = "bottom-up", .walked = k};
    return {.claimed = false, .why = "unclaimed", .walked = q.running};
}

// The injector's own structure is not asked: V_(m+1) is the one that it injects by.
RouteDecision induced(const RouteQuestion& q, unsigned m) {
    unsigned walked = 0;
    for (unsigned k = m + 2; k <= q.running; ++k) {
        ++walked;
        if (q.level[k].wants) return {.destination = k - 1, .why = "induced", .walked = walked};
    }
    return {.claimed = false, .why = "unclaimed", .walked = walked};
}

RouteDecision ept_owner(const RouteQuestion& q) {
    for (unsigned k = q.running; k >= 1; --k)
        if (q.level[k].lacks) return {.destination = k - 1, .why = "EPT owner", .walked = q.running - k + 1};
    return {.destination = 0, .why = "EPT owner", .walked = q.running};
}

}  // namespace droste
