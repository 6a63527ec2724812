// SPDX-License-Identifier: Apache-2.0
// Where the guest's registers and the parts of Cpu are while translated code runs.
#pragma once
#include "cpu/cpu.h"
#include "cpu/jit/assembler.h"

namespace droste::jit {

/// Nine guest registers live in host registers, most under their own names, so that instructions with fixed
/// registers need no moves. RCX is scratch (JRCXZ, shift counts), so guest RCX lives in R8; the host's stack
/// pointer stays the host's, so guest RSP lives in R9. The other seven stay in CpuState::gpr.
constexpr Reg host_of(unsigned guest) {
    switch (guest) {
    case 0: return rax;
    case 1: return r8;
    case 2: return rdx;
    case 3: return rbx;
    case 4: return r9;
    case 5: return rbp;
    case 6: return rsi;
    case 7: return rdi;
    case 12: return r12;
    default: return no_reg;
    }
}
inline constexpr Reg guest_sp = r9, guest_cx = r8;
inline constexpr Reg cpu_reg = r14;     ///< &CpuState + state_bias; its low six bits are 12, the count of SHRX
inline constexpr Reg budget_reg = r15;  ///< Cpu::budget - budget_bias
/// A block checks the budget before one of its first instructions (late_check at most), where the flags are about to
/// be overwritten and may be garbage. So between blocks there are always that many instructions left, and one more.
inline constexpr u32 late_check = 7;
inline constexpr i64 budget_bias = late_check + 1;
inline constexpr i32 state_bias = 12;

/// Distances from cpu_reg, found from one Cpu.
struct Layout {
    explicit Layout(const Cpu& cpu);
    Mem gpr(unsigned n) const { return {cpu_reg, static_cast<i32>(8 * n) - state_bias}; }
    Mem at(i32 offset) const { return {cpu_reg, offset}; }
    i32 flags, budget, tlb, rip, ea_base, page, target, branch, wanted, targets, watch_bus_locks;
    i32 cr0, cr4, xcr0, vec, opmask;
    i32 self;  ///< the Cpu
};

}  // namespace droste::jit
