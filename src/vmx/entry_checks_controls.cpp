// SPDX-License-Identifier: Apache-2.0
// SDM "Checks on VMX Controls". Failure: VMfailValid(7).
#include "vmx/entry_checks.h"
#include "vmx/interruption.h"

namespace droste {

bool valid_eptp(const VmxCapabilities& caps, u64 eptp) {
    const unsigned type = eptp & 7;
    if (!(type == 6 && caps.has("ept_write_back"_vmx)) && !(type == 0 && caps.has("ept_uncacheable"_vmx)))
        return false;
    const unsigned levels = static_cast<unsigned>((eptp >> 3) & 7) + 1;
    if (!(levels == 4 && caps.has("ept_walk_length_4"_vmx)) && !(levels == 5 && caps.has("ept_walk_length_5"_vmx)))
        return false;
    if ((eptp & 0x40) != 0 && !caps.has("ept_accessed_and_dirty_flags"_vmx)) return false;
    if ((eptp & 0x80) != 0 && !caps.has("ept_supervisor_shadow_stack"_vmx)) return false;
    return (eptp & 0xF00) == 0 && caps.within_width(eptp);
}

namespace {

using X = const EntryContext&;

/// Both bits together, or the first alone, as "a implies b".
constexpr bool implies(bool a, bool b) { return !a || b; }

/// MSR areas: 16-byte aligned, first and last byte within the physical-address width.
bool msr_area(X x, Field count, Field address) {
    const u64 n = x.v[count];
    if (n == 0) return true;
    const u64 first = x.v[address];
    return (first & 0xF) == 0 && x.caps.within_width(first) && x.caps.within_width(first + n * 16 - 1);
}

// VM-execution control fields

bool pin_reserved(X x) { return x.caps.valid_control(VmxWord::pin, x.c[VmxWord::pin]); }
bool primary_reserved(X x) { return x.caps.valid_control(VmxWord::primary, x.c[VmxWord::primary]); }
bool secondary_reserved(X x) { return x.caps.valid_control(VmxWord::secondary, x.c[VmxWord::secondary]); }
bool tertiary_reserved(X x) { return x.caps.valid_control(VmxWord::tertiary, x.c[VmxWord::tertiary]); }
bool cr3_target_count(X x) { return x.v["cr3_target_count"_f] <= x.caps.cr3_targets; }
bool io_bitmap_addresses(X x) {
    return implies(x.c.has("use_io_bitmaps"_vmx), structure_address(x, x.v["io_bitmap_a_address"_f], 12) &&
                                                      structure_address(x, x.v["io_bitmap_b_address"_f], 12));
}
bool msr_bitmap_address(X x) {
    return implies(x.c.has("use_msr_bitmaps"_vmx), structure_address(x, x.v["msr_bitmap_address"_f], 12));
}
bool virtual_apic_address(X x) {
    return implies(x.c.has("use_tpr_shadow"_vmx), structure_address(x, x.v["virtual_apic_address"_f], 12));
}
bool tpr_threshold_reserved(X x) {
    return implies(x.c.has("use_tpr_shadow"_vmx) && !x.c.has("virtual_interrupt_delivery"_vmx),
                   (x.v["tpr_threshold"_f] >> 4) == 0);
}
bool tpr_threshold_value(X x) {
    if (!x.c.has("use_tpr_shadow"_vmx) || x.c.has("virtualize_apic_accesses"_vmx) ||
        x.c.has("virtual_interrupt_delivery"_vmx))
        return true;
    const u64 vtpr = x.memory(x.v["virtual_apic_address"_f] + 0x80, Width::byte);
    return (x.v["tpr_threshold"_f] & 0xF) <= (vtpr >> 4);
}
bool virtual_nmis_need_exiting(X x) {
    return implies(x.c.has("virtual_nmis"_vmx), x.c.has("nmi_exiting"_vmx));
}
bool nmi_window_needs_virtual_nmis(X x) {
    return implies(x.c.has("nmi_window_exiting"_vmx), x.c.has("virtual_nmis"_vmx));
}
bool apic_access_address(X x) {
    return implies(x.c.has("virtualize_apic_accesses"_vmx),
                   structure_address(x, x.v["apic_access_address"_f], 12));
}
bool apic_needs_tpr_shadow(X x) {
    return implies(x.c.has("virtualize_x2apic_mode"_vmx) || x.c.has("apic_register_virtualization"_vmx) ||
                       x.c.has("virtual_interrupt_delivery"_vmx) || x.c.has("ipi_virtualization"_vmx),
                   x.c.has("use_tpr_shadow"_vmx));
}
bool x2apic_excludes_apic_accesses(X x) {
    return !(x.c.has("virtualize_x2apic_mode"_vmx) && x.c.has("virtualize_apic_accesses"_vmx));
}
bool delivery_needs_interrupt_exiting(X x) {
    return implies(x.c.has("virtual_interrupt_delivery"_vmx), x.c.has("external_interrupt_exiting"_vmx));
}
bool posted_interrupts(X x) {
    if (!x.c.has("process_posted_interrupts"_vmx)) return true;
    return x.c.has("virtual_interrupt_delivery"_vmx) && x.c.has("acknowledge_interrupt_on_exit"_vmx) &&
           x.v["posted_interrupt_notification_vector"_f] <= 255 &&
           structure_address(x, x.v["posted_interrupt_descriptor_address"_f], 6);
}
bool ipi_virtualization(X x) {
    if (!x.c.has("ipi_virtualization"_vmx)) return true;
    const u64 table = x.v["pid_pointer_table_address"_f];
    return structure_address(x, table, 3) && x.caps.within_width(table + 8 * x.v["last_pid_pointer_index"_f]);
}
bool apic_timer(X x) {
    return implies(x.c.has("apic_timer_virtualization"_vmx),
                   x.c.has("virtual_interrupt_delivery"_vmx) && !x.c.has("rdtsc_exiting"_vmx) &&
                       x.v["virtual_timer_vector"_f] <= 255);
}
bool vpid_not_zero(X x) {
    return implies(x.c.has("enable_vpid"_vmx), x.v["virtual_processor_identifier"_f] != 0);
}
bool eptp(X x) { return implies(x.c.has("enable_ept"_vmx), valid_eptp(x.caps, x.v["eptp"_f])); }
bool pml(X x) {
    return implies(x.c.has("enable_pml"_vmx),
                   x.c.has("enable_ept"_vmx) && structure_address(x, x.v["pml_address"_f], 12));
}
bool unrestricted_needs_ept(X x) {
    return implies(x.c.has("unrestricted_guest"_vmx), x.c.has("enable_ept"_vmx));
}
bool translation_controls_need_ept(X x) {
    return implies(x.c.has("mode_based_execute_control_for_ept"_vmx) ||
                       x.c.has("sub_page_write_permissions_for_ept"_vmx) || x.c.has("enable_hlat"_vmx) ||
                       x.c.has("ept_paging_write_control"_vmx) || x.c.has("guest_paging_verification"_vmx),
                   x.c.has("enable_ept"_vmx));
}
bool sub_page_table(X x) {
    return implies(x.c.has("sub_page_write_permissions_for_ept"_vmx),
                   structure_address(x, x.v["sub_page_permission_table_pointer"_f], 12));
}
bool virtualization_exception_area(X x) {
    return implies(x.c.has("ept_violation_ve"_vmx),
                   structure_address(x, x.v["virtualization_exception_information_address"_f], 12));
}
bool hlat_pointer(X x) {
    const u64 hlatp = x.v["hlat_pointer"_f];
    return implies(x.c.has("enable_hlat"_vmx), (hlatp & 0xFE7) == 0 && x.caps.within_width(hlatp));
}
bool vm_functions(X x) {
    if (!x.c.has("enable_vm_functions"_vmx)) return true;
    const u64 functions = x.v["vm_function_controls"_f];
    if ((functions & ~x.caps.supported[static_cast<unsigned>(VmxWord::vmfunc)]) != 0) return false;
    return implies((functions & "eptp_switching"_vmx.mask()) != 0,
                   x.c.has("enable_ept"_vmx) && structure_address(x, x.v["eptp_list_address"_f], 12));
}
bool shadowing_bitmaps(X x) {
    return implies(x.c.has("vmcs_shadowing"_vmx),
                   structure_address(x, x.v["vmread_bitmap_address"_f], 12) &&
                       structure_address(x, x.v["vmwrite_bitmap_address"_f], 12));
}
bool tsc_multiplier(X x) { return implies(x.c.has("use_tsc_scaling"_vmx), x.v["tsc_multiplier"_f] != 0); }

// VM-exit control fields

bool exit_reserved(X x) { return x.caps.valid_control(VmxWord::exit, x.c[VmxWord::exit]); }
bool secondary_exit_reserved(X x) {
    return x.caps.valid_control(VmxWord::secondary_exit, x.c[VmxWord::secondary_exit]);
}
bool save_timer_needs_timer(X x) {
    return implies(x.c.has("save_vmx_preemption_timer_value"_vmx),
                   x.c.has("activate_vmx_preemption_timer"_vmx));
}
bool exit_msr_store_area(X x) { return msr_area(x, "exit_msr_store_count"_f, "exit_msr_store_address"_f); }
bool exit_msr_load_area(X x) { return msr_area(x, "exit_msr_load_count"_f, "exit_msr_load_address"_f); }

// VM-entry control fields

bool entry_reserved(X x) { return x.caps.valid_control(VmxWord::entry, x.c[VmxWord::entry]); }
/// FRED transitions deliver SYSCALL and SYSENTER as events too.
bool fred_guest(X x) { return (x.v["guest_cr4"_f] & cr4_bits::fred) != 0; }

bool injected_type(X x) {
    if (!x.injects()) return true;
    const unsigned type = x.injected_type();
    return type != interruption::reserved &&
           implies(type == interruption::other_event,
                   x.caps.has("monitor_trap_flag"_vmx) || x.caps.has("entry_load_ia32_fred"_vmx));
}
bool injected_vector(X x) {
    if (!x.injects()) return true;
    switch (x.injected_type()) {
    case interruption::nmi: return x.injected_vector() == 2;
    case interruption::hardware_exception: return x.injected_vector() <= 31;
    case interruption::other_event:  // a pending MTF VM exit; SYSCALL, SYSENTER
        return x.injected_vector() == 0 ? x.caps.has("monitor_trap_flag"_vmx)
                                        : x.injected_vector() <= 2 && fred_guest(x);
    default: return true;
    }
}
bool injected_error_code_bit(X x) {
    if (!x.injects()) return true;
    const bool deliver = x.entry_info() & interruption::has_code;
    // Without unrestricted guest every guest is in protected mode: a CR0 field that says otherwise is left to the
    // checks of the guest state.
    const bool protected_mode =
        !x.c.has("unrestricted_guest"_vmx) || (x.v["guest_cr0"_f] & cr0_bits::pe) != 0;
    const bool exception_of_protected_mode =
        x.injected_type() == interruption::hardware_exception && protected_mode;
    if (!exception_of_protected_mode) return !deliver;
    return x.caps.has("injection_with_any_error_code"_vmx) ||
           deliver == vector_has_error_code(x.injected_vector());
}
bool injected_nested(X x) {
    return implies(x.injects() && (x.entry_info() & interruption::nested) != 0,
                   x.injected_type() == interruption::hardware_exception &&
                       x.caps.has("nested_exceptions"_vmx));
}
bool injected_reserved(X x) { return implies(x.injects(), (x.entry_info() & 0x7FFFD000) == 0); }
bool injected_error_code(X x) {
    return implies(x.injects() && (x.entry_info() & interruption::has_code) != 0,
                   (x.v["entry_exception_error_code"_f] >> 16) == 0);
}
bool injected_length(X x) {
    const bool system_call = x.injected_type() == interruption::other_event && x.injected_vector() != 0;
    if (!x.injects() || (!interruption::software(x.injected_type()) && !system_call)) return true;
    const u64 length = x.v["entry_instruction_length"_f];
    return length <= 15 && implies(length == 0, x.caps.has("injection_with_zero_length"_vmx));
}
bool entry_msr_load_area(X x) { return msr_area(x, "entry_msr_load_count"_f, "entry_msr_load_address"_f); }

constexpr EntryCheck rows[] = {
    {"pin-based controls: reserved bits", Stage::controls, pin_reserved},
    {"primary processor-based controls: reserved bits", Stage::controls, primary_reserved},
    {"secondary processor-based controls: reserved bits", Stage::controls, secondary_reserved},
    {"tertiary processor-based controls: reserved bits", Stage::controls, tertiary_reserved},
    {"CR3-target count is not above the number of targets", Stage::controls, cr3_target_count},
    {"I/O-bitmap addresses are aligned and within the physical-address width", Stage::controls,
     io_bitmap_addresses},
    {"MSR-bitmap address is aligned and within the physical-address width", Stage::controls,
     msr_bitmap_address},
    {"virtual-APIC address is aligned and within the physical-address width", Stage::controls,
     virtual_apic_address},
    {"TPR threshold: bits 31:4 are 0", Stage::controls, tpr_threshold_reserved, {}, When::every_entry},
    {"TPR threshold is not above VTPR", Stage::controls, tpr_threshold_value, {}, When::every_entry},
    {"virtual NMIs need NMI exiting", Stage::controls, virtual_nmis_need_exiting},
    {"NMI-window exiting needs virtual NMIs", Stage::controls, nmi_window_needs_virtual_nmis},
    {"APIC-access address is aligned and within the physical-address width", Stage::controls,
     apic_access_address},
    {"APIC virtualization needs the TPR shadow", Stage::controls, apic_needs_tpr_shadow},
    {"x2APIC mode and APIC accesses are not virtualized together", Stage::controls,
     x2apic_excludes_apic_accesses},
    {"virtual-interrupt delivery needs external-interrupt exiting", Stage::controls,
     delivery_needs_interrupt_exiting},
    {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", Stage::controls,
     posted_interrupts},
    {"IPI virtualization: PID-pointer table", Stage::controls, ipi_virtualization},
    {"VPID is not 0", Stage::controls, vpid_not_zero},
    {"EPTP is valid", Stage::controls, eptp},
    {"page-modification logging needs EPT and a valid log address", Stage::controls, pml},
    {"unrestricted guest needs EPT", Stage::controls, unrestricted_needs_ept},
    {"controls of the translation by EPT need EPT", Stage::controls, translation_controls_need_ept},
    {"sub-page-permission-table pointer is aligned and within the width", Stage::controls, sub_page_table},
    {"virtualization-exception information address is aligned and within the width", Stage::controls,
     virtualization_exception_area},
    {"VM-function controls and EPTP-list address", Stage::controls, vm_functions},
    {"VMREAD- and VMWRITE-bitmap addresses are aligned and within the width", Stage::controls,
     shadowing_bitmaps},
    {"TSC multiplier is not 0", Stage::controls, tsc_multiplier},
    {"APIC-timer virtualization: delivery, no RDTSC exiting, vector", Stage::controls, apic_timer},
    {"HLAT pointer: reserved bits", Stage::controls, hlat_pointer},
    {"exit routing: links are aligned and within the physical-address width", Stage::controls, routing_links},
    {"exit routing: linked VMCSs have the revision identifier", Stage::controls, routing_revisions, {},
     When::every_entry},
    {"exit routing: the state link leads to a VMCS of its own", Stage::controls, routing_state_apart},
    {"exit routing: no link leads to the current VMCS or the VMXON region", Stage::controls,
     routing_links_foreign, {}, When::every_entry},
    {"exit routing: control and parent link lead to ordinary, launched VMCSs", Stage::controls,
     routing_hypervisors_launched, {}, When::every_entry},
    {"exit routing: policy table is aligned and within the physical-address width", Stage::controls,
     routing_policy_table},
    {"exit routing: routing controls: reserved bits", Stage::controls, routing_controls_reserved},
    {"VM-exit controls: reserved bits", Stage::controls, exit_reserved},
    {"secondary VM-exit controls: reserved bits", Stage::controls, secondary_exit_reserved},
    {"saving the VMX-preemption timer needs the timer", Stage::controls, save_timer_needs_timer},
    {"VM-exit MSR-store area", Stage::controls, exit_msr_store_area},
    {"VM-exit MSR-load area", Stage::controls, exit_msr_load_area},
    {"VM-entry controls: reserved bits", Stage::controls, entry_reserved},
    {"injected event: interruption type", Stage::controls, injected_type, {}, When::every_entry},
    {"injected event: vector fits the type", Stage::controls, injected_vector, {}, When::every_entry},
    {"injected event: deliver-error-code bit",
     Stage::controls,
     injected_error_code_bit,
     {},
     When::every_entry},
    {"injected event: nested exception", Stage::controls, injected_nested, {}, When::every_entry},
    {"injected event: reserved bits", Stage::controls, injected_reserved, {}, When::every_entry},
    {"injected event: error code", Stage::controls, injected_error_code, {}, When::every_entry},
    {"injected event: instruction length", Stage::controls, injected_length, {}, When::every_entry},
    {"VM-entry MSR-load area", Stage::controls, entry_msr_load_area},
};

constexpr EntrySection sections[] = {
    {"pin-based controls: reserved bits", "VM-Execution Control Fields"},
    {"VM-exit controls: reserved bits", "VM-Exit Control Fields"},
    {"VM-entry controls: reserved bits", "VM-Entry Control Fields"},
};

}  // namespace

std::span<const EntryCheck> control_entry_checks() { return rows; }
std::span<const EntrySection> control_entry_sections() { return sections; }

}  // namespace droste
