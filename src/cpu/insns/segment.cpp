// SPDX-License-Identifier: Apache-2.0
// Segment registers and descriptor-table registers: MOV, PUSH, POP, LxS, LGDT..STR, LAR, LSL, VERR, VERW,
// ARPL.
#include "cpu/descriptors.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

/// Until after the next instruction no interrupt or debug trap separates SS from the stack pointer.
void shadow_after_ss(Cpu& cpu) {
    if (cpu.interruptibility & interruptibility_bits::mov_ss) return;  // the second of two does not extend it
    cpu.interruptibility |= interruptibility_bits::mov_ss;
    cpu.set_attention();
}

bool load_word(Cpu& cpu, const Insn& in, u16& v) {
    if (in.mem()) return cpu.load(in, v);
    v = static_cast<u16>(cpu.gpr[in.rm]);
    return true;
}

/// Memory destinations are 16 bits; registers take the operand size, zero-extended.
bool store_word(Cpu& cpu, const Insn& in, u64 v) {
    if (in.mem()) return cpu.store(in, static_cast<u16>(v));
    set_reg_sized(cpu, in, in.rm, v);
    return true;
}

// ---- moves

Outcome mov_from_segment(Cpu& cpu, const Insn& in) {
    const unsigned s = in.reg & 7;  // REX.R is ignored
    if (s > 5) return cpu.ud();
    return store_word(cpu, in, cpu.seg[s].selector) ? Outcome::next : cpu.failed();
}

Outcome mov_to_segment(Cpu& cpu, const Insn& in) {
    const auto s = static_cast<Seg>(in.reg & 7);
    if (s > Seg::gs || s == Seg::cs) return cpu.ud();
    u16 selector = 0;
    if (!load_word(cpu, in, selector) || !cpu.load_segment(s, selector)) return cpu.failed();
    if (s == Seg::ss) shadow_after_ss(cpu);
    return done(cpu, in);
}

template <Seg s> Outcome push_segment(Cpu& cpu, const Insn& in) {
    const u16 selector = cpu.segment(s).selector;
    const bool ok = in.osz() == 1   ? cpu.push(selector)
                    : in.osz() == 2 ? cpu.push(u32{selector})
                                    : cpu.push(u64{selector});
    return ok ? Outcome::next : cpu.failed();
}

template <Seg s> Outcome pop_segment(Cpu& cpu, const Insn& in) {
    constexpr unsigned ss = static_cast<unsigned>(Seg::ss);
    const unsigned size = 1u << in.osz();
    const u64 sp = cpu.reg(Gpr::rsp) & cpu.stack_mask;
    u64 linear = 0;
    u16 selector = 0;
    // The pointer moves after the load, in the width that the stack had before it (POP SS may change it).
    const u64 mask = cpu.stack_mask;
    if (!cpu.linear_of(ss, sp, size, Access::read, linear) || !cpu.load(ss, linear, selector) ||
        !cpu.load_segment(s, selector))
        return cpu.failed();
    cpu.reg(Gpr::rsp) = (cpu.reg(Gpr::rsp) & ~mask) | ((sp + size) & mask);
    if (s == Seg::ss) shadow_after_ss(cpu);
    return done(cpu, in);
}

template <Seg s> Outcome load_far_pointer(Cpu& cpu, const Insn& in) {
    const unsigned size = 1u << in.osz();
    u64 linear = 0, offset = 0;
    if (!cpu.operand(in, size + 2, Access::read, linear)) return cpu.failed();
    const unsigned from = in.seg();
    u16 selector = 0, offset16 = 0;
    u32 offset32 = 0;
    const bool loaded = in.osz() == 3   ? cpu.load(from, linear, offset)
                        : in.osz() == 2 ? cpu.load(from, linear, offset32)
                                        : cpu.load(from, linear, offset16);
    if (!loaded || !cpu.load(from, linear + size, selector) || !cpu.load_segment(s, selector))
        return cpu.failed();
    set_reg_sized(cpu, in, in.reg, in.osz() == 3 ? offset : in.osz() == 2 ? offset32 : offset16);
    return done(cpu, in);
}

// ---- GDTR and IDTR

template <TableRegister CpuState::*table> Outcome store_table(Cpu& cpu, const Insn& in) {
    if (umip_forbids(cpu)) return cpu.gp0();
    if (cpu.gates.closed(Gate::descriptor_table))
        return cpu.vm_exit(Gate::descriptor_table, in, displacement(cpu, in));
    const TableRegister& t = cpu.*table;
    const bool long64 = cpu.code64();
    u64 linear = 0;
    if (!cpu.operand(in, long64 ? 10 : 6, Access::write, linear)) return cpu.failed();
    const unsigned s = in.seg();
    if (!cpu.store(s, linear, static_cast<u16>(t.limit))) return cpu.failed();
    const bool ok =
        long64 ? cpu.store(s, linear + 2, t.base) : cpu.store(s, linear + 2, static_cast<u32>(t.base));
    return ok ? Outcome::next : cpu.failed();
}

