// SPDX-License-Identifier: Apache-2.0
// Between instructions of the guest: trap-like exits, windows, interrupts (SDM "Priority Among Concurrent
// Events").
#include "vmx/interruption.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

constexpr u32 sti_or_mov_ss = interruptibility_bits::sti | interruptibility_bits::mov_ss;

ExitEvent event(const ExitRow* row, u64 qualification = 0) {
    ExitEvent e;
    e.row = row;
    e.qualification = qualification;
    e.ends_vectoring = true;
    return e;
}

/// States in which the trap-like exits and the monitor trap flag wait.
bool inert(const Cpu& cpu) {
    return cpu.activity == Activity::shutdown || cpu.activity == Activity::wait_for_sipi;
}

}  // namespace

// SDM "Monitor Trap Flag": due after VM entry with injection, and after each instruction or delivered event.
bool Vmx::monitor_trap_due() {
    if (!mtf_.armed) return false;
    const bool first = mtf_.fresh;
    mtf_.fresh = false;
    const u64 now = cpu_.now();
    if (first) {
        mtf_.from = now;
        mtf_.from_rip = cpu_.rip;
    }
    if (inert(cpu_)) return false;
    // Else the run loop was left and entered again: nothing was executed and nothing delivered.
    return mtf_.due || now != mtf_.from || cpu_.rip != mtf_.from_rip;
}

// SDM "APIC-Write Emulation", "VM Exits Induced by the TPR Threshold": trap-like, before INIT.
bool Vmx::before_init() {
    layer().apic.emulate_pending_write();
    if (inert(cpu_)) return false;
    if (pending_exit_.present) {
        pending_exit_.present = false;
        exit(event(exit_row(pending_exit_.reason), pending_exit_.qualification));
        return true;
    }
    if (!bus_locked_) return false;
    ExitEvent e = event("bus_lock"_exit);  // SDM "Other Causes of VM Exits"
    for (unsigned k = 0; k < level_; ++k)
        if (layers_[k]->controls.has("vmm_bus_lock_detection"_vmx)) e.to = static_cast<u8>(k);
    exit(e);
    return true;
}

bool Vmx::before_debug_traps() {
    if (!monitor_trap_due()) return false;
    exit(event("monitor_trap_flag"_exit));
    return true;
}

bool Vmx::external_interrupt() {
    if (controls_.has("process_posted_interrupts"_vmx)) {
        const u8 vector = cpu_.interrupts.acknowledge();
        if (vector == (get("posted_interrupt_notification_vector"_f) & 0xFF)) {
            layer().apic.process_posted_interrupts();
            return false;
        }
        ExitEvent e = event("external_interrupt"_exit);
        e.interruption_information = interruption::word(interruption::external, vector);
        exit(e);
        return true;
    }
    ExitEvent e = event("external_interrupt"_exit);
    if (controls_.has("acknowledge_interrupt_on_exit"_vmx))
        e.interruption_information =
            interruption::word(interruption::external, cpu_.interrupts.acknowledge());
    exit(e);
    return true;
}

bool Vmx::after_debug_traps(bool nmi_pending, bool interrupt_pending) {
    const Activity activity = cpu_.activity;
    if (activity == Activity::wait_for_sipi) return false;
    if (native_levels_ != 0 && events_beneath(nmi_pending, interrupt_pending)) return true;
    const u32 blocking = cpu_.interruptibility;
    const Controls& c = controls_;
    if (layer().timer.expired()) {
        exit(event("vmx_preemption_timer_expired"_exit));
        return true;
    }
    const bool window_closed = (blocking & (interruptibility_bits::nmi | sti_or_mov_ss)) != 0;
    if (c.has("nmi_window_exiting"_vmx) && !window_closed) {
        exit(event("nmi_window"_exit));
        return true;
    }
    // With virtual NMIs, blocking by NMI is the guest's affair and does not hold back a real one.
    const bool real_nmi_blocked = (blocking & sti_or_mov_ss) != 0 ||
                                  (!c.has("virtual_nmis"_vmx) && (blocking & interruptibility_bits::nmi));
    if (nmi_pending && c.has("nmi_exiting"_vmx) && !real_nmi_blocked) {
        cpu_.nmi_pending = false;
        ExitEvent e = event("exception_or_nmi"_exit);
        e.interruption_information = interruption::word(interruption::nmi, 2);
        exit(e);
        return true;
    }
    if (activity == Activity::shutdown) return false;
    const bool open = (cpu_.rflags & rflags_bits::if_) != 0 && (blocking & sti_or_mov_ss) == 0;
    const bool interrupt_first = interrupt_pending && c.has("external_interrupt_exiting"_vmx);
    if (guest_timer_.due() && !interrupt_first) guest_timer_event();
    if (c.has("interrupt_window_exiting"_vmx) && open) {
        exit(event("interrupt_window"_exit));
        return true;
    }
    // SDM "Virtual-Interrupt Delivery": the priority of the interrupt window.
    const auto virtual_interrupt = [&] {
        if (!layer().apic.pending() || !open) return false;
        if (cpu_.activity != Activity::active) cpu_.charge(CostEvent::hlt_wake);
        mtf_.due = mtf_.armed;
        layer().apic.deliver();
        return true;
    };
    if (virtual_interrupt()) return true;
    // SDM "External-interrupt exiting": RFLAGS.IF does not matter; blocking by STI and MOV SS does.
    if (!interrupt_pending || !c.has("external_interrupt_exiting"_vmx) || (blocking & sti_or_mov_ss) != 0)
        return false;
    return external_interrupt() || virtual_interrupt();  // posted interrupts may have made one pending
}

// SDM "Guest-Timer Events": the virtual timer interrupt becomes pending, the deadline is over.
void Vmx::guest_timer_event() {
    layer().apic.request(static_cast<u8>(get("virtual_timer_vector"_f)));
    guest_timer_.set_deadline(0);
    current_.set("guest_deadline_shadow"_f, 0);
}

void Vmx::bus_locked() {
    bus_locked_ = true;
    cpu_.set_attention();
}

// SDM "Instruction Timeout Control". Droste's instructions take no time between their boundaries; what never
// comes to one is a delivery without end, and that outlasts every timeout.
bool Vmx::no_instruction_boundary() {
    if (!controls_.has("instruction_timeout"_vmx)) return false;
    exit(event("instruction_timeout"_exit, cpu_.iret_unblocked_nmi ? u64{interruption::nmi_unblocking} : 0));
    return true;
}

void Vmx::init_signal() {
    ExitEvent e = event("init_signal"_exit);
    e.to = 0;
    exit(e);
}

void Vmx::sipi(u8 vector) {
    if (cpu_.activity != Activity::wait_for_sipi) return;
    ExitEvent e = event("startup_ipi"_exit, vector);
    e.to = 0;
    exit(e);
}

void Vmx::triple_fault() { exit(event("triple_fault"_exit)); }

}  // namespace droste
