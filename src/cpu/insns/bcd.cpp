// SPDX-License-Identifier: Apache-2.0
// Decimal adjustments: AAA, AAS, AAM, AAD, DAA, DAS. Not in 64-bit mode, hence not the host's own
// instructions.
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

using namespace flag_image;

constexpr unsigned al = 0, ah = 1;  // byte offsets in gpr[]

/// SF, ZF and PF of a byte, OF = 0, as the logic instructions set them.
u16 result_flags(u8 v) {
    u16 image = 0x0200;
    (void)host::binary<host::Alu::or_, u8>(image, v, v);
    return static_cast<u16>(image & ~(af | cf));
}

enum class Adjust : u8 { after_add, after_subtract };

template <Adjust kind> Outcome ascii_adjust(Cpu& cpu, const Insn&) {  // AAA, AAS
    const bool adjust = (cpu.gpr8(al) & 0xF) > 9 || (cpu.flags & af);
    u16 ax = cpu.reg<u16>(0u);
    if (adjust) ax = static_cast<u16>(kind == Adjust::after_add ? ax + 0x106 : ax - 0x106);
    ax &= 0xFF0F;
    cpu.set_reg<u16>(0, ax);
    cpu.flags = static_cast<u16>(result_flags(static_cast<u8>(ax)) | (adjust ? af | cf : 0));
    return Outcome::next;
}

template <Adjust kind> Outcome decimal_adjust(Cpu& cpu, const Insn&) {  // DAA, DAS
    const u8 old = cpu.gpr8(al);
    const bool low = (old & 0xF) > 9 || (cpu.flags & af);
    const bool high = old > 0x99 || (cpu.flags & cf);
    u8 v = old;
    const u8 delta = static_cast<u8>((low ? 6 : 0) + (high ? 0x60 : 0));
    v = static_cast<u8>(kind == Adjust::after_add ? v + delta : v - delta);
    // SDM "DAS": a borrow of the low digit's correction counts as carry even when the high digit needs none.
    const bool borrow = kind == Adjust::after_subtract && low && old < 6;
    cpu.gpr8(al) = v;
    cpu.flags = static_cast<u16>(result_flags(v) | (low ? af : 0) | (high || borrow ? cf : 0));
    return Outcome::next;
}

Outcome aam(Cpu& cpu, const Insn& in) {
    const u8 base = static_cast<u8>(in.imm);
    if (base == 0) return cpu.raise(Fault::of(Vector::de));
    const u8 v = cpu.gpr8(al);
    cpu.gpr8(ah) = static_cast<u8>(v / base);
    cpu.gpr8(al) = static_cast<u8>(v % base);
    cpu.flags = result_flags(cpu.gpr8(al));
    return Outcome::next;
}
Outcome aad(Cpu& cpu, const Insn& in) {
    u16 image = cpu.flags;
    const u8 product = static_cast<u8>(cpu.gpr8(ah) * static_cast<u8>(in.imm));
    const u8 v = host::binary<host::Alu::add, u8>(image, cpu.gpr8(al), product);
    cpu.set_reg<u16>(0, v);
    cpu.flags = image;
    return Outcome::next;
}

constexpr InsnRow rows[] = {
    {"AAA", "37"_op, ""_operands, code<ascii_adjust<Adjust::after_add>>(), Feature::base, traits::no64,
     "w:AC u:OSZP r:A"_flags},
    {"AAS", "3F"_op, ""_operands, code<ascii_adjust<Adjust::after_subtract>>(), Feature::base, traits::no64,
     "w:AC u:OSZP r:A"_flags},
    {"DAA", "27"_op, ""_operands, code<decimal_adjust<Adjust::after_add>>(), Feature::base, traits::no64,
     "w:SZAPC u:O r:AC"_flags},
    {"DAS", "2F"_op, ""_operands, code<decimal_adjust<Adjust::after_subtract>>(), Feature::base, traits::no64,
     "w:SZAPC u:O r:AC"_flags},
    {"AAM", "D4 ib"_op, "Ib"_operands, code<aam>(), Feature::base, traits::no64, "w:SZP u:OAC"_flags},
    {"AAD", "D5 ib"_op, "Ib"_operands, code<aad>(), Feature::base, traits::no64, "w:SZP u:OAC"_flags},
};

}  // namespace

RowSpan bcd_rows() { return rows; }

}  // namespace droste
