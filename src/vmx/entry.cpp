// SPDX-License-Identifier: Apache-2.0
// VM entries: checks in the SDM's order, guest state loaded, event injected (SDM "VM Entries").
#include "cpu/fred.h"
#include "cpu/user_interrupts.h"
#include "vmx/entry_checks.h"
#include "vmx/interruption.h"
#include "vmx/msr_area.h"
#include "vmx/state_area.h"
#include "vmx/vmx.h"

namespace droste {

Controls controls_of(const Vmcs& v) {
    Controls c;
    c[VmxWord::pin] = v["pin_based_controls"_f];
    c[VmxWord::primary] = v["primary_processor_based_controls"_f];
    if (c.has("activate_secondary_controls"_vmx))
        c[VmxWord::secondary] = v["secondary_processor_based_controls"_f];
    if (c.has("activate_tertiary_controls"_vmx))
        c[VmxWord::tertiary] = v["tertiary_processor_based_controls"_f];
    c[VmxWord::exit] = v["exit_controls"_f];
    if (c.has("activate_secondary_exit_controls"_vmx))
        c[VmxWord::secondary_exit] = v["secondary_exit_controls"_f];
    c[VmxWord::entry] = v["entry_controls"_f];
    return c;
}

const EntryCheck* Vmx::check_controls_and_host() {
    const EntryContext x = entry_context();
    const u64 mode = cpu_.efer & efer_bits::lma;
    if (checked_.has(current_.address(), mode)) {
        for (const EntryCheck& check : control_entry_checks())
            if (check.when == When::every_entry && !check.passes(x)) return &check;
        return nullptr;
    }
    cpu_.charge(CostEvent::vm_entry_dirty_controls);
    if (const EntryCheck* failed = first_failing(control_entry_checks(), x)) return failed;
    if (const EntryCheck* failed = first_failing(host_entry_checks(), x)) return failed;
    checked_.add(current_.address(), mode);
    return nullptr;
}

EntryContext Vmx::entry_context() {
    EntryContext x{current_, controls_, caps_, cpu_};
    if (level_ != 0) {
        x.layer = layers_[level_].get();
        const Vmcs& own = layers_[level_ - 1]->vmcs;
        x.emulated_cr4 = own["cr4_read_shadow"_f] & own["cr4_guest_host_mask"_f] & ~caps_.cr4_fixed1;
    }
    return x;
}

Outcome Vmx::enter(bool launch) {
    if (!reach_own_vmcs()) return Outcome::fault;
    const Vmcs guest = own_vmcs();
    if (!guest || guest.shadow()) return fail_invalid();
    if (cpu_.interruptibility & interruptibility_bits::mov_ss)
        return fail_valid(VmxError::entry_blocked_by_mov_ss);
    const bool clear = guest.launch_state() == LaunchState::clear;
    if (launch && !clear) return fail_valid(VmxError::vmlaunch_not_clear);
    if (!launch && clear) return fail_valid(VmxError::vmresume_not_launched);

    const unsigned owner = level_;  // of the VMCS; the level above it is entered
    const u64 pointer = vmcs_pointer();
    Climb climb{.top = owner};
    {
        WalkFault fault;
        bool reached = prepare_layer(owner, guest, pointer, fault);
        if (reached && native_levels_ != 0 && HiddenState(guest).has(HiddenState::active)) {
            climb = prepare_climb(owner);
            chain_.depth = owner;
            if (climb.blocked && climb.fault.layer < owner) {
                reached = false;
                fault = climb.fault;
            }
        }
        if (!reached) {
            cpu_.memory_fault = fault;
            cpu_.pending_memory_exit = true;
            return Outcome::fault;
        }
    }
    const EntryEvent event{.vmcs = guest.address(),
                           .launch = launch,
                           .ticks = cpu_.ticks(),
                           .cycles_before = cpu_.cycles(),
                           .linear_rip = cpu_.ea_base_cs() + cpu_.rip};
    cpu_.charge(CostEvent::vm_entry);
    const Vmcs outer = current_;
    const Controls outer_controls = controls_;
    current_ = guest;
    controls_ = layers_[owner]->controls;
    if (const EntryCheck* failed = check_controls_and_host()) {
        const EntryContext x = entry_context();
        for (VmxObserver* o : observers_) o->entry_check_failed(event, *failed, x);
        for (VmxObserver* o : observers_) o->entry_failed(event, failed->name);
        if (owner != 0) {
            current_ = outer;
            controls_ = outer_controls;
        }
        return fail_valid(failed->stage == Stage::controls ? VmxError::entry_controls
                                                           : VmxError::entry_host_state);
    }
    const EntryContext x = entry_context();
    if (owner != 0) save_own();
    if (router_ != nullptr) [[unlikely]] router_->entering(*this);
    if (const EntryCheck* failed = first_failing(guest_entry_checks(), x)) {
        for (VmxObserver* o : observers_) o->entry_check_failed(event, *failed, x);
        return fail_entry("entry_failure_guest_state"_exit, static_cast<u64>(failed->qualification), event,
                          failed->name);
    }
    const u32 host_blocking = cpu_.interruptibility;
    load_guest_area(cpu_, current_, controls_);
    if (owner != 0) cpu_.cr4 &= caps_.cr4_fixed1;
    // SDM "Clearing Address-Range Monitoring"; "Updating Non-Register State": nothing of the host's carries
    // over.
    cpu_.unwatch_line();
    cpu_.debug_cause = 0;
    if (const u64 failed = load_msr_area(current_, "entry_msr_load_address"_f, "entry_msr_load_count"_f, owner)) {
        cpu_.interruptibility = host_blocking;
        for (VmxObserver* o : observers_) o->entry_msr_failed(event, failed);
        return fail_entry("entry_failure_msr_loading"_exit, failed, event, "VM-entry MSR-load area");
    }
    current_.set_launch_state(LaunchState::launched);
    const u32 injected = static_cast<u32>(get("entry_interruption_information"_f));
    level_ = owner + 1;
    start_non_root();
    const bool inner = native_levels_ != 0 && hidden().has(HiddenState::active);
    if (inner) {
        resume_inner(climb, injected, event);
        return Outcome::vm_exit_retired;
    }
    notify_entered(event);
    deliver_injected(injected);
    return Outcome::vm_exit_retired;
}

void Vmx::deliver_injected(u32 injected) {
    if (router_ != nullptr) [[unlikely]] {
        router_->entered(*this);
        if ((injected & interruption::valid) && router_->induced(injected, get("entry_exception_error_code"_f), *this))
            return;
    }
    if (injected & interruption::valid) inject_event(injected);
    // SDM "Delivery of Pending Debug Exceptions after VM Entry": none in these states.
    if (cpu_.activity == Activity::shutdown || cpu_.activity == Activity::wait_for_sipi) cpu_.pending_debug = 0;
}

void Vmx::notify_entered(const EntryEvent& event) {
    EntryEvent e = event;
    if (native_levels_ != 0) {
        path_changed();
        e.path = path_;
    }
    for (VmxObserver* o : observers_) o->entered(e);
}

// SDM "VM-Entry Failures During or After Loading Guest State": like a VM exit, but little information is
// recorded, and no guest state is saved.
Outcome Vmx::fail_entry(const ExitRow* row, u64 qualification, const EntryEvent& event,
                        std::string_view check) {
    for (VmxObserver* o : observers_) o->entry_failed(event, check);
    current_.set("exit_reason"_f, row->number | exit_reason_entry_failure);
    current_.set("exit_qualification"_f, qualification);
    const u32 blocking_by_nmi = cpu_.interruptibility & interruptibility_bits::nmi;
    ExitEvent e;
    e.row = row;
    e.qualification = qualification;
    e.entry_failure_bit = exit_reason_entry_failure;
    e.vmcs = current_.address();
    e.linear_rip = get("guest_rip"_f);
    e.ticks = event.ticks;
    e.cycles_before = event.cycles_before;
    e.to = static_cast<u8>(level_);
    e.level = static_cast<u8>(level_ + 1);
    if (level_ == 0) {
        leave_non_root();
        if (!load_host()) return Outcome::vm_exit_retired;
    } else {
        ++level_;
        if (!load_level(e.to, false)) return Outcome::vm_exit_retired;
    }
    cpu_.interruptibility = blocking_by_nmi;
    cpu_.charge(CostEvent::vm_exit);
    e.cycles_after = cpu_.cycles();
    for (VmxObserver* o : observers_) o->exited(e);
    return Outcome::vm_exit_retired;
}

void Vmx::set_gates(Layer& layer) const {
    const Controls& controls = layer.controls;
    if (layer.gates_of != controls) {
        Gates g;
        for (const Gate always : {Gate::cpuid, Gate::getsec, Gate::invd, Gate::xsetbv, Gate::vmx_instruction,
                                  Gate::invept, Gate::invvpid, Gate::task_switch, Gate::cr0_write,
                                  Gate::cr4_write, Gate::cr_read_shadow, Gate::exception, Gate::msr})
            g.close(always);
        for (const CapabilityRow& row : capability_rows) {
            if (row.rule == GateRule::none) continue;
            const bool set = controls.has({row.word, row.bit});
            if (set == (row.rule == GateRule::closed_when_set)) g.close(row.gate);
        }
        g.close(Gate::tpr_shadow, controls.has("use_tpr_shadow"_vmx));
        g.close(Gate::ple, controls.has("pause_loop_exiting"_vmx));
        g.close(Gate::invpcid_exits,
                controls.has("enable_invpcid"_vmx) && controls.has("invlpg_exiting"_vmx));
        g.close(Gate::rdmsrlist, !controls.has("use_msr_bitmaps"_vmx));
        g.close(Gate::wrmsrlist, !controls.has("use_msr_bitmaps"_vmx));
        g.close(Gate::xsave_bitmap, controls.has("enable_xsaves_xrstors"_vmx));
        g.close(Gate::iret_nmi_unblocking,
                controls.has("nmi_exiting"_vmx) && !controls.has("virtual_nmis"_vmx));
        layer.gates_of = controls;
        layer.gates = g.closed_mask;
    }
}

void Vmx::close_gates() {
    Layer& l = layer();
    l.vmcs = current_;
    l.controls = controls_;
    set_gates(l);
    cpu_.gates.closed_mask = l.gates;
}

void Vmx::apply_translation() {
    const Controls& c = controls_;
    cpu_.current_vpid =
        c.has("enable_vpid"_vmx) ? static_cast<u16>(get("virtual_processor_identifier"_f)) : u16{0};
    cpu_.ept_enabled = c.has("enable_ept"_vmx);
    cpu_.current_eptp = cpu_.ept_enabled ? get("eptp"_f) : 0;
    cpu_.guest_paging = {.mode_based_execute = c.has("mode_based_execute_control_for_ept"_vmx),
                         .sub_page_write = c.has("sub_page_write_permissions_for_ept"_vmx),
                         .paging_write = c.has("ept_paging_write_control"_vmx),
                         .verify_paging = c.has("guest_paging_verification"_vmx),
                         .hlat = c.has("enable_hlat"_vmx)};
    if (cpu_.guest_paging.sub_page_write)
        cpu_.guest_paging.sppt = get("sub_page_permission_table_pointer"_f);
    if (cpu_.guest_paging.hlat) {
        cpu_.guest_paging.hlatp = get("hlat_pointer"_f);
        cpu_.guest_paging.hlat_prefix = static_cast<u8>(get("hlat_prefix_size"_f));
    }
    cpu_.apic_access_page = c.has("virtualize_apic_accesses"_vmx) ? at(get("apic_access_address"_f)) : ~0ull;
    cpu_.mmu.set_dirty_log(c.has("enable_pml"_vmx) ? &layer() : nullptr);
    const bool offsetting = c.has("use_tsc_offsetting"_vmx);
    cpu_.tsc_offset = offsetting ? get("tsc_offset"_f) : 0;
    cpu_.tsc_multiplier = offsetting && c.has("use_tsc_scaling"_vmx) ? get("tsc_multiplier"_f) : 1ull << 48;
    cpu_.monitor_trap = c.has("monitor_trap_flag"_vmx);
    cpu_.vmm_watches_bus_locks = c.has("vmm_bus_lock_detection"_vmx);
    cpu_.ept_chain = nullptr;
    cpu_.ept_beneath = 0;
    if (native_levels_ == 0) return;
    build_chain(level_);
    compose_controls();
}

void Vmx::start_non_root() {
    cpu_.non_root = true;
    const u64 link = get("vmcs_link_pointer"_f);
    if (level_ == 0) level_ = 1;
    shadow_ = ((controls_.has("vmcs_shadowing"_vmx) && native_levels_ == 0) || defers_vmcs_accesses()) && link != ~0ull ? Vmcs(cpu_.memory, link) : Vmcs();
    if (shadow_) cpu_.memory.about_to_write(shadow_.address(), vmcs_layout::size);
    close_gates();
    apply_translation();
    fix_control_registers();
    // SDM "VMX Transitions" in "Invalidating Cached Translation Information": VPID 0000H is flushed when
    // VPIDs are off.
    if (!controls_.has("enable_vpid"_vmx)) cpu_.mmu.invvpid_single(0, false, cpu_.ept_beneath);
    if (native_levels_ != 0) find_own_vmcs();
    cpu_.context_changed();
    pending_exit_.present = false;
    bus_locked_ = false;
    mtf_ = {.armed = cpu_.monitor_trap, .due = false, .fresh = true};
    Layer& l = layer();
    l.ple_first = l.ple_last = 0;
    l.apic.entered();
    if (controls_.has("apic_timer_virtualization"_vmx)) guest_timer_.set_deadline(get("guest_deadline"_f));
    if (controls_.has("activate_vmx_preemption_timer"_vmx))
        l.timer.start(static_cast<u32>(get("vmx_preemption_timer_value"_f)));
    cpu_.set_attention();
}

void Vmx::inject_event(u32 information) {
    const unsigned type = (information >> 8) & 7;
    mtf_.due =
        mtf_.armed;  // SDM "Monitor Trap Flag": pending before the first instruction after an injected event
    if (type == interruption::other_event && (information & 0xFF) == 0) {
        // Pending MTF VM exit: taken at the boundary whatever the control says.
        mtf_.armed = mtf_.due = true;
        return;
    }
    cpu_.charge(CostEvent::vm_entry_event_injection);
    // SDM "Delivery of Pending Debug Exceptions after VM Entry"
    const bool keeps_pending_debug =
        (type == interruption::software_interrupt || type == interruption::software_exception) &&
        (cpu_.interruptibility & interruptibility_bits::mov_ss) != 0;
    if (!keeps_pending_debug) cpu_.pending_debug = 0;
    Vectoring v;
    v.active = true;
    v.vector = static_cast<u8>(information);
    v.type = static_cast<u8>(type);
    v.has_code = information & interruption::has_code;
    v.code = static_cast<u32>(get("entry_exception_error_code"_f));
    v.injected = true;
    v.instruction_length =
        interruption::software(type) || type == interruption::other_event
            ? static_cast<u32>(get("entry_instruction_length"_f))
            : 0;
    if (fred_enabled(cpu_)) {
        v.nested = information & interruption::nested;
        v.has_data = true;
        v.data = get("injected_event_data"_f);
    }
    // SDM "Injection of Interrupts and Exceptions": the vector for user-interrupt notifications is processed.
    if (type == interruption::external && notify_user(cpu_, v.vector, true)) return;
    cpu_.deliver_event(v);
}

}  // namespace droste
