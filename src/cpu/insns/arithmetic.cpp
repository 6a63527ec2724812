// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic: ADD to CMP, INC, DEC, NEG, MUL, DIV and their forms, ADCX, ADOX, MULX.
#include "cpu/insns/binary_forms.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

using namespace forms;
using host::Unary;
using host::Wide;

constexpr unsigned rax = 0, rdx = 2;

// ---- INC, DEC, NEG

template <Unary op, class T> Outcome unary_rm(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.rm, host::unary<op, T>(cpu.flags, cpu.reg<T>(in.rm)));
    return Outcome::next;
}
template <Unary op, class T> Outcome unary_opcode_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, host::unary<op, T>(cpu.flags, cpu.reg<T>(in.reg)));
    return Outcome::next;
}
template <Unary op, class T> Outcome unary_mem(Cpu& cpu, const Insn& in) {
    return modify<T>(cpu, in, [](u16& flags, T old) { return host::unary<op, T>(flags, old); });
}
template <Unary op> consteval Bodies unary_forms() {
    return {{code<unary_rm<op, u8>>(), code<unary_rm<op, u16>>(), code<unary_rm<op, u32>>(),
             code<unary_rm<op, u64>>()},
            {code<unary_mem<op, u8>>(), code<unary_mem<op, u16>>(), code<unary_mem<op, u32>>(),
             code<unary_mem<op, u64>>()}};
}
template <Unary op> consteval Bodies unary_opcode_reg_forms() {
    constexpr std::array<Code, 4> c{Code{}, code<unary_opcode_reg<op, u16>>(),
                                    code<unary_opcode_reg<op, u32>>(), Code{}};
    return {c, c};
}

// ---- MUL, IMUL, DIV, IDIV with rDX:rAX

template <class T> bool divide_overflows(u64 hi, u64 lo, T divisor) {
    if (divisor == 0) return true;
    if constexpr (sizeof(T) == 1) return static_cast<u16>(lo) >> 8 >= divisor;
    else return static_cast<T>(hi) >= divisor;
}

/// The magnitude of the quotient is below `limit` exactly when the dividend's is below limit * |divisor|.
template <class T> bool signed_divide_overflows(u64 hi, u64 lo, T divisor) {
    if (divisor == 0) return true;
    constexpr unsigned width = sizeof(T) * 8;
    using S = std::make_signed_t<T>;
    i128 dividend;
    if constexpr (sizeof(T) == 1) dividend = static_cast<i16>(lo);
    else dividend = (i128(static_cast<S>(hi)) << width) | static_cast<T>(lo);
    const i128 d = static_cast<S>(divisor);
    const bool negative = (dividend < 0) != (d < 0);
    const u128 n = dividend < 0 ? -u128(dividend) : u128(dividend);
    const u128 m = d < 0 ? -u128(d) : u128(d);
    u128 bound = m << (width - 1);
    if (negative) bound += m;
    return n >= bound;
}

template <Wide op, class T> Outcome wide_by(Cpu& cpu, T value) {
    if constexpr (op == Wide::div || op == Wide::idiv) {
        const bool overflows = op == Wide::div
                                   ? divide_overflows<T>(cpu.gpr[rdx], cpu.gpr[rax], value)
                                   : signed_divide_overflows<T>(cpu.gpr[rdx], cpu.gpr[rax], value);
        if (overflows) [[unlikely]] return cpu.raise(Fault::of(Vector::de));
        cpu.charge(CostEvent::div);
    }
    host::wide<op, T>(cpu.flags, value, cpu.gpr[rdx], cpu.gpr[rax]);
    return Outcome::next;
}
template <Wide op, class T> Outcome wide_reg(Cpu& cpu, const Insn& in) {
    return wide_by<op, T>(cpu, cpu.reg<T>(in.rm));
}
template <Wide op, class T> Outcome wide_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    return wide_by<op, T>(cpu, v);
}
template <Wide op> consteval Bodies wide_forms() {
    return {{code<wide_reg<op, u8>>(), code<wide_reg<op, u16>>(), code<wide_reg<op, u32>>(),
             code<wide_reg<op, u64>>()},
            {code<wide_mem<op, u8>>(), code<wide_mem<op, u16>>(), code<wide_mem<op, u32>>(),
             code<wide_mem<op, u64>>()}};
}

