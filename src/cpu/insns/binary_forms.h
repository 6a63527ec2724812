// SPDX-License-Identifier: Apache-2.0
// The operand forms of two-operand integer instructions: one body for each of r/m,r  r,r/m  r/m,imm  acc,imm.
#pragma once
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"

namespace droste::forms {

using host::Alu;

template <Alu op, class T> Outcome reg_reg(Cpu& cpu, const Insn& in) {  // Ev, Gv
    const T r = host::binary<op, T>(cpu.flags, cpu.reg<T>(in.rm), cpu.reg<T>(in.reg));
    if constexpr (host::writes(op)) cpu.set_reg<T>(in.rm, r);
    return Outcome::next;
}

template <Alu op, class T>
[[gnu::always_inline]] inline Outcome modify_memory(Cpu& cpu, const Insn& in, T source) {
    if constexpr (host::writes(op)) {
        return modify<T>(cpu, in,
                         [source](u16& flags, T old) { return host::binary<op, T>(flags, old, source); });
    } else {
        T v;
        if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
        (void)host::binary<op, T>(cpu.flags, v, source);
        return Outcome::next;
    }
}

template <Alu op, class T> Outcome mem_reg(Cpu& cpu, const Insn& in) {
    return modify_memory<op, T>(cpu, in, cpu.reg<T>(in.reg));
}

template <Alu op, class T> Outcome reg_rm_reg(Cpu& cpu, const Insn& in) {  // Gv, Ev
    const T r = host::binary<op, T>(cpu.flags, cpu.reg<T>(in.reg), cpu.reg<T>(in.rm));
    if constexpr (host::writes(op)) cpu.set_reg<T>(in.reg, r);
    return Outcome::next;
}

template <Alu op, class T> Outcome reg_rm_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    const T r = host::binary<op, T>(cpu.flags, cpu.reg<T>(in.reg), v);
    if constexpr (host::writes(op)) cpu.set_reg<T>(in.reg, r);
    return Outcome::next;
}

template <Alu op, class T> Outcome reg_imm(Cpu& cpu, const Insn& in) {  // Ev, I
    const T r = host::binary<op, T>(cpu.flags, cpu.reg<T>(in.rm), static_cast<T>(in.imm));
    if constexpr (host::writes(op)) cpu.set_reg<T>(in.rm, r);
    return Outcome::next;
}

template <Alu op, class T> Outcome mem_imm(Cpu& cpu, const Insn& in) {
    return modify_memory<op, T>(cpu, in, static_cast<T>(in.imm));
}

template <Alu op, class T> Outcome acc_imm(Cpu& cpu, const Insn& in) {  // AL/rAX, I
    const T r = host::binary<op, T>(cpu.flags, cpu.reg<T>(0u), static_cast<T>(in.imm));
    if constexpr (host::writes(op)) cpu.set_reg<T>(0, r);
    return Outcome::next;
}

template <Alu op> consteval Bodies ev_gv() {
    return {{code<reg_reg<op, u8>>(), code<reg_reg<op, u16>>(), code<reg_reg<op, u32>>(),
             code<reg_reg<op, u64>>()},
            {code<mem_reg<op, u8>>(), code<mem_reg<op, u16>>(), code<mem_reg<op, u32>>(),
             code<mem_reg<op, u64>>()}};
}
template <Alu op> consteval Bodies gv_ev() {
    return {{code<reg_rm_reg<op, u8>>(), code<reg_rm_reg<op, u16>>(), code<reg_rm_reg<op, u32>>(),
             code<reg_rm_reg<op, u64>>()},
            {code<reg_rm_mem<op, u8>>(), code<reg_rm_mem<op, u16>>(), code<reg_rm_mem<op, u32>>(),
             code<reg_rm_mem<op, u64>>()}};
}
template <Alu op> consteval Bodies ev_iv() {
    return {{code<reg_imm<op, u8>>(), code<reg_imm<op, u16>>(), code<reg_imm<op, u32>>(),
             code<reg_imm<op, u64>>()},
            {code<mem_imm<op, u8>>(), code<mem_imm<op, u16>>(), code<mem_imm<op, u32>>(),
             code<mem_imm<op, u64>>()}};
}
template <Alu op> consteval Bodies ax_iv() {
    constexpr std::array<Code, 4> c{code<acc_imm<op, u8>>(), code<acc_imm<op, u16>>(),
                                    code<acc_imm<op, u32>>(), code<acc_imm<op, u64>>()};
    return {c, c};
}

}  // namespace droste::forms
