// SPDX-License-Identifier: Apache-2.0
// Shifts and rotates: the C0/D0 groups, SHLD, SHRD, and the flagless SHLX, SARX, SHRX, RORX.
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

using host::Shift;

enum class Count : u8 { one, imm, cl };

template <Count from> u8 count(Cpu& cpu, const Insn& in) {
    if constexpr (from == Count::one) return 1;
    else if constexpr (from == Count::imm) return static_cast<u8>(in.imm);
    else return cpu.gpr8(8);
}

/// OF after a rotation by more than one is undefined. With the count in CL processors compute it as for a
/// count of 1, as the host's instruction does here; Intel processors leave it when a register is rotated by
/// an immediate count.
template <Shift op, Count from, class T> T shifted_register(u16& flags, T a, u8 n) {
    if constexpr (from == Count::imm && (op == Shift::rol || op == Shift::ror)) {
        const u16 before = flags;
        const T r = host::shift<op, T>(flags, a, n);
        if ((n & (sizeof(T) == 8 ? 63 : 31)) != 1)
            flags = static_cast<u16>((flags & ~flag_image::of) | (before & flag_image::of));
        return r;
    } else {
        return host::shift<op, T>(flags, a, n);
    }
}

template <Shift op, Count from, class T> Outcome shift_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.rm, shifted_register<op, from, T>(cpu.flags, cpu.reg<T>(in.rm), count<from>(cpu, in)));
    return Outcome::next;
}
template <Shift op, Count from, class T> Outcome shift_mem(Cpu& cpu, const Insn& in) {
    const u8 n = count<from>(cpu, in);
    return modify<T>(cpu, in, [n](u16& flags, T old) { return host::shift<op, T>(flags, old, n); });
}
template <Shift op, Count from> consteval Bodies shift_forms() {
    return {{code<shift_reg<op, from, u8>>(), code<shift_reg<op, from, u16>>(),
             code<shift_reg<op, from, u32>>(), code<shift_reg<op, from, u64>>()},
            {code<shift_mem<op, from, u8>>(), code<shift_mem<op, from, u16>>(),
             code<shift_mem<op, from, u32>>(), code<shift_mem<op, from, u64>>()}};
}

enum class Side : u8 { left, right };

template <Side side, class T> T shift_double(u16& flags, T a, T fill, u8 n) {
    return side == Side::left ? host::shld<T>(flags, a, fill, n) : host::shrd<T>(flags, a, fill, n);
}
template <Side side, Count from, class T> Outcome double_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(
        in.rm, shift_double<side, T>(cpu.flags, cpu.reg<T>(in.rm), cpu.reg<T>(in.reg), count<from>(cpu, in)));
    return Outcome::next;
}
template <Side side, Count from, class T> Outcome double_mem(Cpu& cpu, const Insn& in) {
    const T fill = cpu.reg<T>(in.reg);
    const u8 n = count<from>(cpu, in);
    return modify<T>(cpu, in,
                     [fill, n](u16& flags, T old) { return shift_double<side, T>(flags, old, fill, n); });
}
template <Side side, Count from> consteval Bodies double_forms() {
    return {{Code{}, code<double_reg<side, from, u16>>(), code<double_reg<side, from, u32>>(),
             code<double_reg<side, from, u64>>()},
            {Code{}, code<double_mem<side, from, u16>>(), code<double_mem<side, from, u32>>(),
             code<double_mem<side, from, u64>>()}};
}

// ---- BMI2: no flags

enum class Flagless : u8 { shl, shr, sar, ror };

template <Flagless op, class T> T flagless(T v, u64 n) {
    const unsigned k = static_cast<unsigned>(n) & (sizeof(T) * 8 - 1);
    if constexpr (op == Flagless::shl) return static_cast<T>(v << k);
    else if constexpr (op == Flagless::shr) return static_cast<T>(v >> k);
    else if constexpr (op == Flagless::sar) return static_cast<T>(static_cast<std::make_signed_t<T>>(v) >> k);
    else return std::rotr(v, static_cast<int>(k));
}
/// The count is in the register of VEX.vvvv (its index in Insn::imm); RORX has it as the immediate.
template <Flagless op, class T> Outcome flagless_shift(Cpu& cpu, const Insn& in) {
    T v;
    if (!in.mem()) v = cpu.reg<T>(in.rm);
    else if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    const u64 n = op == Flagless::ror ? in.imm : cpu.gpr[in.imm & 15];
    cpu.set_reg<T>(in.reg, flagless<op, T>(v, n));
    return Outcome::next;
}
template <Flagless op> consteval Bodies flagless_forms() {
    constexpr Code dword = code<flagless_shift<op, u32>>();
    constexpr std::array<Code, 4> c{Code{}, dword, dword, code<flagless_shift<op, u64>>()};
    return {c, c};
}

