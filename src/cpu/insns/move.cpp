// SPDX-License-Identifier: Apache-2.0
// Data movement: MOV and its extensions, XCHG, XADD, CMPXCHG, CMOVcc, SETcc, LEA, MOVBE, XLAT.
#include "cpu/insns/conditions.h"
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

constexpr unsigned rax = 0, rdx = 2;

// ---- MOV

template <class T> Outcome mov_rm_from_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.rm, cpu.reg<T>(in.reg));
    return Outcome::next;
}
template <class T> Outcome mov_mem_from_reg(Cpu& cpu, const Insn& in) {
    if (!cpu.store(in, cpu.reg<T>(in.reg))) [[unlikely]] return cpu.failed();
    return Outcome::next;
}
template <class T> Outcome mov_reg_from_rm(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, cpu.reg<T>(in.rm));
    return Outcome::next;
}
template <class T> Outcome mov_reg_from_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, v);
    return Outcome::next;
}
template <class T> Outcome mov_rm_imm(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.rm, static_cast<T>(in.imm));
    return Outcome::next;
}
template <class T> Outcome mov_mem_imm(Cpu& cpu, const Insn& in) {
    if (!cpu.store(in, static_cast<T>(in.imm))) [[unlikely]] return cpu.failed();
    return Outcome::next;
}
template <class T> Outcome mov_opcode_reg_imm(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, static_cast<T>(in.imm));
    return Outcome::next;
}
// moffs: the offset is the immediate.
template <class T> Outcome mov_acc_from_moffs(Cpu& cpu, const Insn& in) {
    u64 linear;
    T v;
    if (!operand_at(cpu, in, in.imm & address_mask(in.asz()), sizeof(T), Access::read, linear) ||
        !cpu.load(in.seg(), linear, v)) [[unlikely]]
        return cpu.failed();
    cpu.set_reg<T>(rax, v);
    return Outcome::next;
}
template <class T> Outcome mov_moffs_from_acc(Cpu& cpu, const Insn& in) {
    u64 linear;
    if (!operand_at(cpu, in, in.imm & address_mask(in.asz()), sizeof(T), Access::write, linear) ||
        !cpu.store(in.seg(), linear, cpu.reg<T>(rax))) [[unlikely]]
        return cpu.failed();
    return Outcome::next;
}

constexpr Bodies mov_ev_gv{
    {code<mov_rm_from_reg<u8>>(), code<mov_rm_from_reg<u16>>(), code<mov_rm_from_reg<u32>>(),
     code<mov_rm_from_reg<u64>>()},
    {code<mov_mem_from_reg<u8>>(), code<mov_mem_from_reg<u16>>(), code<mov_mem_from_reg<u32>>(),
     code<mov_mem_from_reg<u64>>()}};
constexpr Bodies mov_gv_ev{
    {code<mov_reg_from_rm<u8>>(), code<mov_reg_from_rm<u16>>(), code<mov_reg_from_rm<u32>>(),
     code<mov_reg_from_rm<u64>>()},
    {code<mov_reg_from_mem<u8>>(), code<mov_reg_from_mem<u16>>(), code<mov_reg_from_mem<u32>>(),
     code<mov_reg_from_mem<u64>>()}};
constexpr Bodies mov_ev_iz{
    {code<mov_rm_imm<u8>>(), code<mov_rm_imm<u16>>(), code<mov_rm_imm<u32>>(), code<mov_rm_imm<u64>>()},
    {code<mov_mem_imm<u8>>(), code<mov_mem_imm<u16>>(), code<mov_mem_imm<u32>>(), code<mov_mem_imm<u64>>()}};
/// One body for each size, the same whatever ModRM says.
template <Body b8, Body b16, Body b32, Body b64> consteval Bodies sizes() {
    constexpr std::array<Code, 4> c{code<b8>(), code<b16>(), code<b32>(), code<b64>()};
    return {c, c};
}

// ---- MOVZX, MOVSX, MOVSXD: S is the source's type

