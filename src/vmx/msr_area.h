// SPDX-License-Identifier: Apache-2.0
// The MSR-store and MSR-load areas of VM entries and exits.
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// SDM "Saving MSRs". False: an entry was illegal (VMX abort).
bool store_msrs(Cpu& cpu, u64 address, u64 count);
/// SDM "Loading MSRs". 0, or the number of the entry that was illegal, counted from 1.
u64 load_msrs(Cpu& cpu, u64 address, u64 count);

}  // namespace droste
