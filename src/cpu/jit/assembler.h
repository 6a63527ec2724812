// SPDX-License-Identifier: Apache-2.0
// Assembler: writes host code into the code cache, glue and re-encoded guest instructions alike.
#pragma once
#include <cstring>

#include "base/assert.h"
#include "base/types.h"

namespace droste::jit {

/// Host registers by their encoding.
enum Reg : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, no_reg };

/// A host memory operand: [base + index * 2^scale + disp].
struct Mem {
    Reg base = no_reg;
    i32 disp = 0;
    Reg index = no_reg;
    u8 scale = 0;
};

/// A place in the code, bound once, referred to by rel32 fields.
class Label {
public:
    bool bound() const { return at_ != nullptr; }

private:
    friend class Assembler;
    static constexpr unsigned max_uses = 16;
    u8* at_ = nullptr;
    u8* uses_[max_uses] = {};
    unsigned n_ = 0;
};

/// Writes at `at`, up to `end`. Running out is remembered, nothing is written beyond.
class Assembler {
public:
    Assembler(u8* at, u8* end) : at_(at), end_(end - 64) {}
    u8* here() const { return at_; }
    bool full() const { return at_ >= end_; }

    void byte(unsigned v) {
        if (at_ < end_ + 48) *at_++ = static_cast<u8>(v);
    }
    void word32(u32 v) {
        for (unsigned i = 0; i < 4; ++i) byte(v >> (8 * i));
    }
    void word64(u64 v) {
        for (unsigned i = 0; i < 8; ++i) byte(static_cast<unsigned>(v >> (8 * i)) & 0xFF);
    }

    // ---- labels
    void bind(Label& l) {
        l.at_ = at_;
        for (unsigned i = 0; i < l.n_; ++i) patch32(l.uses_[i], at_);
    }
    void rel32(Label& l) {
        if (l.at_ == nullptr) {
            ASSERT(l.n_ < Label::max_uses);
            l.uses_[l.n_++] = at_;
            word32(0);
        } else {
            word32(static_cast<u32>(l.at_ - (at_ + 4)));
        }
    }
    static void patch32(u8* field, const u8* target) {
        const i32 rel = static_cast<i32>(target - (field + 4));
        std::memcpy(field, &rel, 4);
    }
    void jmp(Label& l) {
        byte(0xE9);
        rel32(l);
    }
    void jmp(const u8* target) {
        byte(0xE9);
        word32(static_cast<u32>(target - (at_ + 4)));
    }
    void jcc(unsigned cc, Label& l) {
        byte(0x0F);
        byte(0x80 + cc);
        rel32(l);
    }
    void call(Label& l) {
        byte(0xE8);
        rel32(l);
    }
    /// JRCXZ over a jump to `miss`: goes on when RCX is 0. Leaves the flags alone.
    void unless_rcx_zero(Label& miss) {
        byte(0xE3);
        byte(5);
        jmp(miss);
    }

    // ---- encoding
    /// Prefixes, REX and escapes of a legacy-encoded instruction. `byte_regs`: REX also for SPL to DIL.
    struct Opcode {
        u8 prefix = 0;  ///< 66, F2, F3 or 0; 66 for the operand size goes to osz16
        bool osz16 = false, w = false, rex = false;
        u8 map = 0, opcode = 0;
    };
    void op_reg(const Opcode& o, unsigned reg, Reg rm) {
        head(o, reg >> 3, 0, rm >> 3);
        byte(0xC0 | (reg & 7) << 3 | (rm & 7));
    }
    void op_mem(const Opcode& o, unsigned reg, const Mem& m) {
        head(o, reg >> 3, m.index == no_reg ? 0 : m.index >> 3, m.base == no_reg ? 0 : m.base >> 3);
        modrm(reg, m);
    }
    /// ModRM and what belongs to it.
    void modrm(unsigned reg, const Mem& m) {
        const unsigned r = (reg & 7) << 3;
        if (m.base == no_reg) {  // [index * scale + disp32], or an absolute address
            byte(r | 4);
            byte(m.scale << 6 | (m.index == no_reg ? 4u : m.index & 7u) << 3 | 5);
            word32(static_cast<u32>(m.disp));
            return;
        }
        const bool none = m.disp == 0 && (m.base & 7) != 5;
        const bool short_disp = m.disp >= -128 && m.disp < 128;
        const unsigned mod = none ? 0 : short_disp ? 1 : 2;
        if (m.index != no_reg || (m.base & 7) == 4) {
            byte(mod << 6 | r | 4);
            byte(m.scale << 6 | (m.index == no_reg ? 4u : m.index & 7u) << 3 | (m.base & 7u));
        } else {
            byte(mod << 6 | r | (m.base & 7u));
        }
        if (mod == 1) byte(static_cast<u8>(m.disp));
        if (mod == 2) word32(static_cast<u32>(m.disp));
    }
    /// Opcode with a register in its low bits.
    void op_plus(const Opcode& o, Reg reg) {
        Opcode with = o;
        with.opcode = static_cast<u8>(o.opcode | (reg & 7));
        head(with, 0, 0, reg >> 3);
    }