// ---- IMUL with two and three operands

template <class T> Outcome imul_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, host::imul<T>(cpu.flags, cpu.reg<T>(in.reg), cpu.reg<T>(in.rm)));
    return Outcome::next;
}
template <class T> Outcome imul_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::imul<T>(cpu.flags, cpu.reg<T>(in.reg), v));
    return Outcome::next;
}
template <class T> Outcome imul_reg_imm(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, host::imul<T>(cpu.flags, cpu.reg<T>(in.rm), static_cast<T>(in.imm)));
    return Outcome::next;
}
template <class T> Outcome imul_mem_imm(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::imul<T>(cpu.flags, v, static_cast<T>(in.imm)));
    return Outcome::next;
}
constexpr Bodies imul_forms{{Code{}, code<imul_reg<u16>>(), code<imul_reg<u32>>(), code<imul_reg<u64>>()},
                            {Code{}, code<imul_mem<u16>>(), code<imul_mem<u32>>(), code<imul_mem<u64>>()}};
constexpr Bodies imul_imm_forms{
    {Code{}, code<imul_reg_imm<u16>>(), code<imul_reg_imm<u32>>(), code<imul_reg_imm<u64>>()},
    {Code{}, code<imul_mem_imm<u16>>(), code<imul_mem_imm<u32>>(), code<imul_mem_imm<u64>>()}};

// ---- ADX, MULX

template <class T> Outcome adcx_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, host::adcx<T>(cpu.flags, cpu.reg<T>(in.reg), cpu.reg<T>(in.rm)));
    return Outcome::next;
}
template <class T> Outcome adcx_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::adcx<T>(cpu.flags, cpu.reg<T>(in.reg), v));
    return Outcome::next;
}
template <class T> Outcome adox_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.reg, host::adox<T>(cpu.flags, cpu.reg<T>(in.reg), cpu.reg<T>(in.rm)));
    return Outcome::next;
}
template <class T> Outcome adox_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::adox<T>(cpu.flags, cpu.reg<T>(in.reg), v));
    return Outcome::next;
}

// MULX leaves the flags alone; when both destinations are one register it gets the high half.
template <class T> Outcome mulx_by(Cpu& cpu, const Insn& in, T v) {
    const u128 product = u128(cpu.reg<T>(rdx)) * v;
    cpu.set_reg<T>(static_cast<unsigned>(in.imm), static_cast<T>(product));
    cpu.set_reg<T>(in.reg, static_cast<T>(product >> (8 * sizeof(T))));
    return Outcome::next;
}
template <class T> Outcome mulx_reg(Cpu& cpu, const Insn& in) {
    return mulx_by<T>(cpu, in, cpu.reg<T>(in.rm));
}
template <class T> Outcome mulx_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    return mulx_by<T>(cpu, in, v);
}

/// Operands of 32 or 64 bits: 16-bit code, or a 66 prefix beside F3, does not make them smaller.
consteval Bodies by_w(Code reg32, Code reg64, Code mem32, Code mem64) {
    return {{Code{}, reg32, reg32, reg64}, {Code{}, mem32, mem32, mem64}};
}

using traits::lockable;
using traits::no64;

