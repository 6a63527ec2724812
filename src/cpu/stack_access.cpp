// SPDX-License-Identifier: Apache-2.0
// Stack pointers held in the TSS (SDM "Task-State Segment (TSS)", "64-Bit TSS").
#include "cpu/stack_access.h"

namespace droste {

namespace {

bool tss_stack64(Cpu& cpu, unsigned offset, u32 ext, u64& sp) {
    const Segment& tr = cpu.segment(Seg::tr);
    if (offset + 7 > tr.limit) return refuse(cpu, Vector::ts, selector_error(tr.selector, ext));
    return cpu.load_system(tr.base + offset, sp);
}

}  // namespace

bool inner_stack(Cpu& cpu, unsigned cpl, u32 ext, u16& ss, u64& sp) {
    if (cpu.long_mode()) {
        ss = static_cast<u16>(cpl);
        return tss_stack64(cpu, 4 + 8 * cpl, ext, sp);
    }
    const Segment& tr = cpu.segment(Seg::tr);
    if (tr.type() & 8) {
        const unsigned at = 4 + 8 * cpl;
        if (at + 5 > tr.limit) return refuse(cpu, Vector::ts, selector_error(tr.selector, ext));
        u32 esp = 0;
        if (!cpu.load_system(tr.base + at, esp) || !cpu.load_system(tr.base + at + 4, ss)) return false;
        sp = esp;
        return true;
    }
    const unsigned at = 2 + 4 * cpl;
    if (at + 3 > tr.limit) return refuse(cpu, Vector::ts, selector_error(tr.selector, ext));
    u16 sp16 = 0;
    if (!cpu.load_system(tr.base + at, sp16) || !cpu.load_system(tr.base + at + 2, ss)) return false;
    sp = sp16;
    return true;
}

bool interrupt_stack(Cpu& cpu, unsigned ist, u32 ext, u64& sp) {
    return tss_stack64(cpu, 28 + 8 * ist, ext, sp);
}

}  // namespace droste
