// SPDX-License-Identifier: Apache-2.0
// VM exits: information recorded, guest state saved, host state loaded (SDM "VM Exits").
#include "cpu/control_registers.h"
#include "cpu/fred.h"
#include "vmx/instruction_info.h"
#include "vmx/interruption.h"
#include "vmx/msr_area.h"
#include "vmx/state_area.h"
#include "vmx/vmx.h"

namespace droste {

void Vmx::exit_insn(const ExitRow* row, const Insn& in, u64 qualification, int owner) {
    cpu_.rip = cpu_.insn_rip(in);
    ExitEvent e = instruction_event(row, in, qualification);
    if (owner >= 0) e.to = static_cast<u8>(owner);
    e.as_running = true;  // its general registers and an instruction to skip are all that there is to it
    exit(e);
}

void Vmx::exit_attempt(const ExitRow* row, const Insn& in, std::optional<u64> operand) {
    cpu_.rip = cpu_.insn_rip(in);
    ExitEvent e = instruction_event(row, in, 0);
    e.operand = operand;
    exit(e);
}

ExitEvent Vmx::instruction_event(const ExitRow* row, const Insn& in, u64 qualification) const {
    ExitEvent e;
    e.row = row;
    e.insn = &in;
    e.qualification =
        row->qualification == Qualification::displacement ? exit_displacement(cpu_, in) : qualification;
    e.instruction_length = in.len;
    e.instruction_information = instruction_information(cpu_, in, row->info);
    return e;
}

void Vmx::exit_access(const ExitRow* row, u64 qualification) {
    ExitEvent e;
    e.row = row;
    e.qualification = qualification;
    // Not promised by the manual for these exits; processors do it, and KVM skips instructions by it.
    e.instruction_length = cpu_.vectoring.active ? cpu_.vectoring.instruction_length : cpu_.access_length;
    exit(e);
}

void Vmx::exit_after_instruction(const ExitRow* row, u64 qualification) {
    pending_exit_ = {true, row->number, qualification};
    cpu_.set_attention();
}

void Vmx::exit(ExitEvent e) {
    if (e.insn != nullptr) cpu_.running = e.insn;  // the exact time, also in the middle of a block
    describe(e);
    for (VmxObserver* o : observers_) o->exit_recognised(e);
    if (level_ > 1) {
        exit_nested(e);
        return;
    }
    if (router_ != nullptr && router_->route(e, *this).taken) return;
    exit_to_root(e);
}

void Vmx::describe(ExitEvent& e) const {
    e.level = static_cast<u8>(level_);
    if (e.to == ExitEvent::to_parent) e.to = static_cast<u8>(level_ - 1);
    e.vmcs = current_.address();
    e.linear_rip = cpu_.ea_base_cs() + cpu_.rip;
    e.ticks = cpu_.ticks();
    e.cycles_before = cpu_.cycles();
}

void Vmx::exit_to_root(ExitEvent& e) {
    Layer& l = *layers_[0];
    timer_stopped_value_ = l.timer.value();
    l.timer.stop();
    record_exit_information(e, current_, controls_);
    save_guest_state(e, current_, controls_);
    finish_exit(e);
}

// The guest's state and the exit's information are in the current VMCS; its hypervisor goes on.
void Vmx::finish_exit(ExitEvent& e) {
    // From here on the processor acts as in root operation: MSRs are stored and loaded without the guest's
    // TSC offset.
    const bool nmi =
        e.row == "exception_or_nmi"_exit && ((e.interruption_information >> 8) & 7) == interruption::nmi;
    const u32 blocking_by_nmi =
        nmi || (!controls_.has("virtual_nmis"_vmx) && (cpu_.interruptibility & interruptibility_bits::nmi))
            ? interruptibility_bits::nmi
            : 0;
    if (e.to == 0) {
        leave_non_root();
        if (!store_msrs(cpu_, get("exit_msr_store_address"_f), get("exit_msr_store_count"_f))) {
            abort(VmxAbort::msr_store);
            return;
        }
        if (!load_host()) return;
    } else if (!load_level(e.to, true)) {
        return;
    }
    cpu_.interruptibility = blocking_by_nmi;
    cpu_.charge(CostEvent::vm_exit);
    e.cycles_after = cpu_.cycles();
    path_changed();
    for (VmxObserver* o : observers_) o->exited(e);
    if (router_ != nullptr) [[unlikely]] router_->in_root(e, *this);
    if (e.to != 0)
        for (VmxObserver* o : observers_) o->received(e);
}

void Vmx::record_exit_information(const ExitEvent& e, const Vmcs& v, const Controls& c) {
    const bool stack_busy =
        cpu_.shadow_stack_prematurely_busy && c.has("prematurely_busy_shadow_stack"_vmx);
    cpu_.shadow_stack_prematurely_busy = false;
    v.set("exit_reason"_f, e.row->number | (bus_locked_ ? exit_reason_bus_lock : 0) |
                               (stack_busy ? exit_reason_shadow_stack_busy : 0));
    if (stack_busy) v.set("guest_linear_address"_f, cpu_.memory_fault.linear.value);
    v.set("exit_qualification"_f, e.qualification);
    v.set("exit_interruption_information"_f, e.interruption_information);
    if (e.interruption_information & interruption::has_code)
        v.set("exit_interruption_error_code"_f, e.interruption_error_code);
    const Vectoring& event = cpu_.vectoring;
    const bool vectoring = event.active && !e.ends_vectoring;
    v.set("idt_vectoring_information"_f, vectoring ? interruption::of(event) : 0);
    if (vectoring && event.has_code) v.set("idt_vectoring_error_code"_f, event.code);
    if (vectoring && fred_enabled(cpu_)) v.set("original_event_data"_f, fred_event_data(cpu_, event));
    v.set("exit_instruction_length"_f, e.instruction_length);
    if (e.row->info != InfoFormat::none) v.set("exit_instruction_information"_f, e.instruction_information);
    if (e.has_guest_linear) v.set("guest_linear_address"_f, e.guest_linear.value);
    if (e.has_guest_physical) v.set("guest_physical_address"_f, e.guest_physical.value);
    // SDM "Recording VM-Exit Information and Updating VM-entry Control Fields"
    v.set("entry_interruption_information"_f,
          v["entry_interruption_information"_f] & ~u64{interruption::valid});
}

// SDM "Saving RIP, RSP, RFLAGS, and SSP".
u64 Vmx::saved_rflags(const ExitEvent& e) const {
    constexpr u64 rf = rflags_bits::rf;
    const u64 flags = cpu_.read_rflags();
    const auto fault_image = [&](unsigned type, unsigned vector, bool general_detect) {
        if (type != interruption::hardware_exception) return flags;
        return vector == 1 && !general_detect ? flags : flags | rf;
    };
    switch (e.row->kind) {
    case ExitKind::instruction: return flags & ~rf;
    case ExitKind::access:
        if (cpu_.vectoring.active) return fault_image(cpu_.vectoring.type, cpu_.vectoring.vector, false);
        return flags | rf;
    default:
        if (e.row == "exception_or_nmi"_exit)
            return fault_image((e.interruption_information >> 8) & 7, e.interruption_information & 0xFF,
                               (e.qualification >> 13) & 1);
        return flags;
    }
}

// SDM "Saving Non-Register State".
bool Vmx::keeps_pending_debug(const ExitEvent& e) const {
    for (const ExitRow* row : {"init_signal"_exit, "tpr_below_threshold"_exit, "virtualized_eoi"_exit,
                               "apic_write"_exit, "monitor_trap_flag"_exit, "bus_lock"_exit})
        if (e.row == row) return true;
    if (e.row == "exception_or_nmi"_exit) {
        const u32 what = e.interruption_information & 0x7FF;
        if (what == (interruption::hardware_exception << 8 | 18)) return true;  // #MC
        const unsigned type = what >> 8;
        if ((what & 0xFF) == 1 && type != interruption::nmi) return false;
    }
    return (cpu_.interruptibility & interruptibility_bits::mov_ss) != 0;
}

void Vmx::save_guest_state(const ExitEvent& e, const Vmcs& v, Controls& c) {
    save_guest_area(cpu_, v, c, caps_, saved_rflags(e));
    if (caps_.has("apic_timer_virtualization"_vmx)) v.set("guest_deadline"_f, guest_timer_.deadline());
    if (e.row == "triple_fault"_exit) v.set("guest_activity_state"_f, 0);
    if (!keeps_pending_debug(e)) v.set("guest_pending_debug_exceptions"_f, 0);
    if (c.has("save_vmx_preemption_timer_value"_vmx))
        v.set("vmx_preemption_timer_value"_f, timer_stopped_value_);
    if (caps_.has("store_efer_lma"_vmx)) {
        constexpr u64 ia32e = "ia32e_mode_guest"_vmx.mask();
        u64& entry = c[VmxWord::entry];
        entry = cpu_.long_mode() ? entry | ia32e : entry & ~ia32e;
        v.set("entry_controls"_f, entry);
    }
}

void Vmx::leave_non_root() {
    cpu_.non_root = false;
    cpu_.gates.closed_mask = 0;
    cpu_.vectoring.active = false;
    cpu_.monitor_trap = false;
    cpu_.vmm_watches_bus_locks = bus_locked_ = false;
    guest_timer_.set_deadline(0);
    level_ = 0;
    cpu_.ept_chain = nullptr;
    cpu_.ept_beneath = 0;
    cpu_.current_vpid = 0;
    cpu_.ept_enabled = false;
    cpu_.current_eptp = 0;
    cpu_.guest_paging = {};
    cpu_.apic_access_page = ~0ull;
    cpu_.tsc_multiplier = 1ull << 48;
    cpu_.tsc_offset = 0;
    cpu_.mmu.set_dirty_log(nullptr);
    pending_exit_.present = false;
    mtf_.armed = false;
    for (const auto& l : layers_) l->apic.forget();
    if (native_levels_ != 0) shadow_ = Vmcs();
    fix_control_registers();
}

bool Vmx::load_host() {
    const bool old_lma = cpu_.efer & efer_bits::lma;
    load_host_area(cpu_, current_, controls_);
    // SDM "Updating Non-Register State": no blocking by STI or MOV SS, nothing pending, active.
    cpu_.activity = Activity::active;
    cpu_.interruptibility = 0;
    cpu_.pending_debug = 0;
    cpu_.unwatch_line();
    cpu_.iret_unblocked_nmi = false;
    if (!controls_.has("enable_vpid"_vmx)) cpu_.mmu.invvpid_single(0, false);
    cpu_.context_changed();
    cpu_.set_attention();
    if (old_lma && !controls_.has("host_address_space_size"_vmx)) {
        abort(VmxAbort::from_32_bit_host);
        return false;
    }
    const bool pae = (cpu_.cr4 & cr4_bits::pae) && !cpu_.long_mode();
    if (pae && !load_pdptes(cpu_, cpu_.cr3)) {
        cpu_.pending_fault = {};
        abort(VmxAbort::host_pdptes);
        return false;
    }
    if (pae) cpu_.paging_changed();
    if (load_msrs(cpu_, get("exit_msr_load_address"_f), get("exit_msr_load_count"_f)) != 0) {
        abort(VmxAbort::msr_load);
        return false;
    }
    return true;
}

// SDM "VMX Aborts": the indicator is written, the processor shuts down.
void Vmx::abort(VmxAbort why) {
    abort_ = why;
    current_.set_abort(static_cast<u32>(why));
    for (VmxObserver* o : observers_) o->aborted(why);
    cpu_.context_changed();  // of the guest's translation nothing stays in force
    cpu_.triple_fault();
}

}  // namespace droste
