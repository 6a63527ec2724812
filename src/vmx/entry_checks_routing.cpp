// SPDX-License-Identifier: Apache-2.0
// Checks of VM entry on the fields of exit routing. Modelled on the VMCS link pointer: all ones is no link.
#include "vmx/entry_checks.h"
#include "vmx/routing_fields.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

using X = const EntryContext&;

constexpr Field all_links[] = {"state_link"_f, "control_link"_f, "parent_link"_f};
constexpr Field to_hypervisors[] = {"control_link"_f, "parent_link"_f};

bool routes(X x) { return x.c.has("exit_routing"_vmx); }

/// `holds` of each link of `links` that is one.
template <class Links, class Holds> bool each(X x, const Links& links, Holds&& holds) {
    if (!routes(x)) return true;
    for (const Field f : links) {
        const u64 link = x.v[f];
        if (link != Vmcs::none && !holds(link)) return false;
    }
    return true;
}

}  // namespace

bool routing_links(X x) {
    return each(x, all_links, [&](u64 link) { return structure_address(x, link, 12); });
}

bool routing_revisions(X x) {
    return each(x, all_links, [&](u64 link) {
        return (x.memory(link + vmcs_layout::revision, Width::dword) & 0x7FFFFFFF) == x.caps.revision;
    });
}

bool routing_state_apart(X x) {
    return each(x, to_hypervisors, [&](u64 link) { return link != x.v["state_link"_f]; });
}

bool routing_links_foreign(X x) {
    const Vmx* vmx = static_cast<const Vmx*>(x.cpu.hooks);
    return each(x, all_links, [&](u64 link) {
        return link != x.v.address() && (vmx == nullptr || link != vmx->vmxon_pointer());
    });
}

bool routing_hypervisors_launched(X x) {
    return each(x, to_hypervisors, [&](u64 link) {
        return (x.memory(link + vmcs_layout::revision, Width::dword) >> 31) == 0 &&
               x.memory(link + vmcs_layout::launch_state, Width::dword) == static_cast<u32>(LaunchState::launched);
    });
}

bool routing_policy_table(X x) {
    if (!routes(x) || (x.v["routing_controls"_f] & routing_controls::policy_table) == 0) return true;
    return structure_address(x, x.v["policy_table_pointer"_f], 6);
}

bool routing_controls_reserved(X x) {
    return !routes(x) || (x.v["routing_controls"_f] & ~routing_controls::defined) == 0;
}

}  // namespace droste
