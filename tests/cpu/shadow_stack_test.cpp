// SPDX-License-Identifier: Apache-2.0
// Shadow stacks: near and far transfers, events, tokens, page faults, management instructions, system calls.
#include "enforcement_machine.h"

namespace droste::test {
namespace {

using namespace cet_bits;
using M = EnforcementMachine;
using Mode = TestMachine::Mode;

// ---- near transfers

class NearTransfers : public testing::TestWithParam<u8> {};

TEST_P(NearTransfers, CallPushesAndReturnCompares) {
    const u8 cpl = GetParam();
    M m(cpl, cpl == 3 ? sh_stk_en : 0, cpl == 3 ? 0 : sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    EXPECT_EQ(m.fault_of({0xE8, 0x10, 0, 0, 0}), none);
    EXPECT_EQ(m.cpu.rip, M::code + 0x15);
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 8);
    EXPECT_EQ(m.shadow(ssp - 8), M::code + 5);
    EXPECT_EQ(m.fault_of({0xC3}), none);
    EXPECT_EQ(m.cpu.rip, M::code + 5);
    EXPECT_EQ(m.cpu.cet.ssp, ssp);

    // Another return address on either stack.
    m.cpu.reg(Gpr::rax) = M::code;
    EXPECT_EQ(m.fault_of({0xFF, 0xD0}), none) << "an indirect CALL pushes too";
    const u64 rsp = m.cpu.reg(Gpr::rsp);
    m.poke<u64>(rsp, M::code + 0x40);
    EXPECT_EQ(m.fault_of({0xC3}), cp(1));
    EXPECT_EQ(m.fault_of({0xC2, 8, 0}), cp(1));
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp);
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 8);
    EXPECT_EQ(m.cpu.rip, M::code);
    m.set_shadow(ssp - 8, M::code + 0x40);
    EXPECT_EQ(m.fault_of({0xC2, 8, 0}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp + 16);
    EXPECT_EQ(m.cpu.cet.ssp, ssp);
}
INSTANTIATE_TEST_SUITE_P(Levels, NearTransfers, testing::Values(u8{0}, u8{3}));

TEST(ShadowStack, CallOfTheNextInstructionPushesNothing) {
    M m(3, sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    EXPECT_EQ(m.fault_of({0xE8, 0, 0, 0, 0}), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp);
    EXPECT_EQ(m.peek<u64>(M::stack_top - 8), M::code + 5);
    m.cpu.reg(Gpr::rax) = m.cpu.rip + 2;
    EXPECT_EQ(m.fault_of({0xFF, 0xD0}), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 8) << "the indirect form does";
}

TEST(ShadowStack, ThirtyTwoBitCodePushesFourBytes) {
    SystemMachine m(Mode::protected32);  // without paging every page serves
    m.cpu.cr4 |= cr4_bits::cet;
    m.cpu.cet.s_cet = sh_stk_en;
    m.cpu.cet.ssp = 0x30000;
    m.cpu.context_changed();
    m.poke<u64>(0x2FFF8, 0x1111111122222222);
    EXPECT_EQ(m.fault_of({0xE8, 0x10, 0, 0, 0}), none);
    EXPECT_EQ(m.cpu.cet.ssp, 0x2FFFCu);
    EXPECT_EQ(m.peek<u64>(0x2FFF8), (M::code + 5) << 32 | 0x22222222);
    EXPECT_EQ(m.fault_of({0x66, 0xE8, 0x10, 0}), none) << "16-bit operands too";
    EXPECT_EQ(m.cpu.cet.ssp, 0x2FFF8u);
    EXPECT_EQ(m.peek<u32>(0x2FFF8), M::code + 0x15 + 4);
    EXPECT_EQ(m.fault_of({0x66, 0xC3}), none);
    EXPECT_EQ(m.cpu.cet.ssp, 0x2FFFCu);
}

TEST(ShadowStack, OffWithoutAnyOfItsSwitches) {
    for (unsigned off = 0; off < 2; ++off) {
        M m(3, off == 0 ? 0 : sh_stk_en, sh_stk_en);
        if (off == 1)
            m.cpu.cr4 &= ~cr4_bits::cet;
        m.cpu.context_changed();
        const u64 ssp = m.cpu.cet.ssp;
        EXPECT_EQ(m.fault_of({0xE8, 0x10, 0, 0, 0}), none);
        EXPECT_EQ(m.cpu.cet.ssp, ssp) << off;
    }
}

// ---- pages

TEST(ShadowStack, PageFaultsTellWhatTheAccessWas) {
    M m(3, sh_stk_en);
    constexpr u64 plain = 0x40010000, clean = 0x40011000, absent = 0x40012000, upper_readonly = 0x80000000;
    m.map(plain, 0x210000, 7 | 0x40);
    m.map(clean, 0x211000, 5);
    m.map(absent, 0x212000, 0);
    m.map(upper_readonly, 0x213000, M::shadow_flags | 4);
    m.poke<u64>(M::tables + 0x1000 + 8 * 2, m.peek<u64>(M::tables + 0x1000 + 8 * 2) & ~2ull);
    struct Case {
        const char* name;
        u64 page;
        u32 read, write;  ///< error codes
    };
    for (const Case& c :
         {Case{"writable", plain, 0x45, 0x47}, Case{"not dirty", clean, 0x45, 0x47},
          Case{"not present", absent, 0x44, 0x46}, Case{"supervisor", M::system_stack, 0x45, 0x47},
          Case{"an upper entry not writable", upper_readonly, 0x45, 0x47}}) {
        m.cpu.rip = M::code;
        m.cpu.cet.ssp = c.page + 0x100;
        const u64 rsp = m.cpu.reg(Gpr::rsp);
        EXPECT_EQ(m.fault_of({0xE8, 0x10, 0, 0, 0}), pf(c.write)) << c.name;
        EXPECT_EQ(m.cpu.memory_fault.linear.value, c.page + 0xF8) << c.name;
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp) << c.name;
        EXPECT_EQ(m.cpu.cet.ssp, c.page + 0x100) << c.name;
        EXPECT_EQ(m.fault_of({0xC3}), pf(c.read)) << c.name;
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp) << c.name;
    }
    M s(0, 0, sh_stk_en);
    s.cpu.cet.ssp = M::user_stack + 0x100;
    EXPECT_EQ(s.fault_of({0xE8, 0x10, 0, 0, 0}), pf(0x43))
        << "a supervisor does not use a user's shadow stack";
    s.cpu.cet.ssp = 0x0000900000000000;
    EXPECT_EQ(s.fault_of({0xE8, 0x10, 0, 0, 0}), gp0);
}

