// SPDX-License-Identifier: Apache-2.0
// User interrupts: sending, notification, delivery, return, and their registers.
#include "cpu/user_interrupts.h"
#include "enforcement_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using M = EnforcementMachine;

constexpr u64 upid_at = 0x21000, uitt = 0x22000, handler = 0x3000;
const std::initializer_list<u8> uiret = {0xF3, 0x0F, 0x01, 0xEC}, testui = {0xF3, 0x0F, 0x01, 0xED},
                                clui = {0xF3, 0x0F, 0x01, 0xEE}, stui = {0xF3, 0x0F, 0x01, 0xEF},
                                senduipi_rax = {0xF3, 0x0F, 0xC7, 0xF0};

struct UserMachine : M {
    explicit UserMachine(u8 cpl = 3, u64 u_cet = 0) : M(cpl, u_cet) {
        cpu.cr4 |= cr4_bits::uintr;
        cpu.uintr.handler = handler;
        cpu.uintr.stack_adjust = 128;
        cpu.uintr.pd = upid_at;
        cpu.uintr.tt = uitt | 1;
        cpu.uintr.misc = 3 | 0xECull << 32;
        poke<u64>(upid_at, 0);
        poke<u64>(upid_at + 8, 0);
        for (unsigned i = 0; i < 5; ++i) {
            poke<u64>(uitt + 16 * i, 1 | (i + 5) << 8);
            poke<u64>(uitt + 16 * i + 8, upid_at);
        }
        write(handler, {0x0F, 0x0B});
        cpu.context_changed();
    }
};

TEST(UserInterrupts, FlagInstructions) {
    UserMachine m;
    EXPECT_EQ(m.fault_of(stui), none);
    EXPECT_TRUE(m.cpu.uintr.uif);
    m.cpu.flags = flag_image::all;
    EXPECT_EQ(m.fault_of(testui), none);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, rflags_bits::cf);
    EXPECT_EQ(m.fault_of(clui), none);
    EXPECT_FALSE(m.cpu.uintr.uif);
    EXPECT_EQ(m.fault_of(testui), none);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, 0u);
    m.cpu.cr4 &= ~cr4_bits::uintr;
    for (const auto& bytes : {uiret, testui, clui, stui, senduipi_rax})
        EXPECT_EQ(m.fault_of(bytes), ud);
    SystemMachine p(Mode::protected32);
    p.cpu.cr4 |= cr4_bits::uintr;
    for (const auto& bytes : {uiret, testui, clui, stui, senduipi_rax})
        EXPECT_EQ(p.fault_of(bytes), ud);
}

TEST(UserInterrupts, DeliveryAndReturn) {
    UserMachine m;
    m.cpu.uintr.rr = 1ull << 7 | 1ull << 33;
    m.cpu.rflags |= rflags_bits::ac;
    m.cpu.flags = flag_image::all;
    m.cpu.context_changed();
    const u64 rsp = m.cpu.reg(Gpr::rsp) = M::stack_top - 3, image = m.cpu.read_rflags();
    m.cpu.rip = 0x2345;
    EXPECT_FALSE(user_interrupt(m.cpu)) << "UIF";
    m.cpu.uintr.uif = true;
    ASSERT_TRUE(user_interrupt(m.cpu));
    EXPECT_EQ(m.cpu.rip, handler);
    EXPECT_FALSE(m.cpu.uintr.uif);
    EXPECT_EQ(m.cpu.uintr.rr, 1u << 7) << "the highest goes first";
    const u64 sp = m.cpu.reg(Gpr::rsp);
    EXPECT_EQ(sp, ((rsp - 128) & ~0xFull) - 32) << "below the red zone, aligned";
    EXPECT_EQ(m.pushed<u64>(0), 33u);
    EXPECT_EQ(m.pushed<u64>(1), 0x2345u);
    EXPECT_EQ(m.pushed<u64>(2), image);
    EXPECT_EQ(m.pushed<u64>(3), rsp);
    EXPECT_FALSE(user_interrupt(m.cpu)) << "UIF is 0 in the handler";

    m.cpu.reg(Gpr::rsp) += 8;
    m.poke<u64>(sp + 16, image ^ (rflags_bits::if_ | rflags_bits::iopl | rflags_bits::cf | rflags_bits::df));
    ASSERT_EQ(m.fault_of(uiret), none);
    EXPECT_EQ(m.cpu.rip, 0x2345u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp);
    EXPECT_TRUE(m.cpu.uintr.uif);
    EXPECT_EQ(m.cpu.read_rflags(), image ^ (rflags_bits::cf | rflags_bits::df))
        << "IF and IOPL are not a user's";
}

