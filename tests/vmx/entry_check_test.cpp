// SPDX-License-Identifier: Apache-2.0
// Each check of VM entry: a VMCS that passes, and one that this check alone, first of all, refuses.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "vmx_machine.h"

namespace droste::test {
namespace {

using Break = std::function<void(VmxMachine&)>;
constexpr u64 beyond = 1ull << 46;  ///< the first address outside the physical-address width

struct Vector {
    std::string_view check;
    Break prepare;  ///< still valid
    Break spoil;    ///< not valid any more
};

void inject(VmxMachine& m, u32 information, u64 code = 0, u64 length = 0) {
    m.set("entry_interruption_information"_f, information);
    m.set("entry_exception_error_code"_f, code);
    m.set("entry_instruction_length"_f, length);
}
void apic(VmxMachine& m) { m.enable("use_tpr_shadow"_vmx); }
void delivery(VmxMachine& m) {
    apic(m);
    m.enable("external_interrupt_exiting"_vmx);
    m.enable("virtual_interrupt_delivery"_vmx);
}
void posted(VmxMachine& m) {
    delivery(m);
    m.enable("acknowledge_interrupt_on_exit"_vmx);
    m.enable("process_posted_interrupts"_vmx);
}
void unrestricted(VmxMachine& m) {
    m.enable_ept();
    m.enable("unrestricted_guest"_vmx);
}
void real_mode_guest(VmxMachine& m) {
    unrestricted(m);
    m.disable("ia32e_mode_guest"_vmx);
    m.drop("guest_cr0"_f, cr0_bits::pe | cr0_bits::pg);
    for (unsigned i = 0; i < 6; ++i) m.set("guest_es_access_rights"_f + i, 0x93);
    m.set("guest_cs_access_rights"_f, 0x9B);
    for (unsigned i = 0; i < 6; ++i) m.set("guest_es_limit"_f + i, 0xFFFF);
}
void guest32(VmxMachine& m) {  ///< protected mode with PAE paging by EPT's PDPTE fields
    m.enable_ept();
    m.disable("ia32e_mode_guest"_vmx);
    m.set("guest_cs_access_rights"_f, 0xC09B);
}
void v86_guest(VmxMachine& m) {
    guest32(m);
    m.set("guest_rflags"_f, 2 | rflags_bits::vm);
    for (unsigned i = 0; i < 6; ++i) {
        m.set("guest_es_selector"_f + i, 0x100);
        m.set("guest_es_base"_f + i, 0x1000);
        m.set("guest_es_limit"_f + i, 0xFFFF);
        m.set("guest_es_access_rights"_f + i, 0xF3);
    }
}
void ipi(VmxMachine& m) {
    apic(m);
    m.enable("ipi_virtualization"_vmx);
    m.set("pid_pointer_table_address"_f, VmxMachine::pid_table);
    m.set("last_pid_pointer_index"_f, 3);
}
void apic_timer(VmxMachine& m) {
    delivery(m);
    m.enable("apic_timer_virtualization"_vmx);
    m.set("virtual_timer_vector"_f, 0xFF);
}
/// Guest state in a shadow VMCS, the hypervisor in a launched ordinary one.
void routing(VmxMachine& m) {
    m.enable("exit_routing"_vmx);
    m.poke<u32>(VmxMachine::vmcs_b + vmcs_layout::launch_state, 1);
    m.set("state_link"_f, VmxMachine::shadow_vmcs);
    m.set("control_link"_f, VmxMachine::vmcs_b);
    m.set("parent_link"_f, ~0ull);
}
void routing_table(VmxMachine& m) {
    routing(m);
    m.set("routing_controls"_f, 1);
    m.set("policy_table_pointer"_f, 0x40);
}
void host_cet(VmxMachine& m) { m.enable("exit_load_cet_state"_vmx); }
void guest_cet(VmxMachine& m) { m.enable("entry_load_cet_state"_vmx); }
void host_fred(VmxMachine& m) { m.enable("exit_load_ia32_fred"_vmx); }
void guest_fred(VmxMachine& m) { m.enable("entry_load_ia32_fred"_vmx); }
void fred_transitions(VmxMachine& m) { m.add("guest_cr4"_f, cr4_bits::fred); }
void user_guest(VmxMachine& m) {
    m.set("guest_cs_selector"_f, 0x1B), m.set("guest_ss_selector"_f, 0x23);
    m.set("guest_cs_access_rights"_f, 0xA0FB), m.set("guest_ss_access_rights"_f, 0xC0F3);
}
Break without(Capability c) { return [=](VmxMachine& m) { m.disable(c); }; }
Break nothing() { return [](VmxMachine&) {}; }
Break on(Field f, u64 value) { return [=](VmxMachine& m) { m.set(f, value); }; }
Break with(Capability c) { return [=](VmxMachine& m) { m.enable(c); }; }
Break bits_on(Field f, u64 bits) { return [=](VmxMachine& m) { m.add(f, bits); }; }
Break bits_off(Field f, u64 bits) { return [=](VmxMachine& m) { m.drop(f, bits); }; }

const std::vector<Vector>& vectors() {
    using namespace interruptibility_bits;
    static const std::vector<Vector> list = {
        {"pin-based controls: reserved bits", nothing(), bits_on("pin_based_controls"_f, 1u << 8)},
        {"primary processor-based controls: reserved bits", nothing(),
         bits_off("primary_processor_based_controls"_f, 2)},
        {"secondary processor-based controls: reserved bits", nothing(),
         bits_on("secondary_processor_based_controls"_f, 1u << 15)},
        {"CR3-target count is not above the number of targets", on("cr3_target_count"_f, 4),
         on("cr3_target_count"_f, 5)},
        {"I/O-bitmap addresses are aligned and within the physical-address width", with("use_io_bitmaps"_vmx),
         on("io_bitmap_b_address"_f, 0x1001)},
        {"MSR-bitmap address is aligned and within the physical-address width", with("use_msr_bitmaps"_vmx),
         on("msr_bitmap_address"_f, beyond)},
        {"virtual-APIC address is aligned and within the physical-address width", apic,
         on("virtual_apic_address"_f, 0x800)},
        {"TPR threshold: bits 31:4 are 0", apic, on("tpr_threshold"_f, 0x10)},
        {"TPR threshold is not above VTPR",
         [](VmxMachine& m) {
             apic(m);
             m.poke<u8>(VmxMachine::virtual_apic + 0x80, 0x50);
             m.set("tpr_threshold"_f, 5);
         },
         on("tpr_threshold"_f, 6)},
        {"virtual NMIs need NMI exiting",
         [](VmxMachine& m) { m.enable("nmi_exiting"_vmx), m.enable("virtual_nmis"_vmx); },
         [](VmxMachine& m) { m.disable("nmi_exiting"_vmx); }},
        {"NMI-window exiting needs virtual NMIs",
         [](VmxMachine& m) {
             m.enable("nmi_exiting"_vmx), m.enable("virtual_nmis"_vmx), m.enable("nmi_window_exiting"_vmx);
         },
         [](VmxMachine& m) { m.disable("virtual_nmis"_vmx); }},
        {"APIC-access address is aligned and within the physical-address width",
         with("virtualize_apic_accesses"_vmx), on("apic_access_address"_f, 0x123)},
        {"APIC virtualization needs the TPR shadow",
         [](VmxMachine& m) { apic(m), m.enable("virtualize_x2apic_mode"_vmx); },
         [](VmxMachine& m) { m.disable("use_tpr_shadow"_vmx); }},
        {"APIC virtualization needs the TPR shadow", ipi, without("use_tpr_shadow"_vmx)},
        {"x2APIC mode and APIC accesses are not virtualized together",
         [](VmxMachine& m) { apic(m), m.enable("virtualize_x2apic_mode"_vmx); },
         with("virtualize_apic_accesses"_vmx)},
        {"virtual-interrupt delivery needs external-interrupt exiting", delivery,
         [](VmxMachine& m) { m.disable("external_interrupt_exiting"_vmx); }},
        {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", posted,
         on("posted_interrupt_notification_vector"_f, 256)},
        {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", posted,
         on("posted_interrupt_descriptor_address"_f, VmxMachine::posted_descriptor + 0x20)},
        {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", posted,
         on("posted_interrupt_descriptor_address"_f, beyond)},
        {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", posted,
         without("acknowledge_interrupt_on_exit"_vmx)},
        {"posted interrupts: delivery, acknowledge on exit, vector, descriptor", posted,
         without("virtual_interrupt_delivery"_vmx)},
        {"IPI virtualization: PID-pointer table", ipi, on("pid_pointer_table_address"_f, 0x1004)},
        {"IPI virtualization: PID-pointer table", ipi, on("pid_pointer_table_address"_f, beyond)},
        {"IPI virtualization: PID-pointer table",
         [](VmxMachine& m) {
             ipi(m);
             m.set("pid_pointer_table_address"_f, beyond - 16);
             m.set("last_pid_pointer_index"_f, 1);
         },
         on("last_pid_pointer_index"_f, 2)},
        {"APIC-timer virtualization: delivery, no RDTSC exiting, vector", apic_timer,
         on("virtual_timer_vector"_f, 256)},
        {"APIC-timer virtualization: delivery, no RDTSC exiting, vector", apic_timer,
         with("rdtsc_exiting"_vmx)},
        {"APIC-timer virtualization: delivery, no RDTSC exiting, vector", apic_timer,
         without("virtual_interrupt_delivery"_vmx)},
        {"VPID is not 0", with("enable_vpid"_vmx), on("virtual_processor_identifier"_f, 0)},
        {"EPTP is valid", [](VmxMachine& m) { m.enable_ept(); }, bits_on("eptp"_f, 0x100)},
        {"page-modification logging needs EPT and a valid log address",
         [](VmxMachine& m) { m.enable_ept(), m.enable("enable_pml"_vmx); },
         [](VmxMachine& m) { m.disable("enable_ept"_vmx); }},
        {"unrestricted guest needs EPT", unrestricted, [](VmxMachine& m) { m.disable("enable_ept"_vmx); }},
        {"controls of the translation by EPT need EPT",
         [](VmxMachine& m) { m.enable_ept(), m.enable("mode_based_execute_control_for_ept"_vmx); },
         [](VmxMachine& m) { m.disable("enable_ept"_vmx); }},
        {"sub-page-permission-table pointer is aligned and within the width",
         [](VmxMachine& m) { m.enable_ept(), m.enable("sub_page_write_permissions_for_ept"_vmx); },
         on("sub_page_permission_table_pointer"_f, beyond)},
        {"virtualization-exception information address is aligned and within the width",
         with("ept_violation_ve"_vmx), on("virtualization_exception_information_address"_f, 0x40)},
        {"HLAT pointer: reserved bits",
         [](VmxMachine& m) {
             m.enable_ept(), m.enable("activate_tertiary_controls"_vmx), m.enable("enable_hlat"_vmx);
             m.set("hlat_pointer"_f, 0x5018);
         },
         bits_on("hlat_pointer"_f, 0x20)},
        {"VM-function controls and EPTP-list address",
         [](VmxMachine& m) {
             m.enable_ept(), m.enable("enable_vm_functions"_vmx);
             m.set("vm_function_controls"_f, 1);
         },
         on("vm_function_controls"_f, 2)},
        {"VMREAD- and VMWRITE-bitmap addresses are aligned and within the width", with("vmcs_shadowing"_vmx),
         on("vmwrite_bitmap_address"_f, 8)},
        {"TSC multiplier is not 0",
         [](VmxMachine& m) { m.enable("use_tsc_offsetting"_vmx), m.enable("use_tsc_scaling"_vmx); },
         on("tsc_multiplier"_f, 0)},
        {"VM-exit controls: reserved bits", nothing(), bits_on("exit_controls"_f, 1u << 26)},
        {"VM-exit controls: reserved bits", nothing(), bits_off("exit_controls"_f, 1)},
        {"tertiary processor-based controls: reserved bits", ipi,
         bits_on("tertiary_processor_based_controls"_f, 1ull << 5)},
        {"tertiary processor-based controls: reserved bits", ipi,
         bits_on("tertiary_processor_based_controls"_f, 1ull << 63)},
        {"secondary VM-exit controls: reserved bits", with("exit_load_ia32_spec_ctrl"_vmx),
         bits_on("secondary_exit_controls"_f, 1ull << 40)},
        {"saving the VMX-preemption timer needs the timer",
         [](VmxMachine& m) {
             m.enable("activate_vmx_preemption_timer"_vmx), m.enable("save_vmx_preemption_timer_value"_vmx);
         },
         [](VmxMachine& m) { m.disable("activate_vmx_preemption_timer"_vmx); }},
        {"VM-exit MSR-store area", on("exit_msr_store_count"_f, 1), on("exit_msr_store_address"_f, 8)},
        {"VM-exit MSR-load area",
         [](VmxMachine& m) {
             m.set("exit_msr_load_address"_f, VmxMachine::msr_list);
             m.set("exit_msr_load_count"_f, 1);
         },
         on("exit_msr_load_address"_f, beyond - 16 + 16)},
        {"VM-entry controls: reserved bits", nothing(), bits_off("entry_controls"_f, 1)},
        {"exit routing: links are aligned and within the physical-address width", routing,
         on("state_link"_f, VmxMachine::shadow_vmcs + 8)},
        {"exit routing: links are aligned and within the physical-address width", routing,
         on("control_link"_f, beyond)},
        {"exit routing: links are aligned and within the physical-address width", routing, on("parent_link"_f, ~1ull)},
        {"exit routing: linked VMCSs have the revision identifier", routing, on("state_link"_f, VmxMachine::msr_list)},
        {"exit routing: linked VMCSs have the revision identifier", routing,
         [](VmxMachine& m) { m.poke<u32>(VmxMachine::vmcs_b, 5); }},
        {"exit routing: the state link leads to a VMCS of its own", routing, on("state_link"_f, VmxMachine::vmcs_b)},
        {"exit routing: the state link leads to a VMCS of its own", routing,
         [](VmxMachine& m) {
             m.set("control_link"_f, ~0ull), m.set("state_link"_f, VmxMachine::vmcs_b),
                 m.set("parent_link"_f, VmxMachine::vmcs_b);
         }},
        {"exit routing: no link leads to the current VMCS or the VMXON region", routing,
         on("state_link"_f, VmxMachine::vmcs_a)},
        {"exit routing: no link leads to the current VMCS or the VMXON region", routing,
         on("control_link"_f, VmxMachine::vmxon_region)},
        {"exit routing: control and parent link lead to ordinary, launched VMCSs", routing,
         [](VmxMachine& m) { m.poke<u32>(VmxMachine::vmcs_b + vmcs_layout::launch_state, 0); }},
        {"exit routing: control and parent link lead to ordinary, launched VMCSs", routing,
         [](VmxMachine& m) { m.set("state_link"_f, ~0ull), m.set("control_link"_f, VmxMachine::shadow_vmcs); }},
        {"exit routing: policy table is aligned and within the physical-address width", routing_table,
         on("policy_table_pointer"_f, 0x20)},
        {"exit routing: policy table is aligned and within the physical-address width", routing_table,
         on("policy_table_pointer"_f, beyond)},
        {"exit routing: routing controls: reserved bits", routing, on("routing_controls"_f, 8)},
        {"exit routing: routing controls: reserved bits", routing, on("routing_controls"_f, 1u << 16)},
        {"injected event: interruption type", [](VmxMachine& m) { inject(m, 0x80000302); },
         [](VmxMachine& m) { inject(m, 0x80000120); }},
        {"injected event: vector fits the type", [](VmxMachine& m) { inject(m, 0x80000202); },
         [](VmxMachine& m) { inject(m, 0x80000203); }},
        {"injected event: deliver-error-code bit", [](VmxMachine& m) { inject(m, 0x80000B0D); },
         [](VmxMachine& m) { inject(m, 0x80000A02); }},
        {"injected event: vector fits the type",
         [](VmxMachine& m) {
             fred_transitions(m);
             inject(m, 0x80000702);
         },
         [](VmxMachine& m) { inject(m, 0x80000703); }},
        {"injected event: vector fits the type",
         [](VmxMachine& m) {
             fred_transitions(m);
             inject(m, 0x80000701);
         },
         bits_off("guest_cr4"_f, cr4_bits::fred)},
        {"injected event: vector fits the type", [](VmxMachine& m) { inject(m, 0x8000031F); },
         [](VmxMachine& m) { inject(m, 0x80000320); }},
        {"injected event: nested exception", [](VmxMachine& m) { inject(m, 0x80002306); },
         [](VmxMachine& m) { inject(m, 0x80002202); }},
        {"injected event: reserved bits", [](VmxMachine& m) { inject(m, 0x80000306); },
         [](VmxMachine& m) { inject(m, 0x80004306); }},
        {"injected event: reserved bits", [](VmxMachine& m) { inject(m, 0x80000306); },
         [](VmxMachine& m) { inject(m, 0x80001306); }},
        {"injected event: error code", [](VmxMachine& m) { inject(m, 0x80000B0D, 0xFFFF); },
         [](VmxMachine& m) { inject(m, 0x80000B0D, 0x10000); }},
        {"injected event: instruction length", [](VmxMachine& m) { inject(m, 0x80000603, 0, 15); },
         [](VmxMachine& m) { inject(m, 0x80000603, 0, 16); }},
        {"VM-entry MSR-load area", nothing(),
         [](VmxMachine& m) {
             m.set("entry_msr_load_address"_f, beyond - 16);
             m.set("entry_msr_load_count"_f, 2);
         }},

        {"host CR0 obeys the fixed bits", nothing(), bits_off("host_cr0"_f, cr0_bits::ne)},
        {"host CR4 obeys the fixed bits", nothing(), bits_off("host_cr4"_f, cr4_bits::vmxe)},
        {"host CR3 is within the physical-address width", nothing(), bits_on("host_cr3"_f, beyond)},
        {"host IA32_SYSENTER_ESP and EIP are canonical", on("host_ia32_sysenter_esp"_f, 0xFFFF800000000000),
         on("host_ia32_sysenter_eip"_f, 0x800000000000)},
        {"host IA32_PAT holds memory types", with("exit_load_ia32_pat"_vmx), on("host_ia32_pat"_f, 2)},
        {"host IA32_EFER: reserved bits", with("exit_load_ia32_efer"_vmx), bits_on("host_ia32_efer"_f, 2)},
        {"host IA32_EFER.LMA and LME equal the host address-space size", with("exit_load_ia32_efer"_vmx),
         bits_off("host_ia32_efer"_f, efer_bits::lme)},
        {"host CR4.CET needs CR0.WP",
         [](VmxMachine& m) {
             m.add("host_cr4"_f, cr4_bits::cet);
             m.add("host_cr0"_f, cr0_bits::wp);
         },
         bits_off("host_cr0"_f, cr0_bits::wp)},
        {"host IA32_S_CET: reserved bits",
         [](VmxMachine& m) {
             host_cet(m);
             m.set("host_ia32_s_cet"_f, 0x7FFFFFFFF43F);
         },
         on("host_ia32_s_cet"_f, 0x40)},
        {"host IA32_S_CET: reserved bits", host_cet, on("host_ia32_s_cet"_f, 0x200)},
        {"host IA32_S_CET: reserved bits", host_cet, on("host_ia32_s_cet"_f, 0xC00)},
        {"host SSP: bits 1:0 are 0",
         [](VmxMachine& m) {
             host_cet(m);
             m.set("host_ssp"_f, 0x1004);
         },
         on("host_ssp"_f, 0x1002)},
        {"host IA32_PKRS: bits 63:32 are 0",
         [](VmxMachine& m) {
             m.enable("exit_load_pkrs"_vmx);
             m.set("host_ia32_pkrs"_f, 0xFFFFFFFF);
         },
         on("host_ia32_pkrs"_f, 1ull << 32)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_config"_f, 1 << 2)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_config"_f, 1 << 4)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_config"_f, 1 << 5)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_config"_f, 1 << 11)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_config"_f, 1ull << 60)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_rsp1"_f, 0x20)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_rsp3"_f, 1ull << 60)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_ssp1"_f, 4)},
        {"host FRED MSRs", host_fred, on("host_ia32_fred_ssp3"_f, 1ull << 60)},
        {"host IA32_SPEC_CTRL: reserved bits",
         [](VmxMachine& m) {
             m.enable("exit_load_ia32_spec_ctrl"_vmx);
             m.set("host_ia32_spec_ctrl"_f, 7);
         },
         on("host_ia32_spec_ctrl"_f, 8)},
        {"host IA32_S_CET and SSP fit the address-space size", host_cet, on("host_ssp"_f, 1ull << 60)},
        {"host IA32_S_CET and SSP fit the address-space size", host_cet, on("host_ia32_s_cet"_f, 1ull << 60)},
        {"host IA32_INTERRUPT_SSP_TABLE_ADDR is canonical", host_cet,
         on("host_ia32_interrupt_ssp_table_addr"_f, 1ull << 60)},
        {"host selectors: RPL and TI are 0", nothing(), on("host_fs_selector"_f, 3)},
        {"host CS is not null", nothing(), on("host_cs_selector"_f, 0)},
        {"host TR is not null", nothing(), on("host_tr_selector"_f, 0)},
        {"host bases of FS, GS, TR, GDTR, IDTR are canonical", nothing(), on("host_idtr_base"_f, 1ull << 47)},
        {"in IA-32e mode the host is 64-bit", nothing(),
         [](VmxMachine& m) { m.disable("host_address_space_size"_vmx); }},
        {"64-bit host: CR4.PAE is 1", nothing(), bits_off("host_cr4"_f, cr4_bits::pae)},
        {"64-bit host: RIP is canonical", nothing(), on("host_rip"_f, 1ull << 47)},

        {"guest CR0 obeys the fixed bits", nothing(), bits_off("guest_cr0"_f, cr0_bits::ne)},
        {"guest CR0.PG needs CR0.PE", real_mode_guest, bits_on("guest_cr0"_f, cr0_bits::pg)},
        {"guest CR4 obeys the fixed bits", nothing(), bits_on("guest_cr4"_f, 1u << 31)},
        {"guest IA32_DEBUGCTL: reserved bits", with("load_debug_controls"_vmx),
         on("guest_ia32_debugctl"_f, 8)},
        {"IA-32e mode guest needs CR0.PG and CR4.PAE", nothing(), bits_off("guest_cr4"_f, cr4_bits::pae)},
        {"guest CR4.PCIDE needs IA-32e mode", guest32, bits_on("guest_cr4"_f, cr4_bits::pcide)},
        {"guest CR3 is within the physical-address width", nothing(), bits_on("guest_cr3"_f, 1ull << 63)},
        {"guest DR7: bits 63:32 are 0", with("load_debug_controls"_vmx), bits_on("guest_dr7"_f, 1ull << 32)},
        {"guest IA32_SYSENTER_ESP and EIP are canonical", nothing(),
         on("guest_ia32_sysenter_esp"_f, 1ull << 47)},
        {"guest IA32_PAT holds memory types", with("entry_load_ia32_pat"_vmx),
         on("guest_ia32_pat"_f, 0x0300)},
        {"guest IA32_EFER: reserved bits", with("entry_load_ia32_efer"_vmx),
         bits_on("guest_ia32_efer"_f, 0x200)},
        {"guest IA32_EFER.LMA equals the IA-32e mode guest control, and LME with paging",
         with("entry_load_ia32_efer"_vmx), bits_off("guest_ia32_efer"_f, efer_bits::lma)},
        {"guest CR4.CET needs CR0.WP",
         [](VmxMachine& m) {
             m.add("guest_cr4"_f, cr4_bits::cet);
             m.add("guest_cr0"_f, cr0_bits::wp);
         },
         bits_off("guest_cr0"_f, cr0_bits::wp)},
        {"guest CR4.FRED needs IA-32e mode", guest32, fred_transitions},
        {"guest IA32_S_CET and IA32_INTERRUPT_SSP_TABLE_ADDR are canonical", guest_cet,
         on("guest_ia32_s_cet"_f, 1ull << 60)},
        {"guest IA32_S_CET and IA32_INTERRUPT_SSP_TABLE_ADDR are canonical", guest_cet,
         on("guest_ia32_interrupt_ssp_table_addr"_f, 1ull << 60)},
        {"guest IA32_BNDCFGS: reserved bits and address",
         [](VmxMachine& m) {
             m.enable("load_ia32_bndcfgs"_vmx);
             m.set("guest_ia32_bndcfgs"_f, 0x7FFFFFFFF003);
         },
         on("guest_ia32_bndcfgs"_f, 4)},
        {"guest IA32_BNDCFGS: reserved bits and address", with("load_ia32_bndcfgs"_vmx),
         on("guest_ia32_bndcfgs"_f, 1ull << 60)},
        {"guest IA32_S_CET: reserved bits",
         [](VmxMachine& m) {
             guest_cet(m);
             m.set("guest_ia32_s_cet"_f, 0xFFFF800000000000 | 0x83F);
         },
         on("guest_ia32_s_cet"_f, 0x100)},
        {"guest IA32_S_CET: reserved bits", guest_cet, on("guest_ia32_s_cet"_f, 0xC00)},
        {"guest IA32_PKRS: bits 63:32 are 0",
         [](VmxMachine& m) {
             m.enable("entry_load_pkrs"_vmx);
             m.set("guest_ia32_pkrs"_f, 0xFFFFFFFF);
         },
         on("guest_ia32_pkrs"_f, 1ull << 63)},
        {"guest UINV: bits 15:8 are 0",
         [](VmxMachine& m) {
             m.enable("load_uinv"_vmx);
             m.set("guest_uinv"_f, 0xFF);
         },
         on("guest_uinv"_f, 0x100)},
        {"guest FRED MSRs",
         [](VmxMachine& m) {
             guest_fred(m);
             m.set("guest_ia32_fred_config"_f, 0x7FFFFFFFF7CB);
             m.set("guest_ia32_fred_rsp2"_f, 0xFFFF800000000040);
             m.set("guest_ia32_fred_ssp2"_f, 8);
             m.set("guest_ia32_fred_stklvls"_f, ~0ull);
         },
         on("guest_ia32_fred_rsp2"_f, 0x10)},
        {"guest FRED MSRs", guest_fred, on("guest_ia32_fred_config"_f, 4)},
        {"guest FRED MSRs", guest_fred, on("guest_ia32_fred_ssp2"_f, 2)},
        {"guest IA32_SPEC_CTRL: reserved bits",
         [](VmxMachine& m) {
             m.enable("entry_load_ia32_spec_ctrl"_vmx);
             m.set("guest_ia32_spec_ctrl"_f, 7);
         },
         on("guest_ia32_spec_ctrl"_f, 1ull << 40)},
        {"guest SS: DPL with FRED transitions", fred_transitions,
         bits_off("guest_cs_access_rights"_f, 0x2000)},
        {"guest SS: DPL with FRED transitions",
         [](VmxMachine& m) {
             fred_transitions(m);
             user_guest(m);
         },
         bits_on("guest_rflags"_f, rflags_bits::iopl)},
        {"guest SS: DPL with FRED transitions",
         [](VmxMachine& m) {
             fred_transitions(m);
             user_guest(m);
             m.add("guest_rflags"_f, rflags_bits::if_);
         },
         on("guest_interruptibility_state"_f, sti)},
        {"guest SS: DPL with FRED transitions",
         [](VmxMachine& m) {
             m.set("guest_cs_selector"_f, 0x19), m.set("guest_ss_selector"_f, 0x21);
             m.set("guest_cs_access_rights"_f, 0xA0BB), m.set("guest_ss_access_rights"_f, 0xC0B3);
         },
         fred_transitions},
        {"guest SSP",
         [](VmxMachine& m) {
             guest_cet(m);
             m.set("guest_ssp"_f, 0xFFFF7FFFFFFFFFFC);
         },
         on("guest_ssp"_f, 0x1002)},
        {"guest SSP", guest_cet, on("guest_ssp"_f, 1ull << 50)},
        {"guest TR selector: TI is 0", nothing(), bits_on("guest_tr_selector"_f, 4)},
        {"guest LDTR selector: TI is 0",
         [](VmxMachine& m) {
             m.set("guest_ldtr_access_rights"_f, 0x82);
             m.set("guest_ldtr_selector"_f, 0x30);
         },
         on("guest_ldtr_selector"_f, 0x34)},
        {"guest SS selector: RPL equals that of CS", nothing(), on("guest_ss_selector"_f, 0x13)},
        {"virtual-8086 guest: bases are selector * 16", v86_guest, on("guest_ds_base"_f, 0x1001)},
        {"guest bases of TR, FS, GS, LDTR are canonical", nothing(), on("guest_gs_base"_f, 1ull << 47)},
        {"guest bases of CS, SS, DS, ES are below 4 GiB", nothing(), on("guest_es_base"_f, 1ull << 32)},
        {"virtual-8086 guest: limits are FFFFH", v86_guest, on("guest_fs_limit"_f, 0xFFFE)},
        {"virtual-8086 guest: access rights are F3H", v86_guest, on("guest_gs_access_rights"_f, 0xF2)},
        {"guest CS: type", nothing(), on("guest_cs_access_rights"_f, 0xA098)},
        {"guest SS: type", nothing(), on("guest_ss_access_rights"_f, 0xC091)},
        {"guest DS, ES, FS, GS: type", nothing(), on("guest_ds_access_rights"_f, 0xC092)},
        {"guest segments are code or data (S)", nothing(), on("guest_es_access_rights"_f, 0xC083)},
        {"guest CS: DPL", nothing(), on("guest_cs_access_rights"_f, 0xA0BB)},
        {"guest SS: DPL",
         [](VmxMachine& m) {
             m.set("guest_cs_selector"_f, 0x1B), m.set("guest_ss_selector"_f, 0x23);
             m.set("guest_cs_access_rights"_f, 0xA0FB), m.set("guest_ss_access_rights"_f, 0xC0F3);
         },
         [](VmxMachine& m) {
             m.set("guest_cs_access_rights"_f, 0xA09B), m.set("guest_ss_access_rights"_f, 0xC093);
         }},
        {"guest DS, ES, FS, GS: DPL", nothing(), on("guest_fs_selector"_f, 0x13)},
        {"guest segments are present", nothing(), on("guest_gs_access_rights"_f, 0xC013)},
        {"guest segments: reserved access-rights bits", nothing(),
         bits_on("guest_cs_access_rights"_f, 0x100)},
        {"guest CS: D and L", nothing(), bits_on("guest_cs_access_rights"_f, 0x4000)},
        {"guest segments: G fits the limit", nothing(), bits_off("guest_ds_access_rights"_f, 0x8000)},
        {"guest TR: access rights and limit", nothing(), on("guest_tr_access_rights"_f, 0x89)},
        {"guest LDTR: access rights and limit", on("guest_ldtr_access_rights"_f, 0x82),
         on("guest_ldtr_access_rights"_f, 0x83)},
        {"guest GDTR and IDTR bases are canonical", nothing(), on("guest_gdtr_base"_f, 1ull << 60)},
        {"guest GDTR and IDTR limits: bits 31:16 are 0", nothing(), on("guest_idtr_limit"_f, 0x10000)},
        {"guest RIP", on("guest_rip"_f, 0x800000000000 - 1), on("guest_rip"_f, 1ull << 50)},
        {"guest RFLAGS: reserved bits", nothing(), on("guest_rflags"_f, 0)},
        {"guest RFLAGS.VM", v86_guest, with("ia32e_mode_guest"_vmx)},
        {"guest RFLAGS.IF is 1 when an external interrupt is injected",
         [](VmxMachine& m) {
             m.add("guest_rflags"_f, rflags_bits::if_);
             inject(m, 0x80000020);
         },
         bits_off("guest_rflags"_f, rflags_bits::if_)},
        {"guest activity state is supported", on("guest_activity_state"_f, 3),
         on("guest_activity_state"_f, 4)},
        {"guest activity state HLT needs CPL 0", on("guest_activity_state"_f, 1),
         [](VmxMachine& m) {
             m.set("guest_cs_selector"_f, 0x1B), m.set("guest_ss_selector"_f, 0x23);
             m.set("guest_cs_access_rights"_f, 0xA0FB), m.set("guest_ss_access_rights"_f, 0xC0F3);
         }},
        {"guest blocking by STI or MOV SS needs the active state", on("guest_activity_state"_f, 1),
         on("guest_interruptibility_state"_f, mov_ss)},
        {"guest activity state takes the injected event",
         [](VmxMachine& m) {
             m.set("guest_activity_state"_f, 2);
             inject(m, 0x80000202);
         },
         [](VmxMachine& m) { inject(m, 0x80000306); }},
        {"guest interruptibility: reserved bits", nothing(), on("guest_interruptibility_state"_f, 0x20)},
        {"guest is not blocked by both STI and MOV SS",
         [](VmxMachine& m) {
             m.add("guest_rflags"_f, rflags_bits::if_);
             m.set("guest_interruptibility_state"_f, sti);
         },
         on("guest_interruptibility_state"_f, sti | mov_ss)},
        {"guest blocking by STI needs RFLAGS.IF",
         [](VmxMachine& m) {
             m.add("guest_rflags"_f, rflags_bits::if_);
             m.set("guest_interruptibility_state"_f, sti);
         },
         bits_off("guest_rflags"_f, rflags_bits::if_)},
        {"injected external interrupt is not blocked",
         [](VmxMachine& m) {
             m.add("guest_rflags"_f, rflags_bits::if_);
             inject(m, 0x80000020);
         },
         on("guest_interruptibility_state"_f, sti)},
        {"injected NMI is not blocked by MOV SS", [](VmxMachine& m) { inject(m, 0x80000202); },
         on("guest_interruptibility_state"_f, mov_ss)},
        {"guest is not blocked by SMI", nothing(), on("guest_interruptibility_state"_f, smi)},
        {"injected NMI is not blocked by STI",
         [](VmxMachine& m) {
             m.add("guest_rflags"_f, rflags_bits::if_);
             inject(m, 0x80000202);
         },
         on("guest_interruptibility_state"_f, sti)},
        {"injected NMI is not blocked by an NMI",
         [](VmxMachine& m) {
             m.enable("nmi_exiting"_vmx), m.enable("virtual_nmis"_vmx);
             inject(m, 0x80000202);
         },
         on("guest_interruptibility_state"_f, nmi)},
        {"guest pending debug exceptions: reserved bits", on("guest_pending_debug_exceptions"_f, 0x500F),
         on("guest_pending_debug_exceptions"_f, 0x10)},
        {"guest pending debug exceptions: BS fits TF", on("guest_interruptibility_state"_f, mov_ss),
         bits_on("guest_rflags"_f, rflags_bits::tf)},
        {"VMCS link pointer",
         [](VmxMachine& m) {
             m.enable("vmcs_shadowing"_vmx);
             m.set("vmcs_link_pointer"_f, VmxMachine::shadow_vmcs);
         },
         [](VmxMachine& m) { m.disable("vmcs_shadowing"_vmx); }},
        {"guest PDPTEs: reserved bits", guest32, on("guest_pdpte2"_f, 3)},
    };
    return list;
}

