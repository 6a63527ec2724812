// SPDX-License-Identifier: Apache-2.0
// Both sides of the receiver: the posted-interrupt descriptor is emptied into UIRR, UIRR goes to the handler.
#include "cpu/user_interrupts.h"

#include "cpu/cet.h"
#include "cpu/msr_protection.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

/// SDM "User-Interrupt Notification Processing": takes what was posted.
bool take_posted(Cpu& cpu) {
    const u64 at = cpu.uintr.pd;
    u64 head = 0, requests = 0;
    if (!cpu.load_system(at, head) || !cpu.load_system(at + 8, requests))
        return false;
    if (!cpu.store_system(at, static_cast<u8>(head & ~upid::outstanding)) ||
        !cpu.store_system(at + 8, u64{0}))
        return false;
    cpu.uintr.rr |= requests;
    return true;
}

/// Pushes on the user's stack; nothing changes but memory.
bool push_frame(Cpu& cpu, u64& sp, u64 vector) {
    for (const u64 v : {cpu.reg(Gpr::rsp), cpu.read_rflags(), cpu.rip, vector}) {
        if (!cpu.store(static_cast<unsigned>(Seg::ss), sp - 8, v))
            return false;
        sp -= 8;
    }
    return true;
}

bool deliver_to_user(Cpu& cpu) {
    UintrState& u = cpu.uintr;
    if (!canonical(cpu, u.handler))
        return refuse(cpu, Vector::gp, 0);
    const unsigned vector = 63 - static_cast<unsigned>(std::countl_zero(u.rr));
    u64 sp = (u.stack_adjust & 1) ? u.stack_adjust : cpu.reg(Gpr::rsp) - u.stack_adjust;
    sp &= ~0xFull;
    if (!push_frame(cpu, sp, vector))
        return false;
    if (shadow_stack_enabled(cpu, 3)) {
        if (!shadow_store(cpu, cpu.cet.ssp - 8, 8, cpu.rip, true))
            return false;
        cpu.cet.ssp -= 8;
    }
    track_far_transfer(cpu);
    cpu.reg(Gpr::rsp) = sp;
    u.rr &= ~(1ull << vector);
    u.uif = false;
    cpu.rip = u.handler;
    cpu.rflags &= ~(rflags_bits::tf | rflags_bits::rf);
    cpu.segments_changed();
    return true;
}

}  // namespace

bool notifies_user(const Cpu& cpu, u8 vector) {
    return (cpu.cr4 & cr4_bits::uintr) && cpu.long_mode() && vector == uinv(cpu);
}

bool notify_user(Cpu& cpu, u8 vector, bool virtual_interrupt) {
    if (!notifies_user(cpu, vector))
        return false;
    if (!virtual_interrupt)
        cpu.interrupts.end_of_interrupt();
    // What fails in it is reported as an event under delivery.
    cpu.vectoring = {.active = true, .vector = vector, .type = 0};
    const bool ok = take_posted(cpu);
    if (!ok) {
        cpu.access_length = 0;
        cpu.handle_failed_access();
    }
    cpu.vectoring.active = false;
    if (ok)
        cpu.segments_changed();
    return true;
}

bool user_interrupt(Cpu& cpu) {
    if (!(cpu.cr4 & cr4_bits::uintr) || cpu.uintr.rr == 0 || !cpu.uintr.uif || cpu.cpl != 3 || !cpu.code64())
        return false;
    if (cpu.interruptibility & (interruptibility_bits::sti | interruptibility_bits::mov_ss))
        return false;
    cpu.activity = Activity::active;
    cpu.unwatch_line();
    if (!deliver_to_user(cpu)) {
        cpu.access_length = 0;
        cpu.handle_failed_access();
    }
    return true;
}

}  // namespace droste
