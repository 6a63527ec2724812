// SPDX-License-Identifier: Apache-2.0
// What instructions and exceptions of the guest ask before they act: gates, masks, shadows and bitmaps.
#include <utility>

#include "cpu/decode/decoder.h"
#include "cpu/fred.h"
#include "vmx/instruction_info.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

std::string_view mnemonic(const Cpu& cpu, const Insn& in) { return cpu.isa.row(in.op).mnemonic; }

/// The exit reason of a gate; two of them serve instructions with different reasons.
const ExitRow* reason_of(const Cpu& cpu, Gate gate, const Insn& in) {
    switch (gate) {
    case Gate::cpuid: return "cpuid"_exit;
    case Gate::getsec: return "getsec"_exit;
    case Gate::invd: return "invd"_exit;
    case Gate::xsetbv: return "xsetbv"_exit;
    case Gate::invept: return "invept"_exit;
    case Gate::invvpid: return "invvpid"_exit;
    case Gate::hlt: return "hlt"_exit;
    case Gate::invlpg: return "invlpg"_exit;
    case Gate::mwait: return "mwait"_exit;
    case Gate::rdpmc: return "rdpmc"_exit;
    case Gate::rdtsc: {
        const std::string_view m = mnemonic(cpu, in);
        return m == "RDTSCP"   ? "rdtscp"_exit
               : m == "UMWAIT" ? "umwait"_exit
               : m == "TPAUSE" ? "tpause"_exit
                               : "rdtsc"_exit;
    }
    case Gate::rdmsrlist: return "rdmsrlist"_exit;
    case Gate::wrmsrlist: return "wrmsrlist"_exit;
    case Gate::mov_dr: return "mov_dr"_exit;
    case Gate::monitor: return "monitor"_exit;
    case Gate::pause: return "pause"_exit;
    case Gate::descriptor_table: {
        const std::string_view m = mnemonic(cpu, in);
        return m == "LLDT" || m == "LTR" || m == "SLDT" || m == "STR" ? "ldtr_or_tr_access"_exit
                                                                      : "gdtr_or_idtr_access"_exit;
    }
    case Gate::wbinvd: return "wbinvd"_exit;
    case Gate::rdrand: return "rdrand"_exit;
    case Gate::rdseed: return "rdseed"_exit;
    case Gate::invpcid_exits: return "invpcid"_exit;
    default: return nullptr;
    }
}

// Access types of SDM Table "Exit Qualification for Control-Register Accesses".
constexpr unsigned mov_to_cr = 0, mov_from_cr = 1, access_clts = 2, access_lmsw = 3;

constexpr u32 msr_spec_ctrl = 0x48, msr_tsc_deadline = 0x6E0;

constexpr Decision exited{Decision::Kind::exited};
constexpr Decision done{Decision::Kind::done};

}  // namespace

void Vmx::exit_instruction(Gate gate, const Insn& in, u64 qualification) {
    const ExitRow* row = reason_of(cpu_, gate, in);
    ASSERT(row != nullptr);
    // WBINVD and WBNOINVD share their exit reason.
    if (gate == Gate::wbinvd) qualification = mnemonic(cpu_, in) == "WBNOINVD" ? 1 : 0;
    exit_insn(row, in, qualification, gate_owner(gate));
}

// ---- control registers

Decision Vmx::cr_access_exit(unsigned cr, unsigned access, unsigned gpr, const Insn& in) {
    exit_insn("control_register_access"_exit, in, cr | access << 4 | gpr << 8);
    return exited;
}