/// Rows that the 64-bit fixture cannot reach, since entry outside IA-32e mode is needed.
const std::set<std::string_view> needs_legacy_host = {
    "host SS is not null for a 32-bit host",
    "outside IA-32e mode neither guest nor host are 64-bit",
    "32-bit host: guest not IA-32e, CR4.PCIDE and FRED 0, RIP below 4 GiB",
};

class Failures final : public VmxObserver {
public:
    void entry_failed(const EntryEvent&, std::string_view check) override { last = check; }
    void entered(const EntryEvent&) override { ++entries; }
    std::string_view last;
    unsigned entries = 0;
};

std::vector<EntryCheck> all_checks() {
    std::vector<EntryCheck> all;
    for (const auto rows : {control_entry_checks(), host_entry_checks(), guest_entry_checks()})
        all.insert(all.end(), rows.begin(), rows.end());
    return all;
}

const EntryCheck& row_named(const std::vector<EntryCheck>& checks, std::string_view name) {
    const auto row =
        std::find_if(checks.begin(), checks.end(), [&](const EntryCheck& c) { return c.name == name; });
    ASSERT(row != checks.end());
    return *row;
}

TEST(EntryChecks, EveryRowHasAVector) {
    std::map<std::string_view, int> count;
    for (const Vector& v : vectors()) ++count[v.check];
    std::set<std::string_view> names;
    for (const EntryCheck& check : all_checks()) {
        EXPECT_TRUE(names.insert(check.name).second) << check.name << " is there twice";
        EXPECT_NE(count[check.name] != 0, needs_legacy_host.contains(check.name)) << check.name;
        count.erase(check.name);
    }
    EXPECT_TRUE(count.empty()) << "vector without row: " << count.begin()->first;
}

