// SPDX-License-Identifier: Apache-2.0
// FXSAVE and the XSAVE family: layout, round trips, initial states, header checks.
#include "cpu/cpuid.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr u64 area = 0x20000;
constexpr u64 header = area + 512;

// [rbx] forms; with REX.W where `wide`.
constexpr u8 fxsave = 0x03, fxrstor = 0x0B, xsave = 0x23, xrstor = 0x2B, xsaveopt = 0x33;

struct StateMachine : SystemMachine {
    explicit StateMachine(Mode mode = Mode::long64, u8 cpl = 0)
        : SystemMachine(mode, cpl, *make_cpu_model("skylake-sp")) {
        cpu.cr4 |= cr4_bits::osxsave | cr4_bits::pke;
        cpu.xcr0 = 0x207;
        cpu.context_changed();
        for (u64 i = 0; i < 4096; i += 8) poke<u64>(area + i, 0xEEEEEEEEEEEEEEEE);
        poke<u64>(header, 0);
        for (u64 i = 8; i < 64; i += 8) poke<u64>(header + i, 0);
        cpu.reg(Gpr::rbx) = area;
        ask(~0ull);
    }
    void ask(u64 mask) {
        cpu.reg(Gpr::rax) = static_cast<u32>(mask);
        cpu.reg(Gpr::rdx) = mask >> 32;
    }
    Raised ae(u8 modrm, bool wide = true) {
        if (cpu.code64() && wide) return fault_of({0x48, 0x0F, 0xAE, modrm});
        return fault_of({0x0F, 0xAE, modrm});
    }
    Raised xsavec() { return fault_of({0x48, 0x0F, 0xC7, 0x23}); }
    Raised xsaves() { return fault_of({0x48, 0x0F, 0xC7, 0x2B}); }
    Raised xrstors() { return fault_of({0x48, 0x0F, 0xC7, 0x1B}); }
    void fill() {
        cpu.fx.fcw = 0x27F;
        cpu.fx.fsw = 0x3800;
        cpu.fx.ftw = 0x81;
        cpu.fx.fop = 0x123;
        cpu.fx.fip = 0x123456789ABC;
        cpu.fx.fdp = 0xFFFF800000001234;
        cpu.fx.mxcsr = 0x1FA0;
        for (unsigned i = 0; i < 8; ++i)
            for (unsigned k = 0; k < 10; ++k) cpu.fx.st[i][k] = static_cast<u8>(16 * i + k + 1);
        for (unsigned i = 0; i < 16; ++i)
            for (unsigned k = 0; k < 4; ++k) cpu.vec[i].q[k] = 0x0101010101010101ull * (16 * k + i + 1);
        cpu.pkru = 0x55555554;
    }
    void clear() {
        cpu.fx = FxArea{};
        for (Vec& v : cpu.vec) v = Vec{};
        cpu.pkru = 0;
    }
    struct Everything { FxArea fx; std::array<Vec, 32> vec; u32 pkru; };
    Everything everything() const { return {cpu.fx, cpu.vec, cpu.pkru}; }
    void expect(const Everything& e) const {
        EXPECT_EQ(std::memcmp(&e.fx, &cpu.fx, sizeof e.fx), 0);
        for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(e.vec[i].q, cpu.vec[i].q) << "register " << i;
        EXPECT_EQ(e.pkru, cpu.pkru);
    }
};

TEST(Fxsave, Layout) {
    StateMachine m;
    m.fill();
    EXPECT_EQ(m.ae(fxsave), none);
    EXPECT_EQ(m.peek<u16>(area), 0x27F);
    EXPECT_EQ(m.peek<u16>(area + 2), 0x3800);
    EXPECT_EQ(m.peek<u8>(area + 4), 0x81);
    EXPECT_EQ(m.peek<u16>(area + 6), 0x123);
    EXPECT_EQ(m.peek<u64>(area + 8), 0x123456789ABCu);
    EXPECT_EQ(m.peek<u64>(area + 16), 0xFFFF800000001234u);
    EXPECT_EQ(m.peek<u32>(area + 24), 0x1FA0u);
    EXPECT_EQ(m.peek<u32>(area + 28), 0xFFFFu);
    EXPECT_EQ(m.peek<u8>(area + 32 + 16 * 7), 113);
    EXPECT_EQ(m.peek<u64>(area + 160 + 16 * 15), 0x1010101010101010u);
    EXPECT_EQ(m.peek<u64>(area + 416), 0xEEEEEEEEEEEEEEEEu) << "reserved space is not written";
    EXPECT_EQ(m.ae(fxsave, false), none);
    EXPECT_EQ(m.peek<u64>(area + 8), 0x56789ABCu) << "32-bit form: FIP and a null CS";
}

