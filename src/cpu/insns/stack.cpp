// SPDX-License-Identifier: Apache-2.0
// The stack: PUSH, POP, PUSHA, POPA, ENTER, LEAVE, PUSHF, POPF.
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

constexpr unsigned ss = static_cast<unsigned>(Seg::ss), rsp = 4, rbp = 5;

template <class T> Outcome push_value(Cpu& cpu, T v) {
    return push(cpu, v) ? Outcome::next : cpu.failed();
}
template <class T> Outcome push_opcode_reg(Cpu& cpu, const Insn& in) {
    return push_value(cpu, cpu.reg<T>(in.reg));
}
template <class T> Outcome push_rm(Cpu& cpu, const Insn& in) { return push_value(cpu, cpu.reg<T>(in.rm)); }
template <class T> Outcome push_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    return push_value(cpu, v);
}
template <class T> Outcome push_imm(Cpu& cpu, const Insn& in) {
    return push_value(cpu, static_cast<T>(in.imm));
}

template <class T> Outcome pop_opcode_reg(Cpu& cpu, const Insn& in) {
    T v;
    if (!pop(cpu, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, v);
    return Outcome::next;
}
template <class T> Outcome pop_rm(Cpu& cpu, const Insn& in) {
    T v;
    if (!pop(cpu, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.rm, v);
    return Outcome::next;
}
// SDM "POP": rSP is incremented before it is used in the destination's address.
template <class T> Outcome pop_mem(Cpu& cpu, const Insn& in) {
    const u64 old_sp = cpu.gpr[rsp];
    T v;
    if (!pop(cpu, v)) [[unlikely]] return cpu.failed();
    if (!cpu.store(in, v)) [[unlikely]] {
        cpu.gpr[rsp] = old_sp;
        return cpu.failed();
    }
    return Outcome::next;
}

template <Body w, Body d, Body q> consteval Bodies sizes() {
    constexpr std::array<Code, 4> c{Code{}, code<w>(), code<d>(), code<q>()};
    return {c, c};
}
template <Body w, Body d> consteval Bodies sizes() {
    constexpr std::array<Code, 4> c{Code{}, code<w>(), code<d>(), Code{}};
    return {c, c};
}
constexpr Bodies push_ev{{Code{}, code<push_rm<u16>>(), code<push_rm<u32>>(), code<push_rm<u64>>()},
                         {Code{}, code<push_mem<u16>>(), code<push_mem<u32>>(), code<push_mem<u64>>()}};
constexpr Bodies pop_ev{{Code{}, code<pop_rm<u16>>(), code<pop_rm<u32>>(), code<pop_rm<u64>>()},
                        {Code{}, code<pop_mem<u16>>(), code<pop_mem<u32>>(), code<pop_mem<u64>>()}};
constexpr Bodies push_immediate = sizes<push_imm<u16>, push_imm<u32>, push_imm<u64>>();

// ---- PUSHA, POPA

template <class T> bool stack_slot(Cpu& cpu, u64 offset, Access access, u64& linear) {
    return cpu.linear_of(ss, offset & cpu.stack_mask, sizeof(T), access, linear);
}

template <class T> Outcome pusha(Cpu& cpu, const Insn&) {
    const u64 sp = cpu.gpr[rsp];
    std::array<u64, 8> linear{};
    for (unsigned i = 0; i < 8; ++i)
        if (!stack_slot<T>(cpu, sp - (i + 1) * sizeof(T), Access::write, linear[i]) ||
            !cpu.probe_write(ss, linear[i], sizeof(T)))
            return cpu.failed();
    for (unsigned i = 0; i < 8; ++i)
        if (!cpu.store(ss, linear[i], cpu.reg<T>(i))) return cpu.failed();
    cpu.set_sp(sp - 8 * sizeof(T));
    return Outcome::next;
}
// Registers are loaded one after the other; rSP moves last, so that the instruction can be repeated after a
// fault.
template <class T> Outcome popa(Cpu& cpu, const Insn&) {
    const u64 sp = cpu.gpr[rsp];
    for (unsigned i = 0; i < 8; ++i) {  // rDI first; the slot of rSP is skipped
        u64 linear;
        T v;
        if (i == 3) continue;
        if (!stack_slot<T>(cpu, sp + i * sizeof(T), Access::read, linear) || !cpu.load(ss, linear, v))
            return cpu.failed();
        cpu.set_reg<T>(7 - i, v);
    }
    cpu.set_sp(sp + 8 * sizeof(T));
    return Outcome::next;
}

// ---- ENTER, LEAVE

template <class T> Outcome enter(Cpu& cpu, const Insn& in) {
    const u16 size = static_cast<u16>(in.imm);
    const unsigned level = (in.imm >> 16) & 31;
    u64 sp = cpu.gpr[rsp];
    const auto push_next = [&](T v) {
        u64 linear;
        sp -= sizeof(T);
        return stack_slot<T>(cpu, sp, Access::write, linear) && cpu.store(ss, linear, v);
    };
    if (!push_next(cpu.reg<T>(rbp))) return cpu.failed();
    const u64 frame = sp;
    if (level > 0) {
        u64 bp = cpu.gpr[rbp];
        for (unsigned i = 1; i < level; ++i) {
            u64 linear;
            T v;
            bp -= sizeof(T);
            if (!stack_slot<T>(cpu, bp, Access::read, linear) || !cpu.load(ss, linear, v) || !push_next(v))
                return cpu.failed();
        }
        if (!push_next(static_cast<T>(
                cpu.stack_mask == 0xFFFF ? (cpu.gpr[rsp] & ~0xFFFFull) | (frame & 0xFFFF) : frame)))
            return cpu.failed();
    }
    sp -= size;
    // SDM "ENTER": faults when a write at the final stack pointer would.
    u64 linear;
    if (!stack_slot<T>(cpu, sp, Access::write, linear) || !cpu.probe_write(ss, linear, sizeof(T)))
        return cpu.failed();
    if (cpu.stack_mask == 0xFFFF) cpu.set_reg<u16>(rbp, static_cast<u16>(frame));
    else cpu.set_reg<T>(rbp, static_cast<T>(frame));
    cpu.set_sp(sp);
    return Outcome::next;
}

template <class T> Outcome leave(Cpu& cpu, const Insn&) {
    const u64 bp = cpu.gpr[rbp];
    u64 linear;
    T v;
    if (!stack_slot<T>(cpu, bp, Access::read, linear) || !cpu.load(ss, linear, v)) [[unlikely]]
        return cpu.failed();
    cpu.set_sp(bp + sizeof(T));
    cpu.set_reg<T>(rbp, v);
    return Outcome::next;
}

// ---- PUSHF, POPF

using namespace rflags_bits;

bool virtual_8086_extensions(const Cpu& cpu) { return cpu.cr4 & cr4_bits::vme; }

template <class T> Outcome pushf(Cpu& cpu, const Insn&) {
    u64 image = cpu.read_rflags() & ~(vm | rf);
    if (cpu.v86() && cpu.iopl() < 3) {
        // SDM "Interrupt and Exception Handling in Virtual-8086 Mode": with VME the program sees VIF as its
        // IF.
        if (sizeof(T) != 2 || !virtual_8086_extensions(cpu)) return cpu.gp0();
        image = (image & ~if_) | iopl | (cpu.rflags & vif ? if_ : 0);
    }
    return push_value(cpu, static_cast<T>(image));
}

/// Bits of RFLAGS that POPF may change, by mode and privilege (SDM "POPF", table of effects).
template <class T> u64 popf_mask(const Cpu& cpu) {
    u64 mask = arithmetic | tf | df | nt;
    if (sizeof(T) > 2) mask |= ac | id;
    if (!cpu.v86() && cpu.cpl == 0) mask |= if_ | iopl;
    else if (cpu.cpl <= cpu.iopl()) mask |= if_;
    return mask;
}

template <class T> Outcome popf(Cpu& cpu, const Insn& in) {
    const u64 old = cpu.read_rflags();
    const u64 old_sp = cpu.gpr[rsp];
    u64 mask = popf_mask<T>(cpu);
    const bool virtual_if = cpu.v86() && cpu.iopl() < 3;
    if (virtual_if && (sizeof(T) != 2 || !virtual_8086_extensions(cpu))) return cpu.gp0();
    T popped;
    if (!pop(cpu, popped)) return cpu.failed();
    u64 value = popped;
    if (virtual_if) {
        if ((value & tf) || ((value & if_) && (old & vip))) {
            cpu.gpr[rsp] = old_sp;
            return cpu.gp0();
        }
        mask = (mask & ~if_) | vif;
        value = (value & ~vif) | (value & if_ ? vif : 0);
    }
    if (sizeof(T) > 2) mask |= rf;  // cleared
    value &= ~rf;
    cpu.write_rflags((old & ~mask) | (value & mask));
    // An interrupt may have become deliverable; TF acts after the next instruction.
    if (cpu.rflags & (if_ | vif)) cpu.set_attention();
    cpu.rip = cpu.next_rip(in);
    return Outcome::branch;
}

constexpr InsnRow rows[] = {
    // clang-format off
    {"PUSH", "50+r"_op, "Zv"_operands, sizes<push_opcode_reg<u16>, push_opcode_reg<u32>,
     push_opcode_reg<u64>>(), Feature::base, traits::default64},
    {"PUSH", "FF /6"_op, "Ev"_operands, push_ev, Feature::base, traits::default64},
    {"PUSH", "68 iz"_op, "Iz"_operands, push_immediate, Feature::base, traits::default64},
    {"PUSH", "6A ib"_op, "Ib"_operands, push_immediate, Feature::base, traits::default64},
    {"POP", "58+r"_op, "=Zv"_operands, sizes<pop_opcode_reg<u16>, pop_opcode_reg<u32>,
     pop_opcode_reg<u64>>(), Feature::base, traits::default64},
    {"POP", "8F /0"_op, "=Ev"_operands, pop_ev, Feature::base, traits::default64},
    {"PUSHA", "60"_op, ""_operands, sizes<pusha<u16>, pusha<u32>>(), Feature::base, traits::no64},
    {"POPA", "61"_op, ""_operands, sizes<popa<u16>, popa<u32>>(), Feature::base, traits::no64},
    {"ENTER", "C8 iw ib"_op, "Iw, Ib"_operands, sizes<enter<u16>, enter<u32>, enter<u64>>(), Feature::base,
     traits::default64},
    {"LEAVE", "C9"_op, ""_operands, sizes<leave<u16>, leave<u32>, leave<u64>>(), Feature::base,
     traits::default64},
    {"PUSHF", "9C"_op, ""_operands, sizes<pushf<u16>, pushf<u32>, pushf<u64>>(), Feature::base,
     traits::default64, "r:OSZAPCDI"_flags},
    {"POPF", "9D"_op, ""_operands, sizes<popf<u16>, popf<u32>, popf<u64>>(), Feature::base,
     traits::default64 | traits::ends_block, "w:OSZAPCDI"_flags},
    // clang-format on
};

}  // namespace

RowSpan stack_rows() { return rows; }

}  // namespace droste
