// SPDX-License-Identifier: Apache-2.0
// Vector instructions without floating-point state: re-encoded with registers that are loaded and stored around them.
#include "cpu/block/block_cache.h"
#include "cpu/jit/translator.h"
#include "cpu/thunk/thunk.h"

namespace droste::jit {

namespace {

/// Moves have bodies in C++, which do what the instruction does. Other bodies beside thunks have a reason: memory
/// that is accessed in part, registers that no operand names.
bool plain_move(const Encoding& e) {
    if (e.map != 1) return false;
    switch (e.opcode) {
    case 0x10: case 0x11: case 0x28: case 0x29: case 0x6E: case 0x6F: case 0x7E: case 0x7F: case 0xD6: case 0xE7:
    case 0xEF: case 0xF0: case 0x90: case 0x91: case 0x92: case 0x93: return true;
    default: return false;
    }
}

enum class File : u8 { none, vec, mask, gpr };

/// Host registers that stand for the operands. With EVEX those behind XMM15, whose upper halves never slow down
/// legacy instructions.
constexpr unsigned vec_reg = 1, vec_rm = 2, vec_vvvv = 3, behind = 16;
constexpr unsigned write_mask = 1, mask_reg = 2, mask_rm = 3, mask_vvvv = 4;

struct Place {
    File file = File::none;
    unsigned host = 0, guest = 0;
};

Place place_of(Where where, const Decoded& d) {
    const unsigned high = d.evex ? behind : 0;
    switch (where) {
    case Where::vec_reg: return {File::vec, vec_reg + high, d.reg};
    case Where::vec_rm: return d.mem() ? Place{} : Place{File::vec, vec_rm + high, d.rm};
    case Where::vec_rm_only: return {File::vec, vec_rm + high, d.rm};
    case Where::vec_vvvv: return {File::vec, vec_vvvv + high, d.vex_vvvv};
    case Where::mask_reg: return {File::mask, mask_reg, d.reg & 7u};
    case Where::mask_rm: return d.mem() ? Place{} : Place{File::mask, mask_rm, d.rm & 7u};
    case Where::mask_rm_only: return {File::mask, mask_rm, d.rm & 7u};
    case Where::mask_vvvv: return {File::mask, mask_vvvv, d.vex_vvvv & 7u};
    case Where::modrm_reg_gpr: return {File::gpr, 0, d.reg};
    case Where::modrm_rm_gpr: return d.mem() ? Place{} : Place{File::gpr, 0, d.rm};
    case Where::rm_gpr_only: return {File::gpr, 0, d.rm};
    default: return {};
    }
}

bool is_memory(const droste::Operand& o, const Decoded& d) {
    return d.mem() && (o.where == Where::vec_rm || o.where == Where::mask_rm || o.where == Where::modrm_rm_gpr ||
                       o.where == Where::memory);
}

/// Bytes of the memory operand; 0: not one of the plain types.
unsigned memory_bytes(Type t, const Decoded& d) {
    const unsigned vector = d.vector_bytes();
    switch (t) {
    case Type::b: return 1;
    case Type::w: case Type::s16: return 2;
    case Type::d: case Type::s32: return 4;
    case Type::q: case Type::s64: return 8;
    case Type::y: return d.osz == 3 ? 8 : 4;
    case Type::dq: return 16;
    case Type::qq: return 32;
    case Type::x: return vector;
    case Type::half: return vector / 2;
    case Type::quarter: return vector / 4;
    case Type::eighth: return vector / 8;
    default: return 0;
    }
}

unsigned pp_bits(Pp pp) {
    return pp == Pp::p66 ? 1 : pp == Pp::f3 ? 2 : pp == Pp::f2 ? 3 : 0;
}

}  // namespace

bool plain_vector(const Decoded& d, const Insn& in) {
    const InsnRow& row = *d.row;
    const Encoding& e = row.encoding;
    if (row.domain != Domain::sse && row.domain != Domain::avx && row.domain != Domain::avx512) return false;
    if (row.traits & (traits::mxcsr | traits::distinct | traits::packed | traits::ends_block)) return false;
    if ((row.traits & traits::own_masking) && d.evex_aaa) return false;
    const bool own_body = !(row.traits & traits::host_thunk) || in.thunk->entry == nullptr;
    if (own_body && !plain_move(e)) return false;
    if (d.lock || (e.imm != Imm::none && e.imm != Imm::ib)) return false;
    if (e.map == 3 && e.opcode >= 0x60 && e.opcode <= 0x63) return false;  // string comparison: rCX, XMM0, rAX, rDX
    if (d.evex && (d.evex_b || (d.evex_aaa && d.mem()))) return false;
    unsigned gprs = 0;
    for (unsigned i = 0; i < row.operands.count; ++i) {
        const droste::Operand& o = row.operands.op[i];
        if (o.where == Where::immediate) continue;
        if (is_memory(o, d)) {
            if (memory_bytes(o.type, d) == 0) return false;
            continue;
        }
        const Place p = place_of(o.where, d);
        if (p.file == File::none) return false;
        if (p.file == File::gpr && (++gprs > 1 || o.type == Type::b || o.type == Type::w)) return false;
    }
    return true;
}

/// One test that CR0, CR4 and XCR0 let the instruction execute; what changes them ends a block.
void Translator::check_available(Domain domain, Label& miss) {
    const u8 bit = static_cast<u8>(1u << (static_cast<unsigned>(domain) - static_cast<unsigned>(Domain::sse)));
    if (available_ & bit) return;
    available_ |= bit;
    const auto gather = [&](Reg to, i32 from, u8 mask) {
        a_.load64(to, layout_.at(from));
        a_.pext(to, to, jit_.masks_ + mask);
    };
    const bool sse = domain == Domain::sse;
    i32 wanted = 8;
    gather(r13, layout_.cr4, sse ? osfxsr_mask : osxsave_mask);
    if (sse) {
        a_.lea(r13, {no_reg, 0, r13, 3});
    } else {
        gather(r10, layout_.xcr0, domain == Domain::avx ? avx_mask : avx512_mask);
        a_.lea(r13, {r10, 0, r13, 3});
        wanted += domain == Domain::avx ? 3 : 31;
    }
    gather(rcx, layout_.cr0, sse ? em_ts_mask : ts_mask);
    a_.lea(rcx, {rcx, 0, rcx, 3});
    a_.lea(rcx, {r13, -wanted, rcx, 3});
    a_.unless_rcx_zero(miss);
}

/// Loads or stores a register of the guest that the instruction uses.
void Translator::move_vector(bool store, bool mask, unsigned host, unsigned guest, const Decoded& d) {
    const Encoding& e = d.row->encoding;
    const auto field = [&](i32 at) {
        a_.byte(0x80 | (host & 7) << 3 | (cpu_reg & 7));
        a_.word32(static_cast<u32>(at));
    };
    const i32 at = layout_.vec + static_cast<i32>(64 * guest);
    const auto bytes = [&](std::initializer_list<unsigned> list) {
        for (const unsigned b : list) a_.byte(b);
    };
    if (mask) {
        bytes({0xC4, 0xC1, 0xF8, store ? 0x91u : 0x90u});  // kmovq
        field(layout_.opmask + static_cast<i32>(8 * guest));
    } else if (e.evex) {
        bytes({0x62, 0xC1, 0x7C, 0x48, store ? 0x11u : 0x10u});  // vmovups zmm
        field(at);
    } else if (e.vex) {
        bytes({0xC4, 0xC1, 0x7C, store ? 0x11u : 0x10u});  // vmovups ymm: the instruction has cleared what it must
        field(at);
        if (store) {
            bytes({0xC5, 0xD9, 0xEF, 0xE4});  // vpxor xmm4, xmm4, xmm4
            bytes({0xC4, 0xC1, 0x7C, 0x11, 0xA6});
            a_.word32(static_cast<u32>(at + 32));
        }
    } else {
        bytes({0x41, 0x0F, store ? 0x11u : 0x10u});  // movups
        field(at);
    }
}

void Translator::vector(u32 k, const Decoded& d) {
    const InsnRow& row = *d.row;
    const Encoding& e = row.encoding;
    Cold& c = cold(k);
    check_available(row.domain, c.miss);
    Reg at = r10;
    if (d.mem()) {
        at = linear(d, block_.insn[k].offset);
        unsigned size = 0;
        bool written = false;
        for (unsigned i = 0; i < row.operands.count; ++i)
            if (const droste::Operand& o = row.operands.op[i]; is_memory(o, d)) {
                size = memory_bytes(o.type, d);
                written = o.written;
            }
        if (row.traits & traits::aligned) {
            a_.pext(rcx, at, jit_.masks_ + (size == 16 ? low4_mask : size == 32 ? low5_mask : low6_mask));
            a_.unless_rcx_zero(c.miss);
        }
        probe(at, size, written, c.miss);
    }
    const bool legacy = !e.vex && !e.evex;
    const bool masked = d.evex_aaa != 0;
    if (masked) move_vector(false, true, write_mask, d.evex_aaa, d);
    unsigned reg = e.reg >= 0 ? static_cast<unsigned>(e.reg) : 0, rm = 0, vvvv = 0;
    bool wide = false;  // an upper half is in use
    for (unsigned i = 0; i < row.operands.count; ++i) {
        const droste::Operand& o = row.operands.op[i];
        Place p = place_of(o.where, d);
        if (p.file == File::none) continue;
        if (p.file == File::gpr) {
            const Reg own = host_of(p.guest);
            p.host = o.read ? read_guest(p.guest, r13) : own != no_reg ? own : r13;
        }
        const bool merged = p.file == File::vec && o.written && (legacy || (masked && !d.evex_z));
        if (p.file != File::gpr && (o.read || merged)) move_vector(false, p.file == File::mask, p.host, p.guest, d);
        wide |= p.file == File::vec;
        switch (o.where) {
        case Where::vec_reg: case Where::mask_reg: case Where::modrm_reg_gpr: reg = p.host; break;
        case Where::vec_vvvv: case Where::mask_vvvv: vvvv = p.host; break;
        default: rm = p.host; break;
        }
    }
    // W as the guest has it: where the row leaves it open it selects the size of a general register.
    const bool w = e.w >= 0 ? e.w != 0 : d.osz == 3;
    const unsigned length = (e.vex || e.evex) && e.l < 0 ? 0 : d.vex_l;
    const unsigned x = d.mem() ? 1u : d.evex ? rm >> 4 : 0;  // the index is R11
    const unsigned b = (d.mem() ? unsigned{at} : rm) >> 3 & 1, r = reg >> 3 & 1, r2 = reg >> 4;
    if (e.evex) {
        a_.byte(0x62);
        a_.byte((r ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | (r2 ? 0 : 0x10) | e.map);
        a_.byte((w ? 0x80 : 0) | (~vvvv & 15) << 3 | 4 | pp_bits(e.pp));
        a_.byte((d.evex_z ? 0x80 : 0) | length << 5 | (vvvv >> 4 ? 0 : 8) | (masked ? write_mask : 0));
    } else if (e.vex) {
        a_.byte(0xC4);
        a_.byte((r ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | e.map);
        a_.byte((w ? 0x80 : 0) | (~vvvv & 15) << 3 | (length ? 4 : 0) | pp_bits(e.pp));
    } else {
        constexpr u8 prefix[] = {0, 0x66, 0xF3, 0xF2};
        if (const unsigned pp = pp_bits(e.pp)) a_.byte(prefix[pp]);
        const unsigned rex = (w ? 8 : 0) | r << 2 | x << 1 | b;
        if (rex != 0) a_.byte(0x40 | rex);
        if (e.map >= 1) a_.byte(0x0F);
        if (e.map == 2) a_.byte(0x38);
        if (e.map == 3) a_.byte(0x3A);
    }
    a_.byte(e.opcode);
    if (d.mem()) a_.modrm(reg, {at, 0, r11, 0});
    else if (e.modrm) a_.byte(0xC0 | (reg & 7) << 3 | (rm & 7));
    if (e.imm == Imm::ib) a_.byte(static_cast<u8>(d.imm));
    for (unsigned i = 0; i < row.operands.count; ++i) {
        const droste::Operand& o = row.operands.op[i];
        const Place p = place_of(o.where, d);
        if (p.file == File::none || !o.written) continue;
        if (p.file != File::gpr) move_vector(true, p.file == File::mask, p.host, p.guest, d);
        else if (host_of(p.guest) == no_reg) a_.store64(layout_.gpr(p.guest), r13);
    }
    if (e.vex && wide) {
        for (const unsigned v : {0xC5u, 0xF8u, 0x77u}) a_.byte(v);  // vzeroupper
    }
    c.resume = a_.here();
}

}  // namespace droste::jit
