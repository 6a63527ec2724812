// SPDX-License-Identifier: Apache-2.0
// Writes of CR0, CR3, CR4, CR8 and XCR0 with their checks and side effects (SDM "MOV-Move to/from Control
// Registers").
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// Each returns false with #GP(0) (or what reading the PDPTEs met) pending and nothing changed.
bool set_cr0(Cpu& cpu, u64 value);
bool set_cr3(Cpu& cpu, u64 value);
bool set_cr4(Cpu& cpu, u64 value);
bool set_cr8(Cpu& cpu, u64 value);
bool set_xcr0(Cpu& cpu, u64 value);

/// SDM "PDPTE Registers": loads the four of PAE paging from memory, with their reserved-bit checks.
bool load_pdptes(Cpu& cpu, u64 cr3);

}  // namespace droste
