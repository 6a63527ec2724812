// SPDX-License-Identifier: Apache-2.0
// VM exits from non-root to non-root operation: from the guest of the current VMCS to the hypervisor that owns it.
//
//   V  the current VMCS: its guest, level n, exits
//   S  the state VMCS: what the hypervisor of level n-1 keeps for level n. Receives the guest's state and the exit
//      information; its host-state area says where that hypervisor goes on
//   C  the control VMCS: level n-1 runs under it, by the hypervisor beneath; current from now on
#pragma once
#include <string_view>
#include <vector>

#include "vmx/vmx.h"

namespace droste {

struct RoutedExit {
    Vmcs state;
    Vmcs control;
    /// Of a hypervisor further down: its guest, level d+1, is shown as it stands in this VMCS, by which level d+1 was
    /// run last (at its VMLAUNCH or VMRESUME). Null: the exiting guest's own state.
    Vmcs shown;
    Vmcs own_state;  ///< with `shown`: the state VMCS of the exiting guest, which keeps its state
};

/// Why an exit did not go to non-root operation. Nothing was changed then.
enum class RouteFallback : u8 {
    none,
    no_link,              ///< no valid link on the way to the destination
    state_controls,       ///< VM-exit controls of the state VMCS are not valid
    host_state,           ///< the host-state area of the state VMCS would fail VM entry
    host_mode,            ///< a host outside 64-bit mode
    control_fields,       ///< the control VMCS would fail VM entry
    control_registers,    ///< CR0 and CR4 under the masks of the control VMCS are not valid
    area_translation,     ///< MSR areas are not mapped by the EPT of the control VMCS, with all flags set
    area_contents,        ///< an MSR of an area cannot be stored or loaded
    too_deep,             ///< more levels than max_levels, or the links form a cycle
    view,                 ///< an instruction's exit to a hypervisor further down, which would have to see its registers
    count
};
std::string_view name_of(RouteFallback cause);

/// The event to inject: written anew for each entry.
inline constexpr Field entry_event_fields[] = {"entry_interruption_information"_f, "entry_exception_error_code"_f,
                                               "entry_instruction_length"_f, "injected_event_data"_f};
/// Guest state and event of `from` become those of `to`. Bits of CR0 and CR4 that `to` keeps from its guest stay.
void copy_guest_state(const Vmcs& from, const Vmcs& to, const VmxCapabilities& caps);

/// CR0 or CR4 as the hypervisor of `state` sees them, when the guest of `running` has `real`: bits that the guest owns are
/// its own, bits that the hypervisor owns are unchanged, and bits that level 0 alone keeps back are the guest's by the
/// read shadow.
u64 guest_view_of_cr(const Vmcs& running, const Vmcs& state, bool cr4, u64 real);

}  // namespace droste
