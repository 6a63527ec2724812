// SPDX-License-Identifier: Apache-2.0
// Logic: AND, OR, XOR, NOT, TEST and the bit-manipulation extensions ANDN, BLSx, BEXTR, BZHI, PDEP, PEXT.
#include "cpu/insns/binary_forms.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

using namespace forms;
using host::Bmi;

template <class T> Outcome not_reg(Cpu& cpu, const Insn& in) {
    cpu.set_reg<T>(in.rm, static_cast<T>(~cpu.reg<T>(in.rm)));
    return Outcome::next;
}
template <class T> Outcome not_mem(Cpu& cpu, const Insn& in) {
    return modify<T>(cpu, in, [](u16&, T old) { return static_cast<T>(~old); });
}
constexpr Bodies not_forms{
    {code<not_reg<u8>>(), code<not_reg<u16>>(), code<not_reg<u32>>(), code<not_reg<u64>>()},
    {code<not_mem<u8>>(), code<not_mem<u16>>(), code<not_mem<u32>>(), code<not_mem<u64>>()}};

// ---- BMI1, BMI2. The register of VEX.vvvv is in Insn::imm.

template <class T> bool source(Cpu& cpu, const Insn& in, T& v) {
    if (in.mem()) return cpu.load(in, v);
    v = cpu.reg<T>(in.rm);
    return true;
}
template <class T> T vvvv(Cpu& cpu, const Insn& in) { return cpu.reg<T>(static_cast<unsigned>(in.imm)); }