Decision Vmx::write_cr(unsigned cr, u64 value, const Insn& in) {
    switch (cr) {
    case 0: case 4: {
        const u64 mask = get(cr == 0 ? "cr0_guest_host_mask"_f : "cr4_guest_host_mask"_f);
        const u64 shadow = get(cr == 0 ? "cr0_read_shadow"_f : "cr4_read_shadow"_f);
        if (((value ^ shadow) & mask) != 0) return cr_access_exit(cr, mov_to_cr, in.rm, in);
        const u64 before = cr == 0 ? cpu_.cr0 : cpu_.cr4;
        return {Decision::Kind::proceed, (value & ~mask) | (before & mask)};
    }
    case 3:
        if (controls_.has("cr3_load_exiting"_vmx)) {
            bool target = false;
            const u64 targets = get("cr3_target_count"_f);
            for (unsigned i = 0; i < 4 && i < targets; ++i)
                target |= get("cr3_target_value_0"_f + i) == value;
            if (!target) return cr_access_exit(3, mov_to_cr, in.rm, in);
        }
        return {Decision::Kind::proceed, value};
    case 8:
        if (controls_.has("cr8_load_exiting"_vmx)) return cr_access_exit(8, mov_to_cr, in.rm, in);
        if (!controls_.has("use_tpr_shadow"_vmx)) return {Decision::Kind::proceed, value};
        if (value >> 4) return {Decision::Kind::fault};
        layer().apic.set_cr8(value);
        return done;
    default: return {Decision::Kind::proceed, value};
    }
}

Decision Vmx::read_cr(unsigned cr, const Insn& in) {
    if (cr == 3 && controls_.has("cr3_store_exiting"_vmx)) return cr_access_exit(3, mov_from_cr, in.rm, in);
    if (cr == 8) {
        if (controls_.has("cr8_store_exiting"_vmx)) return cr_access_exit(8, mov_from_cr, in.rm, in);
        if (controls_.has("use_tpr_shadow"_vmx)) return {Decision::Kind::done, layer().apic.cr8()};
    }
    return {};
}

Decision Vmx::clts(const Insn& in) {
    // SDM "Changes to Instruction Behavior in VMX Non-Root Operation"
    if ((get("cr0_guest_host_mask"_f) & cr0_bits::ts) == 0) return {};
    if (get("cr0_read_shadow"_f) & cr0_bits::ts) return cr_access_exit(0, access_clts, 0, in);
    return done;
}

Decision Vmx::lmsw(u16 source, const Insn& in, u64 linear) {
    const u64 mask = get("cr0_guest_host_mask"_f), shadow = get("cr0_read_shadow"_f);
    constexpr u64 mp_em_ts = cr0_bits::mp | cr0_bits::em | cr0_bits::ts;
    const bool sets_pe = (mask & source & ~shadow & cr0_bits::pe) != 0;
    if (sets_pe || ((source ^ shadow) & mask & mp_em_ts) != 0) {
        ExitEvent e;
        e.row = "control_register_access"_exit;
        e.insn = &in;
        e.qualification = access_lmsw << 4 | (in.mem() ? 1u << 6 : 0) | u64{source} << 16;
        e.instruction_length = in.len;
        e.has_guest_linear = in.mem();
        e.guest_linear = Linear(linear);
        exit(e);
        return exited;
    }
    return {Decision::Kind::proceed, (source & ~mask) | (cpu_.cr0 & mask & 0xF)};
}

u64 Vmx::shadowed_cr(unsigned cr, u64 value) const {
    const u64 mask = get(cr == 0 ? "cr0_guest_host_mask"_f : "cr4_guest_host_mask"_f);
    const u64 shadow = get(cr == 0 ? "cr0_read_shadow"_f : "cr4_read_shadow"_f);
    return (value & ~mask) | (shadow & mask);
}

// ---- ports

bool Vmx::io_intercepted(unsigned layer, const IoAccess& a) const {
    const Layer& l = *layers_[layer];
    if (!l.controls.has("use_io_bitmaps"_vmx)) return l.controls.has("unconditional_io_exiting"_vmx);
    if (u32{a.port} + a.size > 0x10000) return true;  // the access wraps around
    const u32 end = u32{a.port} + a.size;
    for (u32 p = a.port; p < end; ++p) {
        const u64 bitmap = l.vmcs[p < 0x8000 ? "io_bitmap_a_address"_f : "io_bitmap_b_address"_f];
        if ((cpu_.memory.read(l.reach(bitmap + (p & 0x7FFF) / 8), Width::byte) >> (p % 8)) & 1) return true;
    }
    return false;
}

