// SPDX-License-Identifier: Apache-2.0
// The re-encoder: prefix, map, opcode, W, L and immediate as the guest has them, registers of our choice.
#include "cpu/thunk/build.h"

#include <cstddef>

#include "cpu/state.h"
#include "cpu/thunk/fp_fault.h"

namespace droste {

namespace {

using R = Emitter::Reg;

/// Which register file an operand lives in.
enum class File : u8 { none, vec, mmx, gpr, mask };

struct Place {
    File file = File::none;
    u8 temp = 0;                ///< host register that stands for it
    R pointer = Emitter::r8;    ///< register that holds the address of its storage
    i32 disp = 0;
};

constexpr R state_pointer = Emitter::r8;
constexpr i32 xmm0_offset = static_cast<i32>(offsetof(CpuState, vec));
constexpr i32 mxcsr_offset = static_cast<i32>(offsetof(CpuState, fx) + offsetof(FxArea, mxcsr));
constexpr i32 flags_offset = static_cast<i32>(offsetof(CpuState, flags));

// Temporaries. XMM0 stays free for the instructions that use it implicitly.
constexpr u8 vec_reg = 1, vec_rm = 2, vec_vvvv = 3, vec_is4 = 4, vec_zero = 5;
constexpr u8 gpr_reg = Emitter::rax, gpr_rm = Emitter::rcx;
// EVEX.aaa, and the opmask operands.
constexpr u8 write_mask = 1, mask_reg = 2, mask_rm = 3, mask_vvvv = 4;
constexpr Place write_mask_place{File::mask, write_mask, Emitter::rcx};

Place place_of(const Operand& o, bool mem) {
    switch (o.where) {
    case Where::vec_reg: return {File::vec, vec_reg, Emitter::rdi};
    case Where::vec_rm: return mem ? Place{} : Place{File::vec, vec_rm, Emitter::rsi};
    case Where::vec_rm_only: return {File::vec, vec_rm, Emitter::rsi};
    case Where::vec_vvvv: return {File::vec, vec_vvvv, Emitter::rdx};
    case Where::vec_is4: return {File::vec, vec_is4, Emitter::rcx};
    case Where::fixed_xmm0: return {File::vec, 0, state_pointer, xmm0_offset};
    case Where::mmx_reg: return {File::mmx, vec_reg, Emitter::rdi};
    case Where::mmx_rm: return mem ? Place{} : Place{File::mmx, vec_rm, Emitter::rsi};
    case Where::mmx_rm_only: return {File::mmx, vec_rm, Emitter::rsi};
    case Where::modrm_reg_gpr: return {File::gpr, gpr_reg, Emitter::rdi};
    case Where::modrm_rm_gpr: return mem ? Place{} : Place{File::gpr, gpr_rm, Emitter::rsi};
    case Where::rm_gpr_only: return {File::gpr, gpr_rm, Emitter::rsi};
    case Where::mask_reg: return {File::mask, mask_reg, Emitter::rdi};
    case Where::mask_rm: return mem ? Place{} : Place{File::mask, mask_rm, Emitter::rsi};
    case Where::mask_rm_only: return {File::mask, mask_rm, Emitter::rsi};
    case Where::mask_vvvv: return {File::mask, mask_vvvv, Emitter::rdx};
    case Where::fixed_gpr:
        return {File::gpr, o.fixed, state_pointer, static_cast<i32>(offsetof(CpuState, gpr) + 8u * o.fixed)};
    default: return {};
    }
}

u8 temp_of(const InsnRow& row, bool mem, std::initializer_list<Where> wheres, u8 otherwise) {
    for (unsigned i = 0; i < row.operands.count; ++i)
        for (const Where w : wheres)
            if (row.operands.op[i].where == w) {
                const Place p = place_of(row.operands.op[i], mem);
                if (p.file != File::none) return p.temp;
            }
    return otherwise;
}

void load(const InsnRow& row, const ThunkForm& f, const Place& p, Emitter& e) {
    switch (p.file) {
    case File::none: break;
    case File::vec:
        if (row.encoding.evex) e.vmovups512(Emitter::load, p.temp, p.pointer);
        else if (row.encoding.vex) e.vmovups(Emitter::load, f.l, p.temp, p.pointer, p.disp);
        else e.movups(Emitter::load, p.temp, p.pointer, p.disp);
        break;
    case File::mmx: e.movq_mmx(Emitter::load, p.temp, p.pointer); break;
    case File::gpr: e.mov64(Emitter::load, static_cast<R>(p.temp), p.pointer, p.disp); break;
    case File::mask: e.kmovq(Emitter::load, p.temp, p.pointer); break;
    }
}

void store(const InsnRow& row, const Place& p, Emitter& e) {
    switch (p.file) {
    case File::none: break;
    case File::vec:
        if (row.encoding.evex) {
            e.vmovups512(Emitter::store, p.temp, p.pointer);  // the instruction has cleared what is beyond its length
        } else if (row.encoding.vex) {
            // A VEX instruction clears its destination beyond the vector length, to the end of the register.
            e.vmovups(Emitter::store, 1, p.temp, p.pointer, p.disp);
            e.vpxor(vec_zero);
            e.vmovups(Emitter::store, 1, vec_zero, p.pointer, p.disp + 32);
        } else {
            e.movups(Emitter::store, p.temp, p.pointer, p.disp);
        }
        break;
    case File::mmx: e.movq_mmx(Emitter::store, p.temp, p.pointer); break;
    // 32-bit results have already been extended with zeros by the instruction itself.
    case File::gpr: e.mov64(Emitter::store, static_cast<R>(p.temp), p.pointer, p.disp); break;
    case File::mask: e.kmovq(Emitter::store, p.temp, p.pointer); break;
    }
}

unsigned pp_bits(Pp pp) {
    switch (pp) {
    case Pp::p66: return 1;
    case Pp::f3: return 2;
    case Pp::f2: return 3;
    default: return 0;
    }
}

/// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: lengths in rAX and rDX, the result in ECX or XMM0, none of
/// them named by an operand.
bool string_compare(const Encoding& e) { return e.map == 3 && e.opcode >= 0x60 && e.opcode <= 0x63; }
bool explicit_lengths(const Encoding& e) { return e.opcode <= 0x61; }
bool index_result(const Encoding& e) { return e.opcode & 1; }
constexpr i32 gpr_offset(R r) { return static_cast<i32>(offsetof(CpuState, gpr)) + 8 * r; }

/// The instruction itself.
void instruction(const ThunkForm& f, Emitter& e) {
    const InsnRow& row = *f.row;
    const Encoding& enc = row.encoding;
    const u8 reg = enc.reg >= 0
                       ? static_cast<u8>(enc.reg)
                       : temp_of(row, f.mem,
                                 {Where::vec_reg, Where::mmx_reg, Where::modrm_reg_gpr, Where::mask_reg}, 0);
    const u8 rm = temp_of(row, f.mem,
                          {Where::vec_rm, Where::vec_rm_only, Where::mmx_rm, Where::mmx_rm_only,
                           Where::modrm_rm_gpr, Where::rm_gpr_only, Where::mask_rm, Where::mask_rm_only},
                          0);
    const u8 vvvv = temp_of(row, f.mem, {Where::vec_vvvv, Where::mask_vvvv}, 0);
    if (enc.evex) {
        e.bytes({0x62, 0xF0u | enc.map,
                 (f.w ? 0x80u : 0u) | (~unsigned(vvvv) & 15) << 3 | 4u | pp_bits(enc.pp),
                 (f.z ? 0x80u : 0u) | unsigned(f.l) << 5 | (f.b ? 0x10u : 0u) | 8u |
                     (f.masked ? unsigned(write_mask) : 0u)});
    } else if (enc.vex) {
        e.bytes({0xC4, 0xE0u | enc.map, (f.w ? 0x80u : 0u) | (~unsigned(vvvv) & 15) << 3 | (f.l ? 4u : 0u) |
                                            pp_bits(enc.pp)});
    } else {
        constexpr u8 prefix[] = {0, 0x66, 0xF3, 0xF2};
        if (const unsigned pp = pp_bits(enc.pp)) e.byte(prefix[pp]);
        if (f.w) e.byte(0x48);
        if (enc.map >= 1) e.byte(0x0F);
        if (enc.map == 2) e.byte(0x38);
        if (enc.map == 3) e.byte(0x3A);
    }
    e.byte(enc.opcode);
    if (f.mem) e.modrm_memory(reg, Emitter::rsi, 0);
    else if (enc.modrm) e.byte(0xC0u | unsigned(reg) << 3 | rm);
    if (enc.imm == Imm::ib) e.byte(f.imm);
    if (enc.imm == Imm::is4) e.byte(unsigned(vec_is4) << 4 | (f.imm & 15));
}

}  // namespace

ThunkForm thunk_form(const Decoded& d) {
    ThunkForm f;
    f.row = d.row;
    const Encoding& e = d.row->encoding;
    // Where the row leaves W open, it selects the size of a general-purpose operand, outside 64-bit mode
    // always 32.
    f.w = e.w >= 0 ? e.w != 0 : d.osz == 3;
    f.b = d.evex_b;
    f.z = d.evex_z;
    f.masked = d.evex_aaa != 0;
    // LIG: the scalar is the same.
    f.l = (e.vex || (e.evex && !d.rounds())) && e.l < 0 ? u8{0} : d.vex_l;
    f.mem = d.mem();
    f.vector_bytes = static_cast<u8>(e.evex ? d.vector_bytes() : f.l ? 32 : 16);
    if (e.imm == Imm::ib) f.imm = static_cast<u8>(d.imm);
    if (e.imm == Imm::is4) f.imm = static_cast<u8>(d.imm & 15);
    if (d.row->domain == Domain::x87) f.modrm = d.modrm;
    return f;
}

void build_vector_thunk(const ThunkForm& f, Emitter& e) {
    const InsnRow& row = *f.row;
    const bool with_mxcsr = row.traits & traits::mxcsr;
    std::array<Place, 4> place{};
    bool mmx = false;
    for (unsigned i = 0; i < row.operands.count; ++i) {
        place[i] = place_of(row.operands.op[i], f.mem);
        mmx |= place[i].file == File::mmx;
    }
    if (f.masked) load(row, f, write_mask_place, e);
    // General registers last: loading them overwrites pointers (RCX is the is4 register's).
    for (const bool gprs : {false, true})
        for (unsigned i = 0; i < row.operands.count; ++i) {
            const Operand& o = row.operands.op[i];
            // Legacy forms keep what they do not write of a vector register, so it is an input too.
            const bool legacy = !row.encoding.vex && !row.encoding.evex;
            const bool merged = f.masked && !f.z && o.written;
            const bool input = o.read || (place[i].file == File::vec && (legacy || merged));
            if (input && (place[i].file == File::gpr) == gprs) load(row, f, place[i], e);
        }
    const bool compares_strings = string_compare(row.encoding);
    if (compares_strings && explicit_lengths(row.encoding)) {
        e.mov64(Emitter::load, Emitter::rax, state_pointer, gpr_offset(Emitter::rax));
        e.mov64(Emitter::load, Emitter::rdx, state_pointer, gpr_offset(Emitter::rdx));
    }
    std::size_t fault_exit = 0;
    if (with_mxcsr) {
        e.mov_immediate(Emitter::r10, fp_fault_signature);
        fault_exit = e.lea_r11_rip();
        e.ldmxcsr(state_pointer, mxcsr_offset);
    }
    instruction(f, e);
    for (unsigned i = 0; i < row.operands.count; ++i)  // general registers first: the flags go through RAX
        if (row.operands.op[i].written && place[i].file == File::gpr) store(row, place[i], e);
    if (compares_strings && index_result(row.encoding))
        e.mov64(Emitter::store, Emitter::rcx, state_pointer, gpr_offset(Emitter::rcx));
    if (row.flags.written) {
        e.lahf_seto();
        e.store16(Emitter::rax, state_pointer, flags_offset);
    }
    if (with_mxcsr) e.stmxcsr(state_pointer, mxcsr_offset);
    for (unsigned i = 0; i < row.operands.count; ++i)
        if (row.operands.op[i].written && place[i].file != File::gpr) store(row, place[i], e);
    if (compares_strings && !index_result(row.encoding))
        store(row, {File::vec, 0, state_pointer, xmm0_offset}, e);
    const auto leave = [&](u32 result) {
        if (row.encoding.vex || row.encoding.evex) e.vzeroupper();
        if (mmx) e.emms();
        e.mov_eax(result);
        e.ret();
    };
    leave(0);
    if (with_mxcsr) {
        e.patch_rel32(fault_exit);
        e.stmxcsr(state_pointer, mxcsr_offset);
        leave(1);
    }
}

void build_x87_thunk(const ThunkForm& f, Emitter& e) {
    // FCMOVcc reads flags (none of them OF): always loaded, so that the instruction's place is the same
    // everywhere.
    e.load16(Emitter::rax, state_pointer, flags_offset);
    e.sahf();
    e.bytes({0x48, 0x0F, 0xAE, 0x0F});  // fxrstor64 [rdi]
    ASSERT(e.size() == x87_insn_offset);
    e.byte(f.row->encoding.opcode);
    if (f.mem) e.modrm_memory((f.modrm >> 3) & 7, Emitter::rsi, 0);
    else e.byte(f.modrm);
    if (f.row->flags.written) {
        e.lahf_seto();
        e.store16(Emitter::rax, state_pointer, flags_offset);
    }
    e.bytes({0x48, 0x0F, 0xAE, 0x07});  // fxsave64 [rdi]
    e.bytes({0xDB, 0xE3});              // fninit: the emulator itself computes with the default x87 state
    e.mov_eax(0);
    e.ret();
}

}  // namespace droste
