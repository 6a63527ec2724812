// SPDX-License-Identifier: Apache-2.0
// The routing design `native` between instructions: timers, windows and interrupts of the hypervisors beneath the
// running level, and events that they have for their guests.
#include "vmx/interruption.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

constexpr u32 sti_or_mov_ss = interruptibility_bits::sti | interruptibility_bits::mov_ss;
constexpr u64 offered_interrupt = 0x100, offered_nmi = 0x200;

ExitEvent event(const ExitRow* row, unsigned to) {
    ExitEvent e;
    e.row = row;
    e.ends_vectoring = true;
    e.to = static_cast<u8>(to);
    return e;
}

}  // namespace

// What RFLAGS.IF of a level is worth: inside VMRESUME it takes an interrupt when that would end the inner run, or
// when the inner level would.
bool Vmx::would_take_interrupt(unsigned level) const {
    if (HiddenState(layers_[level - 1]->vmcs).get(HiddenState::offered) != 0) return false;
    if (level == level_) return (cpu_.rflags & rflags_bits::if_) != 0 && (cpu_.interruptibility & sti_or_mov_ss) == 0;
    if (layers_[level]->controls.has("external_interrupt_exiting"_vmx)) return true;
    return would_take_interrupt(level + 1);
}

// The event that layer `k` holds for its guest, level k + 1. True: an exit or a delivery.
bool Vmx::take_offered(unsigned k) {
    const HiddenState h(layers_[k]->vmcs);
    const u64 offered = h.get(HiddenState::offered);
    if (offered == 0) return false;
    const auto vector = static_cast<u8>(offered);
    const bool nmi = (offered & offered_nmi) != 0;
    const unsigned level = k + 1;
    if (level == level_) {
        const u32 blocking = cpu_.interruptibility & (sti_or_mov_ss | (nmi ? interruptibility_bits::nmi : 0));
        if (blocking != 0 || (!nmi && (cpu_.rflags & rflags_bits::if_) == 0)) return false;
        if (cpu_.activity == Activity::shutdown) return false;
        h.set(HiddenState::offered, 0);
        if (cpu_.activity != Activity::active) cpu_.charge(CostEvent::hlt_wake);
        mtf_.due = mtf_.armed;
        if (nmi) cpu_.deliver_event({.active = true, .vector = 2, .type = interruption::nmi});
        else cpu_.deliver_event({.active = true, .vector = vector, .type = interruption::external});
        return true;
    }
    Layer& above = *layers_[level];
    const HiddenState further(above.vmcs);
    if (!above.controls.has(nmi ? "nmi_exiting"_vmx : "external_interrupt_exiting"_vmx)) {
        if (further.get(HiddenState::offered) != 0) return false;
        further.set(HiddenState::offered, offered);
        h.set(HiddenState::offered, 0);
        return take_offered(level);
    }
    ExitEvent e = event(nmi ? "exception_or_nmi"_exit : "external_interrupt"_exit, level);
    if (nmi) e.interruption_information = interruption::word(interruption::nmi, 2);
    else if (above.controls.has("acknowledge_interrupt_on_exit"_vmx))
        e.interruption_information = interruption::word(interruption::external, vector);
    // Without the acknowledgement the interrupt waits until the level opens RFLAGS.IF.
    if (e.interruption_information != 0) h.set(HiddenState::offered, 0);
    exit(e);
    return true;
}

// A virtual interrupt of level k + 1, by the virtual APIC of layer k.
bool Vmx::take_virtual_interrupt(unsigned k) {
    Layer& l = *layers_[k];
    if (!l.apic.pending() || !would_take_interrupt(k + 1)) return false;
    Layer& above = *layers_[k + 1];
    const Controls& c = above.controls;
    if (c.has("external_interrupt_exiting"_vmx) && !c.has("acknowledge_interrupt_on_exit"_vmx)) {
        exit(event("external_interrupt"_exit, k + 1));
        return true;
    }
    const u8 vector = l.apic.accept();
    if (c.has("external_interrupt_exiting"_vmx) && c.has("process_posted_interrupts"_vmx) &&
        vector == (above.vmcs["posted_interrupt_notification_vector"_f] & 0xFF)) {
        l.apic.end_of_notification();
        above.apic.process_posted_interrupts(false);
        return false;
    }
    HiddenState(l.vmcs).set(HiddenState::offered, offered_interrupt | vector);
    return take_offered(k);
}

