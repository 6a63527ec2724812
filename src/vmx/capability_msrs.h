// SPDX-License-Identifier: Apache-2.0
// VmxCapabilities: what VMX a CPU model offers, and the capability MSRs derived from it (SDM "VMX Capability
// Reporting").
#pragma once
#include <string>
#include <vector>

#include "base/result.h"
#include "cpu/model.h"
#include "vmx/controls.h"
#include "vmx/vmcs_fields.h"

namespace droste {

struct VmxCapabilities {
    std::array<u64, vmx_words> supported{};  ///< bits that have a row and are offered
    u8 preemption_timer_rate = 7;            ///< the timer counts at TSC >> rate
    u8 cr3_targets = 4;
    u8 hlat_prefix_size = 1;                 ///< the largest, when HLAT is there
    u32 revision = 4;                        ///< VMCS revision identifier
    u64 routing = 0;                         ///< MSR routing_capability; 0: there is none
    u64 cr0_fixed0 = 0x80000021, cr0_fixed1 = 0xFFFFFFFF;
    u64 cr4_fixed0 = 0x2000, cr4_fixed1 = 0;
    u8 maxphyaddr = 46;

    bool has(Capability c) const {
        return c == VmcsField::always || (supported[static_cast<unsigned>(c.word)] >> c.bit & 1);
    }
    bool field_exists(Field f) const { return has(f->needs); }
    /// Allowed-0 settings: bits that must be 1. `exact` (TRUE MSRs): default1 bits that can be cleared are
    /// left out.
    u32 must_be_one(VmxWord control, bool exact = true) const;
    /// Allowed-1 settings: bits that may be 1.
    u64 may_be_one(VmxWord control) const;
    bool valid_control(VmxWord control, u64 value) const {
        return (must_be_one(control) & ~value) == 0 && (value & ~may_be_one(control)) == 0;
    }
    /// An address in VMX structures lies within the physical-address width.
    bool within_width(u64 address) const { return (address >> maxphyaddr) == 0; }
};

/// What the model's real counterpart offers, as far as Droste has it. `changes`: "+name" and "-name" of
/// capability rows. What depends on a removed capability is removed with it; a capability that is added needs
/// its dependencies. The error names the capability, and the one that it needs.
Result<VmxCapabilities> make_vmx_capabilities(const CpuModel& model,
                                              const std::vector<std::string>& changes = {});

inline constexpr u32 first_capability_msr = 0x480;
inline constexpr u32 last_capability_msr = 0x493;
/// The MSR is there: it reports something that the processor has.
bool capability_msr_exists(const VmxCapabilities& capabilities, u32 index);
/// Value of capability MSR 0x480..0x493.
u64 capability_msr(const VmxCapabilities& capabilities, u32 index);

}  // namespace droste
