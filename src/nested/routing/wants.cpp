// SPDX-License-Identifier: Apache-2.0
// SDM "VMX Non-Root Operation": which controls make each event exit.
#include "nested/routing/wants.h"

#include "cpu/cpu.h"
#include "vmx/interruption.h"

namespace droste {

namespace {

using X = const WantContext&;

/// A bit of a bitmap in memory; what cannot be read is taken for 1.
bool bit_at(X x, u64 address, unsigned bit) {
    const std::optional<u8> byte = x.read(address + bit / 8);
    return !byte || ((*byte >> (bit % 8)) & 1) != 0;
}

bool exception(X x) {
    const u32 information = x.event.interruption_information;
    if (((information >> 8) & 7) == interruption::nmi) return x.c.has("nmi_exiting"_vmx);
    const unsigned vector = information & 0xFF;
    constexpr unsigned page_fault = 14;
    const bool bit = vector < 32 && ((x.v["exception_bitmap"_f] >> vector) & 1) != 0;
    if (vector != page_fault) return bit;
    const u64 mask = x.v["page_fault_error_code_mask"_f], match = x.v["page_fault_error_code_match"_f];
    return bit == ((x.event.interruption_error_code & mask) == match);
}

bool io(X x) {
    if (!x.c.has("use_io_bitmaps"_vmx)) return x.c.has("unconditional_io_exiting"_vmx);
    const auto port = static_cast<u32>(x.event.qualification >> 16) & 0xFFFF;
    const u32 size = (x.event.qualification & 7) + 1;
    if (port + size > 0x10000) return true;
    for (u32 p = port; p < port + size; ++p)
        if (bit_at(x, x.v[p < 0x8000 ? "io_bitmap_a_address"_f : "io_bitmap_b_address"_f], p & 0x7FFF)) return true;
    return false;
}

bool msr(X x, u32 index, bool write) {
    if (!x.c.has("use_msr_bitmaps"_vmx)) return true;
    constexpr u32 high_first = 0xC0000000, each = 0x2000;
    const bool high = index >= high_first && index < high_first + each;
    if (!high && index >= each) return true;
    return bit_at(x, x.v["msr_bitmap_address"_f] + (write ? 2048 : 0) + (high ? 1024 : 0), index & (each - 1));
}
u32 ecx(X x) { return static_cast<u32>(x.cpu.gpr[static_cast<unsigned>(Gpr::rcx)]); }
bool rdmsr(X x) { return msr(x, ecx(x), false); }
bool wrmsr(X x) { return msr(x, ecx(x), true); }
bool rdmsrlist(X x) { return msr(x, static_cast<u32>(x.event.qualification), false); }
bool wrmsrlist(X x) { return msr(x, static_cast<u32>(x.event.qualification), true); }

// SDM Table "Exit Qualification for Control-Register Accesses"
bool control_register(X x) {
    const u64 q = x.event.qualification;
    const unsigned cr = q & 0xF, access = (q >> 4) & 3, gpr = (q >> 8) & 0xF;
    const u64 mask0 = x.v["cr0_guest_host_mask"_f], shadow0 = x.v["cr0_read_shadow"_f];
    enum { mov_to, mov_from, clts, lmsw };
    if (access == clts) return (mask0 & shadow0 & cr0_bits::ts) != 0;
    if (access == lmsw) {
        const u64 source = (q >> 16) & 0xFFFF;
        constexpr u64 mp_em_ts = cr0_bits::mp | cr0_bits::em | cr0_bits::ts;
        return (mask0 & source & ~shadow0 & cr0_bits::pe) != 0 || ((source ^ shadow0) & mask0 & mp_em_ts) != 0;
    }
    const u64 value = x.cpu.gpr[gpr];
    switch (cr) {
    case 0: return ((value ^ shadow0) & mask0) != 0;
    case 4: return ((value ^ x.v["cr4_read_shadow"_f]) & x.v["cr4_guest_host_mask"_f]) != 0;
    case 8: return x.c.has(access == mov_to ? "cr8_load_exiting"_vmx : "cr8_store_exiting"_vmx);
    default: break;
    }
    if (access == mov_from) return x.c.has("cr3_store_exiting"_vmx);
    if (!x.c.has("cr3_load_exiting"_vmx)) return false;
    for (unsigned i = 0; i < 4 && i < x.v["cr3_target_count"_f]; ++i)
        if (x.v["cr3_target_value_0"_f + i] == value) return false;
    return true;
}

bool vmcs_access(X x, Field bitmap) {
    if (!x.c.has("vmcs_shadowing"_vmx) || !x.event.operand || (*x.event.operand >> 15) != 0) return true;
    return bit_at(x, x.v[bitmap], static_cast<unsigned>(*x.event.operand));
}
bool vmread(X x) { return vmcs_access(x, "vmread_bitmap_address"_f); }
bool vmwrite(X x) { return vmcs_access(x, "vmwrite_bitmap_address"_f); }

bool invpcid(X x) { return x.c.has("enable_invpcid"_vmx) && x.c.has("invlpg_exiting"_vmx); }
bool pause(X x) {
    return x.c.has("pause_exiting"_vmx) || (x.c.has("pause_loop_exiting"_vmx) && x.cpu.cpl == 0);
}
bool wait(X x) { return x.c.has("enable_user_wait_and_pause"_vmx) && x.c.has("rdtsc_exiting"_vmx); }
bool rdtscp(X x) { return x.c.has("enable_rdtscp"_vmx) && x.c.has("rdtsc_exiting"_vmx); }
bool state_components(X x) {
    const u64 mask = (x.cpu.gpr[static_cast<unsigned>(Gpr::rdx)] << 32) |
                     static_cast<u32>(x.cpu.gpr[static_cast<unsigned>(Gpr::rax)]);
    return (mask & x.cpu.xss & x.v["xss_exiting_bitmap"_f]) != 0;
}
bool apic_access(X x) { return x.c.has("virtualize_apic_accesses"_vmx); }
bool apic_write(X x) { return x.c.has("use_tpr_shadow"_vmx); }
bool tpr_threshold(X x) {
    return x.c.has("use_tpr_shadow"_vmx) && !x.c.has("virtual_interrupt_delivery"_vmx);
}
bool virtualized_eoi(X x) {
    const unsigned vector = x.event.qualification & 0xFF;
    return x.c.has("virtual_interrupt_delivery"_vmx) &&
           ((x.v["eoi_exit_bitmap_0"_f + vector / 64] >> (vector % 64)) & 1) != 0;
}

/// A reason exits always, with a control, or by a function.
struct WantRow {
    const ExitRow* reason;
    Capability control = VmcsField::always;
    bool (*function)(X) = nullptr;
};

constexpr WantRow rows[] = {
    {"exception_or_nmi"_exit, {}, exception},
    {"external_interrupt"_exit, "external_interrupt_exiting"_vmx},
    {"triple_fault"_exit},
    {"init_signal"_exit},
    {"startup_ipi"_exit},
    {"interrupt_window"_exit, "interrupt_window_exiting"_vmx},
    {"nmi_window"_exit, "nmi_window_exiting"_vmx},
    {"task_switch"_exit},
    {"cpuid"_exit},
    {"getsec"_exit},
    {"hlt"_exit, "hlt_exiting"_vmx},
    {"invd"_exit},
    {"invlpg"_exit, "invlpg_exiting"_vmx},
    {"rdpmc"_exit, "rdpmc_exiting"_vmx},
    {"rdtsc"_exit, "rdtsc_exiting"_vmx},
    {"vmcall"_exit},
    {"vmclear"_exit},
    {"vmlaunch"_exit},
    {"vmptrld"_exit},
    {"vmptrst"_exit},
    {"vmread"_exit, {}, vmread},
    {"vmresume"_exit},
    {"vmwrite"_exit, {}, vmwrite},
    {"vmxoff"_exit},
    {"vmxon"_exit},
    {"control_register_access"_exit, {}, control_register},
    {"mov_dr"_exit, "mov_dr_exiting"_vmx},
    {"io_instruction"_exit, {}, io},
    {"rdmsr"_exit, {}, rdmsr},
    {"wrmsr"_exit, {}, wrmsr},
    {"mwait"_exit, "mwait_exiting"_vmx},
    {"monitor_trap_flag"_exit, "monitor_trap_flag"_vmx},
    {"monitor"_exit, "monitor_exiting"_vmx},
    {"pause"_exit, {}, pause},
    {"tpr_below_threshold"_exit, {}, tpr_threshold},
    {"apic_access"_exit, {}, apic_access},
    {"virtualized_eoi"_exit, {}, virtualized_eoi},
    {"gdtr_or_idtr_access"_exit, "descriptor_table_exiting"_vmx},
    {"ldtr_or_tr_access"_exit, "descriptor_table_exiting"_vmx},
    {"ept_violation"_exit, "enable_ept"_vmx},
    {"ept_misconfiguration"_exit, "enable_ept"_vmx},
    {"invept"_exit},
    {"rdtscp"_exit, {}, rdtscp},
    {"vmx_preemption_timer_expired"_exit, "activate_vmx_preemption_timer"_vmx},
    {"invvpid"_exit},
    {"wbinvd"_exit, "wbinvd_exiting"_vmx},
    {"xsetbv"_exit},
    {"apic_write"_exit, {}, apic_write},
    {"rdrand"_exit, "rdrand_exiting"_vmx},
    {"invpcid"_exit, {}, invpcid},
    {"vmfunc"_exit, "enable_vm_functions"_vmx},
    {"encls"_exit, "enable_encls_exiting"_vmx},
    {"rdseed"_exit, "rdseed_exiting"_vmx},
    {"page_modification_log_full"_exit, "enable_pml"_vmx},
    {"xsaves"_exit, {}, state_components},
    {"xrstors"_exit, {}, state_components},
    {"pconfig"_exit, "enable_pconfig"_vmx},
    {"sub_page_permission_event"_exit, "sub_page_write_permissions_for_ept"_vmx},
    {"umwait"_exit, {}, wait},
    {"tpause"_exit, {}, wait},
    {"loadiwkey"_exit, "loadiwkey_exiting"_vmx},
    {"enclv"_exit, "enable_enclv_exiting"_vmx},
    {"bus_lock"_exit, "vmm_bus_lock_detection"_vmx},
    {"instruction_timeout"_exit, "instruction_timeout"_vmx},
    {"rdmsrlist"_exit, {}, rdmsrlist},
    {"wrmsrlist"_exit, {}, wrmsrlist},
};

}  // namespace

bool wants(X x) {
    for (const WantRow& row : rows) {
        if (row.reason != x.event.row) continue;
        if (row.function != nullptr) return row.function(x);
        return row.control == VmcsField::always || x.c.has(row.control);
    }
    return false;
}

}  // namespace droste
