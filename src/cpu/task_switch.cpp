// SPDX-License-Identifier: Apache-2.0
// Task switching through 16-bit and 32-bit task-state segments.
#include "cpu/task_switch.h"

#include "cpu/control_registers.h"
#include "cpu/debug.h"

namespace droste {

namespace {

/// The part of a TSS that a switch saves and loads.
struct TaskState {
    u32 cr3 = 0, eip = 0, eflags = 0;
    std::array<u32, 8> gpr{};
    std::array<u16, 6> segment{};  // in the order of Seg
    u16 ldt = 0;
    bool trap = false;
};

/// Where each format keeps it (SDM Figures "32-Bit Task-State Segment (TSS)", "16-Bit TSS Format").
struct TssLayout {
    unsigned width;  ///< of a register
    u32 minimum_limit;
    unsigned eip, eflags, gpr, segment, segments, segment_stride, ldt;
    unsigned saved_first, saved_last;
};
constexpr TssLayout layout16{2, 0x2B, 0x0E, 0x10, 0x12, 0x22, 4, 2, 0x2A, 0x0E, 0x29};
constexpr TssLayout layout32{4, 0x67, 0x20, 0x24, 0x28, 0x48, 6, 4, 0x60, 0x20, 0x5F};
constexpr unsigned tss_cr3 = 0x1C, tss_trap = 0x64;

const TssLayout& layout_of(unsigned type) { return (type & 8) ? layout32 : layout16; }

bool read_register(Cpu& cpu, u64 at, unsigned width, u32& v) {
    if (width == 4) return cpu.load_system(at, v);
    u16 w = 0;
    if (!cpu.load_system(at, w)) return false;
    v = w;
    return true;
}

bool write_register(Cpu& cpu, u64 at, unsigned width, u32 v) {
    return width == 4 ? cpu.store_system(at, v) : cpu.store_system(at, static_cast<u16>(v));
}

/// Makes sure that a later write of the page cannot fail.
bool touch(Cpu& cpu, u64 at) {
    u8 v = 0;
    return cpu.load_system(at, v) && cpu.store_system(at, v);
}

bool read_task(Cpu& cpu, u64 base, const TssLayout& l, TaskState& t) {
    const bool wide = l.width == 4;
    if (!read_register(cpu, base + l.eip, l.width, t.eip) ||
        !read_register(cpu, base + l.eflags, l.width, t.eflags))
        return false;
    for (unsigned i = 0; i < 8; ++i) {
        if (!read_register(cpu, base + l.gpr + i * l.width, l.width, t.gpr[i])) return false;
        if (!wide) t.gpr[i] |= 0xFFFF0000;
    }
    for (unsigned i = 0; i < l.segments; ++i)
        if (!cpu.load_system(base + l.segment + i * l.segment_stride, t.segment[i])) return false;
    if (!cpu.load_system(base + l.ldt, t.ldt)) return false;
    if (!wide) return true;
    u16 trap = 0;
    if (!cpu.load_system(base + tss_cr3, t.cr3) || !cpu.load_system(base + tss_trap, trap)) return false;
    t.trap = trap & 1;
    return true;
}

bool save_task(Cpu& cpu, u64 base, const TssLayout& l, u64 next_rip, u64 flags) {
    if (!write_register(cpu, base + l.eip, l.width, static_cast<u32>(next_rip)) ||
        !write_register(cpu, base + l.eflags, l.width, static_cast<u32>(flags)))
        return false;
    for (unsigned i = 0; i < 8; ++i)
        if (!write_register(cpu, base + l.gpr + i * l.width, l.width, static_cast<u32>(cpu.gpr[i])))
            return false;
    for (unsigned i = 0; i < l.segments; ++i)
        if (!cpu.store_system(base + l.segment + i * l.segment_stride, cpu.seg[i].selector)) return false;
    return true;
}

bool load_ldt(Cpu& cpu, u16 selector, u32 ext) {
    if (null_selector(selector)) return true;
    DescriptorAt at;
    if (in_ldt(selector)) return refuse(cpu, Vector::ts, selector_error(selector, ext));
    if (!read_descriptor(cpu, selector, Vector::ts, ext, at)) return false;
    if (!at.d.system() || at.d.type() != system_type::ldt || !at.d.present())
        return refuse(cpu, Vector::ts, selector_error(selector, ext));
    set_segment(cpu, Seg::ldtr, selector, at.d);
    return true;
}

bool load_task_segments(Cpu& cpu, const TaskState& t, u32 ext) {
    const auto selector = [&](Seg s) { return t.segment[static_cast<unsigned>(s)]; };
    const unsigned cpl = cpu.cpl;
    const u16 cs = selector(Seg::cs);
    DescriptorAt at;
    if (null_selector(cs)) return refuse(cpu, Vector::ts, ext);
    if (!read_descriptor(cpu, cs, Vector::ts, ext, at)) return false;
    const bool level_fits = at.d.conforming() ? at.d.dpl() <= cpl : at.d.dpl() == cpl;
    if (!at.d.code() || !level_fits) return refuse(cpu, Vector::ts, selector_error(cs, ext));
    if (!at.d.present()) return refuse(cpu, Vector::np, selector_error(cs, ext));
    if (!mark_accessed(cpu, at)) return false;
    set_code_segment(cpu, cs, at.d, cpl);
    cpu.segments_changed();

    const u16 ss = selector(Seg::ss);
    if (null_selector(ss)) return refuse(cpu, Vector::ts, ext);
    if (!check_stack_segment(cpu, ss, cpl, Vector::ts, ext, at) || !mark_accessed(cpu, at)) return false;
    set_segment(cpu, Seg::ss, ss, at.d);
    for (const Seg s : {Seg::ds, Seg::es, Seg::fs, Seg::gs}) {
        const u16 v = selector(s);
        if (null_selector(v)) continue;
        if (!check_data_segment(cpu, v, cpl, Vector::ts, ext, at) || !mark_accessed(cpu, at)) return false;
        set_segment(cpu, s, v, at.d);
    }
    return true;
}

/// What can fail after the new task's registers are loaded.
bool finish_in_new_task(Cpu& cpu, const TaskState& t, bool wide, std::optional<u32> error_code, u32 ext) {
    if (!load_ldt(cpu, t.ldt, ext)) return false;
    if (cpu.v86()) {
        for (unsigned i = 0; i < 6; ++i) cpu.load_segment_real(static_cast<Seg>(i), t.segment[i]);
    } else if (!load_task_segments(cpu, t, ext)) {
        cpu.segments_changed();
        return false;
    }
    cpu.segments_changed();
    if (error_code) {
        const bool pushed = wide ? cpu.push<u32>(*error_code) : cpu.push<u16>(static_cast<u16>(*error_code));
        if (!pushed) return false;
    }
    if (cpu.rip > cpu.segment(Seg::cs).limit) return refuse(cpu, Vector::gp, ext);
    return true;
}

}  // namespace

TaskSwitch task_switch(Cpu& cpu, u16 selector, const DescriptorAt& tss, TaskSource source, u64 next_rip,
                       u64 flags, std::optional<u32> error_code, u32 ext, u32 length) {
    using namespace rflags_bits;
    if (cpu.non_root) {
        cpu.hooks->task_switch(selector, static_cast<unsigned>(source), length);
        return TaskSwitch::exited;
    }
    const bool nests = source == TaskSource::call || source == TaskSource::task_gate;
    const Segment old_tr = cpu.segment(Seg::tr);
    const TssLayout& from = layout_of(old_tr.type());
    const TssLayout& to = layout_of(tss.d.type());
    const bool wide = to.width == 4;
    const u64 base = tss.d.base();
    const u32 vector_error = selector_error(selector, ext);
    if (tss.d.limit() < to.minimum_limit) {
        cpu.pending_fault = Fault::of(Vector::ts, vector_error);
        return TaskSwitch::failed;
    }
    if (old_tr.unusable() || old_tr.limit < from.saved_last) {
        cpu.pending_fault = Fault::of(Vector::ts, selector_error(old_tr.selector, ext));
        return TaskSwitch::failed;
    }
    // Everything that is read or written before the commit point is touched first: a fault leaves the old
    // task whole.
    TaskState t;
    const u64 old_descriptor = cpu.gdtr.base + (old_tr.selector & 0xFFF8u);
    if (!read_task(cpu, base, to, t) || !touch(cpu, old_tr.base + from.saved_first) ||
        !touch(cpu, old_tr.base + from.saved_last) || !touch(cpu, tss.address + 5) ||
        !touch(cpu, old_descriptor + 5) || (nests && !touch(cpu, base)))
        return TaskSwitch::failed;

    if (source == TaskSource::iret) flags &= ~nt;
    bool ok = nests || set_busy(cpu, old_descriptor, false);
    ok = ok && save_task(cpu, old_tr.base, from, next_rip, flags);
    if (nests) ok = ok && cpu.store_system(base, old_tr.selector);
    if (source != TaskSource::iret) ok = ok && set_busy(cpu, tss.address, true);
    if (!ok) return TaskSwitch::failed;

    // The new task from here on.
    set_segment(cpu, Seg::tr, selector, tss.d);
    cpu.segment(Seg::tr).access |= 2;
    cpu.cr0 |= cr0_bits::ts;
    bool paging_ok = true;
    if (wide && (cpu.cr0 & cr0_bits::pg)) {
        paging_ok = !(cpu.cr4 & cr4_bits::pae) || load_pdptes(cpu, t.cr3);
        if (paging_ok) cpu.cr3 = t.cr3;
        cpu.mmu.flush_current(true);
    }
    for (unsigned i = 0; i < 8; ++i) cpu.gpr[i] = t.gpr[i];
    cpu.rip = t.eip;
    constexpr u64 loadable = arithmetic | tf | if_ | df | iopl | nt | rf | vm | ac | vif | vip | id;
    u64 new_flags = t.eflags & loadable;
    if (nests) new_flags |= nt;
    cpu.write_rflags(new_flags);
    for (unsigned i = 0; i < 6; ++i) cpu.seg[i] = null_segment(t.segment[i]);
    cpu.segment(Seg::ldtr) = null_segment(t.ldt);
    const u16 cs = t.segment[static_cast<unsigned>(Seg::cs)];
    cpu.cpl = static_cast<u8>(cpu.v86() ? 3 : rpl(cs));
    cpu.dr7 &= ~0x155ull;  // L0-L3, LE
    cpu.context_changed();
    cpu.charge(CostEvent::task_switch);
    if (!paging_ok || !finish_in_new_task(cpu, t, wide, error_code, ext))
        return TaskSwitch::failed_in_new_task;
    if (t.trap) {
        cpu.pending_debug |= pending_debug_bits::bt;
        cpu.set_attention();
    }
    if (cpu.rflags & if_) cpu.set_attention();
    return TaskSwitch::done;
}

}  // namespace droste
