// SPDX-License-Identifier: Apache-2.0
// Does a hypervisor ask for an event, by the controls that it keeps for its guest? One row for each exit reason.
#pragma once
#include <functional>
#include <optional>

#include "vmx/exit_router.h"
#include "vmx/vmcs.h"

namespace droste {

struct Cpu;

/// What the rows look at.
struct WantContext {
    const Vmcs& v;               ///< what the hypervisor keeps for its guest
    const Controls& c;           ///< its controls
    const ExitEvent& event;
    const Cpu& cpu;              ///< the exiting guest's registers
    /// Reads a byte at an address of that hypervisor; empty when it is not mapped.
    const std::function<std::optional<u8>(u64)>& read;
};
/// True: with `v` as the current VMCS the event would cause a VM exit. EPT violations and misconfigurations are not
/// decided here (look_up_ept): they are wanted wherever there is EPT.
bool wants(const WantContext& x);

}  // namespace droste
