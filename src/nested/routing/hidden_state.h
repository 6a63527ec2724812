// SPDX-License-Identifier: Apache-2.0
// What designs keep in the part of a VMCS region that no VMREAD reaches: each word has one meaning.
#pragma once
#include "vmx/capability_msrs.h"
#include "vmx/vmcs.h"

namespace droste::hidden {

// Direct entry: of the VMCS by which a hypervisor runs.
inline constexpr unsigned child = 0;         ///< the merged VMCS of the guest that exited to it last; 0: none
inline constexpr unsigned child_state = 1;   ///< the state VMCS of that guest
inline constexpr unsigned child_digest = 2;  ///< of what in it decides how the two are merged
// Deferred: of the VMCS that a guest hypervisor writes.
inline constexpr unsigned dirty = 8;         ///< 4 words, a bit for each row of vmcs_fields
// Parent context: of the VMCS by which a protected context runs.
inline constexpr unsigned sealed = 16;       ///< 1: registers follow, level 0 does not see them
inline constexpr unsigned gprs = 17;         ///< 16 words
inline constexpr unsigned fields = 40;       ///< the guest-state area, a word for each of its registers
static_assert(dirty + (vmcs_fields.size() + 63) / 64 <= sealed);

/// Equal for two moments between which the controls and the host-state area of `state`, and the bits of CR0 and CR4 that
/// `merged` keeps back, did not change.
u64 merge_digest(const Vmcs& state, const Vmcs& merged, const VmxCapabilities& caps);

}  // namespace droste::hidden
