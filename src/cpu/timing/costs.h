// SPDX-License-Identifier: Apache-2.0
// What the `table` timing model charges beyond one cycle a tick. The table of events; numbers come from configs/timing.
#pragma once
#include <array>
#include <string_view>

#include "base/types.h"

namespace droste {

enum class CostEvent : u8 {
    vm_exit, vm_entry, vm_entry_event_injection, vm_entry_dirty_controls, msr_list_entry, vmread, vmwrite, vmptrld, vmptrst,
    vmclear, vmxon, vmxoff, invept, invvpid, vmcall_fail, page_walk_reference, ept_walk_reference, interrupt_delivery,
    exception_delivery, iret, far_transfer, syscall, sysret, sysenter, sysexit, cpuid, rdmsr, wrmsr, wrmsr_x2apic,
    mov_to_cr0, mov_to_cr3, mov_to_cr4, mov_from_cr, mov_cr8, mov_dr, invlpg, invpcid, rdtsc, rdtscp, rdrand,
    port_io, mmio, lock, fence, pause, wbinvd, clflush, xsave, xrstor, hlt_wake, lgdt_lidt, ltr_lldt, task_switch,
    serialize, swapgs, div, x87_slow, route_check, route_level, direct_exit, direct_entry, deferred_access, deferred_merge,
    count
};
inline constexpr std::size_t cost_event_count = static_cast<std::size_t>(CostEvent::count);

/// Name of each event as configs/timing/*.toml writes it (costs.cpp), in the order of the enum.
const std::array<std::string_view, cost_event_count>& cost_event_names();

/// Cycles for each event. All zero: the model `none`.
struct CostTable {
    std::array<u32, cost_event_count> cycles{};
    u32 operator[](CostEvent e) const { return cycles[static_cast<std::size_t>(e)]; }
};

}  // namespace droste
