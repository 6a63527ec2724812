// SPDX-License-Identifier: Apache-2.0
// VMX for test kernels: operation on, a VMCS whose entry succeeds, entries and exits.
#pragma once

#include "kernel.h"

namespace kernel::vmx {

// SDM Appendix "Field Encoding in VMCS".
namespace field {
constexpr u32 vpid = 0x0000, guest_es_selector = 0x0800, guest_cs_selector = 0x0802, guest_ldtr_selector = 0x080c,
              guest_tr_selector = 0x080e, host_es_selector = 0x0c00, host_cs_selector = 0x0c02, host_tr_selector = 0x0c0c,
              exit_msr_load_address = 0x2008, entry_msr_load_address = 0x200a, virtual_apic_address = 0x2012,
              link_pointer = 0x2800, guest_debugctl = 0x2802, pin_controls = 0x4000, primary_controls = 0x4002,
              exception_bitmap = 0x4004, cr3_target_count = 0x400a, exit_controls = 0x400c, exit_msr_store_count = 0x400e,
              exit_msr_load_count = 0x4010, entry_controls = 0x4012, entry_msr_load_count = 0x4014,
              entry_interruption_information = 0x4016, secondary_controls = 0x401e, instruction_error = 0x4400,
              exit_reason = 0x4402, exit_instruction_length = 0x440c, guest_es_limit = 0x4800, guest_gdtr_limit = 0x4810,
              guest_idtr_limit = 0x4812, guest_es_access = 0x4814, guest_cs_access = 0x4816, guest_ss_access = 0x4818,
              guest_ldtr_access = 0x4820, guest_tr_access = 0x4822, guest_interruptibility = 0x4824,
              guest_activity = 0x4826, exit_qualification = 0x6400, guest_cr0 = 0x6800, guest_cr3 = 0x6802,
              guest_cr4 = 0x6804, guest_es_base = 0x6806, guest_tr_base = 0x6814, guest_gdtr_base = 0x6816,
              guest_idtr_base = 0x6818, guest_dr7 = 0x681a, guest_rsp = 0x681c, guest_rip = 0x681e, guest_rflags = 0x6820,
              guest_pending_debug = 0x6822, host_cr0 = 0x6c00, host_cr3 = 0x6c02, host_cr4 = 0x6c04, host_fs_base = 0x6c06,
              host_gs_base = 0x6c08, host_tr_base = 0x6c0a, host_gdtr_base = 0x6c0c, host_idtr_base = 0x6c0e;
} // namespace field

constexpr u32 entry_failure = 1u << 31, reason_invalid_guest_state = 33, reason_msr_loading = 34, reason_cpuid = 10,
              reason_vmcall = 18, reason_triple_fault = 2;

enum class Result { succeeded, fail_invalid, fail_valid };

// A 4 KiB page for a VMX structure.
struct alignas(4096) Page {
    u64 words[512];
    u64 address() const { return reinterpret_cast<u64>(this); }
};

bool available();
void on();   // CR0, CR4, IA32_FEATURE_CONTROL, VMXON
void off();
Page& vmxon_region();

Result clear(const Page& vmcs);
Result load(const Page& vmcs);
u64 read(u32 field);
Result write(u32 field, u64 value);

// VMCLEAR, VMPTRLD, and fields with which the guest starts at `guest` in 64-bit mode.
void prepare(Page& vmcs, void (*guest)());
// VMLAUNCH or VMRESUME; `succeeded` after the VM exit (or the failure that looks like one).
Result launch();
Result resume();

} // namespace kernel::vmx