TEST(ShadowStack, OrdinaryStoresCannotWriteThere) {
    M m(3, sh_stk_en);
    m.cpu.reg(Gpr::rbx) = M::user_stack;
    EXPECT_EQ(m.fault_of({0x48, 0x89, 0x03}), pf(7)) << "mov [rbx], rax";
    EXPECT_EQ(m.fault_of({0x48, 0x8B, 0x03}), none) << "reads are free";
    EXPECT_EQ(m.fault_of({0x48, 0x89, 0x03}), pf(7));
}

TEST(ShadowStack, ProtectionKeysApply) {
    M m(3, sh_stk_en);
    m.map(M::user_stack, M::user_page, M::shadow_flags | 4 | 3ull << 59);
    m.cpu.cr4 |= cr4_bits::pke;
    m.cpu.pkru = 2u << 6;  // key 3: write disable
    m.cpu.context_changed();
    m.set_shadow(m.cpu.cet.ssp, M::code);
    m.poke<u64>(m.cpu.reg(Gpr::rsp), M::code);
    EXPECT_EQ(m.fault_of({0xE8, 0x10, 0, 0, 0}), pf(0x67));
    EXPECT_EQ(m.fault_of({0xC3}), none);
    m.cpu.pkru = 1u << 6;
    m.cpu.context_changed();
    EXPECT_EQ(m.fault_of({0xC3}), pf(0x65));
}

// ---- management

