// SPDX-License-Identifier: Apache-2.0
// Descriptor-table accesses and the checks of segment loads, shared by everything that loads selectors.
#pragma once
#include "cpu/cpu.h"
#include "cpu/descriptors.h"

namespace droste {

/// Sets Cpu::pending_fault and returns false, so that callers can write `return refuse(...)`.
inline bool refuse(Cpu& cpu, Vector v, u32 code) {
    cpu.pending_fault = Fault::of(v, code);
    return false;
}

/// A descriptor and where it was found.
struct DescriptorAt {
    Descriptor d;
    u64 address = 0;  ///< linear
};

/// `size` bytes of the selector's table entry lie within the table.
bool in_table(const Cpu& cpu, u16 selector, unsigned size);
/// Reads the 8-byte descriptor that `selector` (not null) names. Beyond its table: `on_fail`(selector | ext).
bool read_descriptor(Cpu& cpu, u16 selector, Vector on_fail, u32 ext, DescriptorAt& out);
/// The same for a system descriptor: 16 bytes in IA-32e mode.
bool read_system_descriptor(Cpu& cpu, u16 selector, Vector on_fail, u32 ext, DescriptorAt& out);
/// Sets the accessed bit of a code or data descriptor in memory and in `at`.
bool mark_accessed(Cpu& cpu, DescriptorAt& at);
/// Sets or clears the busy bit of a TSS descriptor in memory.
bool set_busy(Cpu& cpu, u64 address, bool busy);

/// The segment that a null selector leaves: unusable.
constexpr Segment null_segment(u16 selector, unsigned dpl = 0) {
    return {selector, 0, Segment::unusable_bit | (dpl << 5), 0};
}

/// Checks for a data segment register (not SS, not null) at `cpl`; #GP(selector), #NP(selector).
/// `on_type`: the vector for what is not a presence failure (#TS in task switches).
bool check_data_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector on_type, u32 ext, DescriptorAt& out);
/// Checks for SS (not null) at `cpl`: RPL, writable, DPL, present. `on_type` is #GP, or #TS for stacks from a
/// TSS.
bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector on_type, u32 ext, DescriptorAt& out);

/// CS := descriptor with RPL = `cpl`, and the new CPL. Call segments_changed() when the rest is in place.
void set_code_segment(Cpu& cpu, u16 selector, const Descriptor& d, unsigned cpl);
/// Segment with SS's present attributes replaced; `cpl` only for null ones.
void set_segment(Cpu& cpu, Seg s, u16 selector, const Descriptor& d);
/// After a return to an outer level: DS, ES, FS, GS that the new CPL must not use become null.
void drop_inner_segments(Cpu& cpu);

/// CS:offset can be executed: canonical (64-bit code) or within the limit; else #GP(ext).
bool check_target(Cpu& cpu, const Descriptor& code, u64 offset, u32 ext = 0);
bool canonical(const Cpu& cpu, u64 linear);
/// A value that registers for linear addresses hold (MSRs, bases of tables and segments, INVPCID's operand): canonical
/// for the widest addresses of the model, whatever CR4.LA57 is.
bool holds_linear_address(const Cpu& cpu, u64 value);

/// Segment limit that a stack, jump or table access of a segment not yet loaded must obey. True: [offset,
/// +size) fits.
bool within_limit(const Segment& s, u64 offset, unsigned size);

}  // namespace droste
