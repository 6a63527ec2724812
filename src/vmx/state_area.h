// SPDX-License-Identifier: Apache-2.0
// Moves between a processor's registers and the guest- and host-state areas of a VMCS.
#pragma once
#include "cpu/cpu.h"
#include "vmx/capability_msrs.h"
#include "vmx/vmcs.h"

namespace droste {

/// SDM "Saving Guest State": registers and non-register state of `cpu`. The exit controls of `c` decide what
/// is saved; some of it is saved wherever the processor has the control that loads it.
void save_guest_area(const Cpu& cpu, const Vmcs& v, const Controls& c, const VmxCapabilities& caps,
                     u64 rflags);

/// SDM "Loading Guest State": registers and non-register state. The caller sets up translation and then calls
/// Cpu::context_changed().
void load_guest_area(Cpu& cpu, const Vmcs& v, const Controls& c);

/// SDM "Loading Host State", but for PDPTEs and MSR lists. The caller then calls Cpu::context_changed().
void load_host_area(Cpu& cpu, const Vmcs& v, const Controls& c);

/// Bits of CR0 that VM entries and exits never change: ET, CD, NW and the reserved ones (63:32, 28:19, 17,
/// 15:6).
inline constexpr u64 cr0_kept = 0xFFFFFFFF'7FFAFFD0;

}  // namespace droste
