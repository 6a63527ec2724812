// SPDX-License-Identifier: Apache-2.0
// Near branches: Jcc, JMP, CALL, RET, LOOPcc, JCXZ.
#include "cpu/cet.h"
#include "cpu/insns/conditions.h"
#include "cpu/insns/near_branch.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

template <class T> Outcome fall_through(Cpu& cpu, const Insn& in) {
    cpu.rip = following<T>(cpu, in);
    return Outcome::branch;
}
template <class T> u64 relative_target(const Cpu& cpu, const Insn& in) {
    return following<T>(cpu, in) + in.imm;
}

template <unsigned cc, class T> Outcome jcc(Cpu& cpu, const Insn& in) {
    if (condition<cc>(cpu.flags)) return branch_to<T>(cpu, relative_target<T>(cpu, in));
    return fall_through<T>(cpu, in);
}

template <class T> Outcome jmp_relative(Cpu& cpu, const Insn& in) {
    return branch_to<T>(cpu, relative_target<T>(cpu, in));
}
template <class T> Outcome jmp_reg(Cpu& cpu, const Insn& in) { return branch_to<T>(cpu, cpu.reg<T>(in.rm)); }
template <class T> Outcome jmp_mem(Cpu& cpu, const Insn& in) {
    T target;
    if (!cpu.load(in, target)) [[unlikely]] return cpu.failed();
    return branch_to<T>(cpu, target);
}

template <class T> Outcome call_to(Cpu& cpu, const Insn& in, u64 target) {
    // As processors do it, the return address is written before the target is found wrong.
    const u64 old_sp = cpu.reg(Gpr::rsp);
    if (!push(cpu, static_cast<T>(following<T>(cpu, in)))) [[unlikely]] return cpu.failed();
    if (!branch_target<T>(cpu, target)) [[unlikely]] {
        cpu.reg(Gpr::rsp) = old_sp;
        return Outcome::fault;
    }
    cpu.rip = target;
    return Outcome::branch;
}
template <class T> Outcome call_relative(Cpu& cpu, const Insn& in) {
    return call_to<T>(cpu, in, relative_target<T>(cpu, in));
}
template <class T> Outcome call_reg(Cpu& cpu, const Insn& in) {
    return call_to<T>(cpu, in, cpu.reg<T>(in.rm));
}
template <class T> Outcome call_mem(Cpu& cpu, const Insn& in) {
    T target;
    if (!cpu.load(in, target)) [[unlikely]] return cpu.failed();
    return call_to<T>(cpu, in, target);
}

/// `in.imm`: bytes of parameters to release, 0 for the form without.
template <class T> Outcome ret(Cpu& cpu, const Insn& in) {
    const u64 old_sp = cpu.reg(Gpr::rsp);
    T value;
    if (!pop(cpu, value)) [[unlikely]] return cpu.failed();
    u64 target = value;
    if (!branch_target<T>(cpu, target)) [[unlikely]] {
        cpu.reg(Gpr::rsp) = old_sp;
        return Outcome::fault;
    }
    cpu.set_sp(cpu.reg(Gpr::rsp) + static_cast<u16>(in.imm));
    cpu.rip = target;
    return Outcome::branch;
}

// ---- the forms of code under control-flow enforcement

template <class T> constexpr unsigned shadow_size = sizeof(T) == 8 ? 8 : 4;