Decision Vmx::io(const IoAccess& a, const Insn& in) {
    int owner = static_cast<int>(level_) - 1;
    while (owner >= 0 && !io_intercepted(static_cast<unsigned>(owner), a)) --owner;
    if (owner < 0) return {};
    ExitEvent e;
    e.row = "io_instruction"_exit;
    e.insn = &in;
    e.qualification = (a.size - 1u) | (a.in ? 1u << 3 : 0) | (a.string ? 1u << 4 : 0) |
                      (a.rep ? 1u << 5 : 0) | (a.immediate ? 1u << 6 : 0) | u64{a.port} << 16;
    e.instruction_length = in.len;
    if (a.string) {
        e.instruction_information = u32{a.address_size} << 7 | (a.in ? 0 : u32{a.segment} << 15);
        e.has_guest_linear = true;
        e.guest_linear = Linear(a.linear);
    }
    e.to = static_cast<u8>(owner);
    e.as_running = true;
    if (a.string && e.to + 1u != level_) ++fallbacks_.mmio_decode;
    exit(e);
    return exited;
}

// ---- MSRs

bool Vmx::msr_intercepted(u32 index, bool write, unsigned layer) const {
    const Layer& l = *layers_[layer];
    if (!l.controls.has("use_msr_bitmaps"_vmx)) return true;
    // SDM "MSR-Bitmap Address": read low, read high, write low, write high, 1 KByte each.
    const u32 number = index & 0x1FFF;
    u64 at = l.vmcs["msr_bitmap_address"_f] + (write ? 2048 : 0) + number / 8;
    if (index >= 0xC0000000 && index <= 0xC0001FFF) at += 1024;
    else if (index > 0x1FFF) return true;
    return (cpu_.memory.read(l.reach(at), Width::byte) >> (number % 8)) & 1;
}

// The nearest level down that intercepts the access, or -1.
int Vmx::msr_owner(u32 index, bool write) const {
    int owner = static_cast<int>(level_) - 1;
    while (owner >= 0 && !msr_intercepted(index, write, static_cast<unsigned>(owner))) --owner;
    return owner;
}

Decision Vmx::read_msr(u32 index, const Insn& in) {
    const int owner = msr_owner(index, false);
    if (owner < 0 || owner + 1 != static_cast<int>(level_)) {
        const Decision d = read_virtual_msr(index);
        if (d.kind != Decision::Kind::proceed || owner < 0) return d;
    }
    exit_insn("rdmsr"_exit, in, 0, owner);
    return exited;
}

Decision Vmx::write_msr(u32 index, u64 value, const Insn& in) {
    const int owner = msr_owner(index, true);
    if (owner < 0 || owner + 1 != static_cast<int>(level_)) {
        const Decision d = write_virtual_msr(index, value);
        if (d.kind != Decision::Kind::proceed || owner < 0) return d;
    }
    exit_insn("wrmsr"_exit, in, mnemonic(cpu_, in) == "WRMSRNS" ? 1 : 0, owner);
    return exited;
}

// SDM "Instructions That Cause VM Exits Conditionally", RDMSRLIST and WRMSRLIST.
Decision Vmx::msr_list(bool write, u32 index, u64 value, const Insn& in) {
    if (const int owner = msr_owner(index, write); owner >= 0) {
        if (write) layers_[static_cast<unsigned>(owner)]->vmcs.set("msr_data"_f, value);
        exit_insn(write ? "wrmsrlist"_exit : "rdmsrlist"_exit, in, index, owner);
        return exited;
    }
    return write ? write_virtual_msr(index, value) : read_virtual_msr(index);
}

