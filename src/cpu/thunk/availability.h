// SPDX-License-Identifier: Apache-2.0
// Whether the present CR0, CR4 and XCR0 let MMX, SSE, AVX and x87 instructions execute.
#pragma once
#include "cpu/cpu.h"
#include "cpu/decode/row.h"

namespace droste {

// SDM "Exception Conditions" of each instruction class. One test on the way of an instruction that may
// execute; what is wrong is found out of line.
inline bool x87_blocked(const CpuState& s) { return s.cr0 & (cr0_bits::em | cr0_bits::ts); }
inline bool mmx_blocked(const CpuState& s) { return s.cr0 & (cr0_bits::em | cr0_bits::ts); }
inline bool sse_blocked(const CpuState& s) {
    return (s.cr0 & (cr0_bits::em | cr0_bits::ts)) | (~s.cr4 & cr4_bits::osfxsr);
}
inline bool avx_blocked(const CpuState& s) {
    return (s.cr0 & cr0_bits::ts) | (~s.cr4 & cr4_bits::osxsave) | (~s.xcr0 & 6);
}
/// EVEX, and VEX instructions on opmask registers.
inline bool avx512_blocked(const CpuState& s) {
    return (s.cr0 & cr0_bits::ts) | (~s.cr4 & cr4_bits::osxsave) | (~s.xcr0 & 0xE6);
}

/// x87 and MMX: an unmasked exception of an earlier x87 instruction waits.
inline constexpr u16 fsw_error_summary = 0x80;

/// The fault of a blocked instruction; call when the test above said so.
[[gnu::cold]] Outcome raise_blocked(Cpu& cpu, Domain domain);
/// #MF of a pending x87 exception.
[[gnu::cold]] Outcome raise_x87_pending(Cpu& cpu);

}  // namespace droste