    // ---- glue; none of it touches the flags
    void load64(Reg r, const Mem& m) { op_mem({.w = true, .opcode = 0x8B}, r, m); }
    void load32(Reg r, const Mem& m) { op_mem({.opcode = 0x8B}, r, m); }
    void store64(const Mem& m, Reg r) { op_mem({.w = true, .opcode = 0x89}, r, m); }
    void store32(const Mem& m, Reg r) { op_mem({.opcode = 0x89}, r, m); }
    void store16(const Mem& m, Reg r) { op_mem({.osz16 = true, .opcode = 0x89}, r, m); }
    void load16(Reg r, const Mem& m) { op_mem({.osz16 = true, .opcode = 0x8B}, r, m); }
    void mov(Reg to, Reg from) { op_reg({.w = true, .opcode = 0x8B}, to, from); }
    void mov32(Reg to, Reg from) { op_reg({.opcode = 0x8B}, to, from); }
    void mov_imm32(Reg r, u32 v) {
        op_plus({.opcode = 0xB8}, r);
        word32(v);
    }
    void mov_imm64(Reg r, u64 v) {
        op_plus({.w = true, .opcode = 0xB8}, r);
        word64(v);
    }
    void lea(Reg r, const Mem& m, bool wide = true) { op_mem({.w = wide, .opcode = 0x8D}, r, m); }
    /// SHRX of 64 bits.
    void shrx(Reg to, Reg from, Reg count) { vex(0xF7, 2, 3, to, count, from); }
    /// SHLX of 64 bits.
    void shlx(Reg to, Reg from, Reg count) { vex(0xF7, 2, 1, to, count, from); }
    /// PEXT with the mask at `mask` in the code cache.
    void pext(Reg to, Reg from, const u8* mask) {
        vex_head(2, 2, to, from, 0);
        byte(0xF5);
        byte(static_cast<unsigned>(to & 7) << 3 | 5);
        word32(static_cast<u32>(mask - (at_ + 4)));
    }
    void call_mem(const Mem& m) { op_mem({.opcode = 0xFF}, 2, m); }
    void jmp_mem(const Mem& m) { op_mem({.opcode = 0xFF}, 4, m); }
    void jmp_reg(Reg r) { op_reg({.opcode = 0xFF}, 4, r); }
    void push(Reg r) { op_plus({.opcode = 0x50}, r); }
    void pop(Reg r) { op_plus({.opcode = 0x58}, r); }
    void ret() { byte(0xC3); }
    void lahf() { byte(0x9F); }
    void sahf() { byte(0x9E); }
    void seto_al() {
        byte(0x0F);
        byte(0x90);
        byte(0xC0);
    }

private:
    void head(const Opcode& o, unsigned r, unsigned x, unsigned b) {
        if (o.osz16) byte(0x66);
        if (o.prefix != 0) byte(o.prefix);
        const unsigned rex = (o.w ? 8u : 0u) | r << 2 | x << 1 | b;
        if (rex != 0 || o.rex) byte(0x40 | rex);
        if (o.map >= 1) byte(0x0F);
        if (o.map == 2) byte(0x38);
        if (o.map == 3) byte(0x3A);
        byte(o.opcode);
    }
    void vex_head(unsigned map, unsigned pp, Reg reg, Reg vvvv, unsigned b) {
        byte(0xC4);
        byte((reg >> 3 ? 0u : 0x80u) | 0x40 | (b ? 0u : 0x20u) | map);
        byte(0x80 | (~unsigned(vvvv) & 15) << 3 | pp);
    }
    void vex(unsigned opcode, unsigned map, unsigned pp, Reg reg, Reg vvvv, Reg rm) {
        vex_head(map, pp, reg, vvvv, rm >> 3);
        byte(opcode);
        byte(0xC0 | (reg & 7u) << 3 | (rm & 7u));
    }

    u8* at_;
    u8* end_;
};

}  // namespace droste::jit
