// SPDX-License-Identifier: Apache-2.0
// Delivery of exceptions and interrupts through the IDT in every mode; double and triple faults.
#include "cpu/cet.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/descriptors.h"
#include "cpu/fred.h"
#include "cpu/segmentation.h"
#include "cpu/stack_access.h"
#include "cpu/task_switch.h"

namespace droste {

namespace {

/// Types of events, as in Vectoring::type.
namespace event_type {
constexpr u8 external = 0, nmi = 2, hardware_exception = 3, software_interrupt = 4,
             privileged_software_exception = 5, software_exception = 6;
}

enum class FaultClass : u8 { benign, contributory, page_fault };

/// SDM Table "Interrupt and Exception Classes".
constexpr FaultClass fault_class(Vector v) {
    switch (v) {
    case Vector::de: case Vector::ts: case Vector::np: case Vector::ss: case Vector::gp: case Vector::cp:
        return FaultClass::contributory;
    case Vector::pf: case Vector::ve: return FaultClass::page_fault;
    default: return FaultClass::benign;
    }
}

/// SDM Table "Conditions for Generating a Double Fault".
constexpr bool makes_double_fault(FaultClass first, FaultClass second) {
    if (first == FaultClass::page_fault) return second != FaultClass::benign;
    return first == FaultClass::contributory && second == FaultClass::contributory;
}

bool from_software(const Vectoring& v) {
    return v.type == event_type::software_interrupt || v.type == event_type::software_exception;
}

/// What is pushed and how errors are marked, for one transfer.
struct Frame {
    const Vectoring& v;
    u64 rip;     ///< pushed instruction pointer
    u64 flags;   ///< pushed RFLAGS
    u32 ext;     ///< EXT bit of error codes
    bool nested;  ///< met while another event was delivered
    bool after_sti;  ///< there was blocking by STI
    u32 gate_error() const { return v.vector * 8u | 2u | ext; }
};

// ---- real-address mode, and INT n redirected by virtual-8086 mode extensions

/// Pushes FLAGS, CS, IP and goes to the interrupt vector table's entry.
bool through_vector_table(Cpu& cpu, u64 table, u8 vector, u16 flags, u64 return_ip) {
    u16 ip = 0, cs = 0;
    if (!cpu.load_system(table + vector * 4, ip) || !cpu.load_system(table + vector * 4 + 2, cs))
        return false;
    StackWriter stack(cpu, 0);
    if (!stack.push(flags, 2) || !stack.push(cpu.segment(Seg::cs).selector, 2) || !stack.push(return_ip, 2))
        return false;
    cpu.set_sp(stack.sp());
    cpu.load_segment_real(Seg::cs, cs);
    cpu.rip = ip;
    return true;
}

bool transfer_real(Cpu& cpu, const Frame& f) {
    using namespace rflags_bits;
    if (f.v.vector * 4u + 3 > cpu.idtr.limit) return refuse(cpu, Vector::gp, f.gate_error());
    if (!through_vector_table(cpu, cpu.idtr.base, f.v.vector, static_cast<u16>(f.flags), f.rip)) return false;
    cpu.rflags &= ~(if_ | tf | ac | rf);
    cpu.segments_changed();
    return true;
}

/// SDM "Software Interrupt Handling Methods While Operating in Virtual-8086 Mode": methods 5 and 6.
bool transfer_redirected(Cpu& cpu, const Frame& f) {
    using namespace rflags_bits;
    u64 image = f.flags;
    const bool virtual_interrupt_flag = cpu.iopl() < 3;
    if (virtual_interrupt_flag) {
        image = (image & ~if_) | iopl;
        if (image & vif) image |= if_;
    }
    if (!through_vector_table(cpu, 0, f.v.vector, static_cast<u16>(image), f.rip)) return false;
    cpu.rflags &= ~(tf | nt | rf | (virtual_interrupt_flag ? vif : if_));
    cpu.segments_changed();
    return true;
}

enum class Redirection : u8 { failed, to_vector_table, to_idt };

/// INT n in virtual-8086 mode: the redirection bit map below the I/O map, or the need for IOPL 3, from which VM
/// entry's injection is exempt (SDM "Details of Event Injection").
Redirection redirection(Cpu& cpu, const Vectoring& v) {
    const u8 vector = v.vector;
    if (cpu.cr4 & cr4_bits::vme) {
        const Segment& tr = cpu.segment(Seg::tr);
        u16 io_map = 0;
        if (tr.limit < 0x67 || !(tr.type() & 8)) {
            cpu.pending_fault = Fault::of(Vector::gp, 0);
            return Redirection::failed;
        }
        if (!cpu.load_system(tr.base + 0x66, io_map)) return Redirection::failed;
        const u32 at = u32(io_map) - 32 + vector / 8;
        if (io_map < 32 || at > tr.limit) {
            cpu.pending_fault = Fault::of(Vector::gp, 0);
            return Redirection::failed;
        }
        u8 map = 0;
        if (!cpu.load_system(tr.base + at, map)) return Redirection::failed;
        if (!bit(map, vector & 7)) return Redirection::to_vector_table;
    }
    if (cpu.iopl() == 3 || v.injected) return Redirection::to_idt;
    // SDM "Information for VM Exits During Event Delivery": this fault is not met during delivery.
    cpu.vectoring.active = false;
    cpu.pending_fault = Fault::of(Vector::gp, 0);
    return Redirection::failed;
}

// ---- protected mode

bool through_task_gate(Cpu& cpu, const Frame& f, const Descriptor& gate) {
    const u16 selector = gate.gate_selector();
    DescriptorAt tss;
    if (null_selector(selector) || in_ldt(selector))
        return refuse(cpu, Vector::gp, selector_error(selector, f.ext));
    if (!read_descriptor(cpu, selector, Vector::gp, f.ext, tss)) return false;
    const bool available = tss.d.system() && (tss.d.type() == system_type::tss16_available ||
                                              tss.d.type() == system_type::tss32_available);
    if (!available) return refuse(cpu, Vector::gp, selector_error(selector, f.ext));
    if (!tss.d.present()) return refuse(cpu, Vector::np, selector_error(selector, f.ext));
    const std::optional<u32> code = f.v.has_code ? std::optional<u32>(f.v.code) : std::nullopt;
    switch (task_switch(cpu, selector, tss, TaskSource::task_gate, f.rip, f.flags, code, f.ext,
                        f.v.instruction_length)) {
    case TaskSwitch::done: return true;
    case TaskSwitch::exited: cpu.access_exited = true; return false;
    case TaskSwitch::failed: case TaskSwitch::failed_in_new_task: break;
    }
    return false;
}

/// Target code segment of an interrupt or trap gate. `level` is the CPL of the handler.
bool handler_segment(Cpu& cpu, const Frame& f, u16 selector, DescriptorAt& code, unsigned& level) {
    if (null_selector(selector)) return refuse(cpu, Vector::gp, f.ext);
    if (!read_descriptor(cpu, selector, Vector::gp, f.ext, code)) return false;
    const Descriptor& d = code.d;
    if (!d.code() || d.dpl() > cpu.cpl) return refuse(cpu, Vector::gp, selector_error(selector, f.ext));
    if (cpu.long_mode() && (!d.l() || d.db()))
        return refuse(cpu, Vector::gp, selector_error(selector, f.ext));
    if (!d.present()) return refuse(cpu, Vector::np, selector_error(selector, f.ext));
    level = d.conforming() ? cpu.cpl : d.dpl();
    // SDM "INTERRUPT-FROM-VIRTUAL-8086-MODE": a handler leaves virtual-8086 mode at level 0 or not at all.
    if (cpu.v86() && (d.conforming() || level != 0))
        return refuse(cpu, Vector::gp, selector_error(selector, f.ext));
    return mark_accessed(cpu, code);
}

/// The flags that every gate clears, and IF for interrupt gates.
void clear_flags_for_handler(Cpu& cpu, bool interrupt_gate) {
    using namespace rflags_bits;
    cpu.rflags &= ~(tf | nt | rf | vm | (interrupt_gate ? if_ : 0));
}

/// The shadow stack of a handler at `level`.
bool shadow_entry(Cpu& cpu, const Frame& f, const Descriptor& code, unsigned level, unsigned ist, u64& ssp) {
    const u64 base = cpu.code64() ? 0 : cpu.segment(Seg::cs).base;
    return enter_shadow_stack(cpu, {.level = level, .new_stack = level != cpu.cpl || ist != 0, .ist = ist,
                                    .to64 = cpu.long_mode() && code.l(), .cs = cpu.segment(Seg::cs).selector,
                                    .lip = base + f.rip, .error_code = f.ext},
                              ssp);
}

bool push_frame32(StackWriter& stack, Cpu& cpu, const Frame& f, unsigned size, bool with_stack) {
    if (cpu.v86())
        for (const Seg s : {Seg::gs, Seg::fs, Seg::ds, Seg::es})
            if (!stack.push(cpu.segment(s).selector, size)) return false;
    if (with_stack &&
        (!stack.push(cpu.segment(Seg::ss).selector, size) || !stack.push(cpu.reg(Gpr::rsp), size)))
        return false;
    return stack.push(f.flags, size) && stack.push(cpu.segment(Seg::cs).selector, size) &&
           stack.push(f.rip, size) && (!f.v.has_code || stack.push(f.v.code, size));
}

bool through_gate32(Cpu& cpu, const Frame& f, const Descriptor& gate) {
    const bool wide = gate.type() & 8;
    const unsigned size = wide ? 4 : 2;
    const u16 selector = gate.gate_selector();
    const u64 target = wide ? gate.gate_offset32() : gate.gate_offset16();
    DescriptorAt code;
    unsigned level = 0;
    u64 ssp = 0;
    if (!handler_segment(cpu, f, selector, code, level)) return false;
    if (level == cpu.cpl) {
        StackWriter stack(cpu, f.ext);
        if (!check_target(cpu, code.d, target, f.ext) || !push_frame32(stack, cpu, f, size, false) ||
            !shadow_entry(cpu, f, code.d, level, 0, ssp))
            return false;
        cpu.set_sp(stack.sp());
    } else {
        u16 ss = 0;
        u64 sp = 0;
        DescriptorAt data;
        if (!inner_stack(cpu, level, f.ext, ss, sp)) return false;
        if (null_selector(ss)) return refuse(cpu, Vector::ts, f.ext);
        if (!check_stack_segment(cpu, ss, level, Vector::ts, f.ext, data) || !mark_accessed(cpu, data))
            return false;
        const Segment new_ss = data.d.segment(ss);
        const u64 mask = new_ss.db() ? 0xFFFFFFFF : 0xFFFF;
        StackWriter stack(cpu, new_ss, sp, mask, false, StackPrivilege::inner, selector_error(ss, f.ext));
        if (!check_target(cpu, code.d, target, f.ext) || !push_frame32(stack, cpu, f, size, true) ||
            !shadow_entry(cpu, f, code.d, level, 0, ssp))
            return false;
        if (cpu.v86())
            for (const Seg s : {Seg::gs, Seg::fs, Seg::ds, Seg::es}) cpu.segment(s) = null_segment(0);
        cpu.segment(Seg::ss) = new_ss;
        cpu.reg(Gpr::rsp) = stack.sp();
    }
    commit_shadow_entry(cpu, level, ssp);
    set_code_segment(cpu, selector, code.d, level);
    cpu.rip = target;
    clear_flags_for_handler(cpu, !(gate.type() & 1));
    track_far_transfer(cpu);
    cpu.segments_changed();
    return true;
}

bool transfer_protected(Cpu& cpu, const Frame& f) {
    const u32 at = f.v.vector * 8u;
    if (at + 7 > cpu.idtr.limit) return refuse(cpu, Vector::gp, f.gate_error());
    Descriptor gate;
    if (!cpu.load_system(cpu.idtr.base + at, gate.low)) return false;
    const unsigned type = gate.type();
    const bool known = type == system_type::task_gate || type == system_type::interrupt_gate16 ||
                       type == system_type::trap_gate16 || type == system_type::interrupt_gate32 ||
                       type == system_type::trap_gate32;
    if (!gate.system() || !known) return refuse(cpu, Vector::gp, f.gate_error());
    if (from_software(f.v) && gate.dpl() < cpu.cpl) return refuse(cpu, Vector::gp, f.gate_error());
    if (!gate.present()) return refuse(cpu, Vector::np, f.gate_error());
    return type == system_type::task_gate ? through_task_gate(cpu, f, gate) : through_gate32(cpu, f, gate);
}

// ---- IA-32e mode

bool transfer_long(Cpu& cpu, const Frame& f) {
    const u32 at = f.v.vector * 16u;
    // The error code counts gates of 8 bytes in every mode.
    if (at + 15 > cpu.idtr.limit) return refuse(cpu, Vector::gp, f.gate_error());
    Descriptor gate;
    if (!cpu.load_system(cpu.idtr.base + at, gate.low) || !cpu.load_system(cpu.idtr.base + at + 8, gate.high))
        return false;
    const unsigned type = gate.type();
    if (!gate.system() || (type != system_type::interrupt_gate32 && type != system_type::trap_gate32) ||
        bits(gate.high, 44, 40) != 0)
        return refuse(cpu, Vector::gp, f.gate_error());
    if (from_software(f.v) && gate.dpl() < cpu.cpl) return refuse(cpu, Vector::gp, f.gate_error());
    if (!gate.present()) return refuse(cpu, Vector::np, f.gate_error());

    const u16 selector = gate.gate_selector();
    const u64 target = gate.gate_offset64();
    DescriptorAt code;
    unsigned level = 0;
    if (!handler_segment(cpu, f, selector, code, level)) return false;
    const bool inner = level != cpu.cpl;
    u64 sp = cpu.reg(Gpr::rsp);
    u16 ss = 0;
    if (gate.gate_ist() != 0) {
        if (!interrupt_stack(cpu, gate.gate_ist(), f.ext, sp)) return false;
    } else if (inner) {
        if (!inner_stack(cpu, level, f.ext, ss, sp)) return false;
    }
    // Supervisor accesses are made as such: from compatibility mode an ordinary one would be cut to 32 bits.
    const StackPrivilege privilege = level < 3 ? StackPrivilege::inner : StackPrivilege::current;
    StackWriter stack(cpu, Segment{}, sp & ~0xFull, ~0ull, true, privilege, f.ext);
    if (!check_target(cpu, code.d, target, f.ext)) return false;
    if (!stack.push(cpu.segment(Seg::ss).selector, 8) || !stack.push(cpu.reg(Gpr::rsp), 8) ||
        !stack.push(f.flags, 8) || !stack.push(cpu.segment(Seg::cs).selector, 8) || !stack.push(f.rip, 8) ||
        (f.v.has_code && !stack.push(f.v.code, 8)))
        return false;
    u64 ssp = 0;
    if (!shadow_entry(cpu, f, code.d, level, gate.gate_ist(), ssp)) return false;
    if (inner) cpu.segment(Seg::ss) = null_segment(static_cast<u16>(level), level);
    cpu.reg(Gpr::rsp) = stack.sp();
    commit_shadow_entry(cpu, level, ssp);
    set_code_segment(cpu, selector, code.d, level);
    cpu.rip = target;
    clear_flags_for_handler(cpu, !(type & 1));
    track_far_transfer(cpu);
    cpu.segments_changed();
    return true;
}

bool transfer(Cpu& cpu, const Frame& f) {
    if (fred_enabled(cpu)) {
        return fred_deliver(cpu, {f.v, f.rip, f.flags, f.nested, fred_event_data(cpu, f.v), f.after_sti});
    }
    if (!cpu.protected_mode()) return transfer_real(cpu, f);
    if (cpu.v86() && f.v.type == event_type::software_interrupt) {
        switch (redirection(cpu, f.v)) {
        case Redirection::failed: return false;
        case Redirection::to_vector_table: return transfer_redirected(cpu, f);
        case Redirection::to_idt: break;
        }
    }
    return cpu.long_mode() ? transfer_long(cpu, f) : transfer_protected(cpu, f);
}

u64 exit_qualification(const Cpu& cpu, Fault f) {
    if (f.vector() == Vector::pf) return cpu.memory_fault.linear.value;
    if (f.vector() == Vector::db) return cpu.debug_cause;
    return 0;
}

/// What an exception does besides the transfer, once it is certain that it does not cause a VM exit.
void exception_effects(Cpu& cpu, Fault f) {
    if (f.vector() == Vector::pf) cpu.cr2 = cpu.memory_fault.linear.value;
    if (f.vector() == Vector::db) {
        const u64 fixed1 = cpu.has(Feature::bus_lock_detect) ? dr6_bits::fixed1 & ~dr6_bits::bld
                                                             : u64{dr6_bits::fixed1};
        cpu.dr6 = (cpu.dr6 & ~dr6_bits::b) | fixed1 |
                  (cpu.debug_cause & (dr6_bits::b | dr6_bits::bd | dr6_bits::bs | dr6_bits::bt));
        if (cpu.debug_cause & pending_debug_bits::bld) cpu.dr6 &= ~u64{dr6_bits::bld};
        cpu.dr7 &= ~dr7_bits::gd;
        cpu.debugctl &= ~(debugctl_bits::lbr | debugctl_bits::btf);
    }
    cpu.shadow_stack_prematurely_busy = false;
    // Traps that MOV SS held back are lost when the next instruction faults, general detect included.
    cpu.pending_debug = 0;
}

Vectoring as_event(const Cpu& cpu, Fault f) {
    return {.active = true,
            .vector = static_cast<u8>(f.vector()),
            .type = event_type::hardware_exception,
            .has_code = f.has_code() && cpu.protected_mode(),
            .code = f.code(),
            .instruction_length = 0};
}

/// RF is also set in what is pushed between two iterations of a repeated string instruction.
u64 flags_between_instructions(const Cpu& cpu) {
    const bool within_rep = cpu.rip == cpu.rep_rip && cpu.ticks() == cpu.rep_ticks;
    return within_rep ? cpu.read_rflags() | rflags_bits::rf : cpu.read_rflags();
}

/// SDM "Masking Instruction Breakpoints" (RF): the image pushed for faults has RF set.
u64 flags_for_fault(const Cpu& cpu, Fault f) {
    const u64 image = cpu.read_rflags();
    const bool trap_or_breakpoint = f.vector() == Vector::db && !(cpu.debug_cause & dr6_bits::bd);
    return trap_or_breakpoint ? flags_between_instructions(cpu) : image | rflags_bits::rf;
}

FaultChain::Link link_of(const Cpu& cpu, const Vectoring& v) {
    const bool page_fault =
        v.type == event_type::hardware_exception && v.vector == static_cast<u8>(Vector::pf);
    return {.vector = v.vector, .type = v.type, .has_code = v.has_code, .code = v.code,
            .cr2 = page_fault ? cpu.cr2 : 0};
}

/// Benign exceptions are delivered one after the other (SDM Table "Conditions for Generating a Double
/// Fault"), and one that its own delivery causes again has no end: #AC on a handler's unaligned stack. No
/// processor takes an interrupt meanwhile; Droste gives up after so many, and the instruction is tried again.
constexpr unsigned longest_delivery = 64;

/// Delivers `v`, and whatever goes wrong meanwhile. True: `v` itself was delivered.
bool deliver_all(Cpu& cpu, Vectoring v, u64 return_rip, u64 flags) {
    bool original = true;
    FaultChain chain;
    chain.add(link_of(cpu, v));
    const bool after_sti = cpu.interruptibility & interruptibility_bits::sti;
    // SDM "Architectural State Before a VM Exit": these change before a nested event can exit.
    cpu.interruptibility &= ~(interruptibility_bits::sti | interruptibility_bits::mov_ss);
    if (v.type == event_type::nmi) cpu.interruptibility |= interruptibility_bits::nmi;
    cpu.activity = Activity::active;
    for (unsigned nested = 0;; ++nested) {
        if (nested == longest_delivery) {
            cpu.vectoring.active = false;
            if (cpu.non_root) (void)cpu.hooks->no_instruction_boundary();
            return false;
        }
        v.active = true;
        cpu.vectoring = v;
        const u32 ext = from_software(v) ? 0 : 1;
        if (transfer(cpu, Frame{v, return_rip, flags, ext, v.nested, after_sti})) {
            cpu.vectoring.active = false;
            cpu.unwatch_line();
            cpu.trap_suppressed = true;
            cpu.charge(v.type == event_type::external || v.type == event_type::nmi
                           ? CostEvent::interrupt_delivery
                           : CostEvent::exception_delivery);
            return original;
        }
        original = false;
        cpu.trap_suppressed = true;
        if (cpu.access_exited || cpu.pending_memory_exit) {
            if (!cpu.access_exited) cpu.hooks->memory_exit(cpu.memory_fault);
            cpu.access_exited = cpu.pending_memory_exit = false;
            cpu.vectoring.active = false;
            return false;
        }
        Fault fault = cpu.pending_fault;
        cpu.pending_fault = {};
        if (cpu.non_root && cpu.hooks->exception(fault, exit_qualification(cpu, fault), false)) {
            cpu.vectoring.active = false;
            return false;
        }
        exception_effects(cpu, fault);
        chain.add(link_of(cpu, as_event(cpu, fault)));
        const FaultClass second = fault_class(fault.vector());
        if (v.type == event_type::hardware_exception) {
            if (v.vector == static_cast<u8>(Vector::df) && second != FaultClass::benign) {
                cpu.vectoring.active = false;
                cpu.fault_chain = chain;
                cpu.triple_fault();
                return false;
            }
            if (makes_double_fault(fault_class(static_cast<Vector>(v.vector)), second)) {
                fault = Fault::of(Vector::df, 0);
                // SDM "Information for VM Exits During Event Delivery": a double fault that exits is no
                // longer counted as happening during delivery of the first event.
                cpu.vectoring.active = false;
                if (cpu.non_root && cpu.hooks->exception(fault, 0, false)) return false;
            }
        }
        flags = flags_for_fault(cpu, fault);
        v = as_event(cpu, fault);
        v.nested = fred_enabled(cpu) && fault.vector() != Vector::df;
        return_rip = cpu.rip;
    }
}

u64 rip_after(const Cpu& cpu, u32 length) { return cpu.rip_mask(cpu.rip + length); }

}  // namespace

u64 fred_event_data(const Cpu& cpu, const Vectoring& v) {
    if (v.has_data) return v.data;
    if (v.type != event_type::hardware_exception && v.type != event_type::privileged_software_exception) return 0;
    switch (static_cast<Vector>(v.vector)) {
    case Vector::pf: return cpu.cr2;
    case Vector::db: return cpu.debug_cause & (dr6_bits::b | dr6_bits::bd | dr6_bits::bs);
    case Vector::nm: return cpu.amx.xfd_err;
    default: return 0;
    }
}

void Cpu::deliver(Fault fault) {
    iret_unblocked_nmi = iret_unblocked_nmi && non_root;  // the exit that follows reports it
    if (non_root) {
        vectoring.active = false;
        vectoring.instruction_length = 0;
        if (hooks->exception(fault, exit_qualification(*this, fault), false)) {
            iret_unblocked_nmi = false;
            return;
        }
    }
    exception_effects(*this, fault);
    deliver_all(*this, as_event(*this, fault), rip, flags_for_fault(*this, fault));
    iret_unblocked_nmi = false;
    debug_cause = 0;
}

bool Cpu::deliver_event(const Vectoring& v) {
    u64 return_rip = rip;
    if (v.type == event_type::software_interrupt || v.type == event_type::privileged_software_exception ||
        v.type == event_type::software_exception || v.type == fred_other::type)
        return_rip = rip_after(*this, v.instruction_length);
    const bool interrupt = v.type == event_type::external || v.type == event_type::nmi;
    return deliver_all(*this, v, return_rip, interrupt ? flags_between_instructions(*this) : read_rflags());
}

Outcome Cpu::software_interrupt(const Insn& in, u8 vector, u8 type) {
    rip = insn_rip(in);
    const Vectoring v{.active = true, .vector = vector, .type = type, .has_code = false, .code = 0,
                      .instruction_length = in.len};
    if (type == event_type::privileged_software_exception)
        pending_debug = 0;  // its #DB stands for a held-back one
    if (non_root && type != event_type::software_interrupt) {
        vectoring = v;
        vectoring.active = false;
        debug_cause = 0;
        if (hooks->exception(Fault::of(static_cast<Vector>(vector)), 0, true)) return Outcome::vm_exit;
    }
    deliver_event(v);
    return Outcome::branch;
}

void Cpu::triple_fault() {
    if (non_root) {
        hooks->triple_fault();
        return;
    }
    shut_down = true;
    activity = Activity::shutdown;
    set_attention();
}

}  // namespace droste
