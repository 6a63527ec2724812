// SPDX-License-Identifier: Apache-2.0
// The MSRs of VMX: IA32_FEATURE_CONTROL and the capability MSRs.
#include "vmx/vmx.h"

namespace droste {

namespace {

constexpr u64 feature_control_lock = 1, feature_control_vmx = 4;  // VMX outside SMX operation

bool write_feature_control(Cpu& cpu, u32, u64 value) {
    if (cpu.feature_control & feature_control_lock) return false;
    if (value & ~(feature_control_lock | feature_control_vmx)) return false;
    cpu.feature_control = value;
    return true;
}
std::optional<u64> read_feature_control(Cpu& cpu, u32) { return cpu.feature_control; }

std::optional<u64> read_capability(Cpu& cpu, u32 index) {
    const Vmx* vmx = vmx_of(cpu);
    if (vmx == nullptr || !capability_msr_exists(vmx->capabilities(), index)) return std::nullopt;
    return capability_msr(vmx->capabilities(), index);
}
std::optional<u64> read_routing(Cpu& cpu, u32) {
    const Vmx* vmx = vmx_of(cpu);
    if (vmx == nullptr || vmx->capabilities().routing == 0) return std::nullopt;
    return vmx->capabilities().routing;
}
bool read_only(Cpu&, u32, u64) { return false; }

constexpr MsrRow capability(u32 index, std::string_view name) {
    MsrRow row;
    row.index = index;
    row.name = name;
    row.needs = Feature::vmx;
    row.read = read_capability;
    row.write = read_only;
    return row;
}

constexpr MsrRow feature_control() {
    MsrRow row;
    row.index = 0x3A;
    row.name = "IA32_FEATURE_CONTROL";
    row.needs = Feature::vmx;
    row.read = read_feature_control;
    row.write = write_feature_control;
    return row;
}

/// Of no real processor: the index lies where hypervisors have theirs. Bits 7:0 design, 15:8 levels, 16 direct entry.
constexpr MsrRow routing_capability() {
    MsrRow row = capability(0x40000F00, "routing_capability");
    row.read = read_routing;
    return row;
}

constexpr MsrRow rows[] = {
    feature_control(),
    capability(0x480, "IA32_VMX_BASIC"),
    capability(0x481, "IA32_VMX_PINBASED_CTLS"),
    capability(0x482, "IA32_VMX_PROCBASED_CTLS"),
    capability(0x483, "IA32_VMX_EXIT_CTLS"),
    capability(0x484, "IA32_VMX_ENTRY_CTLS"),
    capability(0x485, "IA32_VMX_MISC"),
    capability(0x486, "IA32_VMX_CR0_FIXED0"),
    capability(0x487, "IA32_VMX_CR0_FIXED1"),
    capability(0x488, "IA32_VMX_CR4_FIXED0"),
    capability(0x489, "IA32_VMX_CR4_FIXED1"),
    capability(0x48A, "IA32_VMX_VMCS_ENUM"),
    capability(0x48B, "IA32_VMX_PROCBASED_CTLS2"),
    capability(0x48C, "IA32_VMX_EPT_VPID_CAP"),
    capability(0x48D, "IA32_VMX_TRUE_PINBASED_CTLS"),
    capability(0x48E, "IA32_VMX_TRUE_PROCBASED_CTLS"),
    capability(0x48F, "IA32_VMX_TRUE_EXIT_CTLS"),
    capability(0x490, "IA32_VMX_TRUE_ENTRY_CTLS"),
    capability(0x491, "IA32_VMX_VMFUNC"),
    capability(0x492, "IA32_VMX_PROCBASED_CTLS3"),
    capability(0x493, "IA32_VMX_EXIT_CTLS2"),
    routing_capability(),
};

}  // namespace

std::span<const MsrRow> Vmx::msr_rows() { return rows; }

}  // namespace droste
