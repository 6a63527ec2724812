// SPDX-License-Identifier: Apache-2.0
// Breakpoint matching and the single-step trap.
#include "cpu/debug.h"

#include "cpu/cpu.h"

namespace droste {

namespace {

enum class Condition : u8 { execute, write, io, read_write };

bool breakpoint_enabled(u64 dr7, unsigned i) { return bits(dr7, 2 * i + 1, 2 * i) != 0; }
Condition condition(u64 dr7, unsigned i) { return static_cast<Condition>(bits(dr7, 17 + 4 * i, 16 + 4 * i)); }

/// LEN field to bytes; the address is aligned to it.
u64 length(u64 dr7, unsigned i) {
    constexpr u64 bytes[4] = {1, 2, 8, 4};
    return bytes[bits(dr7, 19 + 4 * i, 18 + 4 * i)];
}

template <class Matches> u64 hits(const Cpu& cpu, u64 at, unsigned size, Matches matches) {
    u64 found = 0;
    for (unsigned i = 0; i < 4; ++i) {
        if (!breakpoint_enabled(cpu.dr7, i) || !matches(condition(cpu.dr7, i))) continue;
        const u64 n = length(cpu.dr7, i);
        const u64 start = cpu.dr[i] & ~(n - 1);
        if (at < start + n && start < at + size) found |= 1ull << i;
    }
    return found;
}

void remember(Cpu& cpu, u64 found) {
    if (found == 0) return;
    cpu.pending_debug |= found | pending_debug_bits::enabled;
    cpu.set_attention();
}

}  // namespace

bool data_breakpoints_enabled(u64 dr7) {
    for (unsigned i = 0; i < 4; ++i)
        if (breakpoint_enabled(dr7, i) && (static_cast<u8>(condition(dr7, i)) & 1)) return true;
    return false;
}

bool instruction_breakpoints_enabled(u64 dr7) {
    for (unsigned i = 0; i < 4; ++i)
        if (breakpoint_enabled(dr7, i) && condition(dr7, i) == Condition::execute) return true;
    return false;
}

bool check_instruction_breakpoints(Cpu& cpu) {
    if ((cpu.dr7 & dr7_bits::enables) == 0 || (cpu.rflags & rflags_bits::rf)) return false;
    // SDM "MOV SS": the shadow holds instruction breakpoints back too.
    if (cpu.interruptibility & interruptibility_bits::mov_ss) return false;
    const u64 linear = cpu.ea_base_cs() + cpu.rip;
    const u64 found = hits(cpu, linear, 1, [](Condition c) { return c == Condition::execute; });
    if (found == 0) return false;
    cpu.debug_cause = found;
    cpu.deliver(Fault::of(Vector::db));
    return true;
}

void after_instruction_debug(Cpu& cpu, bool tf_before, bool branched) {
    const bool suppressed = cpu.trap_suppressed;
    cpu.trap_suppressed = false;
    if (!tf_before || suppressed) return;
    if ((cpu.debugctl & debugctl_bits::btf) && !branched) return;
    cpu.pending_debug |= pending_debug_bits::bs;
    cpu.set_attention();
}

void note_data_access(Cpu& cpu, u64 linear, unsigned size, Access access) {
    if ((cpu.dr7 & dr7_bits::enables) == 0) return;
    remember(cpu, hits(cpu, linear, size, [access](Condition c) {
                 return c == Condition::read_write || (c == Condition::write && access == Access::write);
             }));
}

void note_io_access(Cpu& cpu, u16 port, unsigned size) {
    if ((cpu.dr7 & dr7_bits::enables) == 0 || !(cpu.cr4 & cr4_bits::de)) return;
    remember(cpu, hits(cpu, port, size, [](Condition c) { return c == Condition::io; }));
}

}  // namespace droste
