// SPDX-License-Identifier: Apache-2.0
// Checks of near branch targets, before anything is committed.
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// An address that the processor's linear-address width holds (SDM "Canonical Addressing").
inline bool canonical(const Cpu& cpu, u64 a) {
    if (sign_extend(a, 48) == a) [[likely]] return true;
    return (cpu.cr4 & cr4_bits::la57) && sign_extend(a, 57) == a;
}

/// Cuts `target` to the operand size and checks it; false: #GP(0) is pending.
inline bool branch_target(Cpu& cpu, const Insn& in, u64& target) {
    if (cpu.code64()) [[likely]] {
        if (canonical(cpu, target)) [[likely]] return true;
    } else {
        target &= in.osz() == 1 ? 0xFFFF : 0xFFFFFFFF;
        if (target <= cpu.segment(Seg::cs).limit) [[likely]] return true;
    }
    cpu.pending_fault = Fault::of(Vector::gp, 0);
    return false;
}

inline Outcome branch_to(Cpu& cpu, const Insn& in, u64 target) {
    if (!branch_target(cpu, in, target)) [[unlikely]] return Outcome::fault;
    cpu.rip = target;
    return Outcome::branch;
}

}  // namespace droste
