// SPDX-License-Identifier: Apache-2.0
// CLUI, STUI, TESTUI, UIRET, SENDUIPI.
#include "cpu/cet.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/segmentation.h"
#include "cpu/user_interrupts.h"

namespace droste {
namespace {

bool disabled(const Cpu& cpu) {
    return !(cpu.cr4 & cr4_bits::uintr);
}

Outcome clui(Cpu& cpu, const Insn&) {
    if (disabled(cpu))
        return cpu.ud();
    cpu.uintr.uif = false;
    return Outcome::next;
}

Outcome stui(Cpu& cpu, const Insn& in) {
    if (disabled(cpu))
        return cpu.ud();
    cpu.uintr.uif = true;
    if (cpu.uintr.rr != 0)
        cpu.set_attention();
    return done(cpu, in);
}

Outcome testui(Cpu& cpu, const Insn&) {
    if (disabled(cpu))
        return cpu.ud();
    set_arithmetic(cpu, cpu.uintr.uif ? rflags_bits::cf : 0);
    return Outcome::next;
}

Outcome uiret(Cpu& cpu, const Insn&) {
    using namespace rflags_bits;
    if (disabled(cpu))
        return cpu.ud();
    constexpr unsigned ss = static_cast<unsigned>(Seg::ss);
    const u64 sp = cpu.reg(Gpr::rsp);
    u64 target = 0, image = 0, new_sp = 0;
    if (!cpu.load(ss, sp, target) || !cpu.load(ss, sp + 8, image) || !cpu.load(ss, sp + 16, new_sp))
        return cpu.failed();
    if (!canonical(cpu, target))
        return cpu.gp0();
    if (shadow_stack_enabled(cpu, cpu.cpl)) {
        u64 saved = 0;
        if (!shadow_load(cpu, cpu.cet.ssp, 8, saved, cpu.cpl == 3))
            return cpu.failed();
        if (saved != target)
            return cpu.raise(Fault::of(Vector::cp, cp_code::far_ret_iret));
        cpu.cet.ssp += 8;
    }
    constexpr u64 changes = arithmetic | tf | df | nt | rf | ac | id;
    cpu.reg(Gpr::rsp) = new_sp;
    cpu.rip = target;
    cpu.write_rflags((cpu.read_rflags() & ~changes) | (image & changes));
    cpu.uintr.uif = true;
    cpu.unwatch_line();
    if (cpu.uintr.rr != 0 || (cpu.rflags & rf))
        cpu.set_attention();
    return Outcome::branch;
}

/// An entry of the user-interrupt target table.
namespace uitte {
constexpr u64 valid = 1, reserved = 0xFFFFFFFFFFFF00FE;
constexpr unsigned vector(u64 q) {
    return static_cast<u8>(q >> 8);
}
}  // namespace uitte

Outcome senduipi(Cpu& cpu, const Insn& in) {
    const UintrState& u = cpu.uintr;
    if (disabled(cpu) || !(u.tt & 1))
        return cpu.ud();
    const u64 index = cpu.gpr[in.rm];
    if (index > static_cast<u32>(u.misc))
        return cpu.gp0();
    const u64 entry = (u.tt & ~0xFull) + 16 * index;
    u64 head = 0, descriptor = 0;
    if (!cpu.load_system(entry, head) || !cpu.load_system(entry + 8, descriptor))
        return cpu.failed();
    if (!(head & uitte::valid) || (head & uitte::reserved) || uitte::vector(head) > 63 ||
        (descriptor & 0x3F) || !canonical(cpu, descriptor))
        return cpu.gp0();
    u64 posted = 0, requests = 0;
    if (!cpu.load_system(descriptor, posted) || !cpu.load_system(descriptor + 8, requests))
        return cpu.failed();
    if (posted & upid::reserved)
        return cpu.gp0();
    const bool notify = !(posted & (upid::outstanding | upid::suppressed));
    if (!cpu.store_system(descriptor, notify ? posted | upid::outstanding : posted) ||
        !cpu.store_system(descriptor + 8, requests | 1ull << uitte::vector(head)))
        return cpu.failed();
    const u64 next = cpu.next_rip(in);
    if (notify) {
        cpu.rip = next;
        if (!cpu.non_root || !cpu.hooks->user_notification(upid::destination(posted), upid::vector(posted)))
            cpu.interrupts.send_user_notification(upid::destination(posted), upid::vector(posted));
        cpu.set_attention();
        if (cpu.access_exited) {  // the notification ended in a VM exit, after the instruction
            cpu.access_exited = false;
            return Outcome::vm_exit_retired;
        }
    }
    return done_at(cpu, next);
}

constexpr u32 user = traits::not_user_fuzzed | traits::only64;
constexpr u32 user_block = user | traits::ends_block;

constexpr InsnRow rows[] = {
    {"UIRET", "F3 0F 01 EC"_op, ""_operands, code<uiret>(), Feature::uintr, user_block, "w:OSZAPCD"_flags},
    {"TESTUI", "F3 0F 01 ED"_op, ""_operands, code<testui>(), Feature::uintr, user, "w:OSZAPC"_flags},
    {"CLUI", "F3 0F 01 EE"_op, ""_operands, code<clui>(), Feature::uintr, user},
    {"STUI", "F3 0F 01 EF"_op, ""_operands, code<stui>(), Feature::uintr, user_block},
    {"SENDUIPI", "F3 0F C7 /6 reg"_op, "Rq"_operands, code<senduipi>(), Feature::uintr,
     user_block | traits::force64},
};

}  // namespace

RowSpan user_interrupt_rows() {
    return rows;
}

}  // namespace droste