template <TableRegister CpuState::*table> Outcome load_table(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::descriptor_table))
        return cpu.vm_exit(Gate::descriptor_table, in, displacement(cpu, in));
    const bool long64 = cpu.code64();
    u64 linear = 0, base = 0;
    u16 limit = 0;
    u32 base32 = 0;
    if (!cpu.operand(in, long64 ? 10 : 6, Access::read, linear)) return cpu.failed();
    const unsigned s = in.seg();
    if (!cpu.load(s, linear, limit)) return cpu.failed();
    if (long64) {
        if (!cpu.load(s, linear + 2, base)) return cpu.failed();
        if (!holds_linear_address(cpu, base)) return cpu.gp0();
    } else {
        if (!cpu.load(s, linear + 2, base32)) return cpu.failed();
        base = in.osz() == 1 ? base32 & 0xFFFFFF : base32;
    }
    cpu.*table = {base, limit};
    cpu.charge(CostEvent::lgdt_lidt);
    return Outcome::next;
}

// ---- LDTR and TR

template <Seg s> Outcome store_system_segment(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    if (umip_forbids(cpu)) return cpu.gp0();
    if (cpu.gates.closed(Gate::descriptor_table))
        return cpu.vm_exit(Gate::descriptor_table, in, displacement(cpu, in));
    return store_word(cpu, in, cpu.segment(s).selector) ? Outcome::next : cpu.failed();
}

Outcome lldt(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::descriptor_table))
        return cpu.vm_exit(Gate::descriptor_table, in, displacement(cpu, in));
    u16 selector = 0;
    if (!load_word(cpu, in, selector)) return cpu.failed();
    if (null_selector(selector)) {
        cpu.segment(Seg::ldtr) = null_segment(selector);
        return Outcome::next;
    }
    DescriptorAt at;
    if (in_ldt(selector)) return cpu.raise(Fault::of(Vector::gp, selector_error(selector)));
    if (!read_system_descriptor(cpu, selector, Vector::gp, 0, at)) return cpu.failed();
    if (!at.d.system() || at.d.type() != system_type::ldt || !holds_linear_address(cpu, at.d.base()))
        return cpu.raise(Fault::of(Vector::gp, selector_error(selector)));
    if (!at.d.present()) return cpu.raise(Fault::of(Vector::np, selector_error(selector)));
    set_segment(cpu, Seg::ldtr, selector, at.d);
    cpu.charge(CostEvent::ltr_lldt);
    return Outcome::next;
}

Outcome ltr(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::descriptor_table))
        return cpu.vm_exit(Gate::descriptor_table, in, displacement(cpu, in));
    u16 selector = 0;
    if (!load_word(cpu, in, selector)) return cpu.failed();
    if (null_selector(selector)) return cpu.gp0();
    DescriptorAt at;
    if (in_ldt(selector)) return cpu.raise(Fault::of(Vector::gp, selector_error(selector)));
    if (!read_system_descriptor(cpu, selector, Vector::gp, 0, at)) return cpu.failed();
    const unsigned type = at.d.type();
    const bool available = type == system_type::tss32_available ||
                           (type == system_type::tss16_available && !cpu.long_mode());
    if (!at.d.system() || !available || !holds_linear_address(cpu, at.d.base()))
        return cpu.raise(Fault::of(Vector::gp, selector_error(selector)));
    if (!at.d.present()) return cpu.raise(Fault::of(Vector::np, selector_error(selector)));
    if (!set_busy(cpu, at.address, true)) return cpu.failed();
    set_segment(cpu, Seg::tr, selector, at.d);
    cpu.segment(Seg::tr).access |= 2;
    cpu.charge(CostEvent::ltr_lldt);
    return Outcome::next;
}

// ---- questions about selectors: ZF answers, nothing faults but memory

enum class Look : u8 { failed, no, yes };

/// Reads the descriptor when its table holds it.
Look look(Cpu& cpu, u16 selector, DescriptorAt& at) {
    if (null_selector(selector) || !in_table(cpu, selector, 8)) return Look::no;
    return read_descriptor(cpu, selector, Vector::gp, 0, at) ? Look::yes : Look::failed;
}

bool accessible(const Cpu& cpu, u16 selector, const Descriptor& d) {
    return d.conforming() || (d.dpl() >= cpu.cpl && d.dpl() >= rpl(selector));
}