const std::initializer_list<u8> incsspq_rax = {0xF3, 0x48, 0x0F, 0xAE, 0xE8},
                                incsspd_eax = {0xF3, 0x0F, 0xAE, 0xE8},
                                rdsspq_rax = {0xF3, 0x48, 0x0F, 0x1E, 0xC8},
                                rdsspd_eax = {0xF3, 0x0F, 0x1E, 0xC8}, saveprevssp = {0xF3, 0x0F, 0x01, 0xEA},
                                rstorssp_rbx = {0xF3, 0x0F, 0x01, 0x2B},
                                wrssq = {0x48, 0x0F, 0x38, 0xF6, 0x03}, wrssd = {0x0F, 0x38, 0xF6, 0x03},
                                wrussq = {0x66, 0x48, 0x0F, 0x38, 0xF5, 0x03},
                                wrussd = {0x66, 0x0F, 0x38, 0xF5, 0x03}, setssbsy = {0xF3, 0x0F, 0x01, 0xE8},
                                clrssbsy_rbx = {0xF3, 0x0F, 0xAE, 0x33};

TEST(ShadowStack, IncAndRead) {
    M m(3, sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    m.cpu.reg(Gpr::rax) = 0xABCD00;
    EXPECT_EQ(m.fault_of(incsspq_rax), none) << "bits 7:0 count";
    EXPECT_EQ(m.cpu.cet.ssp, ssp);
    m.cpu.reg(Gpr::rax) = 0xF03;
    EXPECT_EQ(m.fault_of(incsspq_rax), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp + 24);
    EXPECT_EQ(m.fault_of(incsspd_eax), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp + 36);
    m.cpu.reg(Gpr::rax) = ~0ull;
    EXPECT_EQ(m.fault_of(rdsspq_rax), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), ssp + 36);
    m.cpu.reg(Gpr::rax) = ~0ull;
    EXPECT_EQ(m.fault_of(rdsspd_eax), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), (ssp + 36) & 0xFFFFFFFF);
    m.cpu.cet.ssp = M::user_stack + 0xFF8;
    m.cpu.reg(Gpr::rax) = 1;
    EXPECT_EQ(m.fault_of(incsspq_rax), none) << "to the end of the page";
    m.cpu.cet.ssp = M::user_stack + 0xFF8;
    m.cpu.reg(Gpr::rax) = 2;
    EXPECT_EQ(m.fault_of(incsspq_rax), pf(0x45))
        << "the last element is read: the next page is a supervisor's";
    EXPECT_EQ(m.cpu.cet.ssp, M::user_stack + 0xFF8);
    m.cpu.cet.ssp = M::system_stack;
    m.cpu.reg(Gpr::rax) = 0;
    EXPECT_EQ(m.fault_of(incsspq_rax), pf(0x45)) << "the first is read even for 0";
}

TEST(ShadowStack, WithoutShadowStackReadIsNopAndTheOthersUndefined) {
    M m(3, endbr_en);
    m.cpu.reg(Gpr::rax) = 5;
    EXPECT_EQ(m.fault_of(rdsspq_rax), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 5u);
    for (const auto& bytes : {incsspq_rax, saveprevssp, rstorssp_rbx, wrssq, setssbsy, clrssbsy_rbx})
        EXPECT_EQ(m.fault_of(bytes), ud);
    EXPECT_EQ(m.fault_of(wrussq), gp0) << "needs CR4.CET alone, and CPL 0";
    M off(0, 0, sh_stk_en);
    off.cpu.cr4 &= ~cr4_bits::cet;
    off.cpu.context_changed();
    for (const auto& bytes : {incsspq_rax, saveprevssp, rstorssp_rbx, wrssq, wrussq, setssbsy, clrssbsy_rbx})
        EXPECT_EQ(off.fault_of(bytes), ud);
}

