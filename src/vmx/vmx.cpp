// SPDX-License-Identifier: Apache-2.0
// Attachment to a processor, the VMCS pointers, results of VMX instructions, saving and loading.
#include "vmx/vmx.h"

#include "vmx/entry_checks.h"

namespace droste {

Vmx::Vmx(Cpu& cpu, const VmxCapabilities& capabilities)
    : cpu_(cpu), caps_(capabilities), guest_timer_(*this), full_controls_(full_controls(capabilities)) {
    layers_.push_back(std::make_unique<Layer>(*this, 0));
    cpu_.hooks = this;
    cpu_.ept_execute_only = caps_.has("ept_execute_only"_vmx);
    cpu_.ept_1gb = caps_.has("ept_1g_pages"_vmx);
    cpu_.ept_advanced_exit_info = caps_.has("ept_violation_advanced_information"_vmx);
}

Vmx::~Vmx() {
    if (cpu_.hooks == this) cpu_.hooks = nullptr;
}

void Vmx::reset() {
    for (const auto& l : layers_) {
        l->timer.stop();
        l->apic.forget();
        l->ple_first = l->ple_last = 0;
    }
    level_ = 0;
    guest_timer_.set_deadline(0);
    cpu_.vmm_watches_bus_locks = bus_locked_ = false;
    in_operation_ = false;
    vmxon_pointer_ = Vmcs::none;
    current_ = shadow_ = Vmcs();
    checked_.clear();
    pending_exit_ = {};
    mtf_ = {};
    abort_ = VmxAbort::none;
    cpu_.mmu.set_dirty_log(nullptr);
    fix_control_registers();
}

void Vmx::fix_control_registers() {
    cpu_.init_blocked = in_operation_;
    if (!in_operation_) {
        cpu_.cr0_fixed0 = cpu_.cr4_fixed0 = 0;
        cpu_.cr0_fixed1 = cpu_.cr4_fixed1 = ~0ull;
        return;
    }
    // SDM "Restrictions on VMX Operation"; unrestricted guests may clear PE and PG.
    const bool unrestricted = cpu_.non_root && controls_.has("unrestricted_guest"_vmx);
    cpu_.cr0_fixed0 = caps_.cr0_fixed0 & ~(unrestricted ? cr0_bits::pe | cr0_bits::pg : 0);
    cpu_.cr0_fixed1 = caps_.cr0_fixed1;
    cpu_.cr4_fixed0 = caps_.cr4_fixed0;
    cpu_.cr4_fixed1 = caps_.cr4_fixed1;
}

void Vmx::make_current(const Vmcs& v) {
    (executes_vmx() ? shadow_ : current_) = v;
    if (v) cpu_.memory.about_to_write(v.address(), vmcs_layout::size);
}

void Vmx::written(Field field) {
    // Fields that no check on controls and host state reads, or that are checked at every entry.
    if (field->area() == FieldArea::guest || field->read_only()) return;
    constexpr Field unchecked[] = {"entry_interruption_information"_f,
                                   "entry_exception_error_code"_f,
                                   "entry_instruction_length"_f,
                                   "tpr_threshold"_f,
                                   "tsc_offset"_f,
                                   "exception_bitmap"_f,
                                   "page_fault_error_code_mask"_f,
                                   "page_fault_error_code_match"_f,
                                   "cr0_guest_host_mask"_f,
                                   "cr4_guest_host_mask"_f,
                                   "cr0_read_shadow"_f,
                                   "cr4_read_shadow"_f,
                                   "xss_exiting_bitmap"_f,
                                   "ple_gap"_f,
                                   "ple_window"_f,
                                   "eoi_exit_bitmap_0"_f,
                                   "eoi_exit_bitmap_1"_f,
                                   "eoi_exit_bitmap_2"_f,
                                   "eoi_exit_bitmap_3"_f,
                                   "ia32_spec_ctrl_mask"_f,
                                   "ia32_spec_ctrl_shadow"_f,
                                   "guest_deadline_shadow"_f,
                                   "instruction_timeout_control"_f};
    for (const Field f : unchecked)
        if (f == field) return;
    checked_.remove(own_vmcs().address());
}

// SDM "Conventions" of "VMX Instruction Reference".
Outcome Vmx::succeed() {
    cpu_.flags = flag_image::from_rflags(0);
    return Outcome::next;
}
Outcome Vmx::fail_invalid() {
    notify_failure(std::nullopt);
    cpu_.flags = flag_image::from_rflags(rflags_bits::cf);
    return Outcome::next;
}
Outcome Vmx::fail_valid(VmxError error) {
    notify_failure(error);
    cpu_.flags = flag_image::from_rflags(rflags_bits::zf);
    own_vmcs().set("vm_instruction_error"_f, static_cast<u32>(error));
    return Outcome::next;
}

u64 Vmx::ticks_at(const Insn& in) {
    const Insn* const before = cpu_.running;
    cpu_.running = &in;
    const u64 ticks = cpu_.ticks();
    cpu_.running = before;
    return ticks;
}

void Vmx::notify_failure(std::optional<VmxError> error) {
    executing_.error = error;
    for (VmxObserver* o : observers_) o->instruction_failed(executing_);
}

void Vmx::record_write(const Insn& in, Field f, u64 value) {
    recorder_->wrote({.vmcs = accessed().address(),
                      .field = f,
                      .value = value,
                      .ticks = ticks_at(in),
                      .linear_rip = cpu_.ea_base_cs() + cpu_.insn_rip(in)});
}

Outcome Vmx::vmxon(u64 pointer) {
    if ((pointer & 0xFFF) != 0 || !caps_.within_width(pointer)) return fail_invalid();
    u64 region = 0;
    if (!reach_region(pointer, region)) return Outcome::fault;
    const u32 revision = cpu_.memory.read32(region);
    if (executes_vmx()) {
        // Which identifier the level was told is between it and the hypervisor beneath.
        if (revision >> 31) return fail_invalid();
        begin_operation(pointer, revision);
    } else {
        if (revision != caps_.revision) return fail_invalid();
        in_operation_ = true;
        vmxon_pointer_ = pointer;
        current_ = Vmcs();
        checked_.clear();
    }
    cpu_.unwatch_line();
    fix_control_registers();
    cpu_.charge(CostEvent::vmxon);
    if (level_ == 0)
        for (VmxObserver* o : observers_) o->vmxon(pointer);
    return succeed();
}

Outcome Vmx::vmxoff() {
    if (executes_vmx()) {
        end_operation();
    } else {
        in_operation_ = false;
        vmxon_pointer_ = Vmcs::none;
        current_ = Vmcs();
        checked_.clear();
    }
    fix_control_registers();
    cpu_.charge(CostEvent::vmxoff);
    cpu_.set_attention();  // INIT is no longer blocked
    if (level_ == 0)
        for (VmxObserver* o : observers_) o->vmxoff();
    return succeed();
}

Outcome Vmx::vmptrld(u64 address) {
    const bool native = executes_vmx();
    if (!reach_own_vmcs()) return Outcome::fault;
    if ((address & 0xFFF) != 0 || !caps_.within_width(address)) return fail(VmxError::vmptrld_address);
    if (address == (native ? hidden().get(HiddenState::vmxon_pointer) : vmxon_pointer_))
        return fail(VmxError::vmptrld_vmxon_pointer);
    u64 region = 0;
    if (!reach_region(address, region)) return Outcome::fault;
    const Vmcs v(cpu_.memory, region);
    const u32 revision = v ? v.revision() : cpu_.memory.read32(region);
    // Memory that is no RAM reads as something that is not our revision; a device that mimics it is refused
    // too.
    const bool shadow_allowed = caps_.has("vmcs_shadowing"_vmx);
    const u64 own = native ? hidden().get(HiddenState::revision) : caps_.revision;
    if (!v || (revision & 0x7FFFFFFF) != own || ((revision >> 31) != 0 && !shadow_allowed))
        return fail(VmxError::vmptrld_revision);
    make_current(v);
    if (native) {
        hidden().set(HiddenState::current, address);
        hidden().set(HiddenState::current_machine, region);
    }
    cpu_.charge(CostEvent::vmptrld);
    if (level_ == 0)
        for (VmxObserver* o : observers_) o->vmptrld(address);
    return succeed();
}

Outcome Vmx::vmclear(u64 address) {
    const bool native = executes_vmx();
    if (!reach_own_vmcs()) return Outcome::fault;
    if ((address & 0xFFF) != 0 || !caps_.within_width(address)) return fail(VmxError::vmclear_address);
    if (address == (native ? hidden().get(HiddenState::vmxon_pointer) : vmxon_pointer_))
        return fail(VmxError::vmclear_vmxon_pointer);
    u64 region = 0;
    if (!reach_region(address, region)) return Outcome::fault;
    checked_.remove(region);
    const Vmcs v(cpu_.memory, region);
    if (v) {
        cpu_.memory.about_to_write(region + vmcs_layout::launch_state, 4);
        v.set_launch_state(LaunchState::clear);
    }
    if (native) {
        if (hidden().get(HiddenState::current) == address) {
            hidden().set(HiddenState::current, Vmcs::none);
            shadow_ = Vmcs();
        }
    } else if (current_ && current_.address() == address) {
        current_ = Vmcs();
    }
    cpu_.charge(CostEvent::vmclear);
    if (level_ == 0)
        for (VmxObserver* o : observers_) o->vmclear(address);
    return succeed();
}

Outcome Vmx::invept(u64 type, u64 eptp, u64 reserved) {
    const bool single = type == 1 && caps_.has("invept_single_context"_vmx);
    const bool all = type == 2 && caps_.has("invept_all_contexts"_vmx);
    if (!single && !all) return fail(VmxError::invalid_operand);
    if (reserved != 0 || (single && !valid_eptp(caps_, eptp))) return fail(VmxError::invalid_operand);
    const u32 beneath = executes_vmx() ? chain_number_ : 0;
    if (single) cpu_.mmu.invept_single(eptp, beneath);
    else cpu_.mmu.invept_all(beneath);
    cpu_.charge(CostEvent::invept);
    return succeed();
}

Outcome Vmx::invvpid(u64 type, u64 descriptor, u64 linear) {
    constexpr Capability types[] = {"invvpid_individual_address"_vmx, "invvpid_single_context"_vmx,
                                    "invvpid_all_contexts"_vmx,
                                    "invvpid_single_context_retaining_globals"_vmx};
    if (type >= std::size(types) || !caps_.has(types[type])) return fail(VmxError::invalid_operand);
    const auto vpid = static_cast<u16>(descriptor);
    if ((descriptor >> 16) != 0) return fail(VmxError::invalid_operand);
    if (type != 2 && vpid == 0) return fail(VmxError::invalid_operand);
    if (type == 0 && sign_extend(linear, cpu_.model.linear_bits) != linear)
        return fail(VmxError::invalid_operand);
    const u32 beneath = executes_vmx() ? chain_number_ : 0;
    switch (type) {
    case 0: cpu_.mmu.invvpid_address(vpid, Linear(linear), beneath); break;
    case 1: cpu_.mmu.invvpid_single(vpid, false, beneath); break;
    case 2: cpu_.mmu.invvpid_all(beneath); break;
    default: cpu_.mmu.invvpid_single(vpid, true, beneath); break;
    }
    cpu_.charge(CostEvent::invvpid);
    return succeed();
}

Outcome Vmx::vmfunc(const Insn& in) {
    const u64 function = cpu_.gpr[static_cast<unsigned>(Gpr::rax)] & 0xFFFFFFFF;
    const u64 index = cpu_.gpr[static_cast<unsigned>(Gpr::rcx)] & 0xFFFFFFFF;
    if (function > 63) return cpu_.ud();
    // SDM "EPTP Switching": function 0, the only one there is. It must not change the walk length.
    if (function == 0 && (get("vm_function_controls"_f) & "eptp_switching"_vmx.mask()) != 0 && index < 512) {
        const u64 eptp = cpu_.memory.read64(at(get("eptp_list_address"_f)) + 8 * index);
        if (valid_eptp(caps_, eptp) && ((eptp ^ cpu_.current_eptp) & 0x38) == 0) {
            current_.set("eptp"_f, eptp);
            cpu_.current_eptp = eptp;
            if (caps_.has("ept_violation_ve"_vmx)) current_.set("eptp_index"_f, index);
            if (native_levels_ != 0) {
                build_chain(level_);
                compose_controls();
            }
            cpu_.paging_changed();
            if (!controls_.has("enable_vpid"_vmx)) cpu_.mmu.invvpid_single(0, false, cpu_.ept_beneath);
            return Outcome::next;
        }
    }
    exit_insn("vmfunc"_exit, in);
    return Outcome::vm_exit;
}

bool Vmx::vmcs_access_exits(u64 encoding, bool write) const {
    // SDM "VMCS Shadowing": bits 14:0 select a bit of the bitmap.
    if (executes_vmx()) return false;
    if ((encoding >> 15) != 0) return true;
    if (!controls_.has("vmcs_shadowing"_vmx)) return !defers_vmcs_accesses();
    const u64 bitmap = get(write ? "vmwrite_bitmap_address"_f : "vmread_bitmap_address"_f);
    return (cpu_.memory.read(at(bitmap) + encoding / 8, Width::byte) >> (encoding % 8)) & 1;
}

// The VMCS data lie in guest memory and are saved with it.
void Vmx::visit(Archive& a) {
    a.section("vmx", 1);
    u64 current = current_.address(), shadow = shadow_.address();
    a.field("in_operation", in_operation_);
    a.field("vmxon_pointer", vmxon_pointer_);
    a.field("current_vmcs", current);
    a.field("shadow_vmcs", shadow);
    a.field("pending_exit_present", pending_exit_.present);
    a.field("pending_exit_reason", pending_exit_.reason);
    a.field("pending_exit_qualification", pending_exit_.qualification);
    a.field("mtf_armed", mtf_.armed);
    a.field("mtf_due", mtf_.due);
    a.field("mtf_fresh", mtf_.fresh);
    a.field("mtf_from", mtf_.from);
    a.field("mtf_from_rip", mtf_.from_rip);
    a.field("ple_first", layers_[0]->ple_first);
    a.field("ple_last", layers_[0]->ple_last);
    a.field("bus_locked", bus_locked_);
    a.field("abort", abort_);
    layers_[0]->apic.visit(a);
    layers_[0]->timer.visit(a);
    guest_timer_.visit(a);
    visit_native(a);
    if (a.mode() != Archive::Mode::load) return;
    current_ = current == Vmcs::none ? Vmcs() : Vmcs(cpu_.memory, current);
    shadow_ = shadow == Vmcs::none ? Vmcs() : Vmcs(cpu_.memory, shadow);
    checked_.clear();
    if (cpu_.non_root && !current_)
        cpu_.non_root = false;  // a damaged file: never run a guest without its VMCS
    if (current_) controls_ = controls_of(current_);
    for (const auto& l : layers_) l->gates_of = {};
    if (cpu_.non_root) {
        if (level_ == 0) level_ = 1;
        restore_layers();
        close_gates();
        apply_translation();
    } else {
        cpu_.gates.closed_mask = 0;
        level_ = 0;
    }
    fix_control_registers();
    cpu_.context_changed();
}

}  // namespace droste
