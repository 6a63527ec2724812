// SPDX-License-Identifier: Apache-2.0
// Fast system calls: SYSCALL and SYSRET, SYSENTER and SYSEXIT.
#include "cpu/cet.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/descriptors.h"
#include "cpu/fred.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/linear_address.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

using namespace rflags_bits;

Segment flat(u16 selector, u32 access) { return {selector, 0xFFFFFFFF, access, 0}; }

/// SYSCALL and SYSRET trap by the TF that they leave, not by the one they found: a SYSRET that sets TF traps
/// at once, before the first instruction at its target.
void trap_by_new_flags(Cpu& cpu) {
    cpu.trap_suppressed = true;
    if (!(cpu.rflags & tf)) return;
    cpu.pending_debug |= pending_debug_bits::bs;
    cpu.set_attention();
}

/// SYSCALL and SYSENTER put the user's SSP away, and leave it to SETSSBSY to set up the system's.
void put_user_ssp_away(Cpu& cpu) {
    if (shadow_stack_enabled(cpu, cpu.cpl)) cpu.cet.pl_ssp[3] = cpu.cet.ssp;
}
void enter_system(Cpu& cpu) {
    cpu.cpl = 0;
    if (cet_at_level(cpu, 0) & cet_bits::sh_stk_en) cpu.cet.ssp = 0;
    track_far_transfer(cpu);
}
/// SYSRET and SYSEXIT. Before CPL changes.
void leave_system(Cpu& cpu) {
    if (cet_at_level(cpu, 3) & cet_bits::sh_stk_en) cpu.cet.ssp = cpu.cet.pl_ssp[3];
}

Outcome syscall(Cpu& cpu, const Insn& in) {
    if (!cpu.code64() || !(cpu.efer & efer_bits::sce)) return cpu.ud();
    if (fred_enabled(cpu)) return fred_system_call(cpu, in, fred_other::syscall);
    const u64 image = cpu.read_rflags();
    cpu.reg(Gpr::rcx) = cpu.next_rip(in);
    cpu.reg(Gpr::r11) = image & ~rf;
    cpu.rip = cpu.lstar;
    const u16 selector = static_cast<u16>((cpu.star >> 32) & 0xFFFC);
    cpu.segment(Seg::cs) = flat(selector, access_rights::code64);
    cpu.segment(Seg::ss) = flat(static_cast<u16>(selector + 8), access_rights::data32);
    put_user_ssp_away(cpu);
    enter_system(cpu);
    cpu.write_rflags(image & ~(cpu.fmask | rf | vm));
    cpu.segments_changed();
    trap_by_new_flags(cpu);
    cpu.charge(CostEvent::syscall);
    return Outcome::branch;
}

Outcome sysret(Cpu& cpu, const Insn& in) {
    if (!cpu.code64() || fred_enabled(cpu) || !(cpu.efer & efer_bits::sce)) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    const bool to64 = in.osz() == 3;
    const u64 target = cpu.reg(Gpr::rcx);
    if (to64 && !canonical(cpu, target)) return cpu.gp0();
    const u16 base = static_cast<u16>(cpu.star >> 48);
    const u16 cs = static_cast<u16>((to64 ? base + 16 : base) | 3);
    cpu.segment(Seg::cs) =
        flat(cs, (to64 ? access_rights::code64 : access_rights::code32) | access_rights::dpl3);
    cpu.segment(Seg::ss) =
        flat(static_cast<u16>((base + 8) | 3), access_rights::data32 | access_rights::dpl3);
    leave_system(cpu);
    cpu.cpl = 3;
    cpu.rip = to64 ? target : target & 0xFFFFFFFF;
    cpu.write_rflags((cpu.reg(Gpr::r11) & 0x3C7FD7) | fixed1);
    cpu.segments_changed();
    if (cpu.rflags & if_) cpu.set_attention();
    trap_by_new_flags(cpu);
    cpu.charge(CostEvent::sysret);
    return Outcome::branch;
}

Outcome sysenter(Cpu& cpu, const Insn& in) {
    if (fred_enabled(cpu)) return fred_system_call(cpu, in, fred_other::sysenter);
    if (!cpu.protected_mode() || null_selector(static_cast<u16>(cpu.sysenter_cs))) return cpu.gp0();
    const bool lm = cpu.long_mode();
    put_user_ssp_away(cpu);
    cpu.write_rflags(cpu.read_rflags() & ~(vm | if_ | rf));
    const u16 cs = static_cast<u16>(cpu.sysenter_cs & 0xFFFC);
    cpu.segment(Seg::cs) = flat(cs, lm ? access_rights::code64 : access_rights::code32);
    cpu.segment(Seg::ss) = flat(static_cast<u16>(cs + 8), access_rights::data32);
    cpu.reg(Gpr::rsp) = lm ? cpu.sysenter_esp : cpu.sysenter_esp & 0xFFFFFFFF;
    cpu.rip = lm ? cpu.sysenter_eip : cpu.sysenter_eip & 0xFFFFFFFF;
    enter_system(cpu);
    cpu.segments_changed();
    cpu.charge(CostEvent::sysenter);
    return Outcome::branch;
}

Outcome sysexit(Cpu& cpu, const Insn& in) {
    if (fred_enabled(cpu)) return cpu.ud();
    if (!cpu.protected_mode() || cpu.cpl != 0 || null_selector(static_cast<u16>(cpu.sysenter_cs)))
        return cpu.gp0();
    const bool to64 = in.osz() == 3;
    const u64 target = cpu.reg(Gpr::rdx), sp = cpu.reg(Gpr::rcx);
    if (to64 && (!canonical(cpu, target) || !canonical(cpu, sp))) return cpu.gp0();
    const u16 base = static_cast<u16>(cpu.sysenter_cs);
    cpu.segment(Seg::cs) = flat(static_cast<u16>((base + (to64 ? 32 : 16)) | 3),
                                (to64 ? access_rights::code64 : access_rights::code32) | access_rights::dpl3);
    cpu.segment(Seg::ss) = flat(static_cast<u16>((base + (to64 ? 40 : 24)) | 3),
                                access_rights::data32 | access_rights::dpl3);
    cpu.reg(Gpr::rsp) = to64 ? sp : sp & 0xFFFFFFFF;
    cpu.rip = to64 ? target : target & 0xFFFFFFFF;
    leave_system(cpu);
    cpu.cpl = 3;
    cpu.segments_changed();
    cpu.charge(CostEvent::sysexit);
    return Outcome::branch;
}

constexpr u32 transfer_traits = traits::ends_block | traits::not_user_fuzzed;

constexpr InsnRow rows[] = {
    {"SYSCALL", "0F 05"_op, ""_operands, code<syscall>(), Feature::syscall, transfer_traits,
     "w:OSZAPCDI"_flags},
    {"SYSRET", "0F 07"_op, ""_operands, code<sysret>(), Feature::syscall, transfer_traits,
     "w:OSZAPCDI"_flags},
    {"SYSENTER", "0F 34"_op, ""_operands, code<sysenter>(), Feature::sep, transfer_traits, "w:I"_flags},
    {"SYSEXIT", "0F 35"_op, ""_operands, code<sysexit>(), Feature::sep, transfer_traits},
};

}  // namespace

RowSpan system_call_rows() { return rows; }

}  // namespace droste
