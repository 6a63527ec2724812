// SPDX-License-Identifier: Apache-2.0
// Emitter: writes x86-64 machine code byte by byte, with the few glue instructions that thunks are made of.
#pragma once
#include <array>
#include <cstddef>
#include <span>

#include "base/assert.h"
#include "base/types.h"

namespace droste {

class Emitter {
public:
    /// Host registers by their encoding.
    enum Reg : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11 };

    std::span<const u8> code() const { return {bytes_.data(), size_}; }
    std::size_t size() const { return size_; }

    void byte(unsigned b) {
        ASSERT(size_ < bytes_.size());
        bytes_[size_++] = static_cast<u8>(b);
    }
    void bytes(std::initializer_list<unsigned> list) {
        for (const unsigned b : list) byte(b);
    }
    void little_endian(u64 v, unsigned count) {
        for (unsigned i = 0; i < count; ++i) byte(static_cast<u8>(v >> (8 * i)));
    }
    /// ModRM (and displacement) of `reg`, [base + disp]; base's high bit belongs to REX.B, which the caller
    /// emits.
    void modrm_memory(unsigned reg, Reg base, i32 disp) {
        const unsigned rm = base & 7;
        ASSERT(rm != rsp);  // would need a SIB byte
        const unsigned mod = disp == 0 && rm != rbp ? 0 : disp >= -128 && disp < 128 ? 1 : 2;
        byte(mod << 6 | (reg & 7) << 3 | rm);
        if (mod == 1) byte(static_cast<u8>(disp));
        if (mod == 2) little_endian(static_cast<u32>(disp), 4);
    }

    enum Direction : u8 { load = 0, store = 1 };
    void movups(Direction d, unsigned xmm, Reg base, i32 disp = 0) {
        if (base >= r8) byte(0x41);
        bytes({0x0F, 0x10u + d});
        modrm_memory(xmm, base, disp);
    }
    /// VMOVUPS of an XMM (l = 0) or YMM (l = 1) register below 8.
    void vmovups(Direction d, unsigned l, unsigned ymm, Reg base, i32 disp = 0) {
        bytes({0xC4, base >= r8 ? 0xC1u : 0xE1u, 0x78u | l << 2, 0x10u + d});
        modrm_memory(ymm, base, disp);
    }
    /// VMOVUPS of a ZMM register below 8.
    void vmovups512(Direction d, unsigned zmm, Reg base) {
        bytes({0x62, base >= r8 ? 0xD1u : 0xF1u, 0x7C, 0x48, 0x10u + d});
        modrm_memory(zmm, base, 0);
    }
    void kmovq(Direction d, unsigned k, Reg base) {
        bytes({0xC4, base >= r8 ? 0xC1u : 0xE1u, 0xF8, 0x90u + d});
        modrm_memory(k, base, 0);
    }
    void movq_mmx(Direction d, unsigned mm, Reg base) {
        bytes({0x0F, d == load ? 0x6Fu : 0x7Fu});
        modrm_memory(mm, base, 0);
    }
    void mov64(Direction d, Reg reg, Reg base, i32 disp = 0) {
        byte(0x48u | (reg >= r8 ? 4u : 0u) | (base >= r8 ? 1u : 0u));
        byte(d == load ? 0x8Bu : 0x89u);
        modrm_memory(reg, base, disp);
    }
    void load16(Reg reg, Reg base, i32 disp) { mov16(0x8B, reg, base, disp); }
    void store16(Reg reg, Reg base, i32 disp) { mov16(0x89, reg, base, disp); }
    void sahf() { byte(0x9E); }
    void ldmxcsr(Reg base, i32 disp) { mxcsr(2, base, disp); }
    void stmxcsr(Reg base, i32 disp) { mxcsr(3, base, disp); }
    /// mov reg64, imm64
    void mov_immediate(Reg reg, u64 v) {
        bytes({reg >= r8 ? 0x49u : 0x48u, 0xB8u + (reg & 7)});
        little_endian(v, 8);
    }
    /// lea r11, [rip + rel32]; returns where the displacement stands, for patch_rel32().
    std::size_t lea_r11_rip() {
        bytes({0x4C, 0x8D, 0x1D});
        little_endian(0, 4);
        return size_ - 4;
    }
    void patch_rel32(std::size_t at) {
        const u32 rel = static_cast<u32>(size_ - (at + 4));
        for (unsigned i = 0; i < 4; ++i) bytes_[at + i] = static_cast<u8>(rel >> (8 * i));
    }
    void fnstsw_ax() { bytes({0xDF, 0xE0}); }
    void lahf_seto() { bytes({0x9F, 0x0F, 0x90, 0xC0}); }
    void mov_eax(u32 v) {
        byte(0xB8);
        little_endian(v, 4);
    }
    void vzeroupper() { bytes({0xC5, 0xF8, 0x77}); }
    void vpxor(unsigned xmm) { bytes({0xC5, 0x81u | (~xmm & 15) << 3, 0xEF, 0xC0u | xmm << 3 | xmm}); }
    void emms() { bytes({0x0F, 0x77}); }
    void ret() { byte(0xC3); }

private:
    void mov16(unsigned opcode, Reg reg, Reg base, i32 disp) {
        byte(0x66);
        if (base >= r8) byte(0x41);
        byte(opcode);
        modrm_memory(reg, base, disp);
    }
    void mxcsr(unsigned digit, Reg base, i32 disp) {
        if (base >= r8) byte(0x41);
        bytes({0x0F, 0xAE});
        modrm_memory(digit, base, disp);
    }
    std::array<u8, 256> bytes_{};
    std::size_t size_ = 0;
};

}  // namespace droste