/// SDM "VM-Entry Failures During or After Loading Guest State", by sentence.
u64 qualification_of(std::string_view check) {
    if (check == "guest PDPTEs: reserved bits") return 2;
    if (check == "injected NMI is not blocked by STI") return 3;
    return check.starts_with("VMCS link pointer") ? 4 : 0;
}

TEST(EntryChecks, EachPassesAndEachFails) {
    const std::vector<EntryCheck> checks = all_checks();
    for (const Vector& vector : vectors()) {
        const Vector* const v = &vector;
        const EntryCheck& check = row_named(checks, v->check);
        SCOPED_TRACE(::testing::Message() << check.name << ", vector " << v - vectors().data());
        {
            VmxMachine m({"+exit_routing"});
            Failures failures;
            m.vmx.add_observer(failures);
            m.start();
            v->prepare(m);
            m.enter();
            EXPECT_EQ(failures.entries, 1u) << "refused by: " << failures.last;
        }
        VmxMachine m({"+exit_routing"});
        Failures failures;
        m.vmx.add_observer(failures);
        m.start();
        v->prepare(m);
        v->spoil(m);
        EXPECT_FALSE(m.enter());
        EXPECT_EQ(failures.entries, 0u);
        EXPECT_EQ(failures.last, check.name);
        EXPECT_EQ(m.vmx.current().launch_state(), LaunchState::clear);
        if (check.stage == Stage::guest_state) {
            EXPECT_EQ(m.last_entry_outcome, Outcome::vm_exit_retired);
            EXPECT_EQ(m.reason(), 33u | exit_reason_entry_failure);
            EXPECT_EQ(m.qualification(), qualification_of(check.name));
            EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry);
            EXPECT_FALSE(m.zf() || m.cf());
        } else {
            EXPECT_EQ(m.last_entry_outcome, Outcome::next);
            EXPECT_TRUE(m.zf());
            EXPECT_EQ(m.error(),
                      check.stage == Stage::controls ? VmxError::entry_controls : VmxError::entry_host_state);
            EXPECT_EQ(m.reason(), 0u);
        }
    }
}

