// SPDX-License-Identifier: Apache-2.0
// What the bodies around thunks of vector instructions have in common: MXCSR, #XM, the operand's address.
#pragma once
#include "cpu/cpu.h"
#include "cpu/thunk/thunk.h"

namespace droste::thunk_bodies {

enum class Memory : u8 { none, read, write };

inline constexpr u32 mxcsr_default = 0x1F80;

/// A thunk left the guest's MXCSR loaded. Its status flags do no harm to the emulator's own computations; its
/// rounding, masks and denormal modes would.
inline void restore_mxcsr(const FxArea& fx) {
    if ((fx.mxcsr & ~0x3Fu) != mxcsr_default) [[unlikely]] {
        const u32 value = mxcsr_default;
        asm volatile("ldmxcsr %0" : : "m"(value));
    }
}

[[gnu::cold]] inline Outcome raise_simd_exception(Cpu& cpu) {
    return (cpu.cr4 & cr4_bits::osxmmexcpt) ? cpu.raise(Fault::of(Vector::xm)) : cpu.ud();
}

inline u8* bytes_of(CpuState& s) { return reinterpret_cast<u8*>(&s); }

/// Linear address of the memory operand, aligned as the instruction demands.
inline bool operand_address(Cpu& cpu, const Insn& in, const ThunkCall& t, Access access, u64& linear) {
    if (!cpu.operand(in, t.mem_size, access, linear)) return false;
    if (linear & t.align_mask) [[unlikely]] {
        (void)cpu.gp0();
        return false;
    }
    return true;
}

}  // namespace droste::thunk_bodies