// SDM "Changes to Instruction Behavior in VMX Non-Root Operation": RDMSR and WRMSR.
Decision Vmx::read_virtual_msr(u32 index) {
    if ((index >> 8) == 8 && controls_.has("virtualize_x2apic_mode"_vmx)) return layer().apic.read_msr(index);
    if (index == msr_spec_ctrl && controls_.has("virtualize_ia32_spec_ctrl"_vmx))
        return {Decision::Kind::done, get("ia32_spec_ctrl_shadow"_f)};
    if (index == msr_tsc_deadline && controls_.has("apic_timer_virtualization"_vmx))
        return {Decision::Kind::done, get("guest_deadline_shadow"_f)};
    return {};
}

Decision Vmx::write_virtual_msr(u32 index, u64 value) {
    if ((index >> 8) == 8 && controls_.has("virtualize_x2apic_mode"_vmx)) {
        const Decision d = layer().apic.write_msr(index, value);
        if (d.kind != Decision::Kind::proceed) return d;
    }
    if (index == msr_spec_ctrl && controls_.has("virtualize_ia32_spec_ctrl"_vmx)) {
        const u64 mask = get("ia32_spec_ctrl_mask"_f);
        if (!cpu_.msrs->write(cpu_, index, (cpu_.spec_ctrl & mask) | (value & ~mask)))
            return {Decision::Kind::fault};
        current_.set("ia32_spec_ctrl_shadow"_f, value);
        return done;
    }
    if (index == msr_tsc_deadline && controls_.has("apic_timer_virtualization"_vmx)) {
        current_.set("guest_deadline_shadow"_f, value);
        if (guest_timer_.write(value)) guest_timer_event();
        return done;
    }
    return {Decision::Kind::proceed, value};
}

// SDM "Virtualizing SENDUIPI": the notification goes through the virtual ICR.
bool Vmx::user_notification(u32 destination, u8 vector) {
    if (!controls_.has("use_tpr_shadow"_vmx)) return false;
    layer().apic.send_user_ipi(destination, vector);
    return true;
}

// ---- PAUSE, XSAVES

// SDM "Changes to Instruction Behavior in VMX Non-Root Operation", PAUSE: times by the TSC.
bool Vmx::pause_loop(Layer& l, const Insn& in) {
    const Insn* const before = std::exchange(cpu_.running, &in);
    const u64 now = cpu_.now();
    cpu_.running = before;
    if (l.ple_last == 0 || now - l.ple_last > l.vmcs["ple_gap"_f]) l.ple_first = now;
    l.ple_last = now;
    return now - l.ple_first > l.vmcs["ple_window"_f];
}

bool Vmx::pause(const Insn& in) {
    for (unsigned k = level_; k-- > 0;) {
        Layer& l = *layers_[k];
        bool exits = l.controls.has("pause_exiting"_vmx);
        if (!exits && l.controls.has("pause_loop_exiting"_vmx) && cpu_.cpl == 0) exits = pause_loop(l, in);
        if (!exits) continue;
        exit_insn("pause"_exit, in, 0, static_cast<int>(k));
        return true;
    }
    return false;
}

// SDM "Changes to Instruction Behavior in VMX Non-Root Operation", MWAIT.
bool Vmx::passes_masked_mwait() {
    return controls_.has("interrupt_window_exiting"_vmx) || layer().apic.pending();
}

bool Vmx::xsaves(u64 mask, bool restore, const Insn& in) {
    if ((mask & get("xss_exiting_bitmap"_f)) == 0) return false;
    exit_insn(restore ? "xrstors"_exit : "xsaves"_exit, in);
    return true;
}

// ---- exceptions and memory

