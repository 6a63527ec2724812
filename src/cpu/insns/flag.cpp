// SPDX-License-Identifier: Apache-2.0
// Instructions on single flags: CLC, STC, CMC, CLD, STD, LAHF, SAHF, SALC.
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

constexpr unsigned ah = 1;  // byte offset in gpr[]

Outcome clc(Cpu& cpu, const Insn&) {
    cpu.flags &= static_cast<u16>(~flag_image::cf);
    return Outcome::next;
}
Outcome stc(Cpu& cpu, const Insn&) {
    cpu.flags |= flag_image::cf;
    return Outcome::next;
}
Outcome cmc(Cpu& cpu, const Insn&) {
    cpu.flags ^= flag_image::cf;
    return Outcome::next;
}
Outcome cld(Cpu& cpu, const Insn&) {
    cpu.rflags &= ~rflags_bits::df;
    return Outcome::next;
}
Outcome std_(Cpu& cpu, const Insn&) {
    cpu.rflags |= rflags_bits::df;
    return Outcome::next;
}
// The image's high byte is what LAHF gives: SF:ZF:0:AF:0:PF:1:CF.
Outcome lahf(Cpu& cpu, const Insn&) {
    cpu.gpr8(ah) = static_cast<u8>(cpu.flags >> 8);
    return Outcome::next;
}
Outcome sahf(Cpu& cpu, const Insn&) {
    const u64 rest = cpu.flags & flag_image::of ? rflags_bits::of : 0;
    cpu.flags = flag_image::from_rflags((cpu.gpr8(ah) & 0xD5) | rest);
    return Outcome::next;
}
// D6 is listed as an instruction without a mnemonic of the manual; all processors set AL from CF.
Outcome salc(Cpu& cpu, const Insn&) {
    cpu.gpr8(0) = cpu.flags & flag_image::cf ? 0xFF : 0;
    return Outcome::next;
}

constexpr InsnRow rows[] = {
    {"CLC", "F8"_op, ""_operands, code<clc>(), Feature::base, 0, "w:C"_flags},
    {"STC", "F9"_op, ""_operands, code<stc>(), Feature::base, 0, "w:C"_flags},
    {"CMC", "F5"_op, ""_operands, code<cmc>(), Feature::base, 0, "w:C r:C"_flags},
    {"CLD", "FC"_op, ""_operands, code<cld>(), Feature::base, 0, "w:D"_flags},
    {"STD", "FD"_op, ""_operands, code<std_>(), Feature::base, 0, "w:D"_flags},
    {"LAHF", "9F"_op, ""_operands, code<lahf>(), Feature::base, traits::no64, "r:SZAPC"_flags},
    {"LAHF", "9F"_op, ""_operands, code<lahf>(), Feature::lahf_lm, traits::only64, "r:SZAPC"_flags},
    {"SAHF", "9E"_op, ""_operands, code<sahf>(), Feature::base, traits::no64, "w:SZAPC"_flags},
    {"SAHF", "9E"_op, ""_operands, code<sahf>(), Feature::lahf_lm, traits::only64, "w:SZAPC"_flags},
    {"SALC", "D6"_op, "=AL"_operands, code<salc>(), Feature::base, traits::no64, "r:C"_flags},
};

}  // namespace

RowSpan flag_rows() { return rows; }

}  // namespace droste
