// SPDX-License-Identifier: Apache-2.0
// Reads and writes of the MSRs of CET, protection keys for supervisor pages, user interrupts, FRED and user
// waits.
#pragma once
#include "cpu/cpu.h"

namespace droste {

namespace msr_index {
inline constexpr u32 umwait_control = 0xE1, fred_rsp0 = 0x1CC, fred_stack_levels = 0x1D0, fred_ssp1 = 0x1D1,
                     fred_config = 0x1D4, u_cet = 0x6A0, s_cet = 0x6A2, pl0_ssp = 0x6A4,
                     interrupt_ssp_table = 0x6A8, pkrs = 0x6E1, uintr_rr = 0x985, uintr_handler = 0x986,
                     uintr_stack_adjust = 0x987, uintr_misc = 0x988, uintr_pd = 0x989, uintr_tt = 0x98A;
}

// What WRMSR accepts; also checked at VM entry and by XRSTORS.
bool valid_cet_control(const Cpu& cpu, u64 value);  ///< IA32_U_CET, IA32_S_CET
bool valid_ssp(const Cpu& cpu, u64 value);          ///< IA32_PL0_SSP..IA32_PL3_SSP
bool valid_fred_config(const Cpu& cpu, u64 value);
bool valid_fred_rsp(const Cpu& cpu, u64 value);
bool valid_fred_ssp(const Cpu& cpu, u64 value);
bool valid_uintr_handler(const Cpu& cpu, u64 value);  ///< also IA32_UINTR_STACKADJUST
bool valid_uintr_misc(u64 value);
bool valid_uintr_pd(const Cpu& cpu, u64 value);
bool valid_uintr_tt(const Cpu& cpu, u64 value);

/// UINV, the notification vector: IA32_UINTR_MISC[39:32].
inline u8 uinv(const Cpu& cpu) {
    return static_cast<u8>(cpu.uintr.misc >> 32);
}
inline void set_uinv(Cpu& cpu, u8 vector) {
    cpu.uintr.misc = (cpu.uintr.misc & 0xFFFFFFFF) | (u64(vector) << 32);
}
inline void set_pkrs(Cpu& cpu, u32 value) {
    cpu.pkrs = value;
    cpu.paging_changed();
}

// For the rows. nullopt, false: #GP(0).
std::optional<u64> read_protection_msr(Cpu& cpu, u32 index);
bool write_protection_msr(Cpu& cpu, u32 index, u64 value);

}  // namespace droste
