// SPDX-License-Identifier: Apache-2.0
// Task switching through 16-bit and 32-bit task-state segments.
#include "cpu/task_switch.h"

#include "cpu/cet.h"
#include "cpu/control_registers.h"
#include "cpu/debug.h"

namespace droste {

namespace {

/// The part of a TSS that a switch saves and loads.
struct TaskState {
    u32 cr3 = 0, eip = 0, eflags = 0, ssp = 0;
    std::array<u32, 8> gpr{};
    std::array<u16, 6> segment{};  // in the order of Seg
    u16 ldt = 0;
    bool trap = false;
    u16 selector(Seg s) const { return segment[static_cast<unsigned>(s)]; }
    unsigned level() const { return eflags & rflags_bits::vm ? 3 : rpl(selector(Seg::cs)); }
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
constexpr unsigned tss_cr3 = 0x1C, tss_trap = 0x64, tss_ssp = 0x68;
constexpr u32 minimum_limit_with_ssp = 0x6B;

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
    return !(cpu.cr4 & cr4_bits::cet) || cpu.load_system(base + tss_ssp, t.ssp);
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
    const unsigned cpl = cpu.cpl;
    const u16 cs = t.selector(Seg::cs);
    DescriptorAt at;
    if (null_selector(cs)) return refuse(cpu, Vector::ts, ext);
    if (!read_descriptor(cpu, cs, Vector::ts, ext, at)) return false;
    const bool level_fits = at.d.conforming() ? at.d.dpl() <= cpl : at.d.dpl() == cpl;
    if (!at.d.code() || !level_fits) return refuse(cpu, Vector::ts, selector_error(cs, ext));
    if (!at.d.present()) return refuse(cpu, Vector::np, selector_error(cs, ext));
    if (!mark_accessed(cpu, at)) return false;
    set_code_segment(cpu, cs, at.d, cpl);
    cpu.segments_changed();