/// Bit n: system type n is valid for the instruction.
struct ValidTypes { u16 legacy, long_mode; };
constexpr u16 type_bit(unsigned t) { return static_cast<u16>(1u << t); }
constexpr ValidTypes lar_types{type_bit(system_type::tss16_available) | type_bit(system_type::ldt) |
                                   type_bit(system_type::tss16_busy) | type_bit(system_type::call_gate16) |
                                   type_bit(system_type::task_gate) | type_bit(system_type::tss32_available) |
                                   type_bit(system_type::tss32_busy) | type_bit(system_type::call_gate32),
                               type_bit(system_type::ldt) | type_bit(system_type::tss32_available) |
                                   type_bit(system_type::tss32_busy) | type_bit(system_type::call_gate32)};
constexpr ValidTypes lsl_types{
    type_bit(system_type::tss16_available) | type_bit(system_type::ldt) | type_bit(system_type::tss16_busy) |
        type_bit(system_type::tss32_available) | type_bit(system_type::tss32_busy),
    type_bit(system_type::ldt) | type_bit(system_type::tss32_available) | type_bit(system_type::tss32_busy)};

/// The descriptor is there, accessible, and of a type that the instruction knows.
Look look_checked(Cpu& cpu, u16 selector, ValidTypes types, DescriptorAt& at) {
    const Look found = look(cpu, selector, at);
    if (found != Look::yes) return found;
    if (at.d.system()) {
        const u16 valid = cpu.long_mode() ? types.long_mode : types.legacy;
        if (!bit(valid, at.d.type())) return Look::no;
        if (cpu.long_mode()) {
            if (!in_table(cpu, selector, 16)) return Look::no;
            if (!cpu.load_system(at.address + 8, at.d.high)) return Look::failed;
            if (bits(at.d.high, 44, 40) != 0) return Look::no;
        }
    }
    return accessible(cpu, selector, at.d) ? Look::yes : Look::no;
}

Outcome lar(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    u16 selector = 0;
    DescriptorAt at;
    if (!load_word(cpu, in, selector)) return cpu.failed();
    const Look found = look_checked(cpu, selector, lar_types, at);
    if (found == Look::failed) return cpu.failed();
    set_zf(cpu, found == Look::yes);
    if (found == Look::yes)
        set_reg_sized(cpu, in, in.reg, (at.d.low >> 32) & (in.osz() == 1 ? 0xFF00 : 0xFFFF00));
    return Outcome::next;
}

Outcome lsl(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    u16 selector = 0;
    DescriptorAt at;
    if (!load_word(cpu, in, selector)) return cpu.failed();
    const Look found = look_checked(cpu, selector, lsl_types, at);
    if (found == Look::failed) return cpu.failed();
    set_zf(cpu, found == Look::yes);
    if (found == Look::yes) set_reg_sized(cpu, in, in.reg, at.d.limit());
    return Outcome::next;
}

enum class Verify : u8 { read, write };
template <Verify what> Outcome verify(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    u16 selector = 0;
    DescriptorAt at;
    if (!load_word(cpu, in, selector)) return cpu.failed();
    const Look found = look(cpu, selector, at);
    if (found == Look::failed) return cpu.failed();
    const bool usable = what == Verify::read ? at.d.readable() : at.d.writable_data();
    set_zf(cpu, found == Look::yes && !at.d.system() && usable && accessible(cpu, selector, at.d));
    return Outcome::next;
}

Outcome arpl(Cpu& cpu, const Insn& in) {
    if (cpu.real_or_v86()) return cpu.ud();
    const unsigned source = rpl(static_cast<u16>(cpu.gpr[in.reg]));
    const auto adjust = [&](u16& v) {
        const bool lower = rpl(v) < source;
        if (lower) v = static_cast<u16>((v & ~3u) | source);
        return lower;
    };
    if (!in.mem()) {
        u16 v = static_cast<u16>(cpu.gpr[in.rm]);
        set_zf(cpu, adjust(v));
        cpu.set_reg<u16>(in.rm, v);
        return Outcome::next;
    }
    // Reads first: the fault of a page that is not there says read. Written only when it changes.
    u16 v;
    if (!cpu.load(in, v)) return cpu.failed();
    const bool lower = adjust(v);
    if (lower && !cpu.store(in, v)) return cpu.failed();
    set_zf(cpu, lower);
    return Outcome::next;
}

constexpr u32 system = traits::not_user_fuzzed;
constexpr u32 changes_mode = traits::ends_block | traits::not_user_fuzzed;