TEST(Fxsave, RoundTripAndChecks) {
    StateMachine m;
    m.fill();
    auto before = m.everything();
    ASSERT_EQ(m.ae(fxsave), none);
    const u32 pkru = m.cpu.pkru;
    m.clear();
    m.cpu.pkru = pkru;
    for (unsigned i = 0; i < 16; ++i) before.vec[i].q[2] = before.vec[i].q[3] = 0;
    ASSERT_EQ(m.ae(fxrstor), none);
    m.expect(before);
    m.poke<u32>(area + 24, 0x10000);
    EXPECT_EQ(m.ae(fxrstor), gp0) << "MXCSR";
    m.cpu.reg(Gpr::rbx) = area + 8;
    EXPECT_EQ(m.ae(fxsave), gp0) << "alignment";
    m.cpu.cr0 |= cr0_bits::ts;
    EXPECT_EQ(m.ae(fxsave), nm);
    m.cpu.cr0 = (m.cpu.cr0 & ~cr0_bits::ts) | cr0_bits::em;
    EXPECT_EQ(m.ae(fxrstor), nm);
}

TEST(Fxsave, ThirtyTwoBitModeKnowsEightRegisters) {
    StateMachine m(Mode::protected32);
    m.fill();
    ASSERT_EQ(m.ae(fxsave), none);
    EXPECT_EQ(m.peek<u64>(area + 160 + 16 * 7), 0x0808080808080808u);
    EXPECT_EQ(m.peek<u64>(area + 160 + 16 * 8), 0xEEEEEEEEEEEEEEEEu);
}

TEST(Xsave, StandardRoundTrip) {
    StateMachine m;
    m.fill();
    const auto before = m.everything();
    ASSERT_EQ(m.ae(xsave), none);
    EXPECT_EQ(m.peek<u64>(header), 0x207u);
    EXPECT_EQ(m.peek<u64>(header + 8), 0u);
    EXPECT_EQ(m.peek<u64>(area + 576 + 16), 0x2222222222222222u) << "upper half of YMM1";
    EXPECT_EQ(m.peek<u32>(area + 2688), 0x55555554u);
    m.clear();
    ASSERT_EQ(m.ae(xrstor), none);
    m.expect(before);
}

TEST(Xsave, OnlyWhatIsAsked) {
    StateMachine m;
    m.fill();
    m.ask(4);
    m.poke<u64>(header, 0x203);
    ASSERT_EQ(m.ae(xsave), none);
    EXPECT_EQ(m.peek<u64>(header), 0x207u) << "the other bits stay";
    EXPECT_EQ(m.peek<u64>(area), 0xEEEEEEEEEEEEEEEEu);
    EXPECT_EQ(m.peek<u32>(area + 24), 0x1FA0u) << "MXCSR goes with AVX too";
    EXPECT_EQ(m.peek<u64>(area + 160), 0xEEEEEEEEEEEEEEEEu);
    EXPECT_EQ(m.peek<u64>(area + 576), 0x2121212121212121u);
    EXPECT_EQ(m.peek<u32>(area + 2688), 0xEEEEEEEEu);
}

TEST(Xsave, InitialStateAndXsaveopt) {
    StateMachine m;
    m.clear();
    m.cpu.vec[3].q[1] = 5;
    ASSERT_EQ(m.ae(xsaveopt), none);
    EXPECT_EQ(m.peek<u64>(header), 2u) << "only SSE is in use";
    EXPECT_EQ(m.peek<u64>(area), 0xEEEEEEEEEEEEEEEEu) << "x87 is initial: not written";
    EXPECT_EQ(m.peek<u64>(area + 576), 0xEEEEEEEEEEEEEEEEu);
    EXPECT_EQ(m.peek<u64>(area + 160 + 56), 5u);
    m.fill();
    ASSERT_EQ(m.ae(xrstor), none);
    EXPECT_EQ(m.cpu.fx.fcw, 0x37F) << "restored to its initial configuration";
    EXPECT_EQ(m.cpu.vec[3].q[1], 5u);
    EXPECT_EQ(m.cpu.vec[3].q[2], 0u);
    EXPECT_EQ(m.cpu.pkru, 0u);
}

TEST(Xsave, Compacted) {
    StateMachine m;
    m.fill();
    const auto before = m.everything();
    m.ask(0x201 | 2);  // without AVX: PKRU moves up
    ASSERT_EQ(m.xsavec(), none);
    EXPECT_EQ(m.peek<u64>(header), 0x203u);
    EXPECT_EQ(m.peek<u64>(header + 8), 1ull << 63 | 0x203);
    EXPECT_EQ(m.peek<u32>(area + 576), 0x55555554u);
    m.ask(~0ull);
    ASSERT_EQ(m.xsaves(), none);
    EXPECT_EQ(m.peek<u64>(header + 8), 1ull << 63 | 0x207);
    EXPECT_EQ(m.peek<u32>(area + 576 + 256), 0x55555554u);
    m.clear();
    ASSERT_EQ(m.xrstors(), none);
    m.expect(before);
    m.clear();
    ASSERT_EQ(m.ae(xrstor), none) << "XRSTOR knows the compacted form";
    m.expect(before);
}

