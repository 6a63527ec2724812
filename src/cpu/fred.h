// SPDX-License-Identifier: Apache-2.0
// Flexible return and event delivery: events without the IDT, on stacks of four levels (Intel "Flexible
// Return and Event Delivery (FRED) Specification").
#pragma once
#include "cpu/cpu.h"

namespace droste {

inline bool fred_enabled(const Cpu& cpu) {
    return (cpu.cr4 & cr4_bits::fred) && cpu.long_mode();
}

/// SYSCALL and SYSENTER as events of the type "other".
namespace fred_other {
inline constexpr u8 type = 7, syscall = 1, sysenter = 2;
}

/// IA32_FRED_CONFIG.
namespace fred_config_bits {
inline constexpr u64 stack_level = 3, shadow_decrement = 8, decrement = 7 << 6, handlers = ~0xFFFull;
constexpr unsigned interrupt_level(u64 config) {
    return (config >> 9) & 3;
}
}  // namespace fred_config_bits

/// What event delivery saves beside the registers.
struct FredEvent {
    const Vectoring& v;
    u64 rip, flags;
    bool nested;  ///< an exception met while another event was delivered
    u64 data;     ///< of #PF, #DB, #NM
    bool after_sti;  ///< it was blocked by STI
};
/// FRED's event data of an event that is or would be delivered.
u64 fred_event_data(const Cpu& cpu, const Vectoring& v);
/// False: a fault is pending, nothing has changed.
bool fred_deliver(Cpu& cpu, const FredEvent& e);

/// SYSCALL, SYSENTER.
Outcome fred_system_call(Cpu& cpu, const Insn& in, u8 which);

}  // namespace droste