/// `tracked`: an indirect CALL. `pushes`: not the CALL of the next instruction, by which code finds its address.
template <class T> Outcome cet_call_to(Cpu& cpu, const Insn& in, u64 target, bool tracked, bool pushes) {
    const u64 old_sp = cpu.reg(Gpr::rsp), back = following<T>(cpu, in);
    const auto undo = [&] {
        cpu.reg(Gpr::rsp) = old_sp;
        return Outcome::fault;
    };
    if (!push(cpu, static_cast<T>(back))) return cpu.failed();
    if (!branch_target<T>(cpu, target)) return undo();
    if (pushes && shadow_stack_enabled(cpu, cpu.cpl)) {
        const u64 ssp = cpu.cet.ssp - shadow_size<T>;
        if (!shadow_store(cpu, ssp, shadow_size<T>, static_cast<T>(back), cpu.cpl == 3)) return undo();
        cpu.cet.ssp = ssp;
    }
    if (tracked) track_near_branch(cpu, in);
    cpu.rip = target;
    return Outcome::branch;
}
template <class T> Outcome cet_call_relative(Cpu& cpu, const Insn& in) {
    return cet_call_to<T>(cpu, in, relative_target<T>(cpu, in), false, in.imm != 0);
}
template <class T> Outcome cet_call_reg(Cpu& cpu, const Insn& in) {
    return cet_call_to<T>(cpu, in, cpu.reg<T>(in.rm), true, true);
}
template <class T> Outcome cet_call_mem(Cpu& cpu, const Insn& in) {
    T target;
    if (!cpu.load(in, target)) return cpu.failed();
    return cet_call_to<T>(cpu, in, target, true, true);
}
template <class T> Outcome cet_jmp_to(Cpu& cpu, const Insn& in, u64 target) {
    const Outcome o = branch_to<T>(cpu, target);
    if (o == Outcome::branch) track_near_branch(cpu, in);
    return o;
}
template <class T> Outcome cet_jmp_reg(Cpu& cpu, const Insn& in) {
    return cet_jmp_to<T>(cpu, in, cpu.reg<T>(in.rm));
}
template <class T> Outcome cet_jmp_mem(Cpu& cpu, const Insn& in) {
    T target;
    if (!cpu.load(in, target)) return cpu.failed();
    return cet_jmp_to<T>(cpu, in, target);
}
template <class T> Outcome cet_ret(Cpu& cpu, const Insn& in) {
    if (!shadow_stack_enabled(cpu, cpu.cpl)) return ret<T>(cpu, in);
    const u64 old_sp = cpu.reg(Gpr::rsp);
    T value;
    if (!pop(cpu, value)) return cpu.failed();
    cpu.reg(Gpr::rsp) = old_sp;
    u64 saved = 0;
    if (!shadow_load(cpu, cpu.cet.ssp, shadow_size<T>, saved, cpu.cpl == 3)) return cpu.failed();
    if (saved != value) return cpu.raise(Fault::of(Vector::cp, cp_code::near_ret));
    const Outcome o = ret<T>(cpu, in);
    if (o == Outcome::branch) cpu.cet.ssp += shadow_size<T>;
    return o;
}

// ---- LOOPcc, JCXZ: the counter has the width of the address size

enum class Loop : u8 { while_not_zero, while_zero, always };

template <Loop kind, class T> Outcome loop(Cpu& cpu, const Insn& in) {
    const u64 count = (cpu.reg(Gpr::rcx) - 1) & address_mask(in.asz());
    const bool zf = cpu.flags & flag_image::zf;
    const bool taken = count != 0 && (kind == Loop::always || zf == (kind == Loop::while_zero));
    u64 target = taken ? relative_target<T>(cpu, in) : following<T>(cpu, in);
    if (taken && !branch_target<T>(cpu, target)) [[unlikely]] return Outcome::fault;
    set_by_address_size(cpu, in, Gpr::rcx, count);
    cpu.rip = target;
    return Outcome::branch;
}
template <class T> Outcome jcxz(Cpu& cpu, const Insn& in) {
    if ((cpu.reg(Gpr::rcx) & address_mask(in.asz())) == 0)
        return branch_to<T>(cpu, relative_target<T>(cpu, in));
    return fall_through<T>(cpu, in);
}

template <Body w, Body d, Body q> consteval Bodies sizes() {
    constexpr std::array<Code, 4> c{Code{}, code<w>(), code<d>(), code<q>()};
    return {c, c};
}
template <unsigned cc> consteval Bodies jcc_sizes() {
    return sizes<jcc<cc, u16>, jcc<cc, u32>, jcc<cc, u64>>();
}
template <Loop kind> consteval Bodies loop_sizes() {
    return sizes<loop<kind, u16>, loop<kind, u32>, loop<kind, u64>>();
}
constexpr Bodies jmp_sizes = sizes<jmp_relative<u16>, jmp_relative<u32>, jmp_relative<u64>>();
constexpr Bodies call_sizes = sizes<call_relative<u16>, call_relative<u32>, call_relative<u64>>();
constexpr Bodies ret_sizes = sizes<ret<u16>, ret<u32>, ret<u64>>();
constexpr Bodies jcxz_sizes = sizes<jcxz<u16>, jcxz<u32>, jcxz<u64>>();
constexpr Bodies call_indirect{{Code{}, code<call_reg<u16>>(), code<call_reg<u32>>(), code<call_reg<u64>>()},
                               {Code{}, code<call_mem<u16>>(), code<call_mem<u32>>(), code<call_mem<u64>>()}};