TEST(ShadowStack, SwitchThereAndBack) {
    M m(3, sh_stk_en);
    const u64 old = m.cpu.cet.ssp, other = M::user_stack + 0x400;
    m.set_shadow(other, (other + 8) | 1);  // a restore token of 64-bit code
    m.cpu.reg(Gpr::rbx) = other;
    m.cpu.flags = flag_image::all;
    EXPECT_EQ(m.fault_of(rstorssp_rbx), none);
    EXPECT_EQ(m.cpu.cet.ssp, other);
    EXPECT_EQ(m.shadow(other), old | 3) << "the previous-SSP token";
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, 0u);
    m.set_shadow(old - 8, 0x77);
    EXPECT_EQ(m.fault_of(saveprevssp), none);
    EXPECT_EQ(m.cpu.cet.ssp, other + 8);
    EXPECT_EQ(m.shadow(old - 8), old | 1) << "a restore token on the stack that was left";
    m.cpu.reg(Gpr::rbx) = old - 8;
    EXPECT_EQ(m.fault_of(rstorssp_rbx), none);
    EXPECT_EQ(m.cpu.cet.ssp, old - 8);
}

TEST(ShadowStack, RestoreTokensAreChecked) {
    struct Case {
        const char* name;
        u64 token;
        Raised expected;
    };
    constexpr u64 at = M::user_stack + 0x400;
    for (const Case& c :
         {Case{"right", (at + 8) | 1, none}, Case{"32-bit token", at + 8, cp(4)},
          Case{"bit 1", (at + 8) | 3, cp(4)}, Case{"elsewhere", (at + 16) | 1, cp(4)},
          Case{"hole", (at + 12) | 1, none}, Case{"below", at | 1, cp(4)}, Case{"zero", 0, cp(4)}}) {
        M m(3, sh_stk_en);
        m.set_shadow(at, c.token);
        m.cpu.reg(Gpr::rbx) = at;
        const u64 ssp = m.cpu.cet.ssp;
        EXPECT_EQ(m.fault_of(rstorssp_rbx), c.expected) << c.name;
        EXPECT_EQ(m.cpu.cet.ssp, c.expected == none ? at : ssp) << c.name;
        if (c.expected == none) {
            EXPECT_EQ(bool(m.cpu.flags & flag_image::cf), bool(c.token & 4)) << c.name;
        } else {
            EXPECT_EQ(m.shadow(at), c.token) << c.name;
        }
    }
    M m(3, sh_stk_en);
    m.cpu.reg(Gpr::rbx) = at + 4;
    EXPECT_EQ(m.fault_of(rstorssp_rbx), gp0) << "alignment";
    m.cpu.reg(Gpr::rbx) = M::data;
    EXPECT_EQ(m.fault_of(rstorssp_rbx), pf(0x47)) << "an ordinary page";
}

