// SPDX-License-Identifier: Apache-2.0
// Rules of the EVEX prefix, by what the row's operands allow.
#include "cpu/decode/evex.h"

#include <algorithm>

namespace droste {

namespace {

bool has(const InsnRow& row, Where w) {
    const auto& op = row.operands.op;
    return std::any_of(op.begin(), op.end(), [w](const Operand& o) { return o.where == w; });
}

/// The number extended by EVEX.R' names no register of these kinds.
bool reg_is_not_vector(const InsnRow& row) {
    return has(row, Where::mask_reg) || has(row, Where::modrm_reg_gpr);
}

/// Destination and sources of these must differ (SDM "VFCMULCPH", "VGATHERDPS").
bool destination_is_source(const Decoded& d, bool is64) {
    const bool gather = has(*d.row, Where::vsib_index) && d.row->operands.op[0].where == Where::vec_reg;
    if (gather) return d.reg == d.index;
    if (!(d.row->traits & traits::distinct)) return false;
    const bool vvvv = has(*d.row, Where::vec_vvvv) && d.reg == (d.vex_vvvv & (is64 ? 31 : 7));
    return vvvv || (d.mod == 3 && d.reg == d.rm);
}

}  // namespace

bool take_evex_payload(u8 p0, u8 p1, u8 p2, bool is64, Decoded& d, unsigned& map, u8& pp) {
    d.evex = true;
    d.rex_r = !(p0 & 0x80);
    d.rex_x = !(p0 & 0x40);
    d.rex_b = !(p0 & 0x20);
    d.evex_r2 = !(p0 & 0x10);
    map = p0 & 7;
    d.rex_w = p1 >> 7;
    d.vex_vvvv = static_cast<u8>((~(p1 >> 3) & 0xF) | (p2 & 8 ? 0 : 0x10));
    pp = p1 & 3;
    d.evex_z = p2 >> 7;
    d.vex_l = (p2 >> 5) & 3;
    d.evex_b = (p2 >> 4) & 1;
    d.evex_aaa = p2 & 7;
    if ((p0 & 8) || !(p1 & 4)) return false;
    if (map == 0 || map == 4 || map == 7) return false;
    if (!is64) {
        // R and X are 1 here, else this would be BOUND; B, R' and the highest bit of vvvv are ignored, V' is not.
        if (!(p2 & 8)) return false;
        d.rex_r = d.rex_x = d.rex_b = d.evex_r2 = 0;
    }
    return true;
}

bool evex_length_matches(const InsnRow& row, const Decoded& d, unsigned mod) {
    const i8 l = row.encoding.l;
    const bool rounds = d.evex_b && mod == 3 && row.operands.rounding != Rounding::none;
    if (rounds) return l >= 2 || l == vector_length::ignored;
    if (d.vex_l == 3) return false;
    if (l == vector_length::ignored) return true;
    if (l == vector_length::any) return true;
    if (l == vector_length::from256) return d.vex_l >= 1;
    return l == d.vex_l;
}

bool evex_legal(const Decoded& d, bool is64) {
    const InsnRow& row = *d.row;
    const Operands& o = row.operands;
    const bool vsib = has(row, Where::vsib_index);
    if (d.evex_b && (d.mem() ? o.broadcast == 0 : o.rounding == Rounding::none)) return false;
    if (d.evex_aaa != 0 && o.mask_bytes == 0) return false;
    if (d.evex_z && (d.evex_aaa == 0 || !o.zeroing)) return false;
    if (d.evex_z && d.mem() && o.op[0].where == Where::vec_rm) return false;  // no zeroing of memory
    if (vsib && d.evex_aaa == 0) return false;
    if (is64 && reg_is_not_vector(row) && d.evex_r2) return false;
    if (has(row, Where::mask_reg) && d.rex_r) return false;
    if (!has(row, Where::vec_vvvv) && (d.vex_vvvv & (vsib ? 15 : 31)) != 0) return false;
    return !destination_is_source(d, is64);
}

unsigned evex_displacement_scale(const Decoded& d) {
    const InsnRow& row = *d.row;
    const Operands& o = row.operands;
    if (has(row, Where::vsib_index)) return row.encoding.w ? 8 : 4;
    if (row.traits & traits::packed) return o.mask_bytes;
    if (d.evex_b) return std::max<unsigned>(o.broadcast, 1);
    for (const Operand& p : o.op)
        if (p.where == Where::vec_rm || p.where == Where::memory || p.where == Where::modrm_rm_gpr)
            return std::max(1u, datum_bytes(p.type, d.osz == 3, d.vector_bytes()));
    return 1;
}

}  // namespace droste