constexpr Bodies jmp_indirect{{Code{}, code<jmp_reg<u16>>(), code<jmp_reg<u32>>(), code<jmp_reg<u64>>()},
                              {Code{}, code<jmp_mem<u16>>(), code<jmp_mem<u32>>(), code<jmp_mem<u64>>()}};

constexpr Bodies cet_call_indirect{
    {Code{}, code<cet_call_reg<u16>>(), code<cet_call_reg<u32>>(), code<cet_call_reg<u64>>()},
    {Code{}, code<cet_call_mem<u16>>(), code<cet_call_mem<u32>>(), code<cet_call_mem<u64>>()}};
constexpr Bodies cet_jmp_indirect{
    {Code{}, code<cet_jmp_reg<u16>>(), code<cet_jmp_reg<u32>>(), code<cet_jmp_reg<u64>>()},
    {Code{}, code<cet_jmp_mem<u16>>(), code<cet_jmp_mem<u32>>(), code<cet_jmp_mem<u64>>()}};
constexpr Bodies cet_call_sizes = sizes<cet_call_relative<u16>, cet_call_relative<u32>, cet_call_relative<u64>>();
constexpr Bodies cet_ret_sizes = sizes<cet_ret<u16>, cet_ret<u32>, cet_ret<u64>>();

constexpr u32 near = traits::ends_block | traits::force64;
constexpr u32 enforced = near | traits::cet | traits::not_user_fuzzed;

