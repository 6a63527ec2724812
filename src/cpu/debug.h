// SPDX-License-Identifier: Apache-2.0
// Breakpoints and single-stepping: DR0-DR7, RFLAGS.TF and RF (SDM "Debug Registers", "Debug Exceptions").
#pragma once
#include "base/types.h"

namespace droste {

struct Cpu;

namespace dr6_bits {
inline constexpr u64 b = 0xF, bld = 1 << 11 /* 0: a bus lock */, bd = 1 << 13, bs = 1 << 14, bt = 1 << 15, rtm = 1 << 16, fixed1 = 0xFFFF0FF0;
}
namespace dr7_bits {
inline constexpr u64 enables = 0xFF, le = 1 << 8, ge = 1 << 9, fixed1 = 1 << 10, gd = 1 << 13;
}
/// Bits of CpuState::pending_debug beside B0-B3 (VMCS layout; bt is internal and exists in root operation
/// only; bld, a bus lock with OS bus-lock detection, goes with `enabled`).
namespace pending_debug_bits {
inline constexpr u64 bld = 1 << 11, enabled = 1 << 12, bs = 1 << 14, bt = 1 << 15;
}
namespace debugctl_bits {
inline constexpr u64 lbr = 1, btf = 2, bus_lock = 4;
}

/// Before the instruction at Cpu::rip, when stepping: instruction breakpoints. True: #DB was delivered (or it
/// exited).
bool check_instruction_breakpoints(Cpu& cpu);
/// After an instruction that retired, when stepping: RF is cleared, the single-step trap becomes pending.
/// `tf_before`: RFLAGS.TF when the instruction began. `branched`: it was a taken branch (for DEBUGCTL.BTF).
void after_instruction_debug(Cpu& cpu, bool tf_before, bool branched);
/// A data access of an instruction, made through the slow path: data breakpoints become pending.
void note_data_access(Cpu& cpu, u64 linear, unsigned size, Access access);
void note_io_access(Cpu& cpu, u16 port, unsigned size);

/// DR7 as MOV writes it.
constexpr u64 dr7_value(u64 written) { return (written & 0xFFFF27FF) | dr7_bits::fixed1; }
/// Some breakpoint of the kinds is enabled.
bool data_breakpoints_enabled(u64 dr7);
bool instruction_breakpoints_enabled(u64 dr7);

}  // namespace droste
