// SPDX-License-Identifier: Apache-2.0
// Far transfers: JMP, CALL, RET and IRET between segments, privilege levels and tasks; INT.
#include "cpu/cet.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/descriptors.h"
#include "cpu/fred.h"
#include "cpu/insns/far_return.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/segmentation.h"
#include "cpu/stack_access.h"
#include "cpu/task_switch.h"

namespace droste {

namespace {

constexpr u64 size_mask(unsigned osz) { return osz == 1 ? 0xFFFF : osz == 2 ? 0xFFFFFFFF : ~0ull; }

struct FarPointer {
    u16 selector = 0;
    u64 offset = 0;
};

FarPointer immediate_pointer(const Insn& in) { return {static_cast<u16>(in.imm >> 32), in.imm & 0xFFFFFFFF}; }

bool load_pointer(Cpu& cpu, const Insn& in, FarPointer& p) {
    const unsigned size = 1u << in.osz();
    u64 at;
    if (!cpu.operand(in, size + 2, Access::read, at)) return false;
    const unsigned s = in.seg();
    if (in.osz() == 3) {
        if (!cpu.load(s, at, p.offset)) return false;
    } else if (in.osz() == 2) {
        u32 v = 0;
        if (!cpu.load(s, at, v)) return false;
        p.offset = v;
    } else {
        u16 v = 0;
        if (!cpu.load(s, at, v)) return false;
        p.offset = v;
    }
    return cpu.load(s, at + size, p.selector);
}

Outcome to_task(Cpu& cpu, const Insn& in, u16 selector, const DescriptorAt& tss, TaskSource source) {
    cpu.rip = cpu.insn_rip(in);
    switch (task_switch(cpu, selector, tss, source, cpu.next_rip(in), cpu.read_rflags(), std::nullopt, 0,
                        in.len)) {
    case TaskSwitch::done: return Outcome::branch;
    case TaskSwitch::exited: return Outcome::vm_exit;
    case TaskSwitch::failed: return cpu.failed();
    case TaskSwitch::failed_in_new_task: break;
    }
    cpu.handle_failed_access();
    return Outcome::branch;
}

/// The TSS that a task gate names; must be in the GDT and available.
bool gate_tss(Cpu& cpu, const Descriptor& gate, DescriptorAt& tss) {
    const u16 selector = gate.gate_selector();
    if (null_selector(selector) || in_ldt(selector)) return refuse(cpu, Vector::gp, selector_error(selector));
    if (!read_descriptor(cpu, selector, Vector::gp, 0, tss)) return false;
    const unsigned type = tss.d.type();
    if (!tss.d.system() || (type != system_type::tss16_available && type != system_type::tss32_available))
        return refuse(cpu, Vector::gp, selector_error(selector));
    return tss.d.present() || refuse(cpu, Vector::np, selector_error(selector));
}

enum class Transfer : u8 { jump, call };

/// Privilege and type of the code segment that a JMP or CALL names directly.
bool check_direct_code(Cpu& cpu, u16 selector, const Descriptor& d) {
    const bool allowed = d.conforming() ? d.dpl() <= cpu.cpl : rpl(selector) <= cpu.cpl && d.dpl() == cpu.cpl;
    if (!allowed) return refuse(cpu, Vector::gp, selector_error(selector));
    if (!d.present()) return refuse(cpu, Vector::np, selector_error(selector));
    if (cpu.long_mode() && d.l() && d.db()) return refuse(cpu, Vector::gp, selector_error(selector));
    return true;
}

void enter_code(Cpu& cpu, u16 selector, const Descriptor& d, unsigned level, u64 offset) {
    set_code_segment(cpu, selector, d, level);
    cpu.rip = offset;
    cpu.segments_changed();
    cpu.charge(CostEvent::far_transfer);
}

/// The same for JMP and CALL, whose targets are tracked.
void enter_called_code(Cpu& cpu, u16 selector, const Descriptor& d, unsigned level, u64 offset, u64 ssp) {
    commit_shadow_entry(cpu, level, ssp);
    set_code_segment(cpu, selector, d, level);
    track_far_transfer(cpu);
    cpu.rip = offset;
    cpu.segments_changed();
    cpu.charge(CostEvent::far_transfer);
}

bool to_long_code(const Cpu& cpu, const Descriptor& code) { return cpu.long_mode() && code.l(); }

/// The shadow stack of a far CALL; a far JMP leaves it as it is.
bool shadow_call(Cpu& cpu, const Insn& in, const Descriptor& code, unsigned level, u64& ssp) {
    const u64 base = cpu.code64() ? 0 : cpu.segment(Seg::cs).base;
    return enter_shadow_stack(cpu, {.level = level, .new_stack = level != cpu.cpl, .ist = 0,
                                    .to64 = to_long_code(cpu, code), .cs = cpu.segment(Seg::cs).selector,
                                    .lip = base + cpu.next_rip(in), .error_code = 0},
                              ssp);
}
/// SDM "JMP": the SSP must fit a target that is not 64-bit code.
bool shadow_jump(Cpu& cpu, const Descriptor& code, u64& ssp) {
    ssp = cpu.cet.ssp;
    if (!shadow_stack_enabled(cpu, cpu.cpl) || to_long_code(cpu, code) || (ssp >> 32) == 0) return true;
    return refuse(cpu, Vector::gp, 0);
}

bool direct_transfer(Cpu& cpu, const Insn& in, u16 selector, DescriptorAt& code, u64 offset, Transfer kind) {
    if (!check_direct_code(cpu, selector, code.d)) return false;
    offset &= size_mask(in.osz());
    if (!check_target(cpu, code.d, offset) || !mark_accessed(cpu, code)) return false;
    u64 ssp = 0;
    if (kind == Transfer::call) {
        const unsigned size = 1u << in.osz();
        StackWriter stack(cpu, 0);
        if (!stack.push(cpu.segment(Seg::cs).selector, size) || !stack.push(cpu.next_rip(in), size) ||
            !shadow_call(cpu, in, code.d, cpu.cpl, ssp))
            return false;
        cpu.set_sp(stack.sp());
    } else if (!shadow_jump(cpu, code.d, ssp)) {
        return false;
    }
    enter_called_code(cpu, selector, code.d, cpu.cpl, offset, ssp);
    return true;
}

/// The code segment that a call gate leads to. `level`: CPL after the transfer.
bool gate_code(Cpu& cpu, const Descriptor& gate, Transfer kind, DescriptorAt& code, unsigned& level) {
    const u16 selector = gate.gate_selector();
    if (null_selector(selector)) return refuse(cpu, Vector::gp, 0);
    if (!read_descriptor(cpu, selector, Vector::gp, 0, code)) return false;
    const Descriptor& d = code.d;
    const bool reachable = kind == Transfer::call || d.conforming() ? d.dpl() <= cpu.cpl : d.dpl() == cpu.cpl;
    if (!d.code() || !reachable) return refuse(cpu, Vector::gp, selector_error(selector));
    if (cpu.long_mode() && (!d.l() || d.db())) return refuse(cpu, Vector::gp, selector_error(selector));
    if (!d.present()) return refuse(cpu, Vector::np, selector_error(selector));
    level = d.conforming() ? cpu.cpl : d.dpl();
    return mark_accessed(cpu, code);
}

/// CALL through a gate to an inner level (SDM "CALL", MORE-PRIVILEGE).
bool call_inner(Cpu& cpu, const Insn& in, const Descriptor& gate, const Descriptor& code, unsigned level,
                u64 offset, u64& ssp) {
    u16 ss = 0;
    u64 sp = 0;
    if (!inner_stack(cpu, level, 0, ss, sp)) return false;
    const bool long64 = cpu.long_mode();
    DescriptorAt data;
    Segment new_ss = null_segment(static_cast<u16>(level), level);
    if (!long64) {
        if (null_selector(ss)) return refuse(cpu, Vector::ts, 0);
        if (!check_stack_segment(cpu, ss, level, Vector::ts, 0, data) || !mark_accessed(cpu, data))
            return false;
        new_ss = data.d.segment(ss);
    }
    const unsigned size = long64 ? 8 : (gate.type() & 8) ? 4 : 2;
    const u64 mask = long64 ? ~0ull : new_ss.db() ? 0xFFFFFFFF : 0xFFFF;
    const unsigned parameters = long64 ? 0 : gate.gate_parameters();
    std::array<u64, 32> copied{};
    StackReader old(cpu);
    for (unsigned i = 0; i < parameters; ++i)
        if (!old.pop(copied[i], size)) return false;
    StackWriter stack(cpu, new_ss, sp, mask, long64, StackPrivilege::inner, selector_error(ss));
    if (!check_target(cpu, code, offset) || !stack.push(cpu.segment(Seg::ss).selector, size) ||
        !stack.push(cpu.reg(Gpr::rsp), size))
        return false;
    for (unsigned i = parameters; i-- > 0;)
        if (!stack.push(copied[i], size)) return false;
    if (!stack.push(cpu.segment(Seg::cs).selector, size) || !stack.push(cpu.next_rip(in), size) ||
        !shadow_call(cpu, in, code, level, ssp))
        return false;
    cpu.segment(Seg::ss) = new_ss;
    cpu.reg(Gpr::rsp) = stack.sp();
    return true;
}

bool gate_transfer(Cpu& cpu, const Insn& in, const Descriptor& gate, Transfer kind) {
    DescriptorAt code;
    unsigned level = 0;
    if (!gate_code(cpu, gate, kind, code, level)) return false;
    const bool long64 = cpu.long_mode();
    const bool wide = gate.type() & 8;
    u64 ssp = 0;
    const u64 offset = long64 ? gate.gate_offset64() : wide ? gate.gate_offset32() : gate.gate_offset16();
    if (level != cpu.cpl) {
        // FRED leaves no way between privilege levels but its own.
        if (fred_enabled(cpu)) return refuse(cpu, Vector::gp, selector_error(gate.gate_selector()));
        if (!call_inner(cpu, in, gate, code.d, level, offset, ssp)) return false;
    } else {
        if (!check_target(cpu, code.d, offset)) return false;
        if (kind == Transfer::call) {
            const unsigned size = long64 ? 8 : wide ? 4 : 2;
            StackWriter stack(cpu, 0);
            if (!stack.push(cpu.segment(Seg::cs).selector, size) || !stack.push(cpu.next_rip(in), size) ||
                !shadow_call(cpu, in, code.d, level, ssp))
                return false;
            cpu.set_sp(stack.sp());
        } else if (!shadow_jump(cpu, code.d, ssp)) {
            return false;
        }
    }
    enter_called_code(cpu, gate.gate_selector(), code.d, level, offset, ssp);
    return true;
}

Outcome system_transfer(Cpu& cpu, const Insn& in, u16 selector, const DescriptorAt& at, Transfer kind) {
    const Descriptor& d = at.d;
    const TaskSource source = kind == Transfer::jump ? TaskSource::jump : TaskSource::call;
    const auto finish = [&](bool ok) { return ok ? Outcome::branch : cpu.failed(); };
    const auto privileged_enough = [&] { return d.dpl() >= cpu.cpl && d.dpl() >= rpl(selector); };
    const auto present = [&] { return d.present() || refuse(cpu, Vector::np, selector_error(selector)); };
    const auto bad = [&] { return cpu.raise(Fault::of(Vector::gp, selector_error(selector))); };
    switch (d.type()) {
    case system_type::call_gate16:
        if (cpu.long_mode()) return bad();
        [[fallthrough]];
    case system_type::call_gate32:
        if (!privileged_enough()) return bad();
        if (!present()) return cpu.failed();
        return finish(gate_transfer(cpu, in, d, kind));
    case system_type::task_gate: {
        if (cpu.long_mode() || !privileged_enough()) return bad();
        if (!present()) return cpu.failed();
        DescriptorAt tss;
        if (!gate_tss(cpu, d, tss)) return cpu.failed();
        return to_task(cpu, in, d.gate_selector(), tss, source);
    }
    case system_type::tss16_available: case system_type::tss32_available:
        if (cpu.long_mode() || !privileged_enough() || in_ldt(selector)) return bad();
        if (!present()) return cpu.failed();
        return to_task(cpu, in, selector, at, source);
    default: return bad();
    }
}

Outcome far_real(Cpu& cpu, const Insn& in, FarPointer p, Transfer kind) {
    p.offset &= size_mask(in.osz());
    // The limit of CS stays what it was; beyond 64 KBytes is beyond it in real mode proper.
    const u32 limit = cpu.v86() ? 0xFFFF : cpu.segment(Seg::cs).limit;
    if (p.offset > limit) return cpu.gp0();
    if (kind == Transfer::call) {
        const unsigned size = 1u << in.osz();
        StackWriter stack(cpu, 0);
        if (!stack.push(cpu.segment(Seg::cs).selector, size) || !stack.push(cpu.next_rip(in), size))
            return cpu.failed();
        cpu.set_sp(stack.sp());
    }
    cpu.load_segment_real(Seg::cs, p.selector);
    cpu.rip = p.offset;
    cpu.charge(CostEvent::far_transfer);
    return Outcome::branch;
}

Outcome far_transfer(Cpu& cpu, const Insn& in, const FarPointer& p, Transfer kind) {
    if (cpu.real_or_v86()) return far_real(cpu, in, p, kind);
    if (null_selector(p.selector)) return cpu.gp0();
    DescriptorAt at;
    if (!read_system_descriptor(cpu, p.selector, Vector::gp, 0, at)) return cpu.failed();
    if (at.d.system()) return system_transfer(cpu, in, p.selector, at, kind);
    if (!at.d.code()) return cpu.raise(Fault::of(Vector::gp, selector_error(p.selector)));
    return direct_transfer(cpu, in, p.selector, at, p.offset, kind) ? Outcome::branch : cpu.failed();
}

template <Transfer kind> Outcome far_immediate(Cpu& cpu, const Insn& in) {
    return far_transfer(cpu, in, immediate_pointer(in), kind);
}
template <Transfer kind> Outcome far_indirect(Cpu& cpu, const Insn& in) {
    FarPointer p;
    if (!load_pointer(cpu, in, p)) return cpu.failed();
    return far_transfer(cpu, in, p, kind);
}

// ---- returns

}  // namespace

bool return_code(Cpu& cpu, u16 selector, DescriptorAt& code, LevelChange kind) {
    if (!read_descriptor(cpu, selector, Vector::gp, 0, code)) return false;
    const Descriptor& d = code.d;
    const unsigned level = rpl(selector);
    const bool allowed = level >= cpu.cpl && (d.conforming() ? d.dpl() <= level : d.dpl() == level);
    const bool eretu_only = fred_enabled(cpu) && level != cpu.cpl && kind == LevelChange::forbidden_by_fred;
    if (!d.code() || !allowed || eretu_only || (cpu.long_mode() && d.l() && d.db()))
        return refuse(cpu, Vector::gp, selector_error(selector));
    if (!d.present()) return refuse(cpu, Vector::np, selector_error(selector));
    return true;
}

bool return_stack(Cpu& cpu, u16 selector, unsigned level, bool to64, Segment& out) {
    if (null_selector(selector)) {
        if (!to64 || level == 3 || rpl(selector) != level) return refuse(cpu, Vector::gp, 0);
        out = null_segment(selector, level);
        return true;
    }
    DescriptorAt data;
    if (!check_stack_segment(cpu, selector, level, Vector::gp, 0, data) || !mark_accessed(cpu, data))
        return false;
    out = data.d.segment(selector);
    return true;
}

namespace {

/// The stack pointer popped by a return: its width is the new stack's.
void set_returned_sp(Cpu& cpu, u64 sp, bool to64, unsigned size) {
    const u64 mask = to64 ? ~0ull : cpu.segment(Seg::ss).db() ? 0xFFFFFFFF : 0xFFFF;
    sp &= size_mask(size == 8 ? 3 : size == 4 ? 2 : 1);
    cpu.reg(Gpr::rsp) = mask == 0xFFFF ? (cpu.reg(Gpr::rsp) & ~mask) | (sp & mask) : sp & mask;
}

/// Linear address of CS:offset, as shadow stacks keep it.
u64 linear_ip(bool to64, const Descriptor& code, u64 offset) {
    return to64 ? offset : (code.base() + offset) & 0xFFFFFFFF;
}

Outcome return_protected(Cpu& cpu, const Insn& in, u64 extra) {
    const unsigned size = 1u << in.osz();
    StackReader stack(cpu);
    u64 offset = 0, cs = 0;
    if (!stack.pop(offset, size) || !stack.pop(cs, size)) return cpu.failed();
    const u16 selector = static_cast<u16>(cs);
    if (null_selector(selector)) return cpu.gp0();
    DescriptorAt code;
    if (!return_code(cpu, selector, code)) return cpu.failed();
    const unsigned level = rpl(selector);
    const bool to64 = to_long_code(cpu, code.d);
    stack.skip(extra);
    ShadowReturn shadow;
    const auto shadow_return = [&](u64 to) {
        const u64 lip = linear_ip(to64, code.d, to);
        return leave_shadow_stack(cpu, ReturnKind::far_ret, selector, lip, level, to64, shadow);
    };
    if (level == cpu.cpl) {
        if (!check_target(cpu, code.d, offset) || !mark_accessed(cpu, code) || !shadow_return(offset))
            return cpu.failed();
        if (shadow.restores) cpu.cet.ssp = shadow.ssp;
        cpu.set_sp(stack.sp());
        enter_code(cpu, selector, code.d, level, offset);
        return Outcome::branch;
    }
    u64 sp = 0, ss = 0;
    Segment new_ss;
    if (!stack.pop(sp, size) || !stack.pop(ss, size) ||
        !return_stack(cpu, static_cast<u16>(ss), level, to64, new_ss) || !check_target(cpu, code.d, offset) ||
        !mark_accessed(cpu, code) || !shadow_return(offset))
        return cpu.failed();
    if (shadow.restores) cpu.cet.ssp = shadow.ssp;
    cpu.segment(Seg::ss) = new_ss;
    set_returned_sp(cpu, sp, to64, size);
    set_code_segment(cpu, selector, code.d, level);
    drop_inner_segments(cpu);
    cpu.segments_changed();
    cpu.set_sp(cpu.reg(Gpr::rsp) + extra);
    cpu.rip = offset;
    cpu.charge(CostEvent::far_transfer);
    return Outcome::branch;
}

Outcome far_return(Cpu& cpu, const Insn& in) {
    const u64 extra = in.imm & 0xFFFF;  // 0 for the form without an immediate
    if (!cpu.real_or_v86()) return return_protected(cpu, in, extra);
    const unsigned size = 1u << in.osz();
    StackReader stack(cpu);
    u64 offset = 0, cs = 0;
    if (!stack.pop(offset, size) || !stack.pop(cs, size)) return cpu.failed();
    const u32 limit = cpu.v86() ? 0xFFFF : cpu.segment(Seg::cs).limit;
    if (offset > limit) return cpu.gp0();
    stack.skip(extra);
    cpu.set_sp(stack.sp());
    cpu.load_segment_real(Seg::cs, static_cast<u16>(cs));
    cpu.rip = offset;
    return Outcome::branch;
}

// ---- IRET

using namespace rflags_bits;

/// IRET ends blocking by NMI, even when it then faults (SDM "Handling Multiple NMIs").
void unblock_nmi(Cpu& cpu) {
    cpu.iret_unblocked_nmi = false;
    if (!(cpu.interruptibility & interruptibility_bits::nmi) || cpu.gates.closed(Gate::iret_nmi_unblocking))
        return;
    cpu.interruptibility &= ~interruptibility_bits::nmi;
    cpu.iret_unblocked_nmi = true;
    cpu.set_attention();
}

Outcome iret_done(Cpu& cpu) {
    cpu.iret_unblocked_nmi = false;
    if (cpu.rflags & (if_ | rf)) cpu.set_attention();
    cpu.charge(CostEvent::iret);
    return Outcome::branch;
}

/// Flags that IRET of `size` bytes may change at the present CPL.
u64 changeable_flags(const Cpu& cpu, unsigned size) {
    u64 mask = arithmetic | tf | df | nt;
    if (size > 2) mask |= rf | ac | id;
    if (cpu.cpl <= cpu.iopl()) mask |= if_;
    if (cpu.cpl == 0) {
        mask |= iopl;
        if (size > 2) mask |= vif | vip;
    }
    return mask;
}

void merge_flags(Cpu& cpu, u64 image, u64 mask) {
    cpu.write_rflags((cpu.read_rflags() & ~mask) | (image & mask));
}

Outcome iret_real(Cpu& cpu, const Insn& in) {
    const unsigned size = 1u << in.osz();
    StackReader stack(cpu);
    u64 offset = 0, cs = 0, image = 0;
    u64 mask = arithmetic | tf | if_ | df | nt | iopl;
    if (size == 4) mask |= rf | ac | id;
    bool to_vif = false;
    if (cpu.v86()) {
        mask &= ~iopl;
        if (cpu.iopl() < 3) {
            if (!(cpu.cr4 & cr4_bits::vme) || size != 2) return cpu.gp0();
            to_vif = true;
        }
    }
    if (!stack.pop(offset, size) || !stack.pop(cs, size) || !stack.pop(image, size)) return cpu.failed();
    const u32 limit = cpu.v86() ? 0xFFFF : cpu.segment(Seg::cs).limit;
    if (offset > limit) return cpu.gp0();
    if (to_vif) {
        // SDM "IRET", IF VM = 1, IOPL < 3, CR4.VME = 1: IF stands for VIF.
        if ((image & tf) || ((image & if_) && (cpu.rflags & vip))) return cpu.gp0();
        mask &= ~if_;
        cpu.rflags = (image & if_) ? cpu.rflags | vif : cpu.rflags & ~vif;
    }
    cpu.set_sp(stack.sp());
    cpu.load_segment_real(Seg::cs, static_cast<u16>(cs));
    cpu.rip = offset;
    merge_flags(cpu, image, mask);
    return iret_done(cpu);
}

Outcome iret_task(Cpu& cpu, const Insn& in) {
    const Segment& tr = cpu.segment(Seg::tr);
    u16 selector = 0;
    if (!cpu.load_system(tr.base, selector)) return cpu.failed();
    if (in_ldt(selector) || null_selector(selector))
        return cpu.raise(Fault::of(Vector::ts, selector_error(selector)));
    DescriptorAt tss;
    if (!read_descriptor(cpu, selector, Vector::ts, 0, tss)) return cpu.failed();
    const unsigned type = tss.d.type();
    if (!tss.d.system() || (type != system_type::tss16_busy && type != system_type::tss32_busy))
        return cpu.raise(Fault::of(Vector::ts, selector_error(selector)));
    if (!tss.d.present()) return cpu.raise(Fault::of(Vector::np, selector_error(selector)));
    return to_task(cpu, in, selector, tss, TaskSource::iret);
}

Outcome iret_to_v86(Cpu& cpu, StackReader& stack, u64 offset, u16 cs, u64 image) {
    u64 sp = 0;
    std::array<u64, 5> popped{};  // SS, ES, DS, FS, GS
    if (!stack.pop(sp, 4)) return cpu.failed();
    for (u64& v : popped)
        if (!stack.pop(v, 4)) return cpu.failed();
    if (offset > 0xFFFF) return cpu.gp0();
    // Virtual-8086 mode has no shadow stack; the one that is left becomes free.
    if (shadow_stack_enabled(cpu, 0)) {
        const u64 ssp = cpu.cet.ssp;
        bool found = false;
        if (ssp & 7) return cpu.raise(Fault::of(Vector::cp, cp_code::far_ret_iret));
        if (!shadow_exchange(cpu, ssp, ssp | shadow_token_busy, ssp, false, found)) return cpu.failed();
    }
    constexpr u64 loadable = arithmetic | tf | if_ | df | iopl | nt | rf | vm | ac | vif | vip | id;
    cpu.write_rflags(image & loadable);
    cpu.cpl = 3;
    cpu.load_segment_real(Seg::cs, cs);
    constexpr Seg order[] = {Seg::ss, Seg::es, Seg::ds, Seg::fs, Seg::gs};
    for (unsigned i = 0; i < 5; ++i) cpu.load_segment_real(order[i], static_cast<u16>(popped[i]));
    cpu.reg(Gpr::rsp) = sp;
    cpu.rip = offset;
    cpu.segments_changed();
    return iret_done(cpu);
}

Outcome iret_protected(Cpu& cpu, const Insn& in) {
    const unsigned size = 1u << in.osz();
    StackReader stack(cpu);
    u64 offset = 0, cs = 0, image = 0;
    if (!stack.pop(offset, size) || !stack.pop(cs, size) || !stack.pop(image, size)) return cpu.failed();
    const u16 selector = static_cast<u16>(cs);
    if (!cpu.long_mode() && (image & vm) && cpu.cpl == 0 && size == 4)
        return iret_to_v86(cpu, stack, offset, selector, image);
    if (null_selector(selector)) return cpu.gp0();
    DescriptorAt code;
    if (!return_code(cpu, selector, code)) return cpu.failed();
    const unsigned level = rpl(selector);
    const bool to64 = cpu.long_mode() && code.d.l();
    const bool with_stack = level != cpu.cpl || cpu.code64();
    u64 sp = 0, ss = 0;
    Segment new_ss;
    if (with_stack && (!stack.pop(sp, size) || !stack.pop(ss, size) ||
                       !return_stack(cpu, static_cast<u16>(ss), level, to64, new_ss)))
        return cpu.failed();
    if (!check_target(cpu, code.d, offset) || !mark_accessed(cpu, code)) return cpu.failed();
    ShadowReturn shadow;
    const u64 lip = linear_ip(to64, code.d, offset);
    if (!leave_shadow_stack(cpu, ReturnKind::iret, selector, lip, level, to64, shadow))
        return cpu.failed();
    if (shadow.restores) cpu.cet.ssp = shadow.ssp;
    const u64 mask = changeable_flags(cpu, size);
    const bool outer = level != cpu.cpl;
    if (with_stack) {
        cpu.segment(Seg::ss) = new_ss;
        set_returned_sp(cpu, sp, to64, size);
    } else {
        cpu.set_sp(stack.sp());
    }
    set_code_segment(cpu, selector, code.d, level);
    cpu.rip = offset;
    if (outer) drop_inner_segments(cpu);
    merge_flags(cpu, image, mask);
    cpu.segments_changed();
    return iret_done(cpu);
}

Outcome iret(Cpu& cpu, const Insn& in) {
    unblock_nmi(cpu);
    if (cpu.real_or_v86()) return iret_real(cpu, in);
    if (cpu.rflags & nt) return cpu.long_mode() ? cpu.gp0() : iret_task(cpu, in);
    return iret_protected(cpu, in);
}

// ---- software interrupts

Outcome int_n(Cpu& cpu, const Insn& in) { return cpu.software_interrupt(in, static_cast<u8>(in.imm), 4); }
Outcome int3(Cpu& cpu, const Insn& in) { return cpu.software_interrupt(in, 3, 6); }
Outcome int1(Cpu& cpu, const Insn& in) { return cpu.software_interrupt(in, 1, 5); }
Outcome into(Cpu& cpu, const Insn& in) {
    if (!(cpu.flags & flag_image::of)) {
        cpu.rip = cpu.next_rip(in);
        return Outcome::branch;
    }
    return cpu.software_interrupt(in, 4, 6);
}

constexpr u32 transfer_traits = traits::ends_block | traits::not_user_fuzzed;

constexpr InsnRow rows[] = {
    {"JMP", "EA ap"_op, "Ap"_operands, code<far_immediate<Transfer::jump>>(), Feature::base,
     transfer_traits | traits::no64},
    {"JMP", "FF /5 mem"_op, "Mp"_operands, code<far_indirect<Transfer::jump>>(), Feature::base,
     transfer_traits},
    {"CALL", "9A ap"_op, "Ap"_operands, code<far_immediate<Transfer::call>>(), Feature::base,
     transfer_traits | traits::no64},
    {"CALL", "FF /3 mem"_op, "Mp"_operands, code<far_indirect<Transfer::call>>(), Feature::base,
     transfer_traits},
    {"RETF", "CB"_op, ""_operands, code<far_return>(), Feature::base, transfer_traits},
    {"RETF", "CA iw"_op, "Iw"_operands, code<far_return>(), Feature::base, transfer_traits},
    {"IRET", "CF"_op, ""_operands, code<iret>(), Feature::base, transfer_traits, "w:OSZAPCDI"_flags},
    {"INT", "CD ib"_op, "Ib"_operands, code<int_n>(), Feature::base, transfer_traits, "w:I"_flags},
    {"INT3", "CC"_op, ""_operands, code<int3>(), Feature::base, transfer_traits, "w:I"_flags},
    {"INT1", "F1"_op, ""_operands, code<int1>(), Feature::base, transfer_traits},
    {"INTO", "CE"_op, ""_operands, code<into>(), Feature::base, transfer_traits | traits::no64,
     "w:I r:O"_flags},
};

}  // namespace

RowSpan far_rows() { return rows; }

}  // namespace droste
