// SPDX-License-Identifier: Apache-2.0
// A look at EPT without effects.
#include "vmx/ept_lookup.h"

namespace droste {

EptLookup look_up_ept(const PhysicalMemory& memory, const VmxCapabilities& caps, u64 eptp, u64 guest_physical,
                      bool write, const std::function<bool(u64, u64&)>& locate) {
    PagingControls c;
    c.maxphyaddr = caps.maxphyaddr;
    c.ept_execute_only = caps.has("ept_execute_only"_vmx);
    c.ept_1gb = caps.has("ept_1g_pages"_vmx);
    c.eptp = eptp;
    const TableEpt format(c, eptp, GuestPagingControls{});
    // SDM "EPT Translation Mechanism": bits beyond the walk's range are not translated.
    if ((guest_physical >> (12 + 9 * format.levels)) != 0) return {};
    WalkPath path;
    EptLookup found;
    found.end = descend(format, eptp & address_field, guest_physical, memory, locate, path);
    if (found.end != WalkEnd::mapped) return found;
    found.rights = path.all & ept_entry::rights;
    if ((found.rights & (write ? ept_entry::write : ept_entry::read)) == 0) {
        found.end = WalkEnd::not_present;
        return found;
    }
    found.address = path.piece(guest_physical) | (guest_physical & 0xFFF);
    constexpr u64 flags_enabled = 0x40;
    if ((eptp & flags_enabled) != 0)
        found.flagged = (path.all & ept_entry::accessed) != 0 &&
                        (!write || (path.leaf().entry & ept_entry::dirty) != 0);
    return found;
}

EptLookup look_up_ept(const PhysicalMemory& memory, const VmxCapabilities& caps, u64 eptp, u64 guest_physical,
                      bool write) {
    return look_up_ept(memory, caps, eptp, guest_physical, write, [](u64 at, u64& machine) {
        machine = at;
        return true;
    });
}

}  // namespace droste
