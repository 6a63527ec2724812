// SPDX-License-Identifier: Apache-2.0
// Operands as system instructions use them: sizes of registers by mode, displacements for exit
// qualifications.
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// Exit qualification of instructions with a memory operand: the displacement; for RIP-relative operands the
/// address (SDM "Basic VM-Exit Information").
inline u64 displacement(const Cpu& cpu, const Insn& in) {
    if (!in.mem()) return 0;
    const u64 disp = static_cast<u64>(static_cast<i64>(in.disp));
    return in.base == slot_rip ? cpu.gpr[slot_rip] + disp : disp;
}

/// Writes a GPR in the width that the operand size names.
inline void set_reg_sized(Cpu& cpu, const Insn& in, unsigned slot, u64 v) {
    if (in.osz() == 1) cpu.set_reg<u16>(slot, static_cast<u16>(v));
    else if (in.osz() == 2) cpu.set_reg<u32>(slot, static_cast<u32>(v));
    else cpu.set_reg<u64>(slot, v);
}

/// Ends an instruction after which modes, translations or pending events may be others.
inline Outcome done(Cpu& cpu, const Insn& in) {
    cpu.rip = cpu.next_rip(in);
    return Outcome::branch;
}

/// The same when the body itself changed what next_rip() depends on: `next` was taken before.
inline Outcome done_at(Cpu& cpu, u64 next) {
    cpu.rip = next;
    return Outcome::branch;
}

inline void set_zf(Cpu& cpu, bool on) {
    cpu.flags = static_cast<u16>(on ? cpu.flags | flag_image::zf : cpu.flags & ~flag_image::zf);
}
inline void set_arithmetic(Cpu& cpu, u64 rflags_value) { cpu.flags = flag_image::from_rflags(rflags_value); }

/// CR4.UMIP keeps SGDT, SIDT, SLDT, SMSW and STR from CPL > 0.
inline bool umip_forbids(const Cpu& cpu) { return cpu.cpl != 0 && (cpu.cr4 & cr4_bits::umip); }

}  // namespace droste
