// SPDX-License-Identifier: Apache-2.0
// MMX, SSE and AVX instructions around their thunks: operands, memory, MXCSR, faults, availability.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "cpu/insns/tables.h"
#include "test_machine.h"

namespace droste {

namespace {

using test::TestMachine;
using Q4 = std::array<u64, 4>;

class ThunkVector : public ::testing::Test {
protected:
    TestMachine m;
    Cpu& cpu = m.cpu;
    static constexpr u64 data = TestMachine::data;

    void SetUp() override {
        for (unsigned i = 0; i < 16; ++i)
            for (unsigned j = 0; j < 4; ++j) cpu.vec[i].q[j] = 0x1111111111111111ull * (i + 1) + j;
    }
    Q4 ymm(unsigned n) const { return {cpu.vec[n].q[0], cpu.vec[n].q[1], cpu.vec[n].q[2], cpu.vec[n].q[3]}; }
    void set_floats(unsigned n, std::array<float, 4> f) { std::memcpy(cpu.vec[n].q.data(), f.data(), 16); }
    std::array<float, 4> floats(unsigned n) const {
        std::array<float, 4> f;
        std::memcpy(f.data(), cpu.vec[n].q.data(), 16);
        return f;
    }
    Outcome run(std::initializer_list<u8> bytes) { return m.execute(bytes); }
};

#define EXPECT_NEXT(...) EXPECT_EQ(run(__VA_ARGS__), Outcome::next)
#define EXPECT_FAULT(f, ...)                          \
    do {                                              \
        EXPECT_EQ(run(__VA_ARGS__), Outcome::fault);  \
        EXPECT_EQ(cpu.pending_fault, f);              \
    } while (false)

const Fault ud = Fault::of(Vector::ud), nm = Fault::of(Vector::nm), gp0 = Fault::of(Vector::gp, 0),
            xm = Fault::of(Vector::xm), mf = Fault::of(Vector::mf);

TEST_F(ThunkVector, LegacyKeepsUpperHalfVexClearsIt) {
    set_floats(1, {1, 2, 3, 4});
    set_floats(2, {10, 20, 30, 40});
    const u64 upper = cpu.vec[1].q[2];
    EXPECT_NEXT({0x0F, 0x58, 0xCA});  // addps xmm1, xmm2
    EXPECT_EQ(floats(1), (std::array<float, 4>{11, 22, 33, 44}));
    EXPECT_EQ(cpu.vec[1].q[2], upper);
    cpu.vec[3].q[7] = 5;
    EXPECT_NEXT({0xC5, 0xF0, 0x58, 0xDA});  // vaddps xmm3, xmm1, xmm2
    EXPECT_EQ(floats(3), (std::array<float, 4>{21, 42, 63, 84}));
    EXPECT_EQ(cpu.vec[3].q[2], 0u);
    EXPECT_EQ(cpu.vec[3].q[7], 0u);
}

TEST_F(ThunkVector, HighRegistersAndVvvv) {
    // vpaddq ymm15, ymm9, ymm8
    EXPECT_NEXT({0xC4, 0x41, 0x35, 0xD4, 0xF8});
    for (unsigned j = 0; j < 4; ++j)
        EXPECT_EQ(cpu.vec[15].q[j], 0x1111111111111111ull * 10 + j + 0x1111111111111111ull * 9 + j);
}

TEST_F(ThunkVector, MemoryOperandAcrossPages) {
    for (unsigned i = 0; i < 32; ++i) m.poke<u8>(data + 0xFF0 + i, static_cast<u8>(i));
    cpu.reg(Gpr::rbx) = data + 0xFF1;
    cpu.vec[1] = {};
    EXPECT_NEXT({0xC5, 0xF1, 0xFC, 0x13});  // vpaddb xmm2, xmm1, [rbx]
    EXPECT_EQ(cpu.vec[2].q[0], 0x0807060504030201ull);
    EXPECT_EQ(cpu.vec[2].q[1], 0x100F0E0D0C0B0A09ull);
    EXPECT_NEXT({0xC5, 0xF5, 0xFC, 0x53, 0xEF});  // vpaddb ymm2, ymm1, [rbx-17]: 0xFE0..
}

TEST_F(ThunkVector, LegacyMemoryOperandMustBeAligned) {
    cpu.reg(Gpr::rbx) = data + 8;
    EXPECT_FAULT(gp0, {0x66, 0x0F, 0xFC, 0x0B});  // paddb xmm1, [rbx]
    EXPECT_FAULT(gp0, {0x0F, 0x28, 0x0B});        // movaps xmm1, [rbx]
    EXPECT_FAULT(gp0, {0xC5, 0xFC, 0x28, 0x0B});  // vmovaps ymm1, [rbx]
    EXPECT_NEXT({0x0F, 0x10, 0x0B});              // movups
    EXPECT_NEXT({0x66, 0x0F, 0x3A, 0x63, 0x0B, 0});  // pcmpistri: the exception
    EXPECT_NEXT({0xF2, 0x0F, 0x58, 0x0B});        // addsd
}

TEST_F(ThunkVector, EveryRowWithAnUnmarkedLegacyOperandSurvivesMisalignment) {
    // A row that forgot its alignment rule would take the emulator down, not the guest.
    for (const RowSpan table : {sse_rows(), crypto_rows()})
        for (const InsnRow& row : table) {
            if (row.domain != Domain::sse || !(row.traits & traits::host_thunk) ||
                (row.traits & traits::aligned))
                continue;
            const Encoding& e = row.encoding;
            if (!e.modrm || e.mod == Mod::reg) continue;
            std::vector<u8> bytes;
            if (e.pp == Pp::p66) bytes.push_back(0x66);
            if (e.pp == Pp::f3) bytes.push_back(0xF3);
            if (e.pp == Pp::f2) bytes.push_back(0xF2);
            bytes.push_back(0x0F);
            if (e.map == 2) bytes.push_back(0x38);
            if (e.map == 3) bytes.push_back(0x3A);
            bytes.push_back(e.opcode);
            bytes.push_back(static_cast<u8>((e.reg > 0 ? e.reg : 0) << 3 | 3));  // [rbx]
            bytes.push_back(0);
            cpu.reg(Gpr::rbx) = data + 1;
            EXPECT_EQ(m.execute(std::span<const u8>(bytes)), Outcome::next) << row.mnemonic;
        }
}

TEST_F(ThunkVector, UnmaskedExceptionCommitsOnlyMxcsr) {
    cpu.fx.mxcsr = 0x1F80 & ~0x200u;  // divide by zero unmasked
    set_floats(1, {1, 1, 1, 1});
    set_floats(2, {3, 1, 0, 1});
    const Q4 before = ymm(1);
    EXPECT_FAULT(xm, {0x0F, 0x5E, 0xCA});  // divps xmm1, xmm2
    EXPECT_EQ(ymm(1), before);
    EXPECT_EQ(cpu.fx.mxcsr, (0x1F80u & ~0x200u) | 4u);
    cpu.cr4 &= ~cr4_bits::osxmmexcpt;
    cpu.context_changed();
    EXPECT_FAULT(ud, {0x0F, 0x5E, 0xCA});
    EXPECT_FAULT(ud, {0xC5, 0xF4, 0x5E, 0xDA});  // vdivps ymm3, ymm1, ymm2
}

TEST_F(ThunkVector, EmulatorKeepsItsOwnMxcsr) {
    cpu.fx.mxcsr = 0x7F80 | 0x8040;  // round to zero, FTZ, DAZ
    cpu.reg(Gpr::rax) = 3;
    EXPECT_NEXT({0xF3, 0x0F, 0x2A, 0xC8});  // cvtsi2ss xmm1, eax
    u32 host;
    asm volatile("stmxcsr %0" : "=m"(host));
    EXPECT_EQ(host & ~0x3Fu, 0x1F80u);
    cpu.reg(Gpr::rax) = 0x1000001;
    EXPECT_NEXT({0xF3, 0x0F, 0x2A, 0xC8});
    EXPECT_EQ(floats(1)[0], 16777216.0f);
    EXPECT_TRUE(cpu.fx.mxcsr & 0x20);
}

TEST_F(ThunkVector, GeneralRegistersIn64BitAnd32BitForms) {
    cpu.vec[1].q[0] = std::bit_cast<u64>(-2.0);
    cpu.reg(Gpr::r9) = ~0ull;
    EXPECT_NEXT({0xF2, 0x44, 0x0F, 0x2D, 0xC9});  // cvtsd2si r9d, xmm1
    EXPECT_EQ(cpu.reg(Gpr::r9), 0xFFFFFFFEu);
    EXPECT_NEXT({0xF2, 0x4C, 0x0F, 0x2D, 0xC9});  // cvtsd2si r9, xmm1
    EXPECT_EQ(cpu.reg(Gpr::r9), ~1ull);
    EXPECT_NEXT({0x66, 0x4C, 0x0F, 0x7E, 0xC8});  // movq rax, xmm9
    EXPECT_EQ(cpu.reg(Gpr::rax), cpu.vec[9].q[0]);
    EXPECT_NEXT({0x66, 0x49, 0x0F, 0x3A, 0x16, 0xC8, 1});  // pextrq r8, xmm1, 1
    EXPECT_EQ(cpu.reg(Gpr::r8), cpu.vec[1].q[1]);
    cpu.reg(Gpr::rcx) = 0xABCD;
    EXPECT_NEXT({0x66, 0x0F, 0xC4, 0xC9, 2});  // pinsrw xmm1, ecx, 2
    EXPECT_EQ((cpu.vec[1].q[0] >> 32) & 0xFFFF, 0xABCDu);
    EXPECT_NEXT({0x66, 0x44, 0x0F, 0xD7, 0xD2});  // pmovmskb r10d, xmm2
    EXPECT_EQ(cpu.reg(Gpr::r10), 0u);
}

TEST_F(ThunkVector, Flags) {
    cpu.vec[1].q[0] = std::bit_cast<u64>(1.0);
    cpu.vec[2].q[0] = std::bit_cast<u64>(2.0);
    cpu.flags = flag_image::from_rflags(rflags_bits::of | rflags_bits::zf);
    EXPECT_NEXT({0x66, 0x0F, 0x2F, 0xCA});  // comisd xmm1, xmm2
    EXPECT_EQ(flag_image::to_rflags(cpu.flags), rflags_bits::cf);
    cpu.vec[3] = {};
    EXPECT_NEXT({0x66, 0x0F, 0x38, 0x17, 0xDB});  // ptest xmm3, xmm3
    EXPECT_EQ(flag_image::to_rflags(cpu.flags), rflags_bits::cf | rflags_bits::zf);
}

TEST_F(ThunkVector, StringCompares) {
    std::memcpy(cpu.vec[1].q.data(), "aeiou\0..........", 16);
    std::memcpy(cpu.vec[2].q.data(), "xyzebcdefghijklm", 16);
    cpu.reg(Gpr::rcx) = ~0ull;
    EXPECT_NEXT({0x66, 0x0F, 0x3A, 0x63, 0xCA, 0});  // pcmpistri xmm1, xmm2, equal any
    EXPECT_EQ(cpu.reg(Gpr::rcx), 3u);
    EXPECT_TRUE(flag_image::to_rflags(cpu.flags) & rflags_bits::cf);
    cpu.reg(Gpr::rax) = 5;
    cpu.reg(Gpr::rdx) = 3;
    EXPECT_NEXT({0x66, 0x0F, 0x3A, 0x61, 0xCA, 0});  // pcmpestri: only three characters count
    EXPECT_EQ(cpu.reg(Gpr::rcx), 16u);
    cpu.reg(Gpr::rdx) = 0x1'0000'0004;
    EXPECT_NEXT({0x66, 0x0F, 0x3A, 0x60, 0xCA, 0});  // pcmpestrm: EDX = 4
    EXPECT_EQ(cpu.vec[0].q[0], 8u);
    EXPECT_EQ(cpu.vec[0].q[2], 0x1111111111111113u);  // legacy: upper half kept
    EXPECT_NEXT({0x66, 0x48, 0x0F, 0x3A, 0x60, 0xCA, 0});  // REX.W: RDX beyond 16 means 16
    EXPECT_EQ(cpu.vec[0].q[0], 0x0888u);  // e, e, i
    EXPECT_NEXT({0xC4, 0xE3, 0x79, 0x62, 0xCA, 0});  // vpcmpistrm
    EXPECT_EQ(cpu.vec[0].q[2], 0u);
}

TEST_F(ThunkVector, ImplicitXmm0AndIs4) {
    cpu.vec[0] = {};
    cpu.vec[0].q[0] = 0x80;
    cpu.vec[1].q[0] = 0x1111;
    cpu.vec[2].q[0] = 0x2222;
    EXPECT_NEXT({0x66, 0x0F, 0x38, 0x10, 0xCA});  // pblendvb xmm1, xmm2
    EXPECT_EQ(cpu.vec[1].q[0], 0x1122u);
    cpu.vec[12] = {};
    cpu.vec[12].q[1] = 0x8000000000000000;
    EXPECT_NEXT({0xC4, 0xE3, 0x71, 0x4B, 0xDA, 0xC0});  // vblendvpd xmm3, xmm1, xmm2, xmm12
    EXPECT_EQ(cpu.vec[3].q[0], cpu.vec[1].q[0]);
    EXPECT_EQ(cpu.vec[3].q[1], cpu.vec[2].q[1]);
}

TEST_F(ThunkVector, StoresOfParts) {
    cpu.reg(Gpr::rbx) = data;
    for (unsigned i = 0; i < 8; ++i) m.poke<u64>(data + 8 * i, ~0ull);
    EXPECT_NEXT({0x66, 0x0F, 0x3A, 0x14, 0x0B, 1});  // pextrb [rbx], xmm1, 1
    EXPECT_EQ(m.peek<u64>(data), 0xFFFFFFFFFFFFFF22u);
    EXPECT_NEXT({0xC4, 0xE3, 0x7D, 0x19, 0x13, 1});  // vextractf128 [rbx], ymm2, 1
    EXPECT_EQ(m.peek<u64>(data), 0x3333333333333335u);
    EXPECT_EQ(m.peek<u64>(data + 8), 0x3333333333333336u);
    EXPECT_EQ(m.peek<u64>(data + 16), ~0ull);
    EXPECT_NEXT({0xC4, 0xE3, 0x7D, 0x19, 0xD3, 1});  // vextractf128 xmm3, ymm2, 1
    EXPECT_EQ(ymm(3), (Q4{0x3333333333333335u, 0x3333333333333336u, 0, 0}));
}

TEST_F(ThunkVector, MaskedStoreWritesOnlySelectedBytes) {
    cpu.reg(Gpr::rdi) = data + 0xFF8;
    m.map(1ull << 40, data);  // something mapped with 4-KByte pages
    m.map((1ull << 40) + 0x1000, data + 0x1000, 0);  // the following page is not present
    cpu.reg(Gpr::rdi) = (1ull << 40) + 0xFF8;
    for (unsigned i = 0; i < 16; ++i) m.poke<u8>(data + 0xFF8 + i, 0);
    cpu.vec[2].q = {0x8000000000000080, 0};
    EXPECT_NEXT({0x66, 0x0F, 0xF7, 0xCA});  // maskmovdqu xmm1, xmm2: nothing selected beyond the page
    EXPECT_EQ(m.peek<u64>(data + 0xFF8), 0x2200000000000022u);
    cpu.vec[2].q = {0x0000000000800000, 0x80};
    EXPECT_EQ(run({0x66, 0x0F, 0xF7, 0xCA}), Outcome::fault);
    EXPECT_EQ(cpu.pending_fault.vector(), Vector::pf);
    EXPECT_EQ(cpu.memory_fault.linear.value, (1ull << 40) + 0x1000);
    EXPECT_EQ(m.peek<u64>(data + 0xFF8), 0x2200000000000022u);  // nothing was written
    // vmaskmovps [rdi], xmm4, xmm1: elements 0 and 1 only
    cpu.vec[4].q = {0x8000000080000000, 0};
    EXPECT_NEXT({0xC4, 0xE2, 0x59, 0x2E, 0x0F});
    EXPECT_EQ(m.peek<u64>(data + 0xFF8), 0x2222222222222222u);
    // vmaskmovps xmm5, xmm4, [rdi]: the rest reads as zero and is not accessed
    EXPECT_NEXT({0xC4, 0xE2, 0x59, 0x2C, 0x2F});
    EXPECT_EQ(ymm(5), (Q4{0x2222222222222222u, 0, 0, 0}));
    cpu.vec[4].q = {0, 0x80000000};
    EXPECT_EQ(run({0xC4, 0xE2, 0x59, 0x2C, 0x2F}), Outcome::fault);
}

TEST_F(ThunkVector, GatherStopsAtTheFaultingElement) {
    m.map(1ull << 40, data);
    m.map((1ull << 40) + 0x1000, 0, 0);
    for (unsigned i = 0; i < 1024; ++i) m.poke<u32>(data + 4 * i, i);
    cpu.reg(Gpr::rbx) = 1ull << 40;
    cpu.vec[4].q = {0x0000000500000001, 0x0000000700000400};  // indexes 1, 5, 1024 (faults), 7
    cpu.vec[3].q = {0x80000000'80000000, 0x80000000'80000000, 0, 0};
    cpu.vec[1].q = {~0ull, ~0ull, ~0ull, ~0ull};
    // vpgatherdd xmm1, [rbx + xmm4 * 4], xmm3
    EXPECT_EQ(run({0xC4, 0xE2, 0x61, 0x90, 0x0C, 0xA3}), Outcome::fault);
    EXPECT_EQ(cpu.memory_fault.linear.value, (1ull << 40) + 0x1000);
    EXPECT_EQ(cpu.vec[1].q[0], 0x0000000500000001u);
    EXPECT_EQ(cpu.vec[1].q[1], ~0ull);
    EXPECT_EQ(cpu.vec[3].q[0], 0u);
    EXPECT_EQ(cpu.vec[3].q[1], 0xFFFFFFFFFFFFFFFFu);
    cpu.vec[4].q[1] = 0x00000007000003FF;
    EXPECT_NEXT({0xC4, 0xE2, 0x61, 0x90, 0x0C, 0xA3});
    EXPECT_EQ(ymm(1), (Q4{0x0000000500000001u, 0x00000007000003FFu, 0, 0}));
    EXPECT_EQ(ymm(3), (Q4{0, 0, 0, 0}));
    EXPECT_FAULT(ud, {0xC4, 0xE2, 0x71, 0x90, 0x0C, 0xA3});  // mask = destination
    // Negative index, 64-bit elements: vpgatherdq ymm1, [rbx + xmm4 * 8 + 0x100], ymm3
    cpu.vec[4].q = {0xFFFFFFFE00000000, 0x0000000100000002};
    cpu.vec[3].q = {~0ull, ~0ull, 0, ~0ull};
    cpu.vec[1].q = {0, 0, 42, 0};
    EXPECT_NEXT({0xC4, 0xE2, 0xE5, 0x90, 0x8C, 0xE3, 0x00, 0x01, 0x00, 0x00});
    EXPECT_EQ(ymm(1), (Q4{0x41'00000040, 0x3D'0000003C, 42, 0x43'00000042}));
}

TEST_F(ThunkVector, Mxcsr) {
    cpu.reg(Gpr::rbx) = data;
    m.poke<u32>(data, 0x1FA0);
    EXPECT_NEXT({0x0F, 0xAE, 0x13});  // ldmxcsr
    EXPECT_EQ(cpu.fx.mxcsr, 0x1FA0u);
    m.poke<u32>(data, 0x10000);
    EXPECT_FAULT(gp0, {0x0F, 0xAE, 0x13});
    EXPECT_NEXT({0xC5, 0xF8, 0xAE, 0x1B});  // vstmxcsr
    EXPECT_EQ(m.peek<u32>(data), 0x1FA0u);
}

TEST_F(ThunkVector, Vzero) {
    EXPECT_NEXT({0xC5, 0xF8, 0x77});
    EXPECT_EQ(ymm(15), (Q4{0x1111111111111110ull, 0x1111111111111111ull, 0, 0}));
    EXPECT_NEXT({0xC5, 0xFC, 0x77});
    EXPECT_EQ(ymm(15), (Q4{}));
}

TEST_F(ThunkVector, Availability) {
    const auto set = [&](u64 cr0, u64 cr4, u64 xcr0) {
        cpu.cr0 = cr0;
        cpu.cr4 = cr4;
        cpu.xcr0 = xcr0;
        cpu.context_changed();
    };
    const u64 cr0 = cpu.cr0, cr4 = cpu.cr4;
    const auto each = [&](Fault moves, Fault sse, Fault mmx, Fault avx) {
        const auto expect = [&](Fault f, std::initializer_list<u8> bytes) {
            EXPECT_EQ(run(bytes), f ? Outcome::fault : Outcome::next);
            EXPECT_EQ(cpu.pending_fault, f);
        };
        expect(moves, {0x0F, 0x28, 0xCA});
        expect(sse, {0x66, 0x0F, 0xFC, 0xCA});
        expect(mmx, {0x0F, 0xFC, 0xCA});
        expect(avx, {0xC5, 0xF1, 0xFC, 0xCA});
    };
    each({}, {}, {}, {});
    set(cr0 | cr0_bits::ts, cr4, 7);
    each(nm, nm, nm, nm);
    set(cr0 | cr0_bits::em, cr4, 7);
    each(ud, ud, ud, {});
    set(cr0 | cr0_bits::ts, cr4 & ~cr4_bits::osfxsr, 7);
    each(ud, ud, nm, nm);
    set(cr0, cr4 & ~cr4_bits::osxsave, 7);
    each({}, {}, {}, ud);
    set(cr0 | cr0_bits::ts, cr4, 3);
    each(nm, nm, nm, ud);
}

TEST_F(ThunkVector, MmxTransition) {
    FxArea& fx = cpu.fx;
    fx.fsw = 5 << 11;
    fx.ftw = 0;
    for (unsigned i = 0; i < 8; ++i)
        fx.st[(i - 5) & 7][0] = static_cast<u8>(i + 1);  // physical register i holds i + 1
    EXPECT_NEXT({0x0F, 0xFC, 0xCA});  // paddb mm1, mm2
    EXPECT_EQ(fx.fsw, 0u);
    EXPECT_EQ(fx.ftw, 0xFF);
    EXPECT_EQ(fx.st[1][0], 5);
    EXPECT_EQ(fx.st[1][8], 0xFF);
    EXPECT_EQ(fx.st[1][9], 0xFF);
    EXPECT_EQ(fx.st[2][0], 3);
    EXPECT_EQ(fx.st[2][8], 0);
    EXPECT_NEXT({0x0F, 0x77});  // emms
    EXPECT_EQ(fx.ftw, 0);
    fx.fsw = 0x8081;
    fx.fcw = 0x37E;
    EXPECT_FAULT(mf, {0x0F, 0xFC, 0xCA});
}

TEST_F(ThunkVector, MmxTransitionComesBeforeAStoreFault) {
    cpu.fx.fsw = 3 << 11;
    m.map(1ull << 40, 0, 0);
    cpu.reg(Gpr::rbx) = 1ull << 40;
    EXPECT_EQ(run({0x0F, 0x7F, 0x0B}), Outcome::fault);  // movq [rbx], mm1
    EXPECT_EQ(cpu.fx.fsw, 0);
    EXPECT_EQ(cpu.fx.ftw, 0);
    cpu.fx.fsw = 3 << 11;
    EXPECT_EQ(run({0x0F, 0xFC, 0x0B}), Outcome::fault);  // paddb mm1, [rbx]: a load faults before
    EXPECT_EQ(cpu.fx.fsw, 3 << 11);
}

TEST_F(ThunkVector, MixedMmxAndXmm) {
    cpu.vec[1].q[0] = std::bit_cast<u64>(std::array<float, 2>{1.0f, 2.5f});
    EXPECT_NEXT({0x0F, 0x2D, 0xD1});  // cvtps2pi mm2, xmm1
    EXPECT_EQ(cpu.fx.st[2][0], 1);
    EXPECT_EQ(cpu.fx.st[2][4], 2);
    EXPECT_TRUE(cpu.fx.mxcsr & 0x20);
    EXPECT_NEXT({0xF3, 0x0F, 0xD6, 0xDA});  // movq2dq xmm3, mm2
    EXPECT_EQ(cpu.vec[3].q[0], 0x0000000200000001u);
    EXPECT_EQ(cpu.vec[3].q[1], 0u);
    cpu.fx.mxcsr &= ~0x1000u & ~0x20u;  // inexact unmasked
    cpu.fx.fsw = 1 << 11;
    EXPECT_FAULT(xm, {0x0F, 0x2D, 0xD1});
    EXPECT_EQ(cpu.fx.fsw, 0);
}

TEST_F(ThunkVector, InBlocks) {
    m.install_exception_stops();
    cpu.vec[1] = cpu.vec[2] = {};
    cpu.vec[2].q[0] = 3;
    cpu.reg(Gpr::rcx) = 1000;
    cpu.reg(Gpr::rbx) = data;
    m.poke<u64>(data, 5);
    m.run({0x66, 0x0F, 0xD4, 0xCA,              // paddq xmm1, xmm2
           0xC5, 0xFB, 0x12, 0x23,              // vmovddup xmm4, [rbx]
           0xC4, 0xE3, 0x71, 0x0F, 0xEC, 0x08,  // vpalignr xmm5, xmm1, xmm4, 8
           0xD9, 0xEE, 0xDD, 0xD8,              // fldz; fstp st0
           0xFF, 0xC9, 0x75, 0xEA});            // dec ecx; jnz
    EXPECT_EQ(m.stopped_at(), -1);
    EXPECT_EQ(cpu.reg(Gpr::rcx), 0u);
    EXPECT_EQ(cpu.vec[1].q[0], 3000u);
    EXPECT_EQ(cpu.vec[5].q[0], 5u);
    EXPECT_EQ(cpu.vec[5].q[1], 3000u);
    cpu.fx.mxcsr = 0;  // a zero divided by itself
    cpu.vec[1] = {};
    cpu.reg(Gpr::rsp) = TestMachine::stack_top;
    m.run({0x90, 0x0F, 0x5E, 0xC9});  // nop; divps xmm1, xmm1
    EXPECT_EQ(m.stopped_at(), 19);
    EXPECT_EQ(m.peek<u64>(cpu.reg(Gpr::rsp)), TestMachine::code + 1);
}

TEST_F(ThunkVector, VexEncodingRules) {
    EXPECT_FAULT(ud, {0xC5, 0xF0, 0x28, 0xCA});        // vmovaps with vvvv
    EXPECT_FAULT(ud, {0xC5, 0xFD, 0x6E, 0xC8});        // vmovd with L = 1
    EXPECT_FAULT(ud, {0xC4, 0xE2, 0xF1, 0x0C, 0xCA});  // vpermilps with W = 1
}

}  // namespace

}  // namespace droste
