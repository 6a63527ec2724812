// SPDX-License-Identifier: Apache-2.0
// Takes instructions apart by the rows: prefixes, opcode, ModRM, displacement, immediate.
#include "cpu/decode/decoder.h"

#include <algorithm>

#include "base/assert.h"
#include "cpu/decode/evex.h"
#include "cpu/state.h"

namespace droste {

namespace {

/// Reads bytes in order; running out is remembered.
class Cursor {
public:
    explicit Cursor(std::span<const u8> code) : code_(code.first(std::min<std::size_t>(code.size(), max_insn_bytes))) {}
    u8 take() {
        if (at_ >= code_.size()) {
            ran_out_ = true;
            return 0;
        }
        return code_[at_++];
    }
    u8 peek() const { return at_ < code_.size() ? code_[at_] : 0; }
    bool has_more() const { return at_ < code_.size(); }
    u64 take_le(unsigned n) {
        u64 v = 0;
        for (unsigned i = 0; i < n; ++i) v |= u64(take()) << (8 * i);
        return v;
    }
    bool ran_out() const { return ran_out_; }
    unsigned at() const { return static_cast<unsigned>(at_); }

private:
    std::span<const u8> code_;
    std::size_t at_ = 0;
    bool ran_out_ = false;
};

/// How narrowly a row matches; narrower rows are tried first.
int specificity(const InsnRow& r) {
    const Encoding& e = r.encoding;
    return ((r.traits & traits::cet) != 0) * 64 + (e.rm >= 0) * 32 + (e.pp != Pp::any) * 16 + (e.reg >= 0) * 4 + (e.mod != Mod::any) * 4 + (e.w >= 0) * 2 +
           e.no_b * 2 +
           (e.l >= 0);
}

bool prefix_matches(const Encoding& e, const Decoded& d, u8 vex_pp) {
    if (e.vex || e.evex) {
        constexpr u8 code[] = {0xFF, 0, 1, 2, 3};  // any, NP, 66, F3, F2
        return code[static_cast<unsigned>(e.pp)] == vex_pp;
    }
    switch (e.pp) {
    case Pp::any: return true;
    case Pp::np: return !d.p66 && d.rep == Rep::none;
    case Pp::p66: return d.p66 && d.rep == Rep::none;
    case Pp::f3: return d.rep == Rep::rep;
    case Pp::f2: return d.rep == Rep::repne;
    }
    return false;
}

bool row_matches(const InsnRow& r, const Decoded& d, u8 vex_pp, u32 mode, const FeatureSet* features) {
    const Encoding& e = r.encoding;
    const bool is64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    if ((r.traits & traits::only64) && !is64) return false;
    if ((r.traits & traits::no64) && is64) return false;
    if ((r.traits & traits::protected_only) && (mode & mode_bits::real)) return false;
    if ((r.traits & traits::cet) && !(mode & mode_bits::cet)) return false;
    if ((r.traits & traits::hint) && features != nullptr && !features->has(r.needs)) return false;
    if (!prefix_matches(e, d, vex_pp)) return false;
    if ((r.traits & traits::no_rep_prefix) && d.rep != Rep::none) return false;
    if (e.w >= 0 && e.w != d.rex_w) return false;
    if (e.no_b && d.rex_b) return false;
    if (e.vex && e.l >= 0 && e.l != d.vex_l) return false;
    if (e.evex && !evex_length_matches(r, d, d.modrm >> 6)) return false;
    if (e.modrm) {
        const u8 mod = d.modrm >> 6, reg = (d.modrm >> 3) & 7, rm = d.modrm & 7;
        if (e.reg >= 0 && e.reg != reg) return false;
        if (e.rm >= 0 && e.rm != rm) return false;
        if (e.mod == Mod::mem && mod == 3) return false;
        if (e.mod == Mod::reg && mod != 3) return false;
    }
    return true;
}

bool uses(const Operands& o, Where w) {
    return std::any_of(o.op.begin(), o.op.end(), [w](const Operand& p) { return p.where == w; });
}
bool uses_vsib(const Operands& o) { return uses(o, Where::vsib_index); }

/// EVEX.R' extends ModRM.reg and EVEX.X ModRM.rm when they name vector registers.
void extend_registers(const Operands& o, Decoded& d) {
    if (uses(o, Where::vec_reg)) d.reg = static_cast<u8>(d.reg | (d.evex_r2 << 4));
    const bool vector_rm = uses(o, Where::vec_rm) || uses(o, Where::vec_rm_only);
    if (vector_rm && d.mod == 3) d.rm = static_cast<u8>(d.rm | (d.rex_x << 4));
    if (uses(o, Where::mask_rm_only)) d.rm &= 7;
}

/// SDM "Exceptions Type K20", "AMX-E4": there are eight opmask registers and eight tiles.
bool masks_legal(const Operands& o, Decoded& d) {
    const bool tiles = uses(o, Where::tile_reg);
    if ((tiles || uses(o, Where::mask_reg)) && d.rex_r) return false;
    if ((uses(o, Where::tile_vvvv) || uses(o, Where::mask_vvvv)) && d.vex_vvvv >= 8) return false;
    if (uses(o, Where::tile_rm_only) && d.rex_b) return false;
    if (tiles && d.mod == 3 && !uses(o, Where::tile_rm_only) && (d.modrm & 7) != 0) return false;  // TILEZERO
    if (uses(o, Where::mask_rm_only) || (uses(o, Where::mask_rm) && d.mod == 3)) d.rm &= 7;
    if (tiles && uses(o, Where::tile_vvvv))  // SDM "TDPBF16PS": the three tiles must differ
        return d.reg != d.rm && d.reg != d.vex_vvvv && d.rm != d.vex_vvvv;
    return true;
}

bool uses_vvvv(const Operands& o) {
    return std::any_of(o.op.begin(), o.op.end(), [](const Operand& p) {
        return p.where == Where::vec_vvvv || p.where == Where::vvvv_gpr || p.where == Where::mask_vvvv ||
               p.where == Where::tile_vvvv;
    });
}

/// The operand that decides whether this is a byte form: the first general-purpose datum that is not the port in DX.
bool byte_form(const Operands& o) {
    for (unsigned i = 0; i < o.count; ++i) {
        const Operand& p = o.op[i];
        if (p.where == Where::fixed_gpr && p.fixed == 2 && p.type == Type::w) continue;
        switch (p.where) {
        case Where::modrm_rm_gpr: case Where::modrm_reg_gpr: case Where::rm_gpr_only: case Where::opcode_gpr:
        case Where::string_source: case Where::string_dest: case Where::memory: case Where::moffs:
        case Where::fixed_gpr:
            return p.type == Type::b;
        default: break;
        }
    }
    return false;
}

/// Moves between general and vector registers and the like: EVEX.128 without AVX512VL.
bool is_128n(const InsnRow& r) { return r.encoding.l == 0 && r.operands.mask_bytes == 0; }

void operand_size(const InsnRow& r, u32 code, Decoded& d) {
    if (byte_form(r.operands)) {
        d.osz = 0;
        return;
    }
    const bool p66 = d.p66 && r.encoding.pp != Pp::p66 && !d.vex && !d.evex;
    if (code == mode_bits::code64) {
        if ((r.traits & traits::force64) || d.rex_w) d.osz = 3;
        else if (p66) d.osz = 1;
        else d.osz = (r.traits & traits::default64) ? 3 : 2;
    } else {
        d.osz = (code == mode_bits::code32) != p66 ? 2 : 1;
    }
}

/// 16-bit addressing: SDM Table "16-Bit Addressing Forms with the ModR/M Byte".
void address16(Cursor& c, Decoded& d) {
    constexpr i8 bx = 3, bp = 5, si = 6, di = 7;
    constexpr i8 bases[8] = {bx, bx, bp, bp, si, di, bp, bx};
    constexpr i8 indexes[8] = {si, di, si, di, -1, -1, -1, -1};
    const unsigned rm = d.modrm & 7;
    d.base = bases[rm];
    d.index = indexes[rm];
    if (d.mod == 0 && rm == 6) {
        d.base = -1;
        d.disp = static_cast<i16>(c.take_le(2));
    } else if (d.mod == 1) {
        d.disp = static_cast<i8>(c.take());
    } else if (d.mod == 2) {
        d.disp = static_cast<i16>(c.take_le(2));
    }
    d.seg = static_cast<u8>(d.base == bp ? Seg::ss : Seg::ds);
}

/// 32- and 64-bit addressing: ModRM, SIB and displacement.
void address32(Cursor& c, u32 code, Decoded& d) {
    unsigned base = d.modrm & 7;
    if (base == 4) {
        d.has_sib = true;
        d.sib = c.take();
        d.scale = d.sib >> 6;
        d.index = static_cast<i8>(((d.sib >> 3) & 7) | (d.rex_x << 3));
        if (d.index == 4) d.index = -1;  // VSIB forms put it back (lower())
        base = d.sib & 7;
    }
    const bool no_base = base == 5 && d.mod == 0;
    if (no_base) {
        d.disp = static_cast<i32>(c.take_le(4));
        d.rip_relative = !d.has_sib && code == mode_bits::code64;
    } else {
        d.base = static_cast<i8>(base | (d.rex_b << 3));
        if (d.mod == 1) d.disp = static_cast<i8>(c.take());
        else if (d.mod == 2) d.disp = static_cast<i32>(c.take_le(4));
    }
    d.seg = static_cast<u8>(d.base == 4 || d.base == 5 ? Seg::ss : Seg::ds);
}

void immediate(Cursor& c, const Encoding& e, Decoded& d) {
    const auto sized = [&](unsigned bytes) { return sign_extend(c.take_le(bytes), 8 * bytes); };
    switch (e.imm) {
    case Imm::none: break;
    case Imm::ib: case Imm::cb: case Imm::is4: d.imm = sized(1); break;
    case Imm::iw: d.imm = c.take_le(2); break;
    case Imm::id: d.imm = sized(4); break;
    case Imm::iz: case Imm::cz: d.imm = sized(d.osz == 1 ? 2 : 4); break;
    case Imm::iv: d.imm = d.osz == 3 ? c.take_le(8) : sized(d.osz == 1 ? 2 : 4); break;
    case Imm::moffs: d.imm = c.take_le(2u << d.asz); break;
    case Imm::far: {
        const u64 offset = c.take_le(d.osz == 1 ? 2 : 4);
        d.imm = (c.take_le(2) << 32) | offset;
        break;
    }
    case Imm::iw_ib: {
        const u64 size = c.take_le(2);
        d.imm = size | (u64(c.take()) << 16);
        break;
    }
    }
}

}  // namespace

Isa::Isa(std::span<const RowSpan> tables) {
    for (const RowSpan table : tables)
        for (const InsnRow& row : table) {
            ASSERT(rows_.size() < 0xFF00);
            const u16 op = static_cast<u16>(rows_.size());
            rows_.push_back(&row);
            const Encoding& e = row.encoding;
            for (unsigned i = 0; i < (e.plus_r ? 8u : 1u); ++i)
                by_opcode_[list_of(e.vex, e.evex, e.map, e.opcode + i)].push_back({op});
        }
    for (auto& list : by_opcode_)
        std::stable_sort(list.begin(), list.end(), [&](Candidate a, Candidate b) {
            return specificity(*rows_[a.op]) > specificity(*rows_[b.op]);
        });
}

bool enumerated(const Decoded& d, const FeatureSet& features) {
    const Domain domain = d.row->domain;
    if (!features.has(d.row->needs)) return false;
    if (domain == Domain::avx && !features.has(Feature::avx)) return false;
    if (!d.evex) return true;
    const bool whole = d.row->encoding.l == vector_length::ignored || d.vector_bytes() == 64;
    return features.has(Feature::avx512f) && (whole || features.has(Feature::avx512vl) || is_128n(*d.row));
}

DecodeStatus Isa::decode(std::span<const u8> code_bytes, u32 mode, Decoded& d,
                         const FeatureSet* features) const {
    d = Decoded{};
    Cursor c(code_bytes);
    const u32 code = mode & mode_bits::code_mask;
    const bool is64 = code == mode_bits::code64;
    const auto out_of_bytes = [&] {
        return code_bytes.size() >= max_insn_bytes ? DecodeStatus::too_long : DecodeStatus::truncated;
    };

    // Prefixes. REX counts only immediately before the opcode.
    u8 opcode = 0;
    u8 rex = 0;
    for (;;) {
        opcode = c.take();
        if (c.ran_out()) return out_of_bytes();
        if (is64 && (opcode & 0xF0) == 0x40) {
            rex = opcode;
            continue;
        }
        bool prefix = true;
        switch (opcode) {
        case 0x66: d.p66 = true; break;
        case 0x67: d.p67 = true; break;
        case 0xF0: d.lock = true; break;
        case 0xF2: d.rep = Rep::repne; break;
        case 0xF3: d.rep = Rep::rep; break;
        case 0x26: case 0x2E: case 0x36: case 0x3E:
            d.no_track = opcode == 0x3E;
            if (!is64) d.segment_override = static_cast<i8>((opcode >> 3) & 3);
            break;
        case 0x64: case 0x65:
            d.no_track = false;
            d.segment_override = static_cast<i8>(opcode - 0x60);
            break;
        default: prefix = false; break;
        }
        if (!prefix) break;
        rex = 0;
    }
    if (rex != 0) {
        d.rex = true;
        d.rex_w = (rex >> 3) & 1;
        d.rex_r = (rex >> 2) & 1;
        d.rex_x = (rex >> 1) & 1;
        d.rex_b = rex & 1;
    }
    d.asz = static_cast<u8>(is64 ? (d.p67 ? 1 : 2) : ((code == mode_bits::code32) != d.p67 ? 1 : 0));

    // Escapes: 0F, 0F 38, 0F 3A, VEX.
    unsigned map = 0;
    u8 vex_pp = 0;
    if ((opcode == 0xC4 || opcode == 0xC5) && (is64 || (c.has_more() && c.peek() >= 0xC0 && !(mode & mode_bits::real)))) {
        if (d.p66 || d.lock || d.rex || d.rep != Rep::none) return DecodeStatus::undefined;
        d.vex = true;
        u8 payload = c.take();
        map = 1;
        d.rex_r = !(payload & 0x80);
        if (opcode == 0xC4) {
            d.rex_x = !(payload & 0x40);
            d.rex_b = !(payload & 0x20);
            map = payload & 0x1F;
            payload = c.take();
            d.rex_w = payload >> 7;
        }
        d.vex_vvvv = static_cast<u8>(~(payload >> 3) & 0xF);
        d.vex_l = (payload >> 2) & 1;
        vex_pp = payload & 3;
        if (!is64) {
            d.rex_r = d.rex_x = d.rex_b = 0;
        }
        opcode = c.take();
        if (c.ran_out()) return out_of_bytes();
        if (map < 1 || map > 3) return DecodeStatus::undefined;
    } else if (opcode == 0x62 && (is64 || (c.has_more() && c.peek() >= 0xC0 && !(mode & mode_bits::real)))) {
        if (d.p66 || d.lock || d.rex || d.rep != Rep::none) return DecodeStatus::undefined;
        const u8 p0 = c.take(), p1 = c.take(), p2 = c.take();
        opcode = c.take();
        if (c.ran_out()) return out_of_bytes();
        if (!take_evex_payload(p0, p1, p2, is64, d, map, vex_pp)) return DecodeStatus::undefined;
    } else if (opcode == 0x0F) {
        map = 1;
        opcode = c.take();
        if (opcode == 0x38 || opcode == 0x3A) {
            map = opcode == 0x38 ? 2 : 3;
            opcode = c.take();
        }
        if (c.ran_out()) return out_of_bytes();
    }
    d.opcode_offset = static_cast<u8>(c.at() - 1);

    const auto& list = by_opcode_[list_of(d.vex, d.evex, map, opcode)];
    if (list.empty()) return DecodeStatus::undefined;
    const bool needs_modrm =
        std::any_of(list.begin(), list.end(), [&](Candidate x) { return rows_[x.op]->encoding.modrm; });
    if (needs_modrm) {
        if (!c.has_more()) return out_of_bytes();
        d.modrm = c.peek();
    }
    const auto found = std::find_if(list.begin(), list.end(),
                                    [&](Candidate x) { return row_matches(*rows_[x.op], d, vex_pp, mode, features); });
    if (found == list.end()) return DecodeStatus::undefined;
    d.op = found->op;
    d.row = rows_[d.op];
    const InsnRow& row = *d.row;
    const Encoding& e = row.encoding;
    operand_size(row, code, d);

    if (e.modrm) {
        d.has_modrm = true;
        d.modrm_offset = static_cast<u8>(c.at());
        (void)c.take();
        // MOV to and from control and debug registers ignore mod: always the register form.
        const bool always_register = std::any_of(row.operands.op.begin(), row.operands.op.end(), [](const Operand& o) {
            return o.where == Where::control_reg || o.where == Where::debug_reg;
        });
        d.mod = always_register ? 3 : d.modrm >> 6;
        d.reg = static_cast<u8>(((d.modrm >> 3) & 7) | (d.rex_r << 3));
        d.rm = static_cast<u8>((d.modrm & 7) | (d.rex_b << 3));
        if (d.evex) extend_registers(row.operands, d);
        if (d.mod != 3) {
            if (d.asz == 0) address16(c, d);
            else address32(c, code, d);
            if (d.has_sib && uses_vsib(row.operands)) {
                if (d.index < 0) d.index = 4;
                if (d.evex) d.index = static_cast<i8>(d.index | (d.vex_vvvv & 16));
            }
            if (d.evex && d.mod == 1) d.disp *= static_cast<i32>(evex_displacement_scale(d));
        }
    } else if (e.plus_r) {
        d.rm = static_cast<u8>((opcode & 7) | (d.rex_b << 3));
    }
    if (d.segment_override >= 0) d.seg = static_cast<u8>(d.segment_override);
    immediate(c, e, d);
    if (c.ran_out()) return out_of_bytes();
    d.len = static_cast<u8>(c.at());
    std::copy_n(code_bytes.begin(), d.len, d.bytes.begin());

    if (d.lock && !((row.traits & traits::lockable) && d.mem())) return DecodeStatus::undefined;
    if (d.vex && d.vex_vvvv != 0 && !uses_vvvv(row.operands)) return DecodeStatus::undefined;
    if (d.evex && !evex_legal(d, is64)) return DecodeStatus::undefined;
    if (!is64) d.vex_vvvv &= 7;  // there are eight registers; where vvvv names none, its highest bit must be 1
    if (d.vex && !masks_legal(row.operands, d)) return DecodeStatus::undefined;
    const bool wants_sib = uses_vsib(row.operands) || uses(row.operands, Where::tile_memory);
    if (!d.has_sib && d.mem() && wants_sib) return DecodeStatus::undefined;
    return DecodeStatus::ok;
}

}  // namespace droste