template <class T, class S> Outcome extend_reg(Cpu& cpu, const Insn& in) {
    const auto v = static_cast<S>(cpu.reg<std::make_unsigned_t<S>>(in.rm));
    cpu.set_reg<T>(in.reg, static_cast<T>(v));
    return Outcome::next;
}
template <class T, class S> Outcome extend_mem(Cpu& cpu, const Insn& in) {
    S v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, static_cast<T>(v));
    return Outcome::next;
}
template <class S> consteval Bodies extend_forms() {
    return {{Code{}, code<extend_reg<u16, S>>(), code<extend_reg<u32, S>>(), code<extend_reg<u64, S>>()},
            {Code{}, code<extend_mem<u16, S>>(), code<extend_mem<u32, S>>(), code<extend_mem<u64, S>>()}};
}
// With a 16-bit operand size MOVSXD reads 16 bits of its source (Intel processors).
constexpr Bodies movsxd_forms{
    {Code{}, code<extend_reg<u16, i16>>(), code<extend_reg<u32, i32>>(), code<extend_reg<u64, i32>>()},
    {Code{}, code<extend_mem<u16, i16>>(), code<extend_mem<u32, i32>>(), code<extend_mem<u64, i32>>()}};

template <class T, class Half> Outcome extend_acc(Cpu& cpu, const Insn&) {  // CBW, CWDE, CDQE
    cpu.set_reg<T>(rax, static_cast<T>(static_cast<Half>(cpu.reg<std::make_unsigned_t<Half>>(rax))));
    return Outcome::next;
}
template <class T> Outcome extend_to_dx(Cpu& cpu, const Insn&) {  // CWD, CDQ, CQO
    cpu.set_reg<T>(
        rdx, static_cast<T>(static_cast<std::make_signed_t<T>>(cpu.reg<T>(rax)) >> (8 * sizeof(T) - 1)));
    return Outcome::next;
}

// ---- XCHG, XADD, CMPXCHG

template <class T> Outcome xchg_reg(Cpu& cpu, const Insn& in) {
    const T a = cpu.reg<T>(in.rm), b = cpu.reg<T>(in.reg);
    cpu.set_reg<T>(in.rm, b);
    cpu.set_reg<T>(in.reg, a);
    return Outcome::next;
}
template <class T> Outcome xchg_mem(Cpu& cpu, const Insn& in) {
    Rmw<T> m;
    if (!cpu.begin_rmw(in, m)) [[unlikely]] return cpu.failed();
    const T old = get(m);
    put(m, cpu.reg<T>(in.reg));
    if (!cpu.end_rmw(m)) [[unlikely]] return cpu.failed();
    lock_asserted(cpu, cpu.ea_base[in.seg()] + cpu.effective(in), sizeof(T));  // also without the prefix
    cpu.set_reg<T>(in.reg, old);
    return Outcome::next;
}
// Never with rAX itself: 90 without REX.B is NOP, which does not even clear the upper half of RAX.
template <class T> Outcome xchg_acc(Cpu& cpu, const Insn& in) {
    const T a = cpu.reg<T>(rax);
    cpu.set_reg<T>(rax, cpu.reg<T>(in.reg));
    cpu.set_reg<T>(in.reg, a);
    return Outcome::next;
}

template <class T> Outcome xadd_reg(Cpu& cpu, const Insn& in) {
    const T old = cpu.reg<T>(in.rm);
    const T sum = host::binary<host::Alu::add, T>(cpu.flags, old, cpu.reg<T>(in.reg));
    cpu.set_reg<T>(in.reg, old);
    cpu.set_reg<T>(in.rm, sum);
    return Outcome::next;
}
template <class T> Outcome xadd_mem(Cpu& cpu, const Insn& in) {
    Rmw<T> m;
    if (!cpu.begin_rmw(in, m)) [[unlikely]] return cpu.failed();
    const T old = get(m);
    u16 flags = cpu.flags;
    put(m, host::binary<host::Alu::add, T>(flags, old, cpu.reg<T>(in.reg)));
    if (!cpu.end_rmw(m)) [[unlikely]] return cpu.failed();
    charge_lock(cpu, in, sizeof(T));
    cpu.set_reg<T>(in.reg, old);
    cpu.flags = flags;
    return Outcome::next;
}

