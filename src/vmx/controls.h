// SPDX-License-Identifier: Apache-2.0
// Every VMX control and capability bit that Droste has, one row each: word, bit, SDM name, generation, gate.
#pragma once
#include <array>
#include <string_view>

#include "base/types.h"
#include "cpu/gates.h"
#include "vmx/row_lookup.h"

namespace droste {

/// The words that hold control and capability bits.
enum class VmxWord : u8 {
    pin, primary, secondary, tertiary, exit, secondary_exit, entry,  // controls
    ept_vpid, misc, basic, vmfunc,                                   // capabilities without a control
    count
};
inline constexpr unsigned vmx_control_words = 7;
inline constexpr unsigned vmx_words = static_cast<unsigned>(VmxWord::count);

/// When real processors got it: a CPU model of that generation or later enumerates it.
enum class VmxSince : u8 {
    nehalem,
    westmere,
    sandy_bridge,
    ivy_bridge,
    haswell,
    broadwell,
    skylake,
    icelake,
    sapphire_rapids,
    newest,         ///< later than the models by name: `max` alone has it
    configured,     ///< of no real processor: there when the exit-routing design that needs it is configured
    unimplemented,  ///< not offered by any model; the row says in a comment who has it
};

/// How a control closes a gate of the CPU in non-root operation.
enum class GateRule : u8 { none, closed_when_set, closed_when_clear };

struct CapabilityRow {
    VmxWord word;
    u8 bit;
    std::string_view
        name;  ///< SDM name in lower snake case; entry and exit controls of one name carry a prefix
    VmxSince since = VmxSince::nehalem;
    GateRule rule = GateRule::none;
    Gate gate{};
    bool default1 = false;  ///< a default1 bit that the TRUE capability MSR lets software clear
};

/// Bits that read as 1 in the allowed-0 half of the plain capability MSRs. SDM "Reserved Controls and Default
/// Settings".
inline constexpr std::array<u32, vmx_control_words> default1_bits = {
    0x16, 0x0401E172, 0, 0, 0x00036DFF, 0, 0x000011FF};

// clang-format off
inline constexpr auto capability_rows = std::to_array<CapabilityRow>({
    // SDM "Pin-Based VM-Execution Controls"
    {VmxWord::pin, 0, "external_interrupt_exiting"},
    {VmxWord::pin, 3, "nmi_exiting"},
    {VmxWord::pin, 5, "virtual_nmis"},
    {VmxWord::pin, 6, "activate_vmx_preemption_timer"},
    {VmxWord::pin, 7, "process_posted_interrupts", VmxSince::ivy_bridge},
    // SDM "Processor-Based VM-Execution Controls", primary
    {VmxWord::primary, 2, "interrupt_window_exiting"},
    {VmxWord::primary, 3, "use_tsc_offsetting"},
    {VmxWord::primary, 7, "hlt_exiting", {}, GateRule::closed_when_set, Gate::hlt},
    {VmxWord::primary, 9, "invlpg_exiting", {}, GateRule::closed_when_set, Gate::invlpg},
    {VmxWord::primary, 10, "mwait_exiting", {}, GateRule::closed_when_set, Gate::mwait},
    {VmxWord::primary, 11, "rdpmc_exiting", {}, GateRule::closed_when_set, Gate::rdpmc},
    {VmxWord::primary, 12, "rdtsc_exiting", {}, GateRule::closed_when_set, Gate::rdtsc},
    {VmxWord::primary, 15, "cr3_load_exiting", {}, GateRule::closed_when_set, Gate::cr3_load, true},
    {VmxWord::primary, 16, "cr3_store_exiting", {}, GateRule::closed_when_set, Gate::cr3_store, true},
    {VmxWord::primary, 17, "activate_tertiary_controls", VmxSince::sapphire_rapids},
    {VmxWord::primary, 19, "cr8_load_exiting", {}, GateRule::closed_when_set, Gate::cr8_load},
    {VmxWord::primary, 20, "cr8_store_exiting", {}, GateRule::closed_when_set, Gate::cr8_store},
    {VmxWord::primary, 21, "use_tpr_shadow"},
    {VmxWord::primary, 22, "nmi_window_exiting"},
    {VmxWord::primary, 23, "mov_dr_exiting", {}, GateRule::closed_when_set, Gate::mov_dr},
    {VmxWord::primary, 24, "unconditional_io_exiting", {}, GateRule::closed_when_set, Gate::io},
    {VmxWord::primary, 25, "use_io_bitmaps", {}, GateRule::closed_when_set, Gate::io},
    {VmxWord::primary, 27, "monitor_trap_flag"},
    {VmxWord::primary, 28, "use_msr_bitmaps"},
    {VmxWord::primary, 29, "monitor_exiting", {}, GateRule::closed_when_set, Gate::monitor},
    {VmxWord::primary, 30, "pause_exiting", {}, GateRule::closed_when_set, Gate::pause},
    {VmxWord::primary, 31, "activate_secondary_controls"},
    // secondary
    {VmxWord::secondary, 0, "virtualize_apic_accesses"},
    {VmxWord::secondary, 1, "enable_ept"},
    {VmxWord::secondary, 2, "descriptor_table_exiting", VmxSince::westmere,
     GateRule::closed_when_set, Gate::descriptor_table},
    {VmxWord::secondary, 3, "enable_rdtscp", {}, GateRule::closed_when_clear, Gate::rdtscp_disabled},
    {VmxWord::secondary, 4, "virtualize_x2apic_mode"},
    {VmxWord::secondary, 5, "enable_vpid"},
    {VmxWord::secondary, 6, "wbinvd_exiting", {}, GateRule::closed_when_set, Gate::wbinvd},
    {VmxWord::secondary, 7, "unrestricted_guest", VmxSince::westmere},
    {VmxWord::secondary, 8, "apic_register_virtualization", VmxSince::ivy_bridge},
    {VmxWord::secondary, 9, "virtual_interrupt_delivery", VmxSince::ivy_bridge},
    {VmxWord::secondary, 10, "pause_loop_exiting", {}, GateRule::closed_when_set, Gate::pause},
    {VmxWord::secondary, 11, "rdrand_exiting", VmxSince::ivy_bridge, GateRule::closed_when_set, Gate::rdrand},
    {VmxWord::secondary, 12, "enable_invpcid", VmxSince::haswell,
     GateRule::closed_when_clear, Gate::invpcid_disabled},
    {VmxWord::secondary, 13, "enable_vm_functions", VmxSince::haswell,
     GateRule::closed_when_clear, Gate::vmfunc_disabled},
    {VmxWord::secondary, 14, "vmcs_shadowing", VmxSince::haswell},
    {VmxWord::secondary, 15, "enable_encls_exiting", VmxSince::unimplemented},  // skylake, with SGX
    {VmxWord::secondary, 16, "rdseed_exiting", VmxSince::broadwell, GateRule::closed_when_set, Gate::rdseed},
    {VmxWord::secondary, 17, "enable_pml", VmxSince::broadwell},
    {VmxWord::secondary, 18, "ept_violation_ve", VmxSince::broadwell},
    {VmxWord::secondary, 19, "conceal_vmx_from_pt", VmxSince::unimplemented},  // skylake
    {VmxWord::secondary, 20, "enable_xsaves_xrstors", VmxSince::skylake,
     GateRule::closed_when_clear, Gate::xsaves_disabled},
    {VmxWord::secondary, 21, "pasid_translation", VmxSince::unimplemented},  // sapphire_rapids
    {VmxWord::secondary, 22, "mode_based_execute_control_for_ept", VmxSince::skylake},
    {VmxWord::secondary, 23, "sub_page_write_permissions_for_ept", VmxSince::icelake},
    {VmxWord::secondary, 24, "intel_pt_uses_guest_physical_addresses", VmxSince::unimplemented},  // icelake
    {VmxWord::secondary, 25, "use_tsc_scaling", VmxSince::skylake},
    {VmxWord::secondary, 26, "enable_user_wait_and_pause", VmxSince::sapphire_rapids,
     GateRule::closed_when_clear, Gate::wait_pause_disabled},
    {VmxWord::secondary, 27, "enable_pconfig", VmxSince::unimplemented,                       // icelake
     GateRule::closed_when_clear, Gate::pconfig_disabled},
    {VmxWord::secondary, 28, "enable_enclv_exiting", VmxSince::unimplemented},  // icelake, with SGX
    {VmxWord::secondary, 30, "vmm_bus_lock_detection", VmxSince::sapphire_rapids},
    {VmxWord::secondary, 31, "instruction_timeout", VmxSince::sapphire_rapids},
    // tertiary
    {VmxWord::tertiary, 0, "loadiwkey_exiting", VmxSince::unimplemented},  // newest, with Key Locker
    {VmxWord::tertiary, 1, "enable_hlat", VmxSince::newest},
    {VmxWord::tertiary, 2, "ept_paging_write_control", VmxSince::newest},
    {VmxWord::tertiary, 3, "guest_paging_verification", VmxSince::newest},
    {VmxWord::tertiary, 4, "ipi_virtualization", VmxSince::sapphire_rapids},
    {VmxWord::tertiary, 6, "enable_msr_list_instructions", VmxSince::newest, GateRule::closed_when_clear,
     Gate::msrlist_disabled},
    {VmxWord::tertiary, 7, "virtualize_ia32_spec_ctrl", VmxSince::newest},
    {VmxWord::tertiary, 8, "apic_timer_virtualization", VmxSince::newest},
    {VmxWord::tertiary, 32, "exit_routing", VmxSince::configured},
    // SDM "VM-Exit Controls"
    {VmxWord::exit, 2, "save_debug_controls", {}, {}, {}, true},
    {VmxWord::exit, 9, "host_address_space_size"},
    {VmxWord::exit, 12, "exit_load_ia32_perf_global_ctrl", VmxSince::unimplemented},  // nehalem
    {VmxWord::exit, 15, "acknowledge_interrupt_on_exit"},
    {VmxWord::exit, 18, "save_ia32_pat"},
    {VmxWord::exit, 19, "exit_load_ia32_pat"},
    {VmxWord::exit, 20, "save_ia32_efer"},
    {VmxWord::exit, 21, "exit_load_ia32_efer"},
    {VmxWord::exit, 22, "save_vmx_preemption_timer_value"},
    {VmxWord::exit, 23, "clear_ia32_bndcfgs", VmxSince::skylake},
    {VmxWord::exit, 24, "exit_conceal_vmx_from_pt", VmxSince::unimplemented},  // skylake
    {VmxWord::exit, 25, "clear_ia32_rtit_ctl", VmxSince::unimplemented},  // icelake
    {VmxWord::exit, 26, "clear_ia32_lbr_ctl", VmxSince::unimplemented},  // sapphire_rapids
    {VmxWord::exit, 27, "clear_uinv", VmxSince::sapphire_rapids},
    {VmxWord::exit, 28, "exit_load_cet_state", VmxSince::sapphire_rapids},
    {VmxWord::exit, 29, "exit_load_pkrs", VmxSince::sapphire_rapids},
    {VmxWord::exit, 30, "save_ia32_perf_global_ctl", VmxSince::unimplemented},  // sapphire_rapids
    {VmxWord::exit, 31, "activate_secondary_exit_controls", VmxSince::sapphire_rapids},
    // secondary VM-exit controls
    {VmxWord::secondary_exit, 0, "save_ia32_fred", VmxSince::newest},
    {VmxWord::secondary_exit, 1, "exit_load_ia32_fred", VmxSince::newest},
    {VmxWord::secondary_exit, 2, "exit_load_ia32_spec_ctrl", VmxSince::newest},
    {VmxWord::secondary_exit, 3, "prematurely_busy_shadow_stack", VmxSince::newest},
    // SDM "VM-Entry Controls"
    {VmxWord::entry, 2, "load_debug_controls", {}, {}, {}, true},
    {VmxWord::entry, 9, "ia32e_mode_guest"},
    {VmxWord::entry, 10, "entry_to_smm", VmxSince::unimplemented},  // nehalem
    {VmxWord::entry, 11, "deactivate_dual_monitor_treatment", VmxSince::unimplemented},  // nehalem
    {VmxWord::entry, 13, "entry_load_ia32_perf_global_ctrl", VmxSince::unimplemented},
    {VmxWord::entry, 14, "entry_load_ia32_pat"},
    {VmxWord::entry, 15, "entry_load_ia32_efer"},
    {VmxWord::entry, 16, "load_ia32_bndcfgs", VmxSince::skylake},
    {VmxWord::entry, 17, "entry_conceal_vmx_from_pt", VmxSince::unimplemented},  // skylake
    {VmxWord::entry, 18, "load_ia32_rtit_ctl", VmxSince::unimplemented},  // icelake
    {VmxWord::entry, 19, "load_uinv", VmxSince::sapphire_rapids},
    {VmxWord::entry, 20, "entry_load_cet_state", VmxSince::sapphire_rapids},
    {VmxWord::entry, 21, "load_guest_ia32_lbr_ctl", VmxSince::unimplemented},  // sapphire_rapids
    {VmxWord::entry, 22, "entry_load_pkrs", VmxSince::sapphire_rapids},
    {VmxWord::entry, 23, "entry_load_ia32_fred", VmxSince::newest},
    {VmxWord::entry, 24, "entry_load_ia32_spec_ctrl", VmxSince::newest},
    // SDM "VPID and EPT Capabilities"
    {VmxWord::ept_vpid, 0, "ept_execute_only"},
    {VmxWord::ept_vpid, 6, "ept_walk_length_4"},
    {VmxWord::ept_vpid, 7, "ept_walk_length_5", VmxSince::icelake},
    {VmxWord::ept_vpid, 8, "ept_uncacheable"},
    {VmxWord::ept_vpid, 14, "ept_write_back"},
    {VmxWord::ept_vpid, 16, "ept_2m_pages"},
    {VmxWord::ept_vpid, 17, "ept_1g_pages", VmxSince::westmere},
    {VmxWord::ept_vpid, 20, "invept"},
    {VmxWord::ept_vpid, 21, "ept_accessed_and_dirty_flags", VmxSince::haswell},
    {VmxWord::ept_vpid, 22, "ept_violation_advanced_information", VmxSince::skylake},
    {VmxWord::ept_vpid, 23, "ept_supervisor_shadow_stack", VmxSince::sapphire_rapids},
    {VmxWord::ept_vpid, 25, "invept_single_context"},
    {VmxWord::ept_vpid, 26, "invept_all_contexts"},
    {VmxWord::ept_vpid, 32, "invvpid"},
    {VmxWord::ept_vpid, 40, "invvpid_individual_address"},
    {VmxWord::ept_vpid, 41, "invvpid_single_context"},
    {VmxWord::ept_vpid, 42, "invvpid_all_contexts"},
    {VmxWord::ept_vpid, 43, "invvpid_single_context_retaining_globals"},
    // SDM "Miscellaneous Data"
    {VmxWord::misc, 5, "store_efer_lma", VmxSince::westmere},
    {VmxWord::misc, 6, "activity_state_hlt"},
    {VmxWord::misc, 7, "activity_state_shutdown"},
    {VmxWord::misc, 8, "activity_state_wait_for_sipi"},
    {VmxWord::misc, 14, "intel_pt_in_vmx", VmxSince::unimplemented},  // skylake
    {VmxWord::misc, 15, "rdmsr_smbase_in_smm", VmxSince::unimplemented},  // nehalem
    {VmxWord::misc, 28, "smm_monitor_ctl_bit_2", VmxSince::unimplemented},  // nehalem
    {VmxWord::misc, 29, "vmwrite_any_field", VmxSince::haswell},
    {VmxWord::misc, 30, "injection_with_zero_length", VmxSince::skylake},
    // SDM "Basic VMX Information"
    {VmxWord::basic, 49, "dual_monitor_treatment", VmxSince::unimplemented},  // nehalem
    {VmxWord::basic, 54, "ins_outs_information"},
    {VmxWord::basic, 55, "true_control_msrs"},
    {VmxWord::basic, 56, "injection_with_any_error_code", VmxSince::icelake},
    {VmxWord::basic, 58, "nested_exceptions", VmxSince::newest},
    // SDM "VM Functions"
    {VmxWord::vmfunc, 0, "eptp_switching", VmxSince::haswell},
});
// clang-format on

/// Names one row of capability_rows.
struct Capability {
    VmxWord word{};
    u8 bit{};
    constexpr u64 mask() const { return 1ull << bit; }
    friend constexpr bool operator==(Capability, Capability) = default;
};

/// "hlt_exiting"_vmx
consteval Capability operator""_vmx(const char* text, std::size_t size) {
    const CapabilityRow& row = capability_rows[vmx_detail::row_named(capability_rows, {text, size})];
    return {row.word, row.bit};
}

namespace vmx_detail {
consteval bool capability_rows_ascend() {
    for (std::size_t i = 1; i < capability_rows.size(); ++i) {
        const CapabilityRow &a = capability_rows[i - 1], &b = capability_rows[i];
        if (a.word > b.word || (a.word == b.word && a.bit >= b.bit)) return false;
    }
    return true;
}
static_assert(capability_rows_ascend(), "rows are sorted and unique");
}  // namespace vmx_detail

/// The control words of one VMCS, as VM entry uses them.
struct Controls {
    std::array<u64, vmx_control_words> word{};
    constexpr bool has(Capability c) const { return (word[static_cast<unsigned>(c.word)] >> c.bit) & 1; }
    constexpr u64& operator[](VmxWord w) { return word[static_cast<unsigned>(w)]; }
    constexpr u64 operator[](VmxWord w) const { return word[static_cast<unsigned>(w)]; }
    friend constexpr bool operator==(const Controls&, const Controls&) = default;
};

}  // namespace droste