bool Vmx::exception(Fault fault, u64 qualification, bool software) {
    const auto vector = static_cast<u8>(fault.vector());
    bool exits = (get("exception_bitmap"_f) >> vector) & 1;
    if (fault.vector() == Vector::pf) {
        const u64 mask = get("page_fault_error_code_mask"_f), match = get("page_fault_error_code_match"_f);
        if ((fault.code() & mask) != match) exits = !exits;
    }
    if (!exits) return false;
    const unsigned type = !software                     ? interruption::hardware_exception
                          : fault.vector() == Vector::db ? interruption::privileged_software_exception
                                                         : interruption::software_exception;
    ExitEvent e;
    e.row = "exception_or_nmi"_exit;
    e.qualification = qualification;
    const bool code = fault.has_code() && cpu_.protected_mode();
    e.interruption_information = interruption::word(type, vector, code);
    e.interruption_error_code = fault.code();
    if (cpu_.vectoring.active && fred_enabled(cpu_) && fault.vector() != Vector::df)
        e.interruption_information |= interruption::nested;
    if (cpu_.iret_unblocked_nmi && !cpu_.vectoring.active && fault.vector() != Vector::df)
        e.interruption_information |= interruption::nmi_unblocking;
    // Of software events: intercepted themselves, or met by a fault while they were delivered.
    if (software || cpu_.vectoring.active) e.instruction_length = cpu_.vectoring.instruction_length;
    exit(e);
    return true;
}

void Vmx::memory_exit(const WalkFault& fault) {
    if (level_ > 1 && fault.layer + 1u < level_ && fault.kind != WalkFault::Kind::apic_access) {
        ExitEvent e = memory_event(fault);
        e.to = fault.layer;
        exit(e);
        return;
    }
    if (fault.kind == WalkFault::Kind::ept_violation && converts(fault)) {
        const u64 unblocking =
            cpu_.iret_unblocked_nmi && !cpu_.vectoring.active ? u64{interruption::nmi_unblocking} : 0;
        virtualization_exception(fault.qualification | unblocking, fault);
        return;
    }
    exit(memory_event(fault));
}

ExitEvent Vmx::memory_event(const WalkFault& fault) {
    const u64 nmi_unblocking =
        cpu_.iret_unblocked_nmi && !cpu_.vectoring.active ? u64{interruption::nmi_unblocking} : 0;
    ExitEvent e;
    e.instruction_length = cpu_.vectoring.active ? cpu_.vectoring.instruction_length : cpu_.access_length;
    e.has_guest_physical = true;
    e.guest_physical = fault.guest_phys;
    switch (fault.kind) {
    case WalkFault::Kind::ept_misconfiguration: e.row = "ept_misconfiguration"_exit; break;
    case WalkFault::Kind::pml_full:
        e.row = "page_modification_log_full"_exit;
        e.qualification = nmi_unblocking;
        break;
    case WalkFault::Kind::spp_miss:
    case WalkFault::Kind::spp_misconfiguration:
        e.row = "sub_page_permission_event"_exit;
        e.qualification = fault.qualification | nmi_unblocking;
        e.has_guest_linear = true;
        e.guest_linear = fault.linear;
        break;
    case WalkFault::Kind::apic_access: {
        // SDM Table "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses"
        constexpr u64 during_delivery = 10, during_execution = 15;
        e.row = "apic_access"_exit;
        e.qualification = (cpu_.vectoring.active ? during_delivery : during_execution) << 12;
        e.has_guest_physical = false;
        break;
    }
    default:
        e.row = "ept_violation"_exit;
        e.qualification = fault.qualification | nmi_unblocking;
        e.has_guest_linear = (fault.qualification & 0x80) != 0;
        e.guest_linear = fault.linear;
        break;
    }
    return e;
}

Decision Vmx::apic_access(u64 offset, Access access, Width width, u64 value, GuestPhys) {
    return layer().apic.access(static_cast<u32>(offset & 0xFFF), access, width, value);
}

void Vmx::task_switch(u16 selector, unsigned source, u32 instruction_length) {
    ExitEvent e;
    e.row = "task_switch"_exit;
    e.qualification = selector | u64{source & 3} << 30;
    e.instruction_length = instruction_length;
    exit(e);
}

}  // namespace droste