    const u16 ss = t.selector(Seg::ss);
    if (null_selector(ss)) return refuse(cpu, Vector::ts, ext);
    if (!check_stack_segment(cpu, ss, cpl, Vector::ts, ext, at) || !mark_accessed(cpu, at)) return false;
    set_segment(cpu, Seg::ss, ss, at.d);
    for (const Seg s : {Seg::ds, Seg::es, Seg::fs, Seg::gs}) {
        const u16 v = t.selector(s);
        if (null_selector(v)) continue;
        if (!check_data_segment(cpu, v, cpl, Vector::ts, ext, at) || !mark_accessed(cpu, at)) return false;
        set_segment(cpu, s, v, at.d);
    }
    return true;
}

// ---- shadow stacks (SDM "Task Switching"; "Supervisor Shadow Stack Token")

/// What goes from the old task's shadow stack to the new one's, or comes back from it with IRET.
struct ShadowLink {
    bool frame = false;       ///< CS, LIP and SSP of the task that called, or that is returned to
    bool user_stack = false;  ///< the old task's SSP goes to IA32_PL3_SSP instead
    bool released = false;    ///< IRET left a shadow stack
    u64 cs = 0, lip = 0, ssp = 0;
};

/// Before the commit point.
bool leave_task_stack(Cpu& cpu, const TaskState& t, TaskSource source, bool nests, u64 next_rip,
                      ShadowLink& link) {
    if (!shadow_stack_enabled(cpu, cpu.cpl)) return true;
    const unsigned level = t.level();
    if (nests) {
        link.user_stack = cpu.cpl == 3 && level < 3;
        link.frame = !link.user_stack;
        link.cs = cpu.segment(Seg::cs).selector;
        link.lip = (cpu.segment(Seg::cs).base + next_rip) & 0xFFFFFFFF;
        link.ssp = cpu.cet.ssp;
        return true;
    }
    if (source != TaskSource::iret) return true;
    const bool user = cpu.cpl == 3;
    u64 ssp = cpu.cet.ssp;
    if (level == cpu.cpl || level < 3) {
        if (!shadow_load(cpu, ssp, 8, link.ssp, user) || !shadow_load(cpu, ssp + 8, 8, link.lip, user) ||
            !shadow_load(cpu, ssp + 16, 8, link.cs, user))
            return false;
        link.frame = true;
        ssp += 24;
    }
    link.released = true;
    bool found = false;
    return shadow_exchange(cpu, ssp, ssp | shadow_token_busy, ssp, user, found);
}

/// In the new task; `tss_error` is the error code that names its TSS.
bool enter_task_stack(Cpu& cpu, const TaskState& t, TaskSource source, const ShadowLink& link,
                      u32 tss_error) {
    const u64 control = cet_at_level(cpu, cpu.cpl);
    if (cpu.v86()) {
        const bool enabled = control & (cet_bits::sh_stk_en | cet_bits::endbr_en);
        return !enabled || refuse(cpu, Vector::ts, tss_error);
    }
    const bool user = cpu.cpl == 3;
    if (source == TaskSource::iret) {
        const u64 lip = (cpu.segment(Seg::cs).base + cpu.rip) & 0xFFFFFFFF;
        if (link.frame && (link.cs != t.selector(Seg::cs) || link.lip != lip))
            return refuse(cpu, Vector::cp, cp_code::far_ret_iret);
        if (!(control & cet_bits::sh_stk_en)) return true;
        const u64 ssp = link.frame ? link.ssp : cpu.cet.pl_ssp[3];
        if ((ssp & 3) || (ssp >> 32)) return refuse(cpu, Vector::cp, cp_code::far_ret_iret);
        cpu.cet.ssp = ssp;
        return true;
    }
    track_far_transfer(cpu);
    if (!(control & cet_bits::sh_stk_en)) return true;
    u64 ssp = t.ssp;
    if (ssp & 7) return refuse(cpu, Vector::ts, tss_error);
    bool found = false;
    if (!shadow_exchange(cpu, ssp, ssp, ssp | shadow_token_busy, user, found)) return false;
    if (!found) return refuse(cpu, Vector::ts, tss_error);
    cpu.cet.ssp = ssp;
    if (!link.frame) return true;
    for (const u64 v : {link.cs, link.lip, link.ssp})
        if (!shadow_store(cpu, ssp -= 8, 8, v, user)) return false;
    cpu.cet.ssp = ssp;
    return true;
}

/// What can fail after the new task's registers are loaded.
bool finish_in_new_task(Cpu& cpu, const TaskState& t, bool wide, TaskSource source, const ShadowLink& link,
                        std::optional<u32> error_code, u32 tss_error, u32 ext) {
    if (!load_ldt(cpu, t.ldt, ext)) return false;
    if (cpu.v86()) {
        for (unsigned i = 0; i < 6; ++i) cpu.load_segment_real(static_cast<Seg>(i), t.segment[i]);
    } else if (!load_task_segments(cpu, t, ext)) {
        cpu.segments_changed();
        return false;
    }
    const bool entered = enter_task_stack(cpu, t, source, link, tss_error);
    cpu.segments_changed();
    if (!entered) return false;
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
    const bool nests = source == TaskSource::call || source == TaskSource::task_gate;
    const Segment old_tr = cpu.segment(Seg::tr);
    const TssLayout& from = layout_of(old_tr.type());
    const TssLayout& to = layout_of(tss.d.type());
    const bool wide = to.width == 4;
    const u64 base = tss.d.base();
    const u32 vector_error = selector_error(selector, ext);
    const bool cet = cpu.cr4 & cr4_bits::cet;
    if ((cet && !wide) || tss.d.limit() < (cet ? minimum_limit_with_ssp : to.minimum_limit)) {
        cpu.pending_fault = Fault::of(Vector::ts, vector_error);
        return TaskSwitch::failed;
    }
    // SDM "Treatment of Task Switches": after the checks of the new TSS's descriptor, its limit included.
    if (cpu.non_root) {
        cpu.hooks->task_switch(selector, static_cast<unsigned>(source), length);
        return TaskSwitch::exited;
    }
    const bool misaligned_stack =
        source == TaskSource::iret && shadow_stack_enabled(cpu, cpu.cpl) && (cpu.cet.ssp & 7);
    if (old_tr.unusable() || old_tr.limit < from.saved_last || misaligned_stack) {
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
    ShadowLink link;
    if (!leave_task_stack(cpu, t, source, nests, next_rip, link)) return TaskSwitch::failed;

    if (source == TaskSource::iret) flags &= ~nt;
    bool ok = nests || set_busy(cpu, old_descriptor, false);
    ok = ok && save_task(cpu, old_tr.base, from, next_rip, flags);
    if (nests) ok = ok && cpu.store_system(base, old_tr.selector);
    if (source != TaskSource::iret) ok = ok && set_busy(cpu, tss.address, true);
    if (!ok) return TaskSwitch::failed;

    // The new task from here on.
    set_segment(cpu, Seg::tr, selector, tss.d);
    cpu.segment(Seg::tr).access |= 2;
    if (link.user_stack) cpu.cet.pl_ssp[3] = link.ssp;
    if (link.released) cpu.cet.ssp = 0;
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
    cpu.cpl = static_cast<u8>(t.level());
    cpu.dr7 &= ~0x155ull;  // L0-L3, LE
    cpu.context_changed();
    cpu.charge(CostEvent::task_switch);
    if (!paging_ok || !finish_in_new_task(cpu, t, wide, source, link, error_code, vector_error, ext))
        return TaskSwitch::failed_in_new_task;
    if (t.trap) {
        cpu.pending_debug |= pending_debug_bits::bt;
        cpu.set_attention();
    }
    if (cpu.rflags & if_) cpu.set_attention();
    return TaskSwitch::done;
}

}  // namespace droste
