// SPDX-License-Identifier: Apache-2.0
// The design `parent-context`: registers of a protected context that level 0 does not see.
//
// At an exit to root operation general registers, but for RAX, RBX, RCX and RDX, and the guest-state area, but for what
// tells the mode and the blocking of events, are kept aside and read as 0. The next entry puts them back; what level 0
// wrote to the RIP field is added to RIP, so that it can skip an instruction.
#pragma once
#include "vmx/capability_msrs.h"
#include "vmx/vmcs.h"

namespace droste {

struct Cpu;

/// After an exit to root operation.
void seal(Cpu& cpu, const Vmcs& vmcs);
/// Before the guest-state area is checked. A context that did not exit to root has its state in its parent's VMCS for it.
void unseal_fields(const Cpu& cpu, const Vmcs& vmcs, const VmxCapabilities& caps);
/// When the entry has succeeded. A context that its parent resumed has the registers that the parent left.
void unseal_registers(Cpu& cpu, const Vmcs& vmcs);

}  // namespace droste