TEST(ShadowStack, SaveChecksTheToken) {
    M m(3, sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    m.set_shadow(ssp, (ssp + 0x100) | 1);
    EXPECT_EQ(m.fault_of(saveprevssp), gp0) << "bit 1 tells a previous-SSP token";
    m.set_shadow(ssp, (ssp + 0x100) | 3);
    m.cpu.flags |= flag_image::cf;
    EXPECT_EQ(m.fault_of(saveprevssp), gp0) << "64-bit stacks have no hole";
    m.cpu.flags = 0x200;
    m.cpu.cet.ssp = ssp + 4;
    EXPECT_EQ(m.fault_of(saveprevssp), gp0);
    m.cpu.cet.ssp = ssp;
    m.set_shadow(ssp + 0x100 - 8, ~0ull);
    EXPECT_EQ(m.fault_of(saveprevssp), none);
    EXPECT_EQ(m.shadow(ssp + 0x100 - 8), (ssp + 0x100) | 1);
    EXPECT_EQ(m.cpu.cet.ssp, ssp + 8);
}

TEST(ShadowStack, WriteInstructions) {
    M m(3, sh_stk_en);
    m.cpu.reg(Gpr::rax) = 0x1122334455667788;
    m.cpu.reg(Gpr::rbx) = M::user_stack + 0x20;
    EXPECT_EQ(m.fault_of(wrssq), ud) << "WR_SHSTK_EN";
    m.cpu.cet.u_cet |= wr_shstk_en;
    EXPECT_EQ(m.fault_of(wrssq), none);
    EXPECT_EQ(m.shadow(M::user_stack + 0x20), 0x1122334455667788u);
    m.cpu.reg(Gpr::rbx) = M::user_stack + 0x2C;
    EXPECT_EQ(m.fault_of(wrssq), gp0);
    EXPECT_EQ(m.fault_of(wrssd), none);
    EXPECT_EQ(m.shadow(M::user_stack + 0x28), 0x5566778800000000u);
    m.cpu.reg(Gpr::rbx) = M::system_stack;
    EXPECT_EQ(m.fault_of(wrssq), pf(0x47));
    m.cpu.cet.u_cet = wr_shstk_en;
    EXPECT_EQ(m.fault_of(wrssq), ud) << "SH_STK_EN is needed too";

    M s(0);
    s.cpu.reg(Gpr::rax) = 0x1122334455667788;
    s.cpu.reg(Gpr::rbx) = M::user_stack + 0x40;
    EXPECT_EQ(s.fault_of(wrussq), none);
    EXPECT_EQ(s.shadow(M::user_stack + 0x40), 0x1122334455667788u);
    s.cpu.reg(Gpr::rbx) = M::user_stack + 0x4C;
    EXPECT_EQ(s.fault_of(wrussd), none);
    EXPECT_EQ(s.shadow(M::user_stack + 0x48), 0x5566778800000000u);
    EXPECT_EQ(s.fault_of(wrussq), gp0);
    s.cpu.reg(Gpr::rbx) = M::system_stack;
    EXPECT_EQ(s.fault_of(wrussq), pf(0x47)) << "a user-mode access";
}

TEST(ShadowStack, BusyBit) {
    M m(0, 0, sh_stk_en);
    constexpr u64 at = M::system_stack + 0xFF8;
    m.cpu.cet.pl_ssp[0] = at;
    m.set_shadow(at, at);
    EXPECT_EQ(m.fault_of(setssbsy), none);
    EXPECT_EQ(m.cpu.cet.ssp, at);
    EXPECT_EQ(m.shadow(at), at | 1);
    EXPECT_EQ(m.fault_of(setssbsy), cp(5)) << "busy already";
    m.cpu.reg(Gpr::rbx) = at;
    m.cpu.flags = flag_image::all;
    EXPECT_EQ(m.fault_of(clrssbsy_rbx), none);
    EXPECT_EQ(m.shadow(at), at);
    EXPECT_EQ(m.cpu.cet.ssp, 0u);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, 0u);
    EXPECT_EQ(m.fault_of(clrssbsy_rbx), none);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, rflags_bits::cf) << "it was not busy";
    m.cpu.cet.pl_ssp[0] = at - 4;
    EXPECT_EQ(m.fault_of(setssbsy), gp0);
    m.cpu.reg(Gpr::rbx) = at - 4;
    EXPECT_EQ(m.fault_of(clrssbsy_rbx), gp0);
    M user(3, 0, sh_stk_en);
    EXPECT_EQ(user.fault_of(setssbsy), gp0);
    EXPECT_EQ(user.fault_of(clrssbsy_rbx), gp0);
}

// ---- events

TEST(ShadowStack, EventFromUserCodeAndBack) {
    M m(3, sh_stk_en, sh_stk_en);
    constexpr u64 token = M::system_stack + 0xFF8;
    m.cpu.cet.pl_ssp[0] = token;
    m.set_shadow(token, token);
    m.open_gate(0x80);
    const u64 user_ssp = m.cpu.cet.ssp;
    ASSERT_EQ(m.fault_of({0xCD, 0x80}), none);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.cet.pl_ssp[3], user_ssp);
    EXPECT_EQ(m.cpu.cet.ssp, token) << "nothing is pushed for a user";
    EXPECT_EQ(m.shadow(token), token | 1);
    m.cpu.cet.pl_ssp[3] = user_ssp - 0x40;
    EXPECT_EQ(m.fault_of({0x48, 0xCF}), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.cet.ssp, user_ssp - 0x40) << "IA32_PL3_SSP";
    EXPECT_EQ(m.shadow(token), token) << "free again";
}