/// ANDN: destination, vvvv, r/m.
template <class T> Outcome andn(Cpu& cpu, const Insn& in) {
    T v;
    if (!source(cpu, in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::bmi<Bmi::andn, T>(cpu.flags, vvvv<T>(cpu, in), v));
    return Outcome::next;
}
/// BLSI, BLSR, BLSMSK: destination is vvvv.
template <Bmi op, class T> Outcome bls(Cpu& cpu, const Insn& in) {
    T v;
    if (!source(cpu, in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(static_cast<unsigned>(in.imm), host::bmi<op, T>(cpu.flags, v, v));
    return Outcome::next;
}
/// BEXTR, BZHI: destination, r/m, control in vvvv.
template <Bmi op, class T> Outcome controlled(Cpu& cpu, const Insn& in) {
    T v;
    if (!source(cpu, in, v)) [[unlikely]] return cpu.failed();
    cpu.set_reg<T>(in.reg, host::bmi<op, T>(cpu.flags, vvvv<T>(cpu, in), v));
    return Outcome::next;
}
template <class T> Outcome pdep(Cpu& cpu, const Insn& in) {
    T mask, r;
    if (!source(cpu, in, mask)) [[unlikely]] return cpu.failed();
    const T v = vvvv<T>(cpu, in);
    asm("pdep %[m], %[v], %[r]" : [r] "=r"(r) : [v] "r"(v), [m] "r"(mask));
    cpu.set_reg<T>(in.reg, r);
    return Outcome::next;
}
template <class T> Outcome pext(Cpu& cpu, const Insn& in) {
    T mask, r;
    if (!source(cpu, in, mask)) [[unlikely]] return cpu.failed();
    const T v = vvvv<T>(cpu, in);
    asm("pext %[m], %[v], %[r]" : [r] "=r"(r) : [v] "r"(v), [m] "r"(mask));
    cpu.set_reg<T>(in.reg, r);
    return Outcome::next;
}

/// 32 bits also where the operand size is 16: in 16-bit code.
consteval Bodies by_w(Code dword, Code qword) {
    return {std::array<Code, 4>{Code{}, dword, dword, qword},
            std::array<Code, 4>{Code{}, dword, dword, qword}};
}

using traits::lockable;
using traits::no64;

constexpr InsnRow rows[] = {
    // clang-format off
    row("AND", "20 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable),
    row("AND", "21 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable),
    row("AND", "22 /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::and_>(), "w:OSZPC u:A"_flags),
    row("AND", "23 /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::and_>(), "w:OSZPC u:A"_flags),
    row("AND", "24 ib"_op, "+AL, Ib"_operands, ax_iv<Alu::and_>(), "w:OSZPC u:A"_flags),
    row("AND", "25 iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::and_>(), "w:OSZPC u:A"_flags),
    row("AND", "80 /4 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable),
    row("AND", "81 /4 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable),
    row("AND", "82 /4 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable | no64),
    row("AND", "83 /4 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::and_>(), "w:OSZPC u:A"_flags, lockable),
    row("OR", "08 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable),
    row("OR", "09 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable),
    row("OR", "0A /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::or_>(), "w:OSZPC u:A"_flags),
    row("OR", "0B /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::or_>(), "w:OSZPC u:A"_flags),
    row("OR", "0C ib"_op, "+AL, Ib"_operands, ax_iv<Alu::or_>(), "w:OSZPC u:A"_flags),
    row("OR", "0D iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::or_>(), "w:OSZPC u:A"_flags),
    row("OR", "80 /1 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable),
    row("OR", "81 /1 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable),
    row("OR", "82 /1 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable | no64),
    row("OR", "83 /1 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::or_>(), "w:OSZPC u:A"_flags, lockable),
    row("XOR", "30 /r"_op, "+Eb, Gb"_operands, ev_gv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable),
    row("XOR", "31 /r"_op, "+Ev, Gv"_operands, ev_gv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable),
    row("XOR", "32 /r"_op, "+Gb, Eb"_operands, gv_ev<Alu::xor_>(), "w:OSZPC u:A"_flags),
    row("XOR", "33 /r"_op, "+Gv, Ev"_operands, gv_ev<Alu::xor_>(), "w:OSZPC u:A"_flags),
    row("XOR", "34 ib"_op, "+AL, Ib"_operands, ax_iv<Alu::xor_>(), "w:OSZPC u:A"_flags),
    row("XOR", "35 iz"_op, "+rAX, Iz"_operands, ax_iv<Alu::xor_>(), "w:OSZPC u:A"_flags),
    row("XOR", "80 /6 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable),
    row("XOR", "81 /6 iz"_op, "+Ev, Iz"_operands, ev_iv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable),
    row("XOR", "82 /6 ib"_op, "+Eb, Ib"_operands, ev_iv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable | no64),
    row("XOR", "83 /6 ib"_op, "+Ev, Ib"_operands, ev_iv<Alu::xor_>(), "w:OSZPC u:A"_flags, lockable),
    row("TEST", "84 /r"_op, "Eb, Gb"_operands, ev_gv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "85 /r"_op, "Ev, Gv"_operands, ev_gv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "A8 ib"_op, "AL, Ib"_operands, ax_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "A9 iz"_op, "rAX, Iz"_operands, ax_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "F6 /0 ib"_op, "Eb, Ib"_operands, ev_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "F6 /1 ib"_op, "Eb, Ib"_operands, ev_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "F7 /0 iz"_op, "Ev, Iz"_operands, ev_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("TEST", "F7 /1 iz"_op, "Ev, Iz"_operands, ev_iv<Alu::test>(), "w:OSZPC u:A"_flags),
    row("NOT", "F6 /2"_op, "+Eb"_operands, not_forms, {}, lockable),
    row("NOT", "F7 /2"_op, "+Ev"_operands, not_forms, {}, lockable),
    {"ANDN", "VEX.LZ.NP.0F38.WIG F2 /r"_op, "=Gy, By, Ey"_operands,
     by_w(code<andn<u32>>(), code<andn<u64>>()),
     Feature::bmi1, 0, "w:OSZC u:AP"_flags},
    {"BLSR", "VEX.LZ.NP.0F38.WIG F3 /1"_op, "=By, Ey"_operands,
     by_w(code<bls<Bmi::blsr, u32>>(), code<bls<Bmi::blsr, u64>>()),
     Feature::bmi1, 0, "w:OSZC u:AP"_flags},
    {"BLSMSK", "VEX.LZ.NP.0F38.WIG F3 /2"_op, "=By, Ey"_operands,
     by_w(code<bls<Bmi::blsmsk, u32>>(), code<bls<Bmi::blsmsk, u64>>()),
     Feature::bmi1, 0, "w:OSZC u:AP"_flags},
    {"BLSI", "VEX.LZ.NP.0F38.WIG F3 /3"_op, "=By, Ey"_operands,
     by_w(code<bls<Bmi::blsi, u32>>(), code<bls<Bmi::blsi, u64>>()),
     Feature::bmi1, 0, "w:OSZC u:AP"_flags},
    {"BEXTR", "VEX.LZ.NP.0F38.WIG F7 /r"_op, "=Gy, Ey, By"_operands,
     by_w(code<controlled<Bmi::bextr, u32>>(), code<controlled<Bmi::bextr, u64>>()),
     Feature::bmi1, 0, "w:OZC u:SAP"_flags},
    {"BZHI", "VEX.LZ.NP.0F38.WIG F5 /r"_op, "=Gy, Ey, By"_operands,
     by_w(code<controlled<Bmi::bzhi, u32>>(), code<controlled<Bmi::bzhi, u64>>()),
     Feature::bmi2, 0, "w:OSZC u:AP"_flags},
    {"PDEP", "VEX.LZ.F2.0F38.WIG F5 /r"_op, "=Gy, By, Ey"_operands,
     by_w(code<pdep<u32>>(), code<pdep<u64>>()), Feature::bmi2},
    {"PEXT", "VEX.LZ.F3.0F38.WIG F5 /r"_op, "=Gy, By, Ey"_operands,
     by_w(code<pext<u32>>(), code<pext<u64>>()), Feature::bmi2},
    // clang-format on
};

}  // namespace

RowSpan logic_rows() { return rows; }

}  // namespace droste
