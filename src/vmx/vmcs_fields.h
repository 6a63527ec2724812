// SPDX-License-Identifier: Apache-2.0
// Every VMCS field, one row each: encoding, name, how a nested VMCS02 gets it, the capability that makes it
// exist.
#pragma once
#include <array>
#include <string_view>

#include "base/types.h"
#include "vmx/controls.h"

namespace droste {

// SDM Appendix "Field Encoding in VMCS": bits 14:13 width, 11:10 area, 9:1 index, 0 access type (high half).
enum class FieldSize : u8 { w16, w64, w32, natural };
enum class FieldArea : u8 { control, exit_information, guest, host };

/// Where the VMCS with which level n-1's processor runs level n+1 takes a field from. A hint for nested/, in
/// one place.
enum class Merge : u8 { from_guest, from_host, computed, bits_or, bits_and };

struct VmcsField {
    u16 encoding;
    std::string_view name;  ///< SDM name in lower snake case
    Merge merge;
    Capability needs = always;
    static constexpr Capability always{VmxWord::count, 0};

    constexpr FieldSize size() const { return static_cast<FieldSize>((encoding >> 13) & 3); }
    constexpr FieldArea area() const { return static_cast<FieldArea>((encoding >> 10) & 3); }
    constexpr unsigned index() const { return (encoding >> 1) & 0x1FF; }
    /// Of the exit-routing extension, whose fields stand apart from all others.
    constexpr bool of_routing() const { return index() >= 0x1E0; }
    constexpr bool read_only() const { return area() == FieldArea::exit_information; }
    constexpr u64 mask() const {
        return size() == FieldSize::w16 ? 0xFFFFull : size() == FieldSize::w32 ? 0xFFFFFFFFull : ~0ull;
    }
};

// clang-format off
inline constexpr auto vmcs_fields = std::to_array<VmcsField>({
    // 16-bit control
    {0x0000, "virtual_processor_identifier", Merge::computed, "enable_vpid"_vmx},
    {0x0002, "posted_interrupt_notification_vector", Merge::computed, "process_posted_interrupts"_vmx},
    {0x0004, "eptp_index", Merge::computed, "ept_violation_ve"_vmx},
    {0x0006, "hlat_prefix_size", Merge::computed, "enable_hlat"_vmx},
    {0x0008, "last_pid_pointer_index", Merge::computed, "ipi_virtualization"_vmx},
    {0x000A, "virtual_timer_vector", Merge::computed, "apic_timer_virtualization"_vmx},
    // 16-bit guest
    {0x0800, "guest_es_selector", Merge::from_guest},
    {0x0802, "guest_cs_selector", Merge::from_guest},
    {0x0804, "guest_ss_selector", Merge::from_guest},
    {0x0806, "guest_ds_selector", Merge::from_guest},
    {0x0808, "guest_fs_selector", Merge::from_guest},
    {0x080A, "guest_gs_selector", Merge::from_guest},
    {0x080C, "guest_ldtr_selector", Merge::from_guest},
    {0x080E, "guest_tr_selector", Merge::from_guest},
    {0x0810, "guest_interrupt_status", Merge::from_guest, "virtual_interrupt_delivery"_vmx},
    {0x0812, "pml_index", Merge::from_host, "enable_pml"_vmx},
    {0x0814, "guest_uinv", Merge::from_guest, "load_uinv"_vmx},
    // 16-bit host
    {0x0C00, "host_es_selector", Merge::from_host},
    {0x0C02, "host_cs_selector", Merge::from_host},
    {0x0C04, "host_ss_selector", Merge::from_host},
    {0x0C06, "host_ds_selector", Merge::from_host},
    {0x0C08, "host_fs_selector", Merge::from_host},
    {0x0C0A, "host_gs_selector", Merge::from_host},
    {0x0C0C, "host_tr_selector", Merge::from_host},
    // 64-bit control
    {0x2000, "io_bitmap_a_address", Merge::computed},
    {0x2002, "io_bitmap_b_address", Merge::computed},
    {0x2004, "msr_bitmap_address", Merge::computed, "use_msr_bitmaps"_vmx},
    {0x2006, "exit_msr_store_address", Merge::computed},
    {0x2008, "exit_msr_load_address", Merge::from_host},
    {0x200A, "entry_msr_load_address", Merge::computed},
    {0x200C, "executive_vmcs_pointer", Merge::from_host},
    {0x200E, "pml_address", Merge::from_host, "enable_pml"_vmx},
    {0x2010, "tsc_offset", Merge::computed},
    {0x2012, "virtual_apic_address", Merge::computed, "use_tpr_shadow"_vmx},
    {0x2014, "apic_access_address", Merge::computed, "virtualize_apic_accesses"_vmx},
    {0x2016, "posted_interrupt_descriptor_address", Merge::computed, "process_posted_interrupts"_vmx},
    {0x2018, "vm_function_controls", Merge::computed, "enable_vm_functions"_vmx},
    {0x201A, "eptp", Merge::computed, "enable_ept"_vmx},
    {0x201C, "eoi_exit_bitmap_0", Merge::from_guest, "virtual_interrupt_delivery"_vmx},
    {0x201E, "eoi_exit_bitmap_1", Merge::from_guest, "virtual_interrupt_delivery"_vmx},
    {0x2020, "eoi_exit_bitmap_2", Merge::from_guest, "virtual_interrupt_delivery"_vmx},
    {0x2022, "eoi_exit_bitmap_3", Merge::from_guest, "virtual_interrupt_delivery"_vmx},
    {0x2024, "eptp_list_address", Merge::computed, "enable_vm_functions"_vmx},
    {0x2026, "vmread_bitmap_address", Merge::computed, "vmcs_shadowing"_vmx},
    {0x2028, "vmwrite_bitmap_address", Merge::computed, "vmcs_shadowing"_vmx},
    {0x202A, "virtualization_exception_information_address", Merge::computed, "ept_violation_ve"_vmx},
    {0x202C, "xss_exiting_bitmap", Merge::bits_or, "enable_xsaves_xrstors"_vmx},
    {0x202E, "encls_exiting_bitmap", Merge::bits_or, "enable_encls_exiting"_vmx},
    {0x2030, "sub_page_permission_table_pointer", Merge::computed, "sub_page_write_permissions_for_ept"_vmx},
    {0x2032, "tsc_multiplier", Merge::computed, "use_tsc_scaling"_vmx},
    {0x2034, "tertiary_processor_based_controls", Merge::computed, "activate_tertiary_controls"_vmx},
    {0x2036, "enclv_exiting_bitmap", Merge::bits_or, "enable_enclv_exiting"_vmx},
    {0x2038, "low_pasid_directory_address", Merge::computed, "pasid_translation"_vmx},
    {0x203A, "high_pasid_directory_address", Merge::computed, "pasid_translation"_vmx},
    {0x203E, "pconfig_exiting_bitmap", Merge::bits_or, "enable_pconfig"_vmx},
    {0x2040, "hlat_pointer", Merge::computed, "enable_hlat"_vmx},
    {0x2042, "pid_pointer_table_address", Merge::computed, "ipi_virtualization"_vmx},
    {0x2044, "secondary_exit_controls", Merge::from_host, "activate_secondary_exit_controls"_vmx},
    {0x204A, "ia32_spec_ctrl_mask", Merge::bits_or, "virtualize_ia32_spec_ctrl"_vmx},
    {0x204C, "ia32_spec_ctrl_shadow", Merge::computed, "virtualize_ia32_spec_ctrl"_vmx},
    {0x204E, "guest_deadline_shadow", Merge::computed, "apic_timer_virtualization"_vmx},
    {0x2052, "injected_event_data", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    // 64-bit control, of exit routing (src/nested/routing); no real processor has these encodings
    {0x23C0, "state_link", Merge::computed, "exit_routing"_vmx},
    {0x23C2, "control_link", Merge::computed, "exit_routing"_vmx},
    {0x23C4, "parent_link", Merge::computed, "exit_routing"_vmx},
    {0x23C6, "reason_bitmap_0", Merge::computed, "exit_routing"_vmx},
    {0x23C8, "reason_bitmap_1", Merge::computed, "exit_routing"_vmx},
    {0x23CA, "policy_table_pointer", Merge::computed, "exit_routing"_vmx},
    // 64-bit read-only
    {0x2400, "guest_physical_address", Merge::computed, "enable_ept"_vmx},
    {0x2402, "msr_data", Merge::computed, "enable_msr_list_instructions"_vmx},
    {0x2404, "original_event_data", Merge::computed, "entry_load_ia32_fred"_vmx},
    // 64-bit guest
    {0x2800, "vmcs_link_pointer", Merge::from_host},
    {0x2802, "guest_ia32_debugctl", Merge::from_guest},
    {0x2804, "guest_ia32_pat", Merge::from_guest, "entry_load_ia32_pat"_vmx},
    {0x2806, "guest_ia32_efer", Merge::from_guest, "entry_load_ia32_efer"_vmx},
    {0x2808, "guest_ia32_perf_global_ctrl", Merge::from_guest, "entry_load_ia32_perf_global_ctrl"_vmx},
    {0x280A, "guest_pdpte0", Merge::from_guest, "enable_ept"_vmx},
    {0x280C, "guest_pdpte1", Merge::from_guest, "enable_ept"_vmx},
    {0x280E, "guest_pdpte2", Merge::from_guest, "enable_ept"_vmx},
    {0x2810, "guest_pdpte3", Merge::from_guest, "enable_ept"_vmx},
    {0x2812, "guest_ia32_bndcfgs", Merge::from_guest, "load_ia32_bndcfgs"_vmx},
    {0x2814, "guest_ia32_rtit_ctl", Merge::from_guest, "load_ia32_rtit_ctl"_vmx},
    {0x2816, "guest_ia32_lbr_ctl", Merge::from_guest, "load_guest_ia32_lbr_ctl"_vmx},
    {0x2818, "guest_ia32_pkrs", Merge::from_guest, "entry_load_pkrs"_vmx},
    {0x281A, "guest_ia32_fred_config", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x281C, "guest_ia32_fred_rsp1", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x281E, "guest_ia32_fred_rsp2", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x2820, "guest_ia32_fred_rsp3", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x2822, "guest_ia32_fred_stklvls", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x2824, "guest_ia32_fred_ssp1", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x2826, "guest_ia32_fred_ssp2", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x2828, "guest_ia32_fred_ssp3", Merge::from_guest, "entry_load_ia32_fred"_vmx},
    {0x282E, "guest_ia32_spec_ctrl", Merge::from_guest, "entry_load_ia32_spec_ctrl"_vmx},
    {0x2830, "guest_deadline", Merge::from_guest, "apic_timer_virtualization"_vmx},
    // 64-bit host
    {0x2C00, "host_ia32_pat", Merge::from_host, "exit_load_ia32_pat"_vmx},
    {0x2C02, "host_ia32_efer", Merge::from_host, "exit_load_ia32_efer"_vmx},
    {0x2C04, "host_ia32_perf_global_ctrl", Merge::from_host, "exit_load_ia32_perf_global_ctrl"_vmx},
    {0x2C06, "host_ia32_pkrs", Merge::from_host, "exit_load_pkrs"_vmx},
    {0x2C08, "host_ia32_fred_config", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C0A, "host_ia32_fred_rsp1", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C0C, "host_ia32_fred_rsp2", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C0E, "host_ia32_fred_rsp3", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C10, "host_ia32_fred_stklvls", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C12, "host_ia32_fred_ssp1", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C14, "host_ia32_fred_ssp2", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C16, "host_ia32_fred_ssp3", Merge::from_host, "exit_load_ia32_fred"_vmx},
    {0x2C1A, "host_ia32_spec_ctrl", Merge::from_host, "exit_load_ia32_spec_ctrl"_vmx},
    // 32-bit control
    {0x4000, "pin_based_controls", Merge::bits_or},
    {0x4002, "primary_processor_based_controls", Merge::computed},
    {0x4004, "exception_bitmap", Merge::bits_or},
    {0x4006, "page_fault_error_code_mask", Merge::computed},
    {0x4008, "page_fault_error_code_match", Merge::computed},
    {0x400A, "cr3_target_count", Merge::computed},
    {0x400C, "exit_controls", Merge::from_host},
    {0x400E, "exit_msr_store_count", Merge::computed},
    {0x4010, "exit_msr_load_count", Merge::from_host},
    {0x4012, "entry_controls", Merge::computed},
    {0x4014, "entry_msr_load_count", Merge::computed},
    {0x4016, "entry_interruption_information", Merge::from_guest},
    {0x4018, "entry_exception_error_code", Merge::from_guest},
    {0x401A, "entry_instruction_length", Merge::from_guest},
    {0x401C, "tpr_threshold", Merge::from_guest, "use_tpr_shadow"_vmx},
    {0x401E, "secondary_processor_based_controls", Merge::computed, "activate_secondary_controls"_vmx},
    {0x4020, "ple_gap", Merge::from_host, "pause_loop_exiting"_vmx},
    {0x4022, "ple_window", Merge::from_host, "pause_loop_exiting"_vmx},
    {0x4024, "instruction_timeout_control", Merge::from_host, "instruction_timeout"_vmx},
    // 32-bit control, of exit routing
    {0x43C0, "routing_exception_bitmap", Merge::computed, "exit_routing"_vmx},
    {0x43C2, "routing_controls", Merge::computed, "exit_routing"_vmx},
    // 32-bit read-only
    {0x4400, "vm_instruction_error", Merge::computed},
    {0x4402, "exit_reason", Merge::computed},
    {0x4404, "exit_interruption_information", Merge::computed},
    {0x4406, "exit_interruption_error_code", Merge::computed},
    {0x4408, "idt_vectoring_information", Merge::computed},
    {0x440A, "idt_vectoring_error_code", Merge::computed},
    {0x440C, "exit_instruction_length", Merge::computed},
    {0x440E, "exit_instruction_information", Merge::computed},
    // 32-bit guest
    {0x4800, "guest_es_limit", Merge::from_guest},
    {0x4802, "guest_cs_limit", Merge::from_guest},
    {0x4804, "guest_ss_limit", Merge::from_guest},
    {0x4806, "guest_ds_limit", Merge::from_guest},
    {0x4808, "guest_fs_limit", Merge::from_guest},
    {0x480A, "guest_gs_limit", Merge::from_guest},
    {0x480C, "guest_ldtr_limit", Merge::from_guest},
    {0x480E, "guest_tr_limit", Merge::from_guest},
    {0x4810, "guest_gdtr_limit", Merge::from_guest},
    {0x4812, "guest_idtr_limit", Merge::from_guest},
    {0x4814, "guest_es_access_rights", Merge::from_guest},
    {0x4816, "guest_cs_access_rights", Merge::from_guest},
    {0x4818, "guest_ss_access_rights", Merge::from_guest},
    {0x481A, "guest_ds_access_rights", Merge::from_guest},
    {0x481C, "guest_fs_access_rights", Merge::from_guest},
    {0x481E, "guest_gs_access_rights", Merge::from_guest},
    {0x4820, "guest_ldtr_access_rights", Merge::from_guest},
    {0x4822, "guest_tr_access_rights", Merge::from_guest},
    {0x4824, "guest_interruptibility_state", Merge::from_guest},
    {0x4826, "guest_activity_state", Merge::from_guest},
    {0x4828, "guest_smbase", Merge::from_guest},
    {0x482A, "guest_ia32_sysenter_cs", Merge::from_guest},
    {0x482E, "vmx_preemption_timer_value", Merge::from_guest, "activate_vmx_preemption_timer"_vmx},
    // 32-bit host
    {0x4C00, "host_ia32_sysenter_cs", Merge::from_host},
    // natural-width control
    {0x6000, "cr0_guest_host_mask", Merge::bits_or},
    {0x6002, "cr4_guest_host_mask", Merge::bits_or},
    {0x6004, "cr0_read_shadow", Merge::computed},
    {0x6006, "cr4_read_shadow", Merge::computed},
    {0x6008, "cr3_target_value_0", Merge::computed},
    {0x600A, "cr3_target_value_1", Merge::computed},
    {0x600C, "cr3_target_value_2", Merge::computed},
    {0x600E, "cr3_target_value_3", Merge::computed},
    // natural-width read-only
    {0x6400, "exit_qualification", Merge::computed},
    {0x6402, "io_rcx", Merge::computed},
    {0x6404, "io_rsi", Merge::computed},
    {0x6406, "io_rdi", Merge::computed},
    {0x6408, "io_rip", Merge::computed},
    {0x640A, "guest_linear_address", Merge::computed},
    // natural-width guest
    {0x6800, "guest_cr0", Merge::from_guest},
    {0x6802, "guest_cr3", Merge::from_guest},
    {0x6804, "guest_cr4", Merge::from_guest},
    {0x6806, "guest_es_base", Merge::from_guest},
    {0x6808, "guest_cs_base", Merge::from_guest},
    {0x680A, "guest_ss_base", Merge::from_guest},
    {0x680C, "guest_ds_base", Merge::from_guest},
    {0x680E, "guest_fs_base", Merge::from_guest},
    {0x6810, "guest_gs_base", Merge::from_guest},
    {0x6812, "guest_ldtr_base", Merge::from_guest},
    {0x6814, "guest_tr_base", Merge::from_guest},
    {0x6816, "guest_gdtr_base", Merge::from_guest},
    {0x6818, "guest_idtr_base", Merge::from_guest},
    {0x681A, "guest_dr7", Merge::from_guest},
    {0x681C, "guest_rsp", Merge::from_guest},
    {0x681E, "guest_rip", Merge::from_guest},
    {0x6820, "guest_rflags", Merge::from_guest},
    {0x6822, "guest_pending_debug_exceptions", Merge::from_guest},
    {0x6824, "guest_ia32_sysenter_esp", Merge::from_guest},
    {0x6826, "guest_ia32_sysenter_eip", Merge::from_guest},
    {0x6828, "guest_ia32_s_cet", Merge::from_guest, "entry_load_cet_state"_vmx},
    {0x682A, "guest_ssp", Merge::from_guest, "entry_load_cet_state"_vmx},
    {0x682C, "guest_ia32_interrupt_ssp_table_addr", Merge::from_guest, "entry_load_cet_state"_vmx},
    // natural-width host
    {0x6C00, "host_cr0", Merge::from_host},
    {0x6C02, "host_cr3", Merge::from_host},
    {0x6C04, "host_cr4", Merge::from_host},
    {0x6C06, "host_fs_base", Merge::from_host},
    {0x6C08, "host_gs_base", Merge::from_host},
    {0x6C0A, "host_tr_base", Merge::from_host},
    {0x6C0C, "host_gdtr_base", Merge::from_host},
    {0x6C0E, "host_idtr_base", Merge::from_host},
    {0x6C10, "host_ia32_sysenter_esp", Merge::from_host},
    {0x6C12, "host_ia32_sysenter_eip", Merge::from_host},
    {0x6C14, "host_rsp", Merge::from_host},
    {0x6C16, "host_rip", Merge::from_host},
    {0x6C18, "host_ia32_s_cet", Merge::from_host, "exit_load_cet_state"_vmx},
    {0x6C1A, "host_ssp", Merge::from_host, "exit_load_cet_state"_vmx},
    {0x6C1C, "host_ia32_interrupt_ssp_table_addr", Merge::from_host, "exit_load_cet_state"_vmx},
});
// clang-format on

namespace vmx_detail {
consteval bool vmcs_fields_ascend() {
    for (std::size_t i = 1; i < vmcs_fields.size(); ++i)
        if (vmcs_fields[i - 1].encoding >= vmcs_fields[i].encoding) return false;
    for (const VmcsField& f : vmcs_fields)
        if ((f.encoding & 0x9001) != 0 || (f.index() >= 48 && !f.of_routing()) || f.index() >= 0x1F0) return false;
    return true;
}
static_assert(vmcs_fields_ascend(), "rows are sorted and unique, encodings are well-formed");

inline constexpr u8 no_field = 0xFF;
static_assert(vmcs_fields.size() < no_field);

/// Architectural fields have indices 0 to 47; those of exit routing, 1E0H to 1EFH, take the places 48 to 63.
constexpr unsigned folded_index(u64 encoding) {
    const unsigned index = (encoding >> 1) & 0x1FF;
    return index < 48 ? index : index >= 0x1E0 && index < 0x1F0 ? index - 0x1E0 + 48 : 64;
}

/// Row by (width, area, folded index).
inline constexpr auto field_by_slot = [] {
    std::array<u8, 1024> table{};
    table.fill(no_field);
    for (std::size_t i = 0; i < vmcs_fields.size(); ++i) {
        const VmcsField& f = vmcs_fields[i];
        table[static_cast<unsigned>(f.size()) << 8 | static_cast<unsigned>(f.area()) << 6 | folded_index(f.encoding)] =
            static_cast<u8>(i);
    }
    return table;
}();

/// Place of each row's quadword in a region. Fields of exit routing come last, so that the region is laid out alike
/// with and without them.
inline constexpr auto field_place = [] {
    std::array<u16, vmcs_fields.size()> place{};
    u16 next = 0;
    for (const bool routing : {false, true})
        for (std::size_t i = 0; i < vmcs_fields.size(); ++i)
            if (vmcs_fields[i].of_routing() == routing) place[i] = next++;
    return place;
}();
}  // namespace vmx_detail

/// Names one row of vmcs_fields.
struct Field {
    u16 row = 0;
    constexpr const VmcsField& operator*() const { return vmcs_fields[row]; }
    constexpr const VmcsField* operator->() const { return &vmcs_fields[row]; }
    /// The n-th field after this one in a family, such as the selectors ES, CS, SS...
    constexpr Field operator+(unsigned n) const { return {static_cast<u16>(row + n)}; }
    friend constexpr bool operator==(Field, Field) = default;
};

/// "guest_rip"_f
consteval Field operator""_f(const char* text, std::size_t size) {
    return {static_cast<u16>(vmx_detail::row_named(vmcs_fields, {text, size}))};
}

/// The field with this encoding, access type ignored; false when no field has it.
constexpr bool field_of(u64 encoding, Field& field) {
    // Reserved bits 63:15 and 12; a high access exists for 64-bit fields alone.
    const unsigned index = vmx_detail::folded_index(encoding);
    if ((encoding & ~0x6FFFull) != 0 || index >= 64) return false;
    if ((encoding & 1) != 0 && ((encoding >> 13) & 3) != static_cast<u64>(FieldSize::w64)) return false;
    const u8 row = vmx_detail::field_by_slot[((encoding >> 13) & 3) << 8 | ((encoding >> 10) & 3) << 6 |
                                             index];
    field.row = row;
    return row != vmx_detail::no_field;
}

}  // namespace droste