constexpr InsnRow rows[] = {
    // clang-format off
    row("ROL", "C0 /0 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::rol, Count::imm>(), "w:C u:O"_flags),
    row("ROL", "C1 /0 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::rol, Count::imm>(), "w:C u:O"_flags),
    row("ROL", "D0 /0"_op, "+Eb, 1"_operands, shift_forms<Shift::rol, Count::one>(), "w:OC"_flags),
    row("ROL", "D1 /0"_op, "+Ev, 1"_operands, shift_forms<Shift::rol, Count::one>(), "w:OC"_flags),
    row("ROL", "D2 /0"_op, "+Eb, CL"_operands, shift_forms<Shift::rol, Count::cl>(), "w:C u:O"_flags),
    row("ROL", "D3 /0"_op, "+Ev, CL"_operands, shift_forms<Shift::rol, Count::cl>(), "w:C u:O"_flags),
    row("ROR", "C0 /1 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::ror, Count::imm>(), "w:C u:O"_flags),
    row("ROR", "C1 /1 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::ror, Count::imm>(), "w:C u:O"_flags),
    row("ROR", "D0 /1"_op, "+Eb, 1"_operands, shift_forms<Shift::ror, Count::one>(), "w:OC"_flags),
    row("ROR", "D1 /1"_op, "+Ev, 1"_operands, shift_forms<Shift::ror, Count::one>(), "w:OC"_flags),
    row("ROR", "D2 /1"_op, "+Eb, CL"_operands, shift_forms<Shift::ror, Count::cl>(), "w:C u:O"_flags),
    row("ROR", "D3 /1"_op, "+Ev, CL"_operands, shift_forms<Shift::ror, Count::cl>(), "w:C u:O"_flags),
    row("RCL", "C0 /2 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::rcl, Count::imm>(), "w:C u:O r:C"_flags),
    row("RCL", "C1 /2 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::rcl, Count::imm>(), "w:C u:O r:C"_flags),
    row("RCL", "D0 /2"_op, "+Eb, 1"_operands, shift_forms<Shift::rcl, Count::one>(), "w:OC r:C"_flags),
    row("RCL", "D1 /2"_op, "+Ev, 1"_operands, shift_forms<Shift::rcl, Count::one>(), "w:OC r:C"_flags),
    row("RCL", "D2 /2"_op, "+Eb, CL"_operands, shift_forms<Shift::rcl, Count::cl>(), "w:C u:O r:C"_flags),
    row("RCL", "D3 /2"_op, "+Ev, CL"_operands, shift_forms<Shift::rcl, Count::cl>(), "w:C u:O r:C"_flags),
    row("RCR", "C0 /3 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::rcr, Count::imm>(), "w:C u:O r:C"_flags),
    row("RCR", "C1 /3 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::rcr, Count::imm>(), "w:C u:O r:C"_flags),
    row("RCR", "D0 /3"_op, "+Eb, 1"_operands, shift_forms<Shift::rcr, Count::one>(), "w:OC r:C"_flags),
    row("RCR", "D1 /3"_op, "+Ev, 1"_operands, shift_forms<Shift::rcr, Count::one>(), "w:OC r:C"_flags),
    row("RCR", "D2 /3"_op, "+Eb, CL"_operands, shift_forms<Shift::rcr, Count::cl>(), "w:C u:O r:C"_flags),
    row("RCR", "D3 /3"_op, "+Ev, CL"_operands, shift_forms<Shift::rcr, Count::cl>(), "w:C u:O r:C"_flags),
    row("SHL", "C0 /4 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::shl, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHL", "C1 /4 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::shl, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHL", "D0 /4"_op, "+Eb, 1"_operands, shift_forms<Shift::shl, Count::one>(), "w:OSZPC u:A"_flags),
    row("SHL", "D1 /4"_op, "+Ev, 1"_operands, shift_forms<Shift::shl, Count::one>(), "w:OSZPC u:A"_flags),
    row("SHL", "D2 /4"_op, "+Eb, CL"_operands, shift_forms<Shift::shl, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SHL", "D3 /4"_op, "+Ev, CL"_operands, shift_forms<Shift::shl, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SHR", "C0 /5 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::shr, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHR", "C1 /5 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::shr, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHR", "D0 /5"_op, "+Eb, 1"_operands, shift_forms<Shift::shr, Count::one>(), "w:OSZPC u:A"_flags),
    row("SHR", "D1 /5"_op, "+Ev, 1"_operands, shift_forms<Shift::shr, Count::one>(), "w:OSZPC u:A"_flags),
    row("SHR", "D2 /5"_op, "+Eb, CL"_operands, shift_forms<Shift::shr, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SHR", "D3 /5"_op, "+Ev, CL"_operands, shift_forms<Shift::shr, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SAL", "C0 /6 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::sal, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SAL", "C1 /6 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::sal, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SAL", "D0 /6"_op, "+Eb, 1"_operands, shift_forms<Shift::sal, Count::one>(), "w:OSZPC u:A"_flags),
    row("SAL", "D1 /6"_op, "+Ev, 1"_operands, shift_forms<Shift::sal, Count::one>(), "w:OSZPC u:A"_flags),
    row("SAL", "D2 /6"_op, "+Eb, CL"_operands, shift_forms<Shift::sal, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SAL", "D3 /6"_op, "+Ev, CL"_operands, shift_forms<Shift::sal, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SAR", "C0 /7 ib"_op, "+Eb, Ib"_operands, shift_forms<Shift::sar, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SAR", "C1 /7 ib"_op, "+Ev, Ib"_operands, shift_forms<Shift::sar, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SAR", "D0 /7"_op, "+Eb, 1"_operands, shift_forms<Shift::sar, Count::one>(), "w:OSZPC u:A"_flags),
    row("SAR", "D1 /7"_op, "+Ev, 1"_operands, shift_forms<Shift::sar, Count::one>(), "w:OSZPC u:A"_flags),
    row("SAR", "D2 /7"_op, "+Eb, CL"_operands, shift_forms<Shift::sar, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SAR", "D3 /7"_op, "+Ev, CL"_operands, shift_forms<Shift::sar, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SHLD", "0F A4 /r ib"_op, "+Ev, Gv, Ib"_operands,
        double_forms<Side::left, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHLD", "0F A5 /r"_op, "+Ev, Gv, CL"_operands,
        double_forms<Side::left, Count::cl>(), "w:SZPC u:OA"_flags),
    row("SHRD", "0F AC /r ib"_op, "+Ev, Gv, Ib"_operands,
        double_forms<Side::right, Count::imm>(), "w:SZPC u:OA"_flags),
    row("SHRD", "0F AD /r"_op, "+Ev, Gv, CL"_operands,
        double_forms<Side::right, Count::cl>(), "w:SZPC u:OA"_flags),
    {"SHLX", "VEX.LZ.66.0F38.WIG F7 /r"_op, "=Gy, Ey, By"_operands, flagless_forms<Flagless::shl>(),
     Feature::bmi2},
    {"SARX", "VEX.LZ.F3.0F38.WIG F7 /r"_op, "=Gy, Ey, By"_operands, flagless_forms<Flagless::sar>(),
     Feature::bmi2},
    {"SHRX", "VEX.LZ.F2.0F38.WIG F7 /r"_op, "=Gy, Ey, By"_operands, flagless_forms<Flagless::shr>(),
     Feature::bmi2},
    {"RORX", "VEX.LZ.F2.0F3A.WIG F0 /r ib"_op, "=Gy, Ey, Ib"_operands, flagless_forms<Flagless::ror>(),
     Feature::bmi2},
    // clang-format on
};

}  // namespace

RowSpan shift_rows() { return rows; }

}  // namespace droste