TEST(Xsave, CompactedMxcsrIsSseState) {
    StateMachine m;
    m.clear();
    m.cpu.fx.mxcsr = 0x1FA0;
    m.ask(6);
    ASSERT_EQ(m.xsavec(), none);
    EXPECT_EQ(m.peek<u64>(header), 2u) << "MXCSR alone makes SSE in use";
    m.cpu.fx.mxcsr = 0x1F80;
    ASSERT_EQ(m.ae(xrstor), none);
    EXPECT_EQ(m.cpu.fx.mxcsr, 0x1FA0u);
    m.poke<u64>(header, 0);
    ASSERT_EQ(m.ae(xrstor), none);
    EXPECT_EQ(m.cpu.fx.mxcsr, 0x1F80u);
}

TEST(Xrstor, HeaderChecks) {
    struct Case { const char* name; u64 word0, word1, word2, word3; Raised expected; };
    constexpr u64 c = 1ull << 63;
    const Case cases[] = {
        {"good", 7, 0, 0, 0, none},
        {"XSTATE_BV beyond XCR0", 8, 0, 0, 0, gp0},
        {"standard with XCOMP_BV", 7, 7, 0, 0, gp0},
        {"standard, bytes 23:16", 7, 0, 1, 0, gp0},
        {"standard, later bytes are ignored", 7, 0, 0, 1, none},
        {"compacted", 7, c | 7, 0, 0, none},
        {"compacted, not in XCOMP_BV", 7, c | 3, 0, 0, gp0},
        {"compacted beyond XCR0", 7, c | 0xF, 0, 0, gp0},
        {"compacted, bytes 31:24", 7, c | 7, 0, 1, gp0},
    };
    for (const Case& k : cases) {
        SCOPED_TRACE(k.name);
        StateMachine m;
        m.clear();
        for (u64 i = 0; i < 1024; i += 8)
            if (area + i < header || area + i >= header + 64) m.poke<u64>(area + i, 0);
        m.poke<u64>(header, k.word0);
        m.poke<u64>(header + 8, k.word1);
        m.poke<u64>(header + 16, k.word2);
        m.poke<u64>(header + 24, k.word3);
        EXPECT_EQ(m.ae(xrstor), k.expected);
        if (k.word1 == 0) {
            EXPECT_EQ(m.xrstors(), gp0) << "XRSTORS takes the compacted form only";
        }
    }
}

TEST(Xsave, Availability) {
    StateMachine m;
    m.cpu.reg(Gpr::rbx) = area + 32;
    EXPECT_EQ(m.ae(xsave), gp0) << "alignment of 64";
    m.cpu.cr0 |= cr0_bits::ts;
    EXPECT_EQ(m.ae(xsave), nm);
    m.cpu.cr4 &= ~cr4_bits::osxsave;
    EXPECT_EQ(m.ae(xsave), ud);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xD0}), ud) << "xgetbv";
    StateMachine user(Mode::long64, 3);
    EXPECT_EQ(user.ae(xsave), none);
    EXPECT_EQ(user.xsaves(), gp0);
    EXPECT_EQ(user.xrstors(), gp0);
}

TEST(Xcr0, Rules) {
    StateMachine m;
    const auto xsetbv = [&](u64 value, u32 index = 0) {
        m.cpu.reg(Gpr::rcx) = index;
        m.ask(value);
        return m.fault_of({0x0F, 0x01, 0xD1});
    };
    EXPECT_EQ(xsetbv(7), none);
    EXPECT_EQ(m.cpu.xcr0, 7u);
    EXPECT_EQ(xsetbv(6), gp0) << "x87 is always there";
    EXPECT_EQ(xsetbv(5), gp0) << "AVX needs SSE";
    EXPECT_EQ(xsetbv(0x18 | 7), gp0) << "MPX is not enumerated";
    EXPECT_EQ(xsetbv(7, 1), gp0);
    m.clear();
    m.cpu.vec[0].q[3] = 1;
    m.cpu.reg(Gpr::rcx) = 1;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xD0}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 4u) << "in use";
    m.cpu.reg(Gpr::rcx) = 2;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xD0}), gp0);
    StateMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xD1}), gp0);
}

TEST(Pkru, ReadAndWrite) {
    StateMachine m(Mode::long64, 3);
    m.cpu.reg(Gpr::rcx) = 0;
    m.ask(0x1234);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xEF}), none);
    EXPECT_EQ(m.cpu.pkru, 0x1234u);
    m.cpu.reg(Gpr::rdx) = 1;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xEF}), gp0);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xEE}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x1234u);
    EXPECT_EQ(m.cpu.reg(Gpr::rdx), 0u);
    m.cpu.cr4 &= ~cr4_bits::pke;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xEE}), ud);
}

}  // namespace
}  // namespace droste::test