TEST(UserInterrupts, OnAStackOfTheirOwn) {
    UserMachine m;
    m.cpu.uintr.rr = 1;
    m.cpu.uintr.uif = true;
    m.cpu.uintr.stack_adjust = 0x5009;
    ASSERT_TRUE(user_interrupt(m.cpu));
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x5000u - 32);
}

TEST(UserInterrupts, OnlyUserCodeOf64BitsTakesThem) {
    const auto taken = [](UserMachine& m) {
        m.cpu.uintr.rr = 1;
        m.cpu.uintr.uif = true;
        return user_interrupt(m.cpu);
    };
    UserMachine system(0), good, compatibility, off, shadow;
    EXPECT_TRUE(taken(good));
    EXPECT_FALSE(taken(system));
    compatibility.cpu.segment(Seg::cs).access = 0xC0FB;
    compatibility.cpu.context_changed();
    EXPECT_FALSE(taken(compatibility));
    off.cpu.cr4 &= ~cr4_bits::uintr;
    EXPECT_FALSE(taken(off));
    shadow.cpu.interruptibility = interruptibility_bits::mov_ss;
    EXPECT_FALSE(taken(shadow));
}

TEST(UserInterrupts, AtTheNextBoundaryAfterStui) {
    UserMachine m;
    m.cpu.uintr.rr = 1;
    m.write(handler, {0xF4});
    m.run({0x90, 0xF3, 0x0F, 0x01, 0xEF, 0x90}, 10);
    EXPECT_EQ(m.peek<u64>(((M::stack_top - 128) & ~0xFull) - 24), M::code + 5);
    EXPECT_EQ(m.cpu.uintr.rr, 0u);
}

TEST(UserInterrupts, FaultsLeaveThemPending) {
    UserMachine m;
    m.cpu.uintr.rr = 4;
    m.cpu.uintr.uif = true;
    m.cpu.uintr.handler = 0x0100000000000000;
    ASSERT_TRUE(user_interrupt(m.cpu));
    EXPECT_EQ(m.cpu.rip, M::stops + 16 * 13);
    EXPECT_EQ(m.cpu.uintr.rr, 4u);
    EXPECT_TRUE(m.cpu.uintr.uif);
}

TEST(UserInterrupts, ShadowStackAndTracker) {
    using namespace cet_bits;
    UserMachine m(3, sh_stk_en | endbr_en);
    m.cpu.uintr.rr = 1;
    m.cpu.uintr.uif = true;
    m.cpu.rip = 0x2345;
    const u64 ssp = m.cpu.cet.ssp;
    ASSERT_TRUE(user_interrupt(m.cpu));
    EXPECT_EQ(m.shadow(ssp - 8), 0x2345u);
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 8);
    EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
    m.cpu.reg(Gpr::rsp) += 8;
    m.set_shadow(ssp - 8, 0x2346);
    EXPECT_EQ(m.fault_of(uiret), cp(2));
    m.set_shadow(ssp - 8, 0x2345);
    EXPECT_EQ(m.fault_of(uiret), none);
    EXPECT_EQ(m.cpu.cet.ssp, ssp);
}