template <class T> Outcome cmpxchg_reg(Cpu& cpu, const Insn& in) {
    if constexpr (sizeof(T) == 1) {
        u64 dest = cpu.gpr8(in.rm);
        u64 acc = cpu.gpr8(rax);
        host::cmpxchg<T>(cpu.flags, dest, acc, cpu.gpr8(in.reg));
        cpu.gpr8(rax) = static_cast<u8>(acc);
        cpu.gpr8(in.rm) = static_cast<u8>(dest);
    } else {
        u64 dest = cpu.gpr[in.rm];
        u64 acc = cpu.gpr[rax];
        const bool equal = static_cast<T>(dest) == static_cast<T>(acc);
        host::cmpxchg<T>(cpu.flags, dest, acc, cpu.gpr[in.reg]);
        if (!equal || in.rm != rax) cpu.gpr[rax] = acc;
        if (equal || in.rm != rax) cpu.gpr[in.rm] = dest;
    }
    return Outcome::next;
}
// Writes the destination in any case, with its old value when the comparison fails (SDM "CMPXCHG").
template <class T> Outcome cmpxchg_mem(Cpu& cpu, const Insn& in) {
    Rmw<T> m;
    if (!cpu.begin_rmw(in, m)) [[unlikely]] return cpu.failed();
    const T old = get(m), expected = cpu.reg<T>(rax);
    u16 flags = cpu.flags;
    (void)host::binary<host::Alu::cmp, T>(flags, expected, old);
    put(m, expected == old ? cpu.reg<T>(in.reg) : old);
    if (!cpu.end_rmw(m)) [[unlikely]] return cpu.failed();
    charge_lock(cpu, in, sizeof(T));
    if (expected != old) cpu.set_reg<T>(rax, old);
    cpu.flags = flags;
    return Outcome::next;
}
constexpr Bodies xchg_forms{
    {code<xchg_reg<u8>>(), code<xchg_reg<u16>>(), code<xchg_reg<u32>>(), code<xchg_reg<u64>>()},
    {code<xchg_mem<u8>>(), code<xchg_mem<u16>>(), code<xchg_mem<u32>>(), code<xchg_mem<u64>>()}};
constexpr Bodies xadd_forms{
    {code<xadd_reg<u8>>(), code<xadd_reg<u16>>(), code<xadd_reg<u32>>(), code<xadd_reg<u64>>()},
    {code<xadd_mem<u8>>(), code<xadd_mem<u16>>(), code<xadd_mem<u32>>(), code<xadd_mem<u64>>()}};
constexpr Bodies cmpxchg_forms{
    {code<cmpxchg_reg<u8>>(), code<cmpxchg_reg<u16>>(), code<cmpxchg_reg<u32>>(), code<cmpxchg_reg<u64>>()},
    {code<cmpxchg_mem<u8>>(), code<cmpxchg_mem<u16>>(), code<cmpxchg_mem<u32>>(), code<cmpxchg_mem<u64>>()}};

/// CMPXCHG8B (Half = u32, Whole = u64) and CMPXCHG16B (u64, u128). Only ZF changes.
template <class Half, class Whole> Outcome cmpxchg_pair(Cpu& cpu, const Insn& in) {
    constexpr unsigned rbx = 3, rcx = 1, half = 8 * sizeof(Half);
    u64 linear;
    if (!cpu.operand(in, sizeof(Whole), Access::write, linear)) [[unlikely]] return cpu.failed();
    if (sizeof(Whole) == 16 && (linear & 15)) return cpu.gp0();
    Rmw<Whole> m;
    if (!cpu.begin_rmw(in.seg(), linear, m)) [[unlikely]] return cpu.failed();
    const Whole old = get(m);
    const Whole expected = (Whole(cpu.reg<Half>(rdx)) << half) | cpu.reg<Half>(rax);
    const Whole replacement = (Whole(cpu.reg<Half>(rcx)) << half) | cpu.reg<Half>(rbx);
    put(m, old == expected ? replacement : old);
    if (!cpu.end_rmw(m)) [[unlikely]] return cpu.failed();
    if (old == expected) {
        cpu.flags |= flag_image::zf;
    } else {
        cpu.flags &= static_cast<u16>(~flag_image::zf);
        cpu.set_reg<Half>(rax, static_cast<Half>(old));
        cpu.set_reg<Half>(rdx, static_cast<Half>(old >> half));
    }
    charge_lock_at(cpu, in, linear, sizeof(Whole));
    return Outcome::next;
}

// ---- CMOVcc, SETcc