/// The same spoilt field is found again after it was valid once: results of checks are kept between entries.
TEST(EntryChecks, WritesAfterASuccessfulEntryAreChecked) {
    const std::vector<EntryCheck> checks = all_checks();
    for (const Vector& vector : vectors()) {
        const Vector* const v = &vector;
        const EntryCheck& check = row_named(checks, v->check);
        SCOPED_TRACE(::testing::Message() << check.name << ", vector " << v - vectors().data());
        VmxMachine m({"+exit_routing"});
        m.start();
        m.run_guest({0x0F, 0xA2});
        ASSERT_EQ(m.reason(), 10u);
        Failures failures;
        m.vmx.add_observer(failures);
        // The exit saved what the fixture filled in, so the vector applies as before.
        v->prepare(m);
        v->spoil(m);
        EXPECT_FALSE(m.enter());
        EXPECT_EQ(failures.last, check.name);
    }
}

TEST(EntryChecks, LegacyHost) {
    const auto refused = [](const Break& spoil) {
        VmxMachine n;
        n.start();
        // A 32-bit hypervisor. Judged by the rows alone: the fixture's page tables are those of IA-32e mode.
        n.cpu.efer = 0;
        n.disable("ia32e_mode_guest"_vmx);
        n.disable("host_address_space_size"_vmx);
        n.drop("host_ia32_efer"_f, efer_bits::lma | efer_bits::lme);
        Controls c;
        const auto read = [&] {
            c[VmxWord::exit] = n.get("exit_controls"_f);
            c[VmxWord::entry] = n.get("entry_controls"_f);
        };
        read();
        const Vmcs v = n.vmx.current();
        const EntryContext x{v, c, n.vmx.capabilities(), n.cpu};
        EXPECT_EQ(first_failing(host_entry_checks(), x), nullptr);
        spoil(n);
        read();
        const EntryCheck* failed = first_failing(host_entry_checks(), x);
        return failed == nullptr ? std::string_view() : failed->name;
    };
    EXPECT_EQ(refused(on("host_ss_selector"_f, 0)), "host SS is not null for a 32-bit host");
    EXPECT_EQ(refused([](VmxMachine& n) { n.enable("host_address_space_size"_vmx); }),
              "outside IA-32e mode neither guest nor host are 64-bit");
    EXPECT_EQ(refused(on("host_rip"_f, 1ull << 32)),
              "32-bit host: guest not IA-32e, CR4.PCIDE and FRED 0, RIP below 4 GiB");
    EXPECT_EQ(refused(bits_on("host_cr4"_f, cr4_bits::pcide)),
              "32-bit host: guest not IA-32e, CR4.PCIDE and FRED 0, RIP below 4 GiB");
    EXPECT_EQ(refused(bits_on("host_cr4"_f, cr4_bits::fred)),
              "32-bit host: guest not IA-32e, CR4.PCIDE and FRED 0, RIP below 4 GiB");
    for (const Field f : {Field{"host_ssp"_f}, Field{"host_ia32_s_cet"_f}})
        EXPECT_EQ(refused([f](VmxMachine& n) {
                      host_cet(n);
                      n.set(f, 1ull << 32);
                  }),
                  "host IA32_S_CET and SSP fit the address-space size");
}