constexpr InsnRow rows[] = {
    // clang-format off
    {"JO", "70 cb"_op, "Jb"_operands, jcc_sizes<0x0>(), Feature::base, near, "r:O"_flags},
    {"JNO", "71 cb"_op, "Jb"_operands, jcc_sizes<0x1>(), Feature::base, near, "r:O"_flags},
    {"JB", "72 cb"_op, "Jb"_operands, jcc_sizes<0x2>(), Feature::base, near, "r:C"_flags},
    {"JAE", "73 cb"_op, "Jb"_operands, jcc_sizes<0x3>(), Feature::base, near, "r:C"_flags},
    {"JE", "74 cb"_op, "Jb"_operands, jcc_sizes<0x4>(), Feature::base, near, "r:Z"_flags},
    {"JNE", "75 cb"_op, "Jb"_operands, jcc_sizes<0x5>(), Feature::base, near, "r:Z"_flags},
    {"JBE", "76 cb"_op, "Jb"_operands, jcc_sizes<0x6>(), Feature::base, near, "r:ZC"_flags},
    {"JA", "77 cb"_op, "Jb"_operands, jcc_sizes<0x7>(), Feature::base, near, "r:ZC"_flags},
    {"JS", "78 cb"_op, "Jb"_operands, jcc_sizes<0x8>(), Feature::base, near, "r:S"_flags},
    {"JNS", "79 cb"_op, "Jb"_operands, jcc_sizes<0x9>(), Feature::base, near, "r:S"_flags},
    {"JP", "7A cb"_op, "Jb"_operands, jcc_sizes<0xA>(), Feature::base, near, "r:P"_flags},
    {"JNP", "7B cb"_op, "Jb"_operands, jcc_sizes<0xB>(), Feature::base, near, "r:P"_flags},
    {"JL", "7C cb"_op, "Jb"_operands, jcc_sizes<0xC>(), Feature::base, near, "r:OS"_flags},
    {"JGE", "7D cb"_op, "Jb"_operands, jcc_sizes<0xD>(), Feature::base, near, "r:OS"_flags},
    {"JLE", "7E cb"_op, "Jb"_operands, jcc_sizes<0xE>(), Feature::base, near, "r:OSZ"_flags},
    {"JG", "7F cb"_op, "Jb"_operands, jcc_sizes<0xF>(), Feature::base, near, "r:OSZ"_flags},
    {"JO", "0F 80 cz"_op, "Jz"_operands, jcc_sizes<0x0>(), Feature::base, near, "r:O"_flags},
    {"JNO", "0F 81 cz"_op, "Jz"_operands, jcc_sizes<0x1>(), Feature::base, near, "r:O"_flags},
    {"JB", "0F 82 cz"_op, "Jz"_operands, jcc_sizes<0x2>(), Feature::base, near, "r:C"_flags},
    {"JAE", "0F 83 cz"_op, "Jz"_operands, jcc_sizes<0x3>(), Feature::base, near, "r:C"_flags},
    {"JE", "0F 84 cz"_op, "Jz"_operands, jcc_sizes<0x4>(), Feature::base, near, "r:Z"_flags},
    {"JNE", "0F 85 cz"_op, "Jz"_operands, jcc_sizes<0x5>(), Feature::base, near, "r:Z"_flags},
    {"JBE", "0F 86 cz"_op, "Jz"_operands, jcc_sizes<0x6>(), Feature::base, near, "r:ZC"_flags},
    {"JA", "0F 87 cz"_op, "Jz"_operands, jcc_sizes<0x7>(), Feature::base, near, "r:ZC"_flags},
    {"JS", "0F 88 cz"_op, "Jz"_operands, jcc_sizes<0x8>(), Feature::base, near, "r:S"_flags},
    {"JNS", "0F 89 cz"_op, "Jz"_operands, jcc_sizes<0x9>(), Feature::base, near, "r:S"_flags},
    {"JP", "0F 8A cz"_op, "Jz"_operands, jcc_sizes<0xA>(), Feature::base, near, "r:P"_flags},
    {"JNP", "0F 8B cz"_op, "Jz"_operands, jcc_sizes<0xB>(), Feature::base, near, "r:P"_flags},
    {"JL", "0F 8C cz"_op, "Jz"_operands, jcc_sizes<0xC>(), Feature::base, near, "r:OS"_flags},
    {"JGE", "0F 8D cz"_op, "Jz"_operands, jcc_sizes<0xD>(), Feature::base, near, "r:OS"_flags},
    {"JLE", "0F 8E cz"_op, "Jz"_operands, jcc_sizes<0xE>(), Feature::base, near, "r:OSZ"_flags},
    {"JG", "0F 8F cz"_op, "Jz"_operands, jcc_sizes<0xF>(), Feature::base, near, "r:OSZ"_flags},
    {"JMP", "EB cb"_op, "Jb"_operands, jmp_sizes, Feature::base, near},
    {"JMP", "E9 cz"_op, "Jz"_operands, jmp_sizes, Feature::base, near},
    {"JMP", "FF /4"_op, "Ev"_operands, jmp_indirect, Feature::base, near},
    {"CALL", "E8 cz"_op, "Jz"_operands, call_sizes, Feature::base, near},
    {"CALL", "FF /2"_op, "Ev"_operands, call_indirect, Feature::base, near},
    {"RET", "C3"_op, ""_operands, ret_sizes, Feature::base, near},
    {"RET", "C2 iw"_op, "Iw"_operands, ret_sizes, Feature::base, near},
    {"JMP", "FF /4"_op, "Ev"_operands, cet_jmp_indirect, Feature::base, enforced},
    {"CALL", "E8 cz"_op, "Jz"_operands, cet_call_sizes, Feature::base, enforced},
    {"CALL", "FF /2"_op, "Ev"_operands, cet_call_indirect, Feature::base, enforced},
    {"RET", "C3"_op, ""_operands, cet_ret_sizes, Feature::base, enforced},
    {"RET", "C2 iw"_op, "Iw"_operands, cet_ret_sizes, Feature::base, enforced},
    {"LOOPNE", "E0 cb"_op, "Jb"_operands, loop_sizes<Loop::while_not_zero>(), Feature::base, near,
     "r:Z"_flags},
    {"LOOPE", "E1 cb"_op, "Jb"_operands, loop_sizes<Loop::while_zero>(), Feature::base, near, "r:Z"_flags},
    {"LOOP", "E2 cb"_op, "Jb"_operands, loop_sizes<Loop::always>(), Feature::base, near},
    {"JCXZ", "E3 cb"_op, "Jb"_operands, jcxz_sizes, Feature::base, near},
    // clang-format on
};

}  // namespace

RowSpan branch_rows() { return rows; }

}  // namespace droste
