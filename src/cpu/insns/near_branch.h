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

/// Cuts `target` to the operand size and checks it; false: #GP(0) is pending. Near branches have 64-bit
/// operands in 64-bit mode and nowhere else, so T tells the mode.
template <class T> bool branch_target(Cpu& cpu, u64& target) {
    if constexpr (sizeof(T) == 8) {
        if (canonical(cpu, target)) [[likely]] return true;
    } else {
        target = static_cast<T>(target);
        if (target <= cpu.segment(Seg::cs).limit) [[likely]] return true;
    }
    cpu.pending_fault = Fault::of(Vector::gp, 0);
    return false;
}

template <class T> u64 following(const Cpu& cpu, const Insn& in) {
    const u64 v = cpu.insn_rip(in) + in.len;
    return sizeof(T) == 8 ? v : static_cast<u32>(v);
}

template <class T> Outcome branch_to(Cpu& cpu, u64 target) {
    if (!branch_target<T>(cpu, target)) [[unlikely]] return Outcome::fault;
    cpu.rip = target;
    return Outcome::branch;
}

}  // namespace droste
