// SPDX-License-Identifier: Apache-2.0
// Resolves operands to slots of the register file, so that bodies need no decoding.
#include "cpu/decode/lower.h"

#include "cpu/state.h"

namespace droste {

namespace {

/// Byte registers: without REX, 4..7 are AH, CH, DH, BH. The value is a byte offset into CpuState::gpr.
u8 byte_register(u8 number, bool rex) {
    if (!rex && number >= 4 && number < 8) return static_cast<u8>((number - 4) * 8 + 1);
    return static_cast<u8>(number * 8);
}

}  // namespace

void lower(const Decoded& d, u32 mode, u16 offset, Insn& out) {
    out = Insn{};
    out.imm = d.imm;
    out.op = d.op;
    out.offset = offset;
    out.len = d.len;
    out.reg = d.reg;
    out.rm = d.rm;
    out.base = out.index = slot_zero;
    for (unsigned i = 0; i < d.row->operands.count; ++i) {
        const Operand& o = d.row->operands.op[i];
        switch (o.where) {
        case Where::modrm_reg_gpr:
            if (o.type == Type::b) out.reg = byte_register(d.reg, d.rex);
            break;
        case Where::modrm_rm_gpr: case Where::rm_gpr_only:
            if (o.type == Type::b && !d.mem()) out.rm = byte_register(d.rm, d.rex);
            break;
        case Where::opcode_gpr: out.reg = o.type == Type::b ? byte_register(d.rm, d.rex) : d.rm; break;
        case Where::vvvv_gpr: out.imm = d.vex_vvvv; break;
        default: break;
        }
    }
    u8 fl = 0;
    if (d.mem()) {
        fl |= insn_flags::mem;
        if (d.base >= 0) out.base = static_cast<u8>(d.base);
        if (d.index >= 0) out.index = static_cast<u8>(d.index);
        out.disp = d.disp;
        if (d.rip_relative) {
            out.base = slot_rip;
            out.disp = static_cast<i32>(static_cast<u32>(d.disp) + offset + d.len);
        }
    }
    const bool is64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    const auto s = static_cast<Seg>(d.seg);
    if (!is64 && ((mode & mode_bits::segmented) || s == Seg::fs || s == Seg::gs || s == Seg::cs))
        fl |= insn_flags::segmented;
    if (d.lock) fl |= insn_flags::lock;
    if (d.rex) fl |= insn_flags::rex;
    if (d.vex) fl |= insn_flags::vex;
    if (d.vex_l) fl |= insn_flags::l256;
    if (d.asz != 2) fl |= insn_flags::cut;
    out.fl = fl;
    // String instructions and moffs have no ModRM but take an override: the default is DS.
    const u8 seg = d.has_modrm || d.segment_override >= 0 ? d.seg : static_cast<u8>(Seg::ds);
    out.sc_seg = static_cast<u8>((d.scale & 3) | (seg << 2) | (d.asz << 5));
    out.osz_rep = static_cast<u8>((d.osz & 3) | (static_cast<unsigned>(d.rep) << 2) | (d.no_track ? 16 : 0));
}

}  // namespace droste