TEST(UserInterrupts, NotificationEmptiesTheDescriptor) {
    UserMachine m(0);
    m.poke<u64>(upid_at, 0x1234000000EC0001);
    m.poke<u64>(upid_at + 8, 0x8000000000000010);
    m.cpu.uintr.rr = 1;
    EXPECT_FALSE(notify_user(m.cpu, 0xEB, false));
    ASSERT_TRUE(notify_user(m.cpu, 0xEC, false));
    EXPECT_EQ(m.cpu.uintr.rr, 0x8000000000000011u);
    EXPECT_EQ(m.peek<u64>(upid_at), 0x1234000000EC0000u);
    EXPECT_EQ(m.peek<u64>(upid_at + 8), 0u);
    EXPECT_FALSE(m.cpu.vectoring.active);
    m.cpu.cr4 &= ~cr4_bits::uintr;
    EXPECT_FALSE(notify_user(m.cpu, 0xEC, false));

    UserMachine user(
        3);  // the whole way: the interrupt arrives, its descriptor is emptied, the user takes it
    user.poke<u64>(upid_at + 8, 2);
    user.cpu.uintr.uif = true;
    user.cpu.rflags |= rflags_bits::if_;
    user.interrupts.raise(0xEC);
    user.write(handler, {0xF4});
    user.run({0x90}, 10);
    EXPECT_EQ(user.cpu.uintr.rr, 0u);
    EXPECT_EQ(user.peek<u64>(((M::stack_top - 128) & ~0xFull) - 32), 1u);
}

TEST(UserInterrupts, Send) {
    UserMachine m;
    m.poke<u64>(upid_at, 0x500 * (1ull << 32) | 0xEC0000);
    m.cpu.reg(Gpr::rax) = 3;
    ASSERT_EQ(m.fault_of(senduipi_rax), none);
    EXPECT_EQ(m.peek<u64>(upid_at + 8), 1u << 8);
    EXPECT_EQ(m.peek<u64>(upid_at), 0x500 * (1ull << 32) | 0xEC0001);
    EXPECT_EQ(m.interrupts.notifications, (std::vector<std::pair<u32, u8>>{{0x500, 0xEC}}));
    m.cpu.reg(Gpr::rax) = 0;
    ASSERT_EQ(m.fault_of(senduipi_rax), none);
    EXPECT_EQ(m.peek<u64>(upid_at + 8), 1u << 8 | 1u << 5);
    EXPECT_EQ(m.interrupts.notifications.size(), 1u) << "one is outstanding";
    m.poke<u64>(upid_at, 2);
    ASSERT_EQ(m.fault_of(senduipi_rax), none);
    EXPECT_EQ(m.peek<u64>(upid_at), 2u) << "suppressed";
    EXPECT_EQ(m.interrupts.notifications.size(), 1u);
}

TEST(UserInterrupts, SendChecks) {
    struct Case {
        const char* name;
        u64 index, head, descriptor, posted;
        Raised expected;
    };
    for (const Case& c :
         {Case{"good", 0, 0x3F01, upid_at, 0, none}, Case{"beyond UITTSZ", 4, 0x3F01, upid_at, 0, gp0},
          Case{"not valid", 0, 0x3F00, upid_at, 0, gp0}, Case{"reserved", 0, 0x3F03, upid_at, 0, gp0},
          Case{"reserved high", 0, 0x13F01, upid_at, 0, gp0}, Case{"vector 64", 0, 0x4001, upid_at, 0, gp0},
          Case{"alignment", 0, 0x3F01, upid_at + 32, 0, gp0},
          Case{"descriptor reserved", 0, 0x3F01, upid_at, 4, gp0},
          Case{"descriptor reserved byte", 0, 0x3F01, upid_at, 1 << 24, gp0}}) {
        UserMachine m;
        m.poke<u64>(uitt, c.head);
        m.poke<u64>(uitt + 8, c.descriptor);
        m.poke<u64>(upid_at, c.posted);
        m.cpu.reg(Gpr::rax) = c.index;
        EXPECT_EQ(m.fault_of(senduipi_rax), c.expected) << c.name;
        EXPECT_EQ(m.peek<u64>(upid_at + 8), c.expected == none ? 1ull << 63 : 0) << c.name;
    }
    UserMachine m;
    m.cpu.uintr.tt &= ~1ull;
    EXPECT_EQ(m.fault_of(senduipi_rax), ud) << "IA32_UINTR_TT bit 0";
}