// The destination is written also when the condition fails: a 32-bit form clears its upper half.
template <unsigned cc, class T> Outcome cmov_reg(Cpu& cpu, const Insn& in) {
    const T v = condition<cc>(cpu.flags) ? cpu.reg<T>(in.rm) : cpu.reg<T>(in.reg);
    cpu.set_reg<T>(in.reg, v);
    return Outcome::next;
}
template <unsigned cc, class T> Outcome cmov_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, condition<cc>(cpu.flags) ? v : cpu.reg<T>(in.reg));
    return Outcome::next;
}
template <unsigned cc> consteval Bodies cmov_forms() {
    return {{Code{}, code<cmov_reg<cc, u16>>(), code<cmov_reg<cc, u32>>(), code<cmov_reg<cc, u64>>()},
            {Code{}, code<cmov_mem<cc, u16>>(), code<cmov_mem<cc, u32>>(), code<cmov_mem<cc, u64>>()}};
}
template <unsigned cc> Outcome set_reg(Cpu& cpu, const Insn& in) {
    cpu.gpr8(in.rm) = condition<cc>(cpu.flags);
    return Outcome::next;
}
template <unsigned cc> Outcome set_mem(Cpu& cpu, const Insn& in) {
    if (!cpu.store(in, static_cast<u8>(condition<cc>(cpu.flags)))) [[unlikely]] return cpu.failed();
    return Outcome::next;
}
template <unsigned cc> consteval Bodies set_forms() { return {code<set_reg<cc>>(), code<set_mem<cc>>()}; }

// ---- LEA, MOVBE, XLAT

template <class T> Outcome lea(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, static_cast<T>(cpu.effective(in)));
    return Outcome::next;
}

template <class T> T swap_bytes(T v) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
    else if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
    else return __builtin_bswap64(v);
}
template <class T> Outcome movbe_load(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, swap_bytes(v));
    return Outcome::next;
}
template <class T> Outcome movbe_store(Cpu& cpu, const Insn& in) {
    if (!cpu.store(in, swap_bytes(cpu.reg<T>(in.reg)))) [[unlikely]] return cpu.failed();
    return Outcome::next;
}
constexpr std::array<Code, 4> movbe_load_sizes{Code{}, code<movbe_load<u16>>(), code<movbe_load<u32>>(),
                                               code<movbe_load<u64>>()};
constexpr std::array<Code, 4> movbe_store_sizes{Code{}, code<movbe_store<u16>>(), code<movbe_store<u32>>(),
                                                code<movbe_store<u64>>()};
// MOVNTI is an ordinary store here: there are no caches to go round. 16-bit code has no smaller form.
constexpr std::array<Code, 4> movnti_sizes{Code{}, code<mov_mem_from_reg<u32>>(),
                                           code<mov_mem_from_reg<u32>>(), code<mov_mem_from_reg<u64>>()};
constexpr std::array<Code, 4> lea_sizes{Code{}, code<lea<u16>>(), code<lea<u32>>(), code<lea<u64>>()};
constexpr std::array<Code, 4> acc_sizes{Code{}, code<extend_acc<u16, i8>>(), code<extend_acc<u32, i16>>(),
                                        code<extend_acc<u64, i32>>()};
constexpr std::array<Code, 4> dx_sizes{Code{}, code<extend_to_dx<u16>>(), code<extend_to_dx<u32>>(),
                                       code<extend_to_dx<u64>>()};
constexpr std::array<Code, 4> xchg_acc_sizes{Code{}, code<xchg_acc<u16>>(), code<xchg_acc<u32>>(),
                                             code<xchg_acc<u64>>()};

Outcome xlat(Cpu& cpu, const Insn& in) {
    u64 linear;
    u8 v;
    const u64 ea = (cpu.reg(Gpr::rbx) + cpu.gpr8(rax)) & address_mask(in.asz());
    if (!operand_at(cpu, in, ea, 1, Access::read, linear) || !cpu.load(in.seg(), linear, v)) [[unlikely]]
        return cpu.failed();
    cpu.gpr8(rax) = v;
    return Outcome::next;
}