constexpr InsnRow rows[] = {
    // clang-format off
    row("ADD", "00 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::add>(), "w:OSZAPC"_flags, lockable),
    row("ADD", "01 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::add>(), "w:OSZAPC"_flags, lockable),
    row("ADD", "02 /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::add>(), "w:OSZAPC"_flags),
    row("ADD", "03 /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::add>(), "w:OSZAPC"_flags),
    row("ADD", "04 ib"_op, "+AL, Ib"_operands, ax_iv<Alu::add>(), "w:OSZAPC"_flags),
    row("ADD", "05 iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::add>(), "w:OSZAPC"_flags),
    row("ADD", "80 /0 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::add>(), "w:OSZAPC"_flags, lockable),
    row("ADD", "81 /0 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::add>(), "w:OSZAPC"_flags, lockable),
    row("ADD", "82 /0 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::add>(), "w:OSZAPC"_flags, lockable | no64),
    row("ADD", "83 /0 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::add>(), "w:OSZAPC"_flags, lockable),
    row("ADC", "10 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable),
    row("ADC", "11 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable),
    row("ADC", "12 /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::adc>(), "w:OSZAPC r:C"_flags),
    row("ADC", "13 /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::adc>(), "w:OSZAPC r:C"_flags),
    row("ADC", "14 ib"_op, "+AL, Ib"_operands, ax_iv<Alu::adc>(), "w:OSZAPC r:C"_flags),
    row("ADC", "15 iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::adc>(), "w:OSZAPC r:C"_flags),
    row("ADC", "80 /2 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable),
    row("ADC", "81 /2 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable),
    row("ADC", "82 /2 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable | no64),
    row("ADC", "83 /2 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::adc>(), "w:OSZAPC r:C"_flags, lockable),
    row("SUB", "28 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::sub>(), "w:OSZAPC"_flags, lockable),
    row("SUB", "29 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::sub>(), "w:OSZAPC"_flags, lockable),
    row("SUB", "2A /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::sub>(), "w:OSZAPC"_flags),
    row("SUB", "2B /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::sub>(), "w:OSZAPC"_flags),
    row("SUB", "2C ib"_op, "+AL, Ib"_operands, ax_iv<Alu::sub>(), "w:OSZAPC"_flags),
    row("SUB", "2D iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::sub>(), "w:OSZAPC"_flags),
    row("SUB", "80 /5 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::sub>(), "w:OSZAPC"_flags, lockable),
    row("SUB", "81 /5 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::sub>(), "w:OSZAPC"_flags, lockable),
    row("SUB", "82 /5 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::sub>(), "w:OSZAPC"_flags, lockable | no64),
    row("SUB", "83 /5 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::sub>(), "w:OSZAPC"_flags, lockable),
    row("SBB", "18 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable),
    row("SBB", "19 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable),
    row("SBB", "1A /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::sbb>(), "w:OSZAPC r:C"_flags),
    row("SBB", "1B /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::sbb>(), "w:OSZAPC r:C"_flags),
    row("SBB", "1C ib"_op, "+AL, Ib"_operands, ax_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags),
    row("SBB", "1D iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags),
    row("SBB", "80 /3 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable),
    row("SBB", "81 /3 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable),
    row("SBB", "82 /3 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable | no64),
    row("SBB", "83 /3 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::sbb>(), "w:OSZAPC r:C"_flags, lockable),
    row("CMP", "38 /r"_op, "Eb, Gb"_operands, ev_gv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "39 /r"_op, "Ev, Gv"_operands, ev_gv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "3A /r"_op, "Gb, Eb"_operands, gv_ev<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "3B /r"_op, "Gv, Ev"_operands, gv_ev<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "3C ib"_op, "AL, Ib"_operands, ax_iv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "3D iz"_op, "rAX, Iz"_operands, ax_iv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "80 /7 ib"_op, "Eb, Ib"_operands, ev_iv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "81 /7 iz"_op, "Ev, Iz"_operands, ev_iv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("CMP", "82 /7 ib"_op, "Eb, Ib"_operands, ev_iv<Alu::cmp>(), "w:OSZAPC"_flags, no64),
    row("CMP", "83 /7 ib"_op, "Ev, Ib"_operands, ev_iv<Alu::cmp>(), "w:OSZAPC"_flags),
    row("INC", "FE /0"_op, "+Eb"_operands, unary_forms<Unary::inc>(), "w:OSZAP"_flags, lockable),
    row("INC", "FF /0"_op, "+Ev"_operands, unary_forms<Unary::inc>(), "w:OSZAP"_flags, lockable),
    row("INC", "40+r"_op, "+Zv"_operands, unary_opcode_reg_forms<Unary::inc>(), "w:OSZAP"_flags, no64),
    row("DEC", "FE /1"_op, "+Eb"_operands, unary_forms<Unary::dec>(), "w:OSZAP"_flags, lockable),
    row("DEC", "FF /1"_op, "+Ev"_operands, unary_forms<Unary::dec>(), "w:OSZAP"_flags, lockable),
    row("DEC", "48+r"_op, "+Zv"_operands, unary_opcode_reg_forms<Unary::dec>(), "w:OSZAP"_flags, no64),
    row("NEG", "F6 /3"_op, "+Eb"_operands, unary_forms<Unary::neg>(), "w:OSZAPC"_flags, lockable),
    row("NEG", "F7 /3"_op, "+Ev"_operands, unary_forms<Unary::neg>(), "w:OSZAPC"_flags, lockable),
    row("MUL", "F6 /4"_op, "Eb, +AX"_operands, wide_forms<Wide::mul>(), "w:OC u:SZAP"_flags),
    row("MUL", "F7 /4"_op, "Ev, +rAX, =rDX"_operands, wide_forms<Wide::mul>(), "w:OC u:SZAP"_flags),
    row("IMUL", "F6 /5"_op, "Eb, +AX"_operands, wide_forms<Wide::imul>(), "w:OC u:SZAP"_flags),
    row("IMUL", "F7 /5"_op, "Ev, +rAX, =rDX"_operands, wide_forms<Wide::imul>(), "w:OC u:SZAP"_flags),
    row("IMUL", "0F AF /r"_op, "+Gv, Ev"_operands, imul_forms, "w:OC u:SZAP"_flags),
    row("IMUL", "69 /r iz"_op, "=Gv, Ev, Iz"_operands, imul_imm_forms, "w:OC u:SZAP"_flags),
    row("IMUL", "6B /r ib"_op, "=Gv, Ev, Ib"_operands, imul_imm_forms, "w:OC u:SZAP"_flags),
    row("DIV", "F6 /6"_op, "Eb, +AX"_operands, wide_forms<Wide::div>(), "u:OSZAPC"_flags),
    row("DIV", "F7 /6"_op, "Ev, +rAX, +rDX"_operands, wide_forms<Wide::div>(), "u:OSZAPC"_flags),
    row("IDIV", "F6 /7"_op, "Eb, +AX"_operands, wide_forms<Wide::idiv>(), "u:OSZAPC"_flags),
    row("IDIV", "F7 /7"_op, "Ev, +rAX, +rDX"_operands, wide_forms<Wide::idiv>(), "u:OSZAPC"_flags),
    {"ADCX", "66 0F 38 F6 /r"_op, "+Gy, Ey"_operands,
     by_w(code<adcx_reg<u32>>(), code<adcx_reg<u64>>(), code<adcx_mem<u32>>(), code<adcx_mem<u64>>()),
     Feature::adx, 0, "w:C r:C"_flags},
    {"ADOX", "F3 0F 38 F6 /r"_op, "+Gy, Ey"_operands,
     by_w(code<adox_reg<u32>>(), code<adox_reg<u64>>(), code<adox_mem<u32>>(), code<adox_mem<u64>>()),
     Feature::adx, 0, "w:O r:O"_flags},
    {"MULX", "VEX.LZ.F2.0F38.WIG F6 /r"_op, "=Gy, =By, Ey, EDX"_operands,
     by_w(code<mulx_reg<u32>>(), code<mulx_reg<u64>>(), code<mulx_mem<u32>>(), code<mulx_mem<u64>>()),
     Feature::bmi2},
    // clang-format on
};

}  // namespace

RowSpan arithmetic_rows() { return rows; }

}  // namespace droste