/// CR0.PE decides about the error code with unrestricted guest only; without it the guest is in protected mode.
TEST(EntryChecks, ErrorCodeOutsideProtectedMode) {
    constexpr u32 gp = 0x8000030D, gp_with_code = gp | 1u << 11;
    for (const bool real_mode : {false, true})
        for (const u32 info : {gp, gp_with_code}) {
            SCOPED_TRACE(::testing::Message() << "real mode " << real_mode << " information " << info);
            VmxMachine m({"-injection_with_any_error_code"});
            Failures failures;
            m.vmx.add_observer(failures);
            m.start();
            if (real_mode) real_mode_guest(m);
            else m.disable("unrestricted_guest"_vmx);
            bits_off("guest_cr0"_f, cr0_bits::pe | cr0_bits::pg)(m);
            inject(m, info);
            m.enter();
            EXPECT_EQ(failures.last == "injected event: deliver-error-code bit",
                      real_mode == (info == gp_with_code));
        }
}

/// Processors without IA32_VMX_BASIC[56] want the error code exactly where the exception has one.
TEST(EntryChecks, ErrorCodeFitsTheVectorWithoutBasic56) {
    constexpr u32 with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
    for (const bool any : {false, true}) {
        VmxMachine m(any ? std::vector<std::string>{}
                         : std::vector<std::string>{"-injection_with_any_error_code"});
        for (u32 vector = 0; vector < 32; ++vector)
            for (const bool code : {false, true}) {
                SCOPED_TRACE(::testing::Message()
                             << "any " << any << " vector " << vector << " code " << code);
                m.start();
                inject(m, 0x80000300 | (code ? 1u << 11 : 0) | vector);
                const bool fits = code == (((with_code >> vector) & 1) != 0);
                EXPECT_EQ(m.enter(), any || fits);
                if (m.cpu.non_root) m.exit_by_cpuid();
                else EXPECT_EQ(m.error(), VmxError::entry_controls);
            }
    }
}

TEST(EntryChecks, BlockedByMovSs) {
    VmxMachine m;
    m.start();
    m.cpu.interruptibility = interruptibility_bits::mov_ss;
    EXPECT_FALSE(m.enter());
    EXPECT_EQ(m.error(), VmxError::entry_blocked_by_mov_ss);
}

}  // namespace
}  // namespace droste::test