TEST(ShadowStack, BusyOrWrongStackRefusesTheEvent) {
    for (const u64 wrong : {u64{1}, u64{8}}) {
        M m(3, sh_stk_en, sh_stk_en);
        constexpr u64 token = M::system_stack + 0xFF8;
        m.cpu.cet.pl_ssp[0] = token;
        m.set_shadow(token, token ^ wrong);
        m.open_gate(0x80);
        m.fault_of({0xCD, 0x80});
        // #GP is delivered through the same stack, fails again, and so does #DF.
        EXPECT_EQ(m.cpu.activity, Activity::shutdown);
        EXPECT_EQ(m.shadow(token), token ^ wrong);
    }
}

TEST(ShadowStack, EventAtTheSameLevel) {
    M m(0, 0, sh_stk_en);
    for (const u64 start : {M::system_stack + 0x800, M::system_stack + 0x804}) {
        m.cpu.cet.ssp = start;
        m.cpu.rip = M::code;
        ASSERT_EQ(m.fault_of({0xCD, 0x80}), none);
        constexpr u64 base = M::system_stack + 0x800;
        EXPECT_EQ(m.cpu.cet.ssp, base - 24);
        EXPECT_EQ(m.shadow(base - 24), start) << "SSP";
        EXPECT_EQ(m.shadow(base - 16), M::code + 2) << "LIP";
        EXPECT_EQ(m.shadow(base - 8), M::code_selector) << "CS";
        EXPECT_EQ(m.fault_of({0x48, 0xCF}), none);
        EXPECT_EQ(m.cpu.cet.ssp, start);
        EXPECT_EQ(m.cpu.rip, M::code + 2);
    }
    EXPECT_EQ(m.peek<u32>(M::system_page + 0x800), 0u) << "zeros in the hole";
}

TEST(ShadowStack, ReturnsCompareTheFrame) {
    for (unsigned broken = 0; broken < 4; ++broken) {
        M m(0, 0, sh_stk_en);
        ASSERT_EQ(m.fault_of({0xCD, 0x80}), none);
        const u64 ssp = m.cpu.cet.ssp;
        if (broken == 0)
            m.set_shadow(ssp + 16, M::code_selector | 1ull << 32);
        if (broken == 1)
            m.set_shadow(ssp + 8, M::code + 3);
        if (broken == 2)
            m.set_shadow(ssp, m.shadow(ssp) | 2);
        if (broken == 3)
            m.cpu.cet.ssp += 4;
        EXPECT_EQ(m.fault_of({0x48, 0xCF}), cp(2)) << broken;
    }
}

TEST(ShadowStack, InterruptStackTable) {
    M m(0, 0, sh_stk_en);
    constexpr u64 table = 0x14000, token = M::second_stack + 0xFF8;
    const u64 old = m.cpu.cet.ssp;
    m.cpu.cet.ssp_table = table;
    m.poke<u64>(table + 8, token);
    m.set_shadow(token, token);
    m.poke<u64>(M::idt + 16 * 0x80, m.peek<u64>(M::idt + 16 * 0x80) | 1ull << 32);  // IST 1
    ASSERT_EQ(m.fault_of({0xCD, 0x80}), none);
    EXPECT_EQ(m.shadow(token), token | 1);
    EXPECT_EQ(m.cpu.cet.ssp, token - 24);
    EXPECT_EQ(m.shadow(token - 24), old);
    EXPECT_EQ(m.fault_of({0x48, 0xCF}), none);
    EXPECT_EQ(m.cpu.cet.ssp, old);
    EXPECT_EQ(m.shadow(token), token);
}

// ---- far transfers

TEST(ShadowStack, FarCallAndReturn) {
    M m(0, 0, sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    m.poke<u32>(M::data, M::code + 0x100);
    m.poke<u16>(M::data + 4, M::code_selector);
    m.cpu.reg(Gpr::rbx) = M::data;
    ASSERT_EQ(m.fault_of({0xFF, 0x1B}), none) << "call far [rbx]";
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 24);
    EXPECT_EQ(m.shadow(ssp - 8), M::code_selector);
    EXPECT_EQ(m.shadow(ssp - 16), M::code + 2);
    EXPECT_EQ(m.shadow(ssp - 24), ssp);
    const u64 rsp = m.cpu.reg(Gpr::rsp);
    m.poke<u32>(rsp, M::code + 3);
    EXPECT_EQ(m.fault_of({0xCB}), cp(2));
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp);
    m.poke<u32>(rsp, M::code + 2);
    EXPECT_EQ(m.fault_of({0xCB}), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp);
    EXPECT_EQ(m.cpu.rip, M::code + 2);
}

