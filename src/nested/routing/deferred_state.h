// SPDX-License-Identifier: Apache-2.0
// The design `deferred`: what guest hypervisors wrote to a VMCS since it was merged last.
#pragma once
#include "vmx/capability_msrs.h"
#include "vmx/vmcs.h"

namespace droste {

/// A VMWRITE in non-root operation wrote `field` of `vmcs`.
void mark_deferred(const Vmcs& vmcs, Field field);
/// Guest-state fields and the event to inject that were written to `source` become those of `merged`. True: some were.
bool merge_deferred(const Vmcs& merged, const Vmcs& source, const VmxCapabilities& caps);

}  // namespace droste
