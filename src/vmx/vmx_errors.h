// SPDX-License-Identifier: Apache-2.0
// VM-instruction errors and VMX aborts: numbers with the words of the SDM's tables.
#pragma once
#include <array>
#include <string_view>

#include "base/types.h"

namespace droste {

/// Numbers of SDM "VM-Instruction Error Numbers".
enum class VmxError : u32 {
    vmcall_in_root = 1,
    vmclear_address = 2,
    vmclear_vmxon_pointer = 3,
    vmlaunch_not_clear = 4,
    vmresume_not_launched = 5,
    entry_controls = 7,
    entry_host_state = 8,
    vmptrld_address = 9,
    vmptrld_vmxon_pointer = 10,
    vmptrld_revision = 11,
    unsupported_field = 12,
    read_only_field = 13,
    vmxon_in_root = 15,
    entry_blocked_by_mov_ss = 26,
    invalid_operand = 28,
};

struct VmxErrorRow {
    VmxError error;
    std::string_view text;
};
inline constexpr auto vmx_error_rows = std::to_array<VmxErrorRow>({
    {VmxError::vmcall_in_root, "VMCALL executed in VMX root operation"},
    {VmxError::vmclear_address, "VMCLEAR with invalid physical address"},
    {VmxError::vmclear_vmxon_pointer, "VMCLEAR with VMXON pointer"},
    {VmxError::vmlaunch_not_clear, "VMLAUNCH with non-clear VMCS"},
    {VmxError::vmresume_not_launched, "VMRESUME with non-launched VMCS"},
    {VmxError::entry_controls, "VM entry with invalid control field(s)"},
    {VmxError::entry_host_state, "VM entry with invalid host-state field(s)"},
    {VmxError::vmptrld_address, "VMPTRLD with invalid physical address"},
    {VmxError::vmptrld_vmxon_pointer, "VMPTRLD with VMXON pointer"},
    {VmxError::vmptrld_revision, "VMPTRLD with incorrect VMCS revision identifier"},
    {VmxError::unsupported_field, "VMREAD/VMWRITE from/to unsupported VMCS component"},
    {VmxError::read_only_field, "VMWRITE to read-only VMCS component"},
    {VmxError::vmxon_in_root, "VMXON executed in VMX root operation"},
    {VmxError::entry_blocked_by_mov_ss, "VM entry with events blocked by MOV SS"},
    {VmxError::invalid_operand, "Invalid operand to INVEPT/INVVPID"},
});

/// SDM "VMX Aborts": the indicator written to the VMCS region.
enum class VmxAbort : u32 {
    none = 0, msr_store = 1, host_pdptes = 2, corrupted_vmcs = 3, msr_load = 4, machine_check = 5,
    from_32_bit_host = 6,
};

struct VmxAbortRow {
    VmxAbort abort;
    std::string_view text;
};
inline constexpr auto vmx_abort_rows = std::to_array<VmxAbortRow>({
    {VmxAbort::msr_store, "a guest's MSR could not be stored"},
    {VmxAbort::host_pdptes, "the host's page-directory-pointer-table entries have reserved bits"},
    {VmxAbort::corrupted_vmcs, "the current VMCS is corrupt"},
    {VmxAbort::msr_load, "a host's MSR could not be loaded"},
    {VmxAbort::machine_check, "a machine check during the VM exit"},
    {VmxAbort::from_32_bit_host, "the guest was in IA-32e mode, the host address-space size is 32 bits"},
});

}  // namespace droste
