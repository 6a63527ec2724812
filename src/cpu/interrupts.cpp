// SPDX-License-Identifier: Apache-2.0
// Events at instruction boundaries: INIT, debug traps, NMI, external interrupts, and waking from HLT and
// MWAIT.
#include "cpu/interrupts.h"

#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/user_interrupts.h"

namespace droste {

namespace {

using namespace interruptibility_bits;

/// Debug traps of the instruction before: delivered unless MOV SS or POP SS holds them back.
bool debug_traps(Cpu& cpu) {
    constexpr u64 effective = pending_debug_bits::enabled | pending_debug_bits::bs | pending_debug_bits::bt;
    if (cpu.pending_debug == 0 || (cpu.interruptibility & mov_ss)) return false;
    const u64 pending = cpu.pending_debug;
    cpu.pending_debug = 0;
    if (!(pending & effective)) return false;
    cpu.debug_cause = pending & (dr6_bits::b | pending_debug_bits::bld | dr6_bits::bs | dr6_bits::bt);
    cpu.deliver(Fault::of(Vector::db));
    return true;
}

bool non_maskable_interrupt(Cpu& cpu) {
    if (!cpu.nmi_pending || (cpu.interruptibility & (nmi | mov_ss | sti))) return false;
    if (cpu.activity == Activity::wait_for_sipi) return false;
    cpu.nmi_pending = false;
    cpu.shut_down = false;
    cpu.deliver_event({.active = true, .vector = 2, .type = 2});
    return true;
}

bool external_interrupt(Cpu& cpu) {
    if (cpu.activity == Activity::shutdown || cpu.activity == Activity::wait_for_sipi) return false;
    if (!cpu.interrupts.interrupt_pending()) return false;
    if (!(cpu.rflags & rflags_bits::if_)) {
        // MWAIT with ECX[0]: a masked interrupt ends the wait, and is not taken.
        if (cpu.activity == Activity::mwait && cpu.mwait_wakes_masked) {
            cpu.activity = Activity::active;
            cpu.unwatch_line();
        }
        return false;
    }
    if (cpu.interruptibility & (sti | mov_ss)) return false;
    const u8 vector = cpu.interrupts.acknowledge();
    if (notify_user(cpu, vector, false)) return true;
    if (cpu.activity != Activity::active) cpu.charge(CostEvent::hlt_wake);
    cpu.deliver_event({.active = true, .vector = vector, .type = 0});
    return true;
}

/// Something may be recognised after the next instruction without anybody calling set_attention().
bool more_expected(const Cpu& cpu) {
    return (cpu.interruptibility & (sti | mov_ss)) != 0 || cpu.pending_debug != 0 || cpu.monitor_trap;
}

}  // namespace

/// INIT: blocked in VMX root operation, an exit in non-root operation, of no effect while waiting for SIPI.
bool recognise_init(Cpu& cpu) {
    if (cpu.init_blocked && !cpu.non_root) return false;
    cpu.init_pending = false;
    if (cpu.activity == Activity::wait_for_sipi) return false;
    if (cpu.non_root) {
        cpu.hooks->init_signal();
        return true;
    }
    cpu.interrupts.init_reset();
    cpu.init_reset();
    constexpr u32 ia32_apic_base = 0x1B;
    const bool bootstrap = cpu.interrupts.read_msr(ia32_apic_base).value_or(0) & 0x100;
    if (!bootstrap) cpu.activity = Activity::wait_for_sipi;
    return true;
}

namespace {

bool take_one(Cpu& cpu) {
    if (cpu.non_root && cpu.hooks->before_init()) return true;
    if (cpu.init_pending && recognise_init(cpu)) return true;
    if (cpu.non_root && cpu.hooks->before_debug_traps()) return true;
    if (cpu.activity != Activity::shutdown && debug_traps(cpu)) return true;
    if (cpu.non_root && cpu.hooks->after_debug_traps(cpu.nmi_pending, cpu.interrupts.interrupt_pending()))
        return true;
    return non_maskable_interrupt(cpu) || external_interrupt(cpu) || user_interrupt(cpu);
}

}  // namespace

bool recognise_events(Cpu& cpu) {
    cpu.attention = false;
    cpu.block = nullptr;
    const bool transferred = take_one(cpu);
    // After a transfer the next event may already be due: look again at the next boundary.
    if (transferred || more_expected(cpu)) cpu.set_attention();
    return transferred;
}

}  // namespace droste