bool Vmx::events_beneath(bool nmi_pending, bool interrupt_pending) {
    const u32 blocking = cpu_.interruptibility;
    for (unsigned k = 0; k + 1 < level_; ++k) {
        Layer& l = *layers_[k];
        const Controls& c = l.controls;
        if (l.timer.expired()) {
            exit(event("vmx_preemption_timer_expired"_exit, k));
            return true;
        }
        if (take_offered(k)) return true;
        if (c.has("nmi_window_exiting"_vmx) && (blocking & sti_or_mov_ss) == 0) {
            exit(event("nmi_window"_exit, k));
            return true;
        }
        if (nmi_pending && c.has("nmi_exiting"_vmx) && (blocking & sti_or_mov_ss) == 0) {
            cpu_.nmi_pending = false;
            ExitEvent e = event("exception_or_nmi"_exit, k);
            e.interruption_information = interruption::word(interruption::nmi, 2);
            exit(e);
            return true;
        }
        if (c.has("interrupt_window_exiting"_vmx) && would_take_interrupt(k + 1)) {
            exit(event("interrupt_window"_exit, k));
            return true;
        }
        if (take_virtual_interrupt(k)) return true;
        if (!interrupt_pending || !c.has("external_interrupt_exiting"_vmx) || (blocking & sti_or_mov_ss) != 0) continue;
        if (cpu_.activity == Activity::shutdown) continue;
        ExitEvent e = event("external_interrupt"_exit, k);
        if (c.has("process_posted_interrupts"_vmx)) {
            const u8 vector = cpu_.interrupts.acknowledge();
            if (vector == (l.vmcs["posted_interrupt_notification_vector"_f] & 0xFF)) {
                l.apic.process_posted_interrupts();
                return take_virtual_interrupt(k);
            }
            e.interruption_information = interruption::word(interruption::external, vector);
        } else if (c.has("acknowledge_interrupt_on_exit"_vmx)) {
            e.interruption_information =
                interruption::word(interruption::external, cpu_.interrupts.acknowledge());
        }
        exit(e);
        return true;
    }
    return take_offered(level_ - 1);
}

void Vmx::visit_native(Archive& a) {
    if (native_levels_ == 0) return;
    a.section("native", 1);
    a.field("level", level_);
    if (level_ > native_levels_) level_ = 1;
    for (unsigned k = 0; k < native_levels_; ++k) {
        Layer& l = *layers_[k];
        u64 address = k < level_ ? l.vmcs.address() : Vmcs::none;
        a.field("layer_vmcs", address);
        a.field("layer_pointer", l.pointer);
        a.field("layer_ple_first", l.ple_first);
        a.field("layer_ple_last", l.ple_last);
        if (k != 0) {
            l.apic.visit(a);
            l.timer.visit(a);
        }
        if (a.mode() != Archive::Mode::load) continue;
        l.vmcs = address == Vmcs::none ? Vmcs() : Vmcs(cpu_.memory, address);
        l.forget_pages();
        if (!l.vmcs && k != 0 && k < level_) level_ = k;  // a damaged file
    }
}

void Vmx::restore_layers() {
    layers_[0]->vmcs = level_ == 1 ? current_ : layers_[0]->vmcs;
    for (unsigned k = 0; k < level_; ++k) {
        Layer& l = *layers_[k];
        if (!l.vmcs) continue;
        l.controls = controls_of(l.vmcs);
        set_gates(l);
    }
}

}  // namespace droste