TEST(ShadowStack, SystemCalls) {
    M m(3, sh_stk_en, sh_stk_en);
    m.cpu.star = u64(M::code_selector) << 32 | u64(0x10) << 48;
    m.cpu.lstar = M::code + 0x200;
    const u64 user_ssp = m.cpu.cet.ssp;
    ASSERT_EQ(m.fault_of({0x0F, 0x05}), none);
    EXPECT_EQ(m.cpu.cet.pl_ssp[3], user_ssp);
    EXPECT_EQ(m.cpu.cet.ssp, 0u);
    m.cpu.cet.pl_ssp[3] = user_ssp - 8;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0x07}), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.cet.ssp, user_ssp - 8);

    m.cpu.sysenter_cs = M::code_selector;
    m.cpu.sysenter_eip = M::code;
    m.cpu.sysenter_esp = M::stack_top;
    ASSERT_EQ(m.fault_of({0x0F, 0x34}), none);
    EXPECT_EQ(m.cpu.cet.pl_ssp[3], user_ssp - 8);
    EXPECT_EQ(m.cpu.cet.ssp, 0u);
    m.cpu.cet.pl_ssp[3] = user_ssp;
    m.cpu.reg(Gpr::rcx) = M::stack_top;
    m.cpu.reg(Gpr::rdx) = M::code;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0x35}), none);
    EXPECT_EQ(m.cpu.cet.ssp, user_ssp);
}

// ---- registers

