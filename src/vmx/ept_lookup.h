// SPDX-License-Identifier: Apache-2.0
// Looks up a guest-physical address in the EPT of a VMCS that need not be current. Sets no flags, caches nothing.
#pragma once
#include <functional>

#include "mmu/table_walk.h"
#include "vmx/capability_msrs.h"

namespace droste {

struct EptLookup {
    WalkEnd end = WalkEnd::not_present;
    u64 address = 0;     ///< in the space beneath, when mapped
    u64 rights = 0;      ///< AND of the entries
    bool flagged = true; ///< the flags that an access of this kind would set are set
};

/// `locate` translates the address of an EPT entry to a machine-physical one, or refuses: the identity for the EPT of
/// level 0.
EptLookup look_up_ept(const PhysicalMemory& memory, const VmxCapabilities& caps, u64 eptp, u64 guest_physical,
                      bool write, const std::function<bool(u64, u64&)>& locate);
EptLookup look_up_ept(const PhysicalMemory& memory, const VmxCapabilities& caps, u64 eptp, u64 guest_physical,
                      bool write);

}  // namespace droste
