// SPDX-License-Identifier: Apache-2.0
// The names of the timing events.
#include "cpu/timing/costs.h"

namespace droste {

const std::array<std::string_view, cost_event_count>& cost_event_names() {
    static constexpr std::array<std::string_view, cost_event_count> names = {
        "vm_exit", "vm_entry", "vm_entry_event_injection", "vm_entry_dirty_controls", "msr_list_entry", "vmread", "vmwrite", "vmptrld", "vmptrst",
        "vmclear", "vmxon", "vmxoff", "invept", "invvpid", "vmcall_fail", "page_walk_reference", "ept_walk_reference", "interrupt_delivery",
        "exception_delivery", "iret", "far_transfer", "syscall", "sysret", "sysenter", "sysexit", "cpuid", "rdmsr", "wrmsr", "wrmsr_x2apic",
        "mov_to_cr0", "mov_to_cr3", "mov_to_cr4", "mov_from_cr", "mov_cr8", "mov_dr", "invlpg", "invpcid", "rdtsc", "rdtscp", "rdrand",
        "port_io", "mmio", "lock", "fence", "pause", "wbinvd", "clflush", "xsave", "xrstor", "hlt_wake", "lgdt_lidt", "ltr_lldt", "task_switch",
        "serialize", "swapgs", "div", "x87_slow", "route_check", "route_level", "direct_exit", "direct_entry", "deferred_access", "deferred_merge",
    };
    return names;
}

}  // namespace droste
