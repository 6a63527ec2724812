// SPDX-License-Identifier: Apache-2.0
// Classifies x87 instructions by opcode (SDM "Escape Opcode Instructions") and builds their short code.
#include "cpu/thunk/x87_fast.h"

#include <cstddef>

#include "cpu/state.h"

namespace droste {

namespace {

constexpr u16 c0 = 0x100, c1 = 0x200, c2 = 0x400, c3 = 0x4000;

/// What an instruction does to the registers.
enum class Shape : u8 {
    none,        ///< no short form
    to_st0,      ///< ST0 <- ST0 op operand
    to_sti,      ///< STi <- STi op ST0
    compare,     ///< ST0 with operand; sets C0, C2, C3
    compare_flags,  ///< the same into RFLAGS
    load,        ///< push operand
    store,       ///< memory <- ST0
    copy,        ///< STi <- ST0
    exchange,    ///< ST0 <-> STi
};

struct Class {
    Shape shape = Shape::none;
    u8 pops = 0;
    bool uses_sti = false;
};

Class memory_form(u8 opcode, unsigned digit) {
    switch (opcode) {
    case 0xD8: case 0xDA: case 0xDC: case 0xDE:
        if (digit == 2) return {Shape::compare};
        if (digit == 3) return {Shape::compare, 1};
        return {Shape::to_st0};
    case 0xD9: case 0xDD:
        if (digit == 0) return {Shape::load};
        if (digit == 1 && opcode == 0xDD) return {Shape::store, 1};
        if (digit == 2) return {Shape::store};
        if (digit == 3) return {Shape::store, 1};
        return {};
    case 0xDB: case 0xDF:
        if (digit == 0 || digit == 5) return {Shape::load};
        if (digit == 2) return {Shape::store};
        if (digit == 1 || digit == 3 || digit == 7) return {Shape::store, 1};
        return {};
    default: return {};
    }
}

Class register_form(u8 opcode, u8 modrm) {
    const unsigned digit = (modrm >> 3) & 7;
    const bool arithmetic = digit != 2 && digit != 3;
    switch (opcode) {
    case 0xD8: return arithmetic ? Class{Shape::to_st0, 0, true} : Class{Shape::compare, digit == 3, true};
    case 0xDC: return arithmetic ? Class{Shape::to_sti, 0, true} : Class{};
    case 0xDE:
        if (modrm == 0xD9) return {Shape::compare, 2, true};
        return arithmetic ? Class{Shape::to_sti, 1, true} : Class{};
    case 0xDA: return modrm == 0xE9 ? Class{Shape::compare, 2, true} : Class{};
    case 0xDB: return digit == 5 || digit == 6 ? Class{Shape::compare_flags, 0, true} : Class{};
    case 0xDF: return digit == 5 || digit == 6 ? Class{Shape::compare_flags, 1, true} : Class{};
    case 0xDD:
        if (digit == 2) return {Shape::copy, 0, true};
        if (digit == 3) return {Shape::copy, 1, true};
        return digit == 4 || digit == 5 ? Class{Shape::compare, digit == 5, true} : Class{};
    case 0xD9:
        if (digit == 0) return {Shape::load, 0, true};
        if (digit == 1) return {Shape::exchange, 0, true};
        if (modrm == 0xE4) return {Shape::compare};                                    // FTST
        if (modrm == 0xE0 || modrm == 0xE1 || modrm == 0xFA || modrm == 0xFC) return {Shape::to_st0};
        return modrm >= 0xE8 && modrm <= 0xEE ? Class{Shape::load} : Class{};          // constants
    default: return {};
    }
}

constexpr i32 st(unsigned i) { return static_cast<i32>(offsetof(FxArea, st) + 16 * i); }
void fld80(Emitter& e, unsigned i) {
    e.byte(0xDB);
    e.modrm_memory(5, Emitter::rdi, st(i));
}
void fstp80(Emitter& e, unsigned i) {
    e.byte(0xDB);
    e.modrm_memory(7, Emitter::rdi, st(i));
}
void discard(Emitter& e) { e.bytes({0xDD, 0xD8}); }  // fstp st(0)

}  // namespace

std::optional<X87Fast> build_x87_fast(const ThunkForm& f, Emitter& e) {
    const u8 opcode = f.row->encoding.opcode;
    const Class c = f.mem ? memory_form(opcode, (f.modrm >> 3) & 7) : register_form(opcode, f.modrm);
    if (c.shape == Shape::none) return std::nullopt;
    // The popping comparison pairs name ST1 by themselves.
    const unsigned i = c.uses_sti ? f.modrm & 7 : 0;
    const u8 sti = static_cast<u8>(c.uses_sti ? 1u << i : 0u);

    X87Fast fast;
    fast.pops = c.pops;
    fast.condition_codes = c1;
    const auto instruction = [&] {
        e.byte(opcode);
        if (f.mem) e.modrm_memory((f.modrm >> 3) & 7, Emitter::rsi, 0);
        else e.byte(c.uses_sti ? (f.modrm & 0xF8u) | 1 : f.modrm);  // STi is the host's ST1
    };
    const auto load_operands = [&] {
        fast.valid = sti | 1;
        if (c.uses_sti) fld80(e, i);
        fld80(e, 0);
    };
    switch (c.shape) {
    case Shape::to_st0:
        load_operands();
        instruction();
        e.fnstsw_ax();
        fstp80(e, 0);
        if (c.uses_sti) discard(e);
        break;
    case Shape::to_sti:
        load_operands();
        instruction();
        e.fnstsw_ax();
        if (c.pops == 0) discard(e);
        fstp80(e, i);
        break;
    case Shape::compare: case Shape::compare_flags:
        load_operands();
        instruction();
        if (c.shape == Shape::compare_flags) {
            fast.condition_codes = 0;
            e.lahf_seto();
            e.store16(Emitter::rax, Emitter::r8, static_cast<i32>(offsetof(CpuState, flags)));
        } else {
            fast.condition_codes = c0 | c1 | c2 | c3;
        }
        e.fnstsw_ax();
        for (unsigned left = (c.uses_sti ? 2 : 1); left > c.pops; --left) discard(e);
        break;
    case Shape::load:
        fast.push = true;
        fast.empty = 1u << 7;  // the physical register below TOP
        if (c.uses_sti) {
            fast.valid = sti;
            fld80(e, i);
        } else {
            instruction();
        }
        e.fnstsw_ax();
        fstp80(e, 7);
        break;
    case Shape::store:
        fast.valid = 1;
        fld80(e, 0);
        instruction();
        e.fnstsw_ax();
        if (c.pops == 0) discard(e);
        break;
    case Shape::copy:
        fast.valid = 1;
        fast.fills = static_cast<u8>(i);
        fld80(e, 0);
        e.fnstsw_ax();
        fstp80(e, i);
        break;
    case Shape::exchange:
        fast.valid = sti | 1;
        fld80(e, i);
        fld80(e, 0);
        e.fnstsw_ax();
        fstp80(e, i);
        fstp80(e, 0);
        break;
    case Shape::none: break;
    }
    e.ret();
    return fast;
}

}  // namespace droste
