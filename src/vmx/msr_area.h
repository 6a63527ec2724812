// SPDX-License-Identifier: Apache-2.0
// The MSR-store and MSR-load areas of VM entries and exits.
#pragma once
#include <optional>

#include "cpu/cpu.h"

namespace droste {

/// SDM "Saving MSRs". False: an entry was illegal (VMX abort).
bool store_msrs(Cpu& cpu, u64 address, u64 count);
/// SDM "Loading MSRs". 0, or the number of the entry that was illegal, counted from 1.
u64 load_msrs(Cpu& cpu, u64 address, u64 count);

// One entry, at a machine-physical address. Empty, false: it is illegal.
std::optional<u64> read_listed_msr(Cpu& cpu, u64 address);
bool write_listed_msr(Cpu& cpu, u64 address);

/// SDM "Miscellaneous Data": IA32_VMX_MISC[27:25] is 0, so lists of more than 512 entries are not supported; what then
/// happens is undefined. Droste takes the 513th entry as illegal.
inline constexpr u64 longest_msr_area = 512;

}  // namespace droste