constexpr InsnRow rows[] = {
    // clang-format off
    {"MOV", "88 /r"_op, "=Eb, Gb"_operands, mov_ev_gv},
    {"MOV", "89 /r"_op, "=Ev, Gv"_operands, mov_ev_gv},
    {"MOV", "8A /r"_op, "=Gb, Eb"_operands, mov_gv_ev},
    {"MOV", "8B /r"_op, "=Gv, Ev"_operands, mov_gv_ev},
    {"MOV", "C6 /0 ib"_op, "=Eb, Ib"_operands, mov_ev_iz},
    {"MOV", "C7 /0 iz"_op, "=Ev, Iz"_operands, mov_ev_iz},
    {"MOV", "B0+r ib"_op, "=Zb, Ib"_operands, code<mov_opcode_reg_imm<u8>>()},
    {"MOV", "B8+r iv"_op, "=Zv, Iv"_operands,
     sizes<mov_opcode_reg_imm<u8>, mov_opcode_reg_imm<u16>, mov_opcode_reg_imm<u32>,
     mov_opcode_reg_imm<u64>>()},
    {"MOV", "A0 mo"_op, "=AL, Ob"_operands, code<mov_acc_from_moffs<u8>>()},
    {"MOV", "A1 mo"_op, "=rAX, Ov"_operands,
     sizes<mov_acc_from_moffs<u8>, mov_acc_from_moffs<u16>, mov_acc_from_moffs<u32>,
     mov_acc_from_moffs<u64>>()},
    {"MOV", "A2 mo"_op, "=Ob, AL"_operands, code<mov_moffs_from_acc<u8>>()},
    {"MOV", "A3 mo"_op, "=Ov, rAX"_operands,
     sizes<mov_moffs_from_acc<u8>, mov_moffs_from_acc<u16>, mov_moffs_from_acc<u32>,
     mov_moffs_from_acc<u64>>()},
    {"MOVZX", "0F B6 /r"_op, "=Gv, Eb"_operands, extend_forms<u8>()},
    {"MOVZX", "0F B7 /r"_op, "=Gv, Ew"_operands, extend_forms<u16>()},
    {"MOVSX", "0F BE /r"_op, "=Gv, Eb"_operands, extend_forms<i8>()},
    {"MOVSX", "0F BF /r"_op, "=Gv, Ew"_operands, extend_forms<i16>()},
    {"MOVSXD", "63 /r"_op, "=Gv, Ez"_operands, movsxd_forms, Feature::base, traits::only64},
    {"CBW", "98"_op, "+rAX"_operands, Bodies{acc_sizes, acc_sizes}},
    {"CWD", "99"_op, "rAX, =rDX"_operands, Bodies{dx_sizes, dx_sizes}},
    {"XCHG", "86 /r"_op, "+Eb, +Gb"_operands, xchg_forms, Feature::base, traits::lockable},
    {"XCHG", "87 /r"_op, "+Ev, +Gv"_operands, xchg_forms, Feature::base, traits::lockable},
    {"XCHG", "90+r"_op, "+Zv, +rAX"_operands, Bodies{xchg_acc_sizes, xchg_acc_sizes}},
    {"XADD", "0F C0 /r"_op, "+Eb, +Gb"_operands, xadd_forms, Feature::base, traits::lockable,
     "w:OSZAPC"_flags},
    {"XADD", "0F C1 /r"_op, "+Ev, +Gv"_operands, xadd_forms, Feature::base, traits::lockable,
     "w:OSZAPC"_flags},
    {"CMPXCHG", "0F B0 /r"_op, "+Eb, Gb, +AL"_operands, cmpxchg_forms, Feature::base, traits::lockable,
     "w:OSZAPC"_flags},
    {"CMPXCHG", "0F B1 /r"_op, "+Ev, Gv, +rAX"_operands, cmpxchg_forms, Feature::base, traits::lockable,
     "w:OSZAPC"_flags},
    {"CMPXCHG8B", "W0 0F C7 /1 mem"_op, "+Mq"_operands, code<cmpxchg_pair<u32, u64>>(), Feature::cx8,
     traits::lockable, "w:Z"_flags},
    {"CMPXCHG16B", "REX.W 0F C7 /1 mem"_op, "+Mdq"_operands, code<cmpxchg_pair<u64, u128>>(),
     Feature::cmpxchg16b, traits::lockable | traits::aligned, "w:Z"_flags},
    {"CMOVO", "0F 40 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x0>(), Feature::cmov, 0, "r:O"_flags},
    {"CMOVNO", "0F 41 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x1>(), Feature::cmov, 0, "r:O"_flags},
    {"CMOVB", "0F 42 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x2>(), Feature::cmov, 0, "r:C"_flags},
    {"CMOVAE", "0F 43 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x3>(), Feature::cmov, 0, "r:C"_flags},
    {"CMOVE", "0F 44 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x4>(), Feature::cmov, 0, "r:Z"_flags},
    {"CMOVNE", "0F 45 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x5>(), Feature::cmov, 0, "r:Z"_flags},
    {"CMOVBE", "0F 46 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x6>(), Feature::cmov, 0, "r:ZC"_flags},
    {"CMOVA", "0F 47 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x7>(), Feature::cmov, 0, "r:ZC"_flags},
    {"CMOVS", "0F 48 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x8>(), Feature::cmov, 0, "r:S"_flags},
    {"CMOVNS", "0F 49 /r"_op, "+Gv, Ev"_operands, cmov_forms<0x9>(), Feature::cmov, 0, "r:S"_flags},
    {"CMOVP", "0F 4A /r"_op, "+Gv, Ev"_operands, cmov_forms<0xA>(), Feature::cmov, 0, "r:P"_flags},
    {"CMOVNP", "0F 4B /r"_op, "+Gv, Ev"_operands, cmov_forms<0xB>(), Feature::cmov, 0, "r:P"_flags},
    {"CMOVL", "0F 4C /r"_op, "+Gv, Ev"_operands, cmov_forms<0xC>(), Feature::cmov, 0, "r:OS"_flags},
    {"CMOVGE", "0F 4D /r"_op, "+Gv, Ev"_operands, cmov_forms<0xD>(), Feature::cmov, 0, "r:OS"_flags},
    {"CMOVLE", "0F 4E /r"_op, "+Gv, Ev"_operands, cmov_forms<0xE>(), Feature::cmov, 0, "r:OSZ"_flags},
    {"CMOVG", "0F 4F /r"_op, "+Gv, Ev"_operands, cmov_forms<0xF>(), Feature::cmov, 0, "r:OSZ"_flags},
    {"SETO", "0F 90 /r"_op, "=Eb"_operands, set_forms<0x0>(), Feature::base, 0, "r:O"_flags},
    {"SETNO", "0F 91 /r"_op, "=Eb"_operands, set_forms<0x1>(), Feature::base, 0, "r:O"_flags},
    {"SETB", "0F 92 /r"_op, "=Eb"_operands, set_forms<0x2>(), Feature::base, 0, "r:C"_flags},
    {"SETAE", "0F 93 /r"_op, "=Eb"_operands, set_forms<0x3>(), Feature::base, 0, "r:C"_flags},
    {"SETE", "0F 94 /r"_op, "=Eb"_operands, set_forms<0x4>(), Feature::base, 0, "r:Z"_flags},
    {"SETNE", "0F 95 /r"_op, "=Eb"_operands, set_forms<0x5>(), Feature::base, 0, "r:Z"_flags},
    {"SETBE", "0F 96 /r"_op, "=Eb"_operands, set_forms<0x6>(), Feature::base, 0, "r:ZC"_flags},
    {"SETA", "0F 97 /r"_op, "=Eb"_operands, set_forms<0x7>(), Feature::base, 0, "r:ZC"_flags},
    {"SETS", "0F 98 /r"_op, "=Eb"_operands, set_forms<0x8>(), Feature::base, 0, "r:S"_flags},
    {"SETNS", "0F 99 /r"_op, "=Eb"_operands, set_forms<0x9>(), Feature::base, 0, "r:S"_flags},
    {"SETP", "0F 9A /r"_op, "=Eb"_operands, set_forms<0xA>(), Feature::base, 0, "r:P"_flags},
    {"SETNP", "0F 9B /r"_op, "=Eb"_operands, set_forms<0xB>(), Feature::base, 0, "r:P"_flags},
    {"SETL", "0F 9C /r"_op, "=Eb"_operands, set_forms<0xC>(), Feature::base, 0, "r:OS"_flags},
    {"SETGE", "0F 9D /r"_op, "=Eb"_operands, set_forms<0xD>(), Feature::base, 0, "r:OS"_flags},
    {"SETLE", "0F 9E /r"_op, "=Eb"_operands, set_forms<0xE>(), Feature::base, 0, "r:OSZ"_flags},
    {"SETG", "0F 9F /r"_op, "=Eb"_operands, set_forms<0xF>(), Feature::base, 0, "r:OSZ"_flags},
    {"MOVNTI", "NP 0F C3 /r mem"_op, "=My, Gy"_operands, Bodies{movnti_sizes, movnti_sizes}, Feature::sse2},
    {"LEA", "8D /r mem"_op, "=Gv, M"_operands, Bodies{lea_sizes, lea_sizes}},
    {"MOVBE", "0F 38 F0 /r mem"_op, "=Gv, Mv"_operands, Bodies{movbe_load_sizes, movbe_load_sizes},
     Feature::movbe, traits::no_rep_prefix},
    {"MOVBE", "0F 38 F1 /r mem"_op, "=Mv, Gv"_operands, Bodies{movbe_store_sizes, movbe_store_sizes},
     Feature::movbe, traits::no_rep_prefix},
    {"XLAT", "D7"_op, "+AL"_operands, code<xlat>()},
    // clang-format on
};

}  // namespace

RowSpan move_rows() { return rows; }

}  // namespace droste