constexpr InsnRow rows[] = {
    {"MOV", "8C /r"_op, "=Ev, Sw"_operands, code<mov_from_segment>(), Feature::base, system},
    {"MOV", "8E /r"_op, "=Sw, Ev"_operands, code<mov_to_segment>(), Feature::base, changes_mode},
    {"PUSH", "06"_op, ""_operands, code<push_segment<Seg::es>>(), Feature::base, system | traits::no64},
    {"PUSH", "0E"_op, ""_operands, code<push_segment<Seg::cs>>(), Feature::base, system | traits::no64},
    {"PUSH", "16"_op, ""_operands, code<push_segment<Seg::ss>>(), Feature::base, system | traits::no64},
    {"PUSH", "1E"_op, ""_operands, code<push_segment<Seg::ds>>(), Feature::base, system | traits::no64},
    {"PUSH", "0F A0"_op, ""_operands, code<push_segment<Seg::fs>>(), Feature::base,
     system | traits::default64},
    {"PUSH", "0F A8"_op, ""_operands, code<push_segment<Seg::gs>>(), Feature::base,
     system | traits::default64},
    {"POP", "07"_op, ""_operands, code<pop_segment<Seg::es>>(), Feature::base, changes_mode | traits::no64},
    {"POP", "17"_op, ""_operands, code<pop_segment<Seg::ss>>(), Feature::base, changes_mode | traits::no64},
    {"POP", "1F"_op, ""_operands, code<pop_segment<Seg::ds>>(), Feature::base, changes_mode | traits::no64},
    {"POP", "0F A1"_op, ""_operands, code<pop_segment<Seg::fs>>(), Feature::base,
     changes_mode | traits::default64},
    {"POP", "0F A9"_op, ""_operands, code<pop_segment<Seg::gs>>(), Feature::base,
     changes_mode | traits::default64},
    {"LES", "C4 /r mem"_op, "=Gv, Mp"_operands, code<load_far_pointer<Seg::es>>(), Feature::base,
     changes_mode | traits::no64},
    {"LDS", "C5 /r mem"_op, "=Gv, Mp"_operands, code<load_far_pointer<Seg::ds>>(), Feature::base,
     changes_mode | traits::no64},
    {"LSS", "0F B2 /r mem"_op, "=Gv, Mp"_operands, code<load_far_pointer<Seg::ss>>(), Feature::base,
     changes_mode},
    {"LFS", "0F B4 /r mem"_op, "=Gv, Mp"_operands, code<load_far_pointer<Seg::fs>>(), Feature::base,
     changes_mode},
    {"LGS", "0F B5 /r mem"_op, "=Gv, Mp"_operands, code<load_far_pointer<Seg::gs>>(), Feature::base,
     changes_mode},
    {"SGDT", "0F 01 /0 mem"_op, "=Ms"_operands, code<store_table<&CpuState::gdtr>>(), Feature::base, system},
    {"SIDT", "0F 01 /1 mem"_op, "=Ms"_operands, code<store_table<&CpuState::idtr>>(), Feature::base, system},
    {"LGDT", "0F 01 /2 mem"_op, "Ms"_operands, code<load_table<&CpuState::gdtr>>(), Feature::base,
     system | traits::privileged},
    {"LIDT", "0F 01 /3 mem"_op, "Ms"_operands, code<load_table<&CpuState::idtr>>(), Feature::base,
     system | traits::privileged},
    {"SLDT", "0F 00 /0"_op, "=Ev"_operands, code<store_system_segment<Seg::ldtr>>(), Feature::base,
     system | traits::protected_only},
    {"STR", "0F 00 /1"_op, "=Ev"_operands, code<store_system_segment<Seg::tr>>(), Feature::base,
     system | traits::protected_only},
    {"LLDT", "0F 00 /2"_op, "Ew"_operands, code<lldt>(), Feature::base,
     system | traits::protected_only | traits::privileged},
    {"LTR", "0F 00 /3"_op, "Ew"_operands, code<ltr>(), Feature::base,
     system | traits::protected_only | traits::privileged},
    {"VERR", "0F 00 /4"_op, "Ew"_operands, code<verify<Verify::read>>(), Feature::base,
     system | traits::protected_only, "w:Z"_flags},
    {"VERW", "0F 00 /5"_op, "Ew"_operands, code<verify<Verify::write>>(), Feature::base,
     system | traits::protected_only, "w:Z"_flags},
    {"LAR", "0F 02 /r"_op, "+Gv, Ew"_operands, code<lar>(), Feature::base, system | traits::protected_only,
     "w:Z"_flags},
    {"LSL", "0F 03 /r"_op, "+Gv, Ew"_operands, code<lsl>(), Feature::base, system | traits::protected_only,
     "w:Z"_flags},
    {"ARPL", "63 /r"_op, "+Ew, Gw"_operands, code<arpl>(), Feature::base,
     system | traits::protected_only | traits::no64, "w:Z"_flags},
};

}  // namespace

RowSpan segment_rows() { return rows; }

}  // namespace droste