TEST(ShadowStack, ControlRegistersHangTogether) {
    SystemMachine m(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
    const auto mov_cr = [&](unsigned cr, u64 v) {
        m.cpu.reg(Gpr::rax) = v;
        return m.fault_of({0x0F, 0x22, static_cast<u8>(0xC0 | cr << 3)});
    };
    EXPECT_EQ(mov_cr(0, m.cpu.cr0 & ~cr0_bits::wp), none);
    EXPECT_EQ(mov_cr(4, m.cpu.cr4 | cr4_bits::cet), gp0) << "CET needs WP";
    EXPECT_EQ(mov_cr(0, m.cpu.cr0 | cr0_bits::wp), none);
    EXPECT_EQ(mov_cr(4, m.cpu.cr4 | cr4_bits::cet), none);
    EXPECT_EQ(mov_cr(0, m.cpu.cr0 & ~cr0_bits::wp), gp0);
}

struct MsrCase {
    u32 index;
    u64 value;
    bool accepted;
};
TEST(ShadowStack, Msrs) {
    constexpr u64 not_canonical = 0x0080000000000000 << 1;
    for (const MsrCase& c : {MsrCase{0x6A0, 0x3F, true},
                             MsrCase{0x6A0, 0x40, false},
                             MsrCase{0x6A0, 0x200, false},
                             MsrCase{0x6A0, 0x400, true},
                             MsrCase{0x6A0, 0x800, true},
                             MsrCase{0x6A0, 0xC00, false},
                             MsrCase{0x6A2, 0xFFFF800012345005, true},
                             MsrCase{0x6A2, not_canonical, false},
                             MsrCase{0x6A2, 0x100, false},
                             MsrCase{0x6A2, 0x80, false},
                             MsrCase{0x6A4, 0x1004, true},
                             MsrCase{0x6A4, 0x1002, false},
                             MsrCase{0x6A5, 0x1001, false},
                             MsrCase{0x6A5, 0x10, true},
                             MsrCase{0x6A6, 0x18, true},
                             MsrCase{0x6A7, 0x1004, true},
                             MsrCase{0x6A7, 0x1001, false},
                             MsrCase{0x6A7, not_canonical, false},
                             MsrCase{0x6A8, 0x1007, true},
                             MsrCase{0x6A8, not_canonical, false},
                             MsrCase{0x6A1, 0, false},
                             MsrCase{0x6A3, 0, false},
                             MsrCase{0x6A9, 0, false}}) {
        SystemMachine m(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
        EXPECT_EQ(m.table.write(m.cpu, c.index, c.value), c.accepted)
            << std::hex << c.index << " " << c.value;
        if (c.accepted) {
            EXPECT_EQ(m.table.read(m.cpu, c.index), c.value) << std::hex << c.index;
        }
    }
    SystemMachine m(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
    for (u32 i = 0; i < 9; ++i)
        if (i != 1 && i != 3)
            m.table.write(m.cpu, 0x6A0 + i, 0x1000 * (i + 1));
    EXPECT_EQ(m.cpu.cet.u_cet, 0x1000u);
    EXPECT_EQ(m.cpu.cet.s_cet, 0x3000u);
    EXPECT_EQ(m.cpu.cet.pl_ssp, (std::array<u64, 4>{0x5000, 0x6000, 0x7000, 0x8000}));
    EXPECT_EQ(m.cpu.cet.ssp_table, 0x9000u);
    SystemMachine old(Mode::long64, 0, *make_cpu_model("icelake-sp"));
    for (u32 i = 0x6A0; i < 0x6A9; ++i)
        EXPECT_EQ(old.table.read(old.cpu, i), std::nullopt) << i;
    SystemMachine ibt(Mode::long64, 0, *make_cpu_model("sapphire-rapids", {"-cet_ss"}));
    EXPECT_FALSE(ibt.table.write(ibt.cpu, 0x6A0, 1));
    EXPECT_TRUE(ibt.table.write(ibt.cpu, 0x6A0, 4));
    EXPECT_EQ(ibt.table.read(ibt.cpu, 0x6A4), std::nullopt);
    SystemMachine ss(Mode::long64, 0, *make_cpu_model("sapphire-rapids", {"-cet_ibt"}));
    EXPECT_TRUE(ss.table.write(ss.cpu, 0x6A0, 3));
    EXPECT_FALSE(ss.table.write(ss.cpu, 0x6A0, 4));
}

TEST(ShadowStack, SavedAndRestoredByXsaves) {
    M m;
    constexpr u64 area = 0x20000;
    for (u64 i = 0; i < 1024; i += 8)
        m.poke<u64>(area + i, 0);
    m.cpu.xss = 3 << 11;
    m.cpu.cet.u_cet = 0x1005;
    m.cpu.cet.pl_ssp = {0x10, 0x20, 0x30, 0x40};
    m.cpu.reg(Gpr::rbx) = area;
    m.cpu.reg(Gpr::rax) = 3 << 11;
    m.cpu.reg(Gpr::rdx) = 0;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x2B}), none);
    EXPECT_EQ(m.peek<u64>(area + 512), 3u << 11);
    EXPECT_EQ(m.peek<u64>(area + 576), 0x1005u);
    EXPECT_EQ(m.peek<u64>(area + 584), 0x40u);
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_EQ(m.peek<u64>(area + 592 + 8 * i), 0x10u * (i + 1));
    m.cpu.cet.u_cet = 0;
    m.cpu.cet.pl_ssp = {};
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), none);
    EXPECT_EQ(m.cpu.cet.u_cet, 0x1005u);
    EXPECT_EQ(m.cpu.cet.pl_ssp, (std::array<u64, 4>{0x10, 0x20, 0x30, 0x40}));
    m.poke<u64>(area + 576, 0x40);
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), gp0) << "what WRMSR refuses";
    m.poke<u64>(area + 576, 4);
    m.poke<u64>(area + 584, 2);
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), gp0);
    m.poke<u64>(area + 584, 4);
    m.poke<u64>(area + 600, 1);
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), gp0);
    m.poke<u64>(area + 512, 0);
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), none) << "the initial state";
    EXPECT_EQ(m.cpu.cet.u_cet, 0u);
    EXPECT_EQ(m.cpu.cet.pl_ssp, (std::array<u64, 4>{}));
}

}  // namespace
}  // namespace droste::test