TEST(UserInterrupts, Msrs) {
    struct Case {
        u32 index;
        u64 value;
        bool accepted;
    };
    for (const Case& c :
         {Case{0x985, ~0ull, true}, Case{0x986, 0x7FFFFFFFFFFF, true}, Case{0x986, 0x0100000000000000, false},
          Case{0x987, 0x1001, true}, Case{0x987, 0x0100000000000000, false}, Case{0x988, 0xFFFFFFFFFF, true},
          Case{0x988, 1ull << 40, false}, Case{0x989, 0x1040, true}, Case{0x989, 0x1020, false},
          Case{0x98A, 0x1011, true}, Case{0x98A, 0x1002, false}, Case{0x98B, 0, false}}) {
        UserMachine m(0);
        EXPECT_EQ(m.table.write(m.cpu, c.index, c.value), c.accepted)
            << std::hex << c.index << " " << c.value;
        if (c.accepted) {
            EXPECT_EQ(m.table.read(m.cpu, c.index), c.value) << std::hex << c.index;
        }
    }
    UserMachine m(0);
    for (u32 i = 0; i < 6; ++i)
        m.table.write(m.cpu, 0x985 + i, 0x1000 * (i + 1));
    const UintrState& u = m.cpu.uintr;
    EXPECT_EQ((std::array<u64, 6>{u.rr, u.handler, u.stack_adjust, u.misc, u.pd, u.tt}),
              (std::array<u64, 6>{0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000}));
    SystemMachine old(Mode::long64, 0, *make_cpu_model("icelake-sp"));
    for (u32 i = 0x985; i < 0x98B; ++i)
        EXPECT_EQ(old.table.read(old.cpu, i), std::nullopt) << i;
}

TEST(UserInterrupts, SavedByXsavesWhichEndsNotification) {
    UserMachine m(0);
    constexpr u64 area = 0x20000;
    for (u64 i = 0; i < 1024; i += 8)
        m.poke<u64>(area + i, 0);
    m.cpu.xss = 1 << 14;
    m.cpu.uintr.uif = true;
    m.cpu.uintr.rr = 0x55;
    m.cpu.reg(Gpr::rbx) = area;
    m.cpu.reg(Gpr::rax) = 1 << 14;
    m.cpu.reg(Gpr::rdx) = 0;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x2B}), none);
    const u64 expected[] = {handler, 128, 3 | 0xECull << 32 | 1ull << 63, upid_at, 0x55, uitt | 1};
    for (unsigned i = 0; i < 6; ++i)
        EXPECT_EQ(m.peek<u64>(area + 576 + 8 * i), expected[i]) << i;
    EXPECT_EQ(m.cpu.uintr.misc, 3u) << "UINV is cleared";
    m.cpu.uintr = {};
    m.cpu.uintr.misc = 1ull << 32;
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), gp0) << "while notifications still arrive for another";
    m.cpu.uintr.misc = 0;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), none);
    EXPECT_TRUE(m.cpu.uintr.uif);
    EXPECT_EQ(m.cpu.uintr.misc, 3 | 0xECull << 32);
    EXPECT_EQ(m.cpu.uintr.rr, 0x55u);
    EXPECT_EQ(m.cpu.uintr.tt, uitt | 1);
    m.poke<u64>(area + 512, 0);
    m.cpu.uintr.misc = 0;
    ASSERT_EQ(m.fault_of({0x48, 0x0F, 0xC7, 0x1B}), none);
    EXPECT_FALSE(m.cpu.uintr.uif);
    EXPECT_EQ(m.cpu.uintr.handler, 0u);
}

}  // namespace
}  // namespace droste::test
