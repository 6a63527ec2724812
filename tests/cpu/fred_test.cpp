// SPDX-License-Identifier: Apache-2.0
// FRED: frames, stack levels, both returns, system calls, what it takes away, shadow stacks; LKGS.
#include "cpu/fred.h"
#include "enforcement_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using M = EnforcementMachine;

constexpr u64 handlers = 0x30000;
constexpr u64 stacks[] = {0x40000, 0x44000, 0x48000, 0x4C000};
const std::initializer_list<u8> erets = {0xF2, 0x0F, 0x01, 0xCA}, eretu = {0xF3, 0x0F, 0x01, 0xCA};

struct FredMachine : M {
    explicit FredMachine(u8 cpl = 0, u64 u_cet = 0, u64 s_cet = 0) : M(cpl, u_cet, s_cet) {
        cpu.cr4 |= cr4_bits::fred;
        cpu.fred.config = handlers | 2 << 6 | 1 << 3 | 2 << 9;
        for (unsigned i = 0; i < 4; ++i)
            cpu.fred.rsp[i] = stacks[i];
        cpu.star = u64(code_selector) << 32 | u64(user_data_selector - 8) << 48;
        cpu.segment(Seg::gs).base = 0x1111000;
        cpu.kernel_gs_base = 0x2222000;
        cpu.context_changed();
    }
    /// Frame slot `n` above RSP: 0 error code, 1 RIP, 2 CS, 3 RFLAGS, 4 RSP, 5 SS, 6 event data, 7 zero.
    u64 frame(unsigned n) const { return pushed<u64>(n); }
};

TEST(Fred, EventFromUserCode) {
    FredMachine m(3);
    m.cpu.rip = 0x2345;
    m.cpu.rflags |= rflags_bits::if_;
    m.cpu.flags = flag_image::all;
    const u64 image = m.cpu.read_rflags(), rsp = m.cpu.reg(Gpr::rsp);
    m.cpu.pending_fault = {};
    m.cpu.deliver(Fault::of(Vector::gp, 0x18));
    EXPECT_EQ(m.cpu.rip, handlers) << "events of user code begin at offset 0";
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), stacks[0] - 64);
    EXPECT_EQ(m.frame(0), 0x18u);
    EXPECT_EQ(m.frame(1), 0x2345u);
    EXPECT_EQ(m.frame(2), u64{M::user_code_selector});
    EXPECT_EQ(m.frame(3), image | rflags_bits::rf);
    EXPECT_EQ(m.frame(4), rsp);
    EXPECT_EQ(m.frame(5), M::user_data_selector | 13ull << 32 | 3ull << 48 | 1ull << 57);
    EXPECT_EQ(m.frame(6), 0u);
    EXPECT_EQ(m.frame(7), 0u);
    EXPECT_EQ(m.cpu.read_rflags(), 2u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, M::code_selector);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, M::code_selector + 8);
    EXPECT_TRUE(m.cpu.code64());
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x2222000u) << "GS is swapped";
    EXPECT_EQ(m.cpu.kernel_gs_base, 0x1111000u);

    m.cpu.reg(Gpr::rsp) = stacks[0] - 64;
    ASSERT_EQ(m.fault_of(eretu), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.rip, 0x2345u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), rsp);
    EXPECT_EQ(m.cpu.read_rflags(), image | rflags_bits::rf);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, M::user_code_selector);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x1111000u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 0x2222000u);
}

TEST(Fred, EventFromSupervisorCodeStaysOnItsStack) {
    FredMachine m;
    m.cpu.reg(Gpr::rsp) = 0x7FE5;
    m.cpu.rip = 0x2345;
    m.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(m.cpu.rip, handlers + 256);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), ((0x7FE5u - 0x80) & ~0x3Fu) - 64)
        << "decrement by IA32_FRED_CONFIG, aligned";
    EXPECT_EQ(m.frame(2), u64{M::code_selector});
    EXPECT_EQ(m.frame(5), M::data_selector | 6ull << 32 | 3ull << 48 | 1ull << 57);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x1111000u) << "not swapped";
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_EQ(m.cpu.rip, 0x2345u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7FE5u);
}

TEST(Fred, StackLevels) {
    FredMachine m;
    m.cpu.fred.stack_levels = 3ull << (2 * 8) | 1ull << (2 * 14) | 2ull << (2 * 2);
    m.cpu.memory_fault.linear = Linear(0xABC123);
    m.cpu.deliver(Fault::of(Vector::pf, 2));
    EXPECT_EQ(m.cpu.fred.config & 3, 1u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), stacks[1] - 64);
    EXPECT_EQ(m.frame(6), 0xABC123u) << "the address that faulted";
    EXPECT_EQ(m.frame(2) >> 16, 0u);
    m.cpu.deliver_event({.active = true, .vector = 2, .type = 2});
    EXPECT_EQ(m.cpu.fred.config & 3, 2u) << "NMI";
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), stacks[2] - 64);
    EXPECT_EQ(m.frame(2) >> 16, 1u) << "the level before";
    EXPECT_EQ(m.frame(5) & 0x7FFFF, M::data_selector | 1u << 18);
    EXPECT_EQ(m.frame(5) >> 32, 2u | 2u << 16 | 1u << 25);
    EXPECT_TRUE(m.cpu.interruptibility & interruptibility_bits::nmi);
    m.cpu.deliver(Fault::of(Vector::pf, 0));
    EXPECT_EQ(m.cpu.fred.config & 3, 2u) << "levels only rise";
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), ((stacks[2] - 64 - 0x80) & ~0x3Full) - 64);
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_TRUE(m.cpu.interruptibility & interruptibility_bits::nmi);
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_FALSE(m.cpu.interruptibility & interruptibility_bits::nmi) << "the NMI's own return unblocks";
    EXPECT_EQ(m.cpu.fred.config & 3, 1u);
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_EQ(m.cpu.fred.config & 3, 0u);
    m.cpu.deliver_event({.active = true, .vector = 0x40, .type = 0});
    EXPECT_EQ(m.cpu.fred.config & 3, 2u) << "interrupts: IA32_FRED_CONFIG[10:9]";
    EXPECT_EQ(m.frame(5) >> 32, 0x40u | 1u << 25);

    FredMachine u(3);
    u.cpu.fred.stack_levels = ~0ull;
    u.cpu.deliver(Fault::of(Vector::gp, 0));
    EXPECT_EQ(u.cpu.fred.config & 3, 0u) << "events of user code go to level 0";
}

TEST(Fred, NestedExceptionsAndDoubleFaults) {
    FredMachine m(3);
    m.cpu.fred.rsp[0] = 0x0000123456780000;  // not mapped
    m.cpu.fred.stack_levels = 1ull << (2 * 14) | 3ull << (2 * 8);
    m.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), stacks[1] - 64) << "a nested exception takes its own level";
    EXPECT_EQ(m.frame(5) >> 32, 14u | 3u << 16 | 1u << 25 | 1u << 26) << "marked as nested";
    EXPECT_EQ(m.frame(6), 0x000012345677FFF8u);

    FredMachine d(3);
    d.cpu.fred.rsp[0] = 0x0000123456780000;
    d.cpu.fred.rsp[1] = 0x0000123456790000;
    d.cpu.fred.stack_levels = 1ull << (2 * 14) | 3ull << (2 * 8);
    d.cpu.deliver(Fault::of(Vector::gp, 0));
    EXPECT_EQ(d.cpu.reg(Gpr::rsp), stacks[3] - 64);
    EXPECT_EQ(d.frame(5) >> 32, 8u | 3u << 16 | 1u << 25) << "not for #DF";
    EXPECT_EQ(d.frame(0), 0u);
}

TEST(Fred, SoftwareEvents) {
    struct Case {
        const char* name;
        std::vector<u8> bytes;
        u64 ss_upper;
        bool software;
    };
    for (const Case& c : {Case{"INT n", {0xCD, 0x80}, 0x80 | 4 << 16 | 1 << 25 | 2u << 28, true},
                          Case{"INT3", {0xCC}, 3 | 6 << 16 | 1 << 25 | 1u << 28, false},
                          Case{"INT1", {0xF1}, 1 | 5 << 16 | 1 << 25 | 1u << 28, false},
                          Case{"SYSCALL", {0x0F, 0x05}, 1 | 7 << 16 | 1 << 25 | 2u << 28, true},
                          Case{"SYSENTER", {0x0F, 0x34}, 2 | 7 << 16 | 1 << 25 | 2u << 28, true}}) {
        FredMachine m(3);
        m.cpu.reg(Gpr::rcx) = 7;
        m.cpu.rflags |= rflags_bits::tf;
        m.cpu.context_changed();
        EXPECT_EQ(m.fault_of(c.bytes), none) << c.name;
        EXPECT_EQ(m.cpu.rip, handlers) << c.name;
        EXPECT_EQ(m.frame(1), M::code + c.bytes.size()) << c.name;
        EXPECT_EQ(m.frame(5) >> 32, c.ss_upper) << c.name;
        EXPECT_EQ(bool(m.frame(5) & 1 << 17), c.software) << c.name;
        EXPECT_EQ(m.cpu.reg(Gpr::rcx), 7u) << "no register is lost";
        ASSERT_EQ(m.fault_of(eretu), none);
        EXPECT_EQ(bool(m.cpu.pending_debug & 1 << 14), c.software) << c.name << ": its single-step trap";
    }
}

TEST(Fred, WhatItTakesAway) {
    FredMachine m;
    m.cpu.reg(Gpr::rcx) = m.cpu.reg(Gpr::rdx) = M::code;
    m.cpu.sysenter_cs = M::code_selector;
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x07}), ud) << "SYSRET";
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x35}), ud) << "SYSEXIT";
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xF8}), ud) << "SWAPGS";
    m.cpu.cet.s_cet = cet_bits::sh_stk_en;
    EXPECT_EQ(m.fault_of({0xF3, 0x0F, 0x01, 0xE8}), ud) << "SETSSBSY";
    m.cpu.cet.s_cet = 0;
    for (const u8 op : {u8{0xCF}, u8{0xCB}}) {
        const u64 sp = m.cpu.reg(Gpr::rsp) = M::stack_top - 40;
        const u64 frame[] = {M::code, M::user_code_selector, 2, M::stack_top, M::user_data_selector};
        for (unsigned i = 0; i < 5; ++i)
            m.poke<u64>(sp + 8 * i, frame[i]);
        EXPECT_EQ(m.fault_of({0x48, op}), gp(M::user_code_selector & ~3))
            << "IRET and RET do not change the level";
        m.poke<u64>(sp + 8, M::code_selector);
        if (op == 0xCB)
            continue;
        m.poke<u64>(sp + 32, M::data_selector);
        EXPECT_EQ(m.fault_of({0x48, op}), none);
    }
    FredMachine off;
    off.cpu.cr4 &= ~cr4_bits::fred;
    EXPECT_EQ(off.fault_of(erets), ud);
    EXPECT_EQ(off.fault_of(eretu), ud);
    EXPECT_EQ(off.fault_of({0x0F, 0x01, 0xF8}), none);
    FredMachine user(3);
    EXPECT_EQ(user.fault_of(erets), ud);
    EXPECT_EQ(user.fault_of(eretu), ud);
}

/// A frame for ERETS and ERETU with one slot changed.
struct FrameCase {
    const char* name;
    unsigned slot;
    u64 value;
    Raised expected;
};

TEST(Fred, SupervisorReturnIsChecked) {
    for (const FrameCase& c :
         {FrameCase{"good", 7, 0, none}, FrameCase{"RIP", 1, 0x0100000000000000, gp0},
          FrameCase{"CS", 2, 0x10, gp0}, FrameCase{"CS reserved", 2, M::code_selector | 1 << 19, gp0},
          FrameCase{"CS level", 2, M::code_selector | 7 << 16, none}, FrameCase{"VM", 3, 2 | 1 << 17, gp0},
          FrameCase{"fixed 1", 3, 0, gp0}, FrameCase{"bit 3", 3, 0xA, gp0},
          FrameCase{"bit 15", 3, 0x8002, gp0}, FrameCase{"bit 22", 3, 0x400002, gp0},
          FrameCase{"all flags", 3, 0x3D7ED7, none}, FrameCase{"SS", 5, 0x18, gp0},
          FrameCase{"SS reserved", 5, M::data_selector | 1 << 19, gp0},
          FrameCase{"SS information", 5, M::data_selector | 0xFFFFFFFFull << 32, none}}) {
        FredMachine m;
        const u64 sp = m.cpu.reg(Gpr::rsp) = 0x6000;
        const u64 frame[] = {9, 0x2345, M::code_selector, 2, 0x7000, M::data_selector, 0, 0};
        for (unsigned i = 0; i < 8; ++i)
            m.poke<u64>(sp + 8 * i, i == c.slot ? c.value : frame[i]);
        EXPECT_EQ(m.fault_of(erets), c.expected) << c.name;
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), c.expected == none ? 0x7000 : sp) << c.name;
        EXPECT_EQ(m.cpu.fred.config & 3, 0u) << c.name;
    }
}

TEST(Fred, UserReturnIsChecked) {
    for (const FrameCase& c : {FrameCase{"good", 7, 0, none}, FrameCase{"RIP", 1, 0x0100000000000000, gp0},
                               FrameCase{"CPL 0", 2, M::code_selector, gp0},
                               FrameCase{"CS reserved", 2, M::user_code_selector | 1 << 16, gp0},
                               FrameCase{"IOPL", 3, 0x3002, gp0}, FrameCase{"VM", 3, 2 | 1 << 17, gp0},
                               FrameCase{"SS of CPL 0", 5, M::data_selector, gp0},
                               FrameCase{"SS reserved", 5, M::user_data_selector | 1 << 19, gp0},
                               FrameCase{"other segments", 5, 0x83, gp(0x80)}}) {
        FredMachine m;
        const u64 sp = m.cpu.reg(Gpr::rsp) = 0x6000;
        const u64 frame[] = {9, 0x2345, M::user_code_selector, 2, 0x7000, M::user_data_selector, 0, 0};
        for (unsigned i = 0; i < 8; ++i)
            m.poke<u64>(sp + 8 * i, i == c.slot ? c.value : frame[i]);
        m.put(M::free_index, 0);
        EXPECT_EQ(m.fault_of(eretu), c.expected) << c.name;
        EXPECT_EQ(m.cpu.cpl, c.expected == none ? 3 : 0) << c.name;
    }
    FredMachine m;
    m.cpu.fred.config |= 1;
    EXPECT_EQ(m.fault_of(eretu), gp0) << "from stack level 0 only";
}

TEST(Fred, StiBlockingSurvives) {
    FredMachine m;
    m.cpu.rflags |= rflags_bits::if_;
    m.cpu.interruptibility = interruptibility_bits::sti;
    m.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(m.cpu.interruptibility, 0u);
    EXPECT_TRUE(m.frame(5) & 1 << 16);
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_EQ(m.cpu.interruptibility, interruptibility_bits::sti);
}

TEST(Fred, ShadowStacks) {
    using namespace cet_bits;
    FredMachine m(3, sh_stk_en, sh_stk_en);
    m.cpu.cet.pl_ssp[0] = M::system_stack + 0x400;
    const u64 user_ssp = m.cpu.cet.ssp;
    m.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(m.cpu.cet.pl_ssp[3], user_ssp);
    EXPECT_EQ(m.cpu.cet.ssp, M::system_stack + 0x400);
    m.cpu.cet.ssp += 8;
    EXPECT_EQ(m.fault_of(eretu), cp(2)) << "the stack must be empty";
    m.cpu.cet.ssp -= 8;
    EXPECT_EQ(m.fault_of(eretu), none);
    EXPECT_EQ(m.cpu.cet.ssp, user_ssp);

    FredMachine s(0, 0, sh_stk_en);
    const u64 ssp = s.cpu.cet.ssp;
    s.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(s.cpu.cet.ssp, ssp - 8 - 24) << "decrement by IA32_FRED_CONFIG[3]";
    EXPECT_EQ(s.shadow(ssp - 16), M::code_selector);
    EXPECT_EQ(s.shadow(ssp - 24), M::code);
    EXPECT_EQ(s.shadow(ssp - 32), ssp);
    s.set_shadow(ssp - 24, 0x9999);
    EXPECT_EQ(s.fault_of(erets), cp(2));
    s.set_shadow(ssp - 24, M::code);
    EXPECT_EQ(s.fault_of(erets), none);
    EXPECT_EQ(s.cpu.cet.ssp, ssp);

    s.cpu.fred.ssp[2] = M::second_stack + 0x400;
    s.cpu.fred.stack_levels = 2ull << 12;
    s.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(s.cpu.cet.ssp, M::second_stack + 0x400 - 24);
    s.cpu.fred.ssp[2] += 8;
    EXPECT_EQ(s.fault_of(erets), cp(2)) << "the level's stack must be empty afterwards";
    s.cpu.fred.ssp[2] -= 8;
    EXPECT_EQ(s.fault_of(erets), none);
}

TEST(Fred, TheTrackerIsSaved) {
    using namespace cet_bits;
    FredMachine m(0, 0, endbr_en);
    m.cpu.cet.s_cet |= tracker;
    m.cpu.context_changed();
    m.cpu.deliver(Fault::of(Vector::ud));
    EXPECT_EQ(m.cpu.cet.s_cet, endbr_en);
    EXPECT_TRUE(m.frame(2) & 1 << 18);
    ASSERT_EQ(m.fault_of(erets), none);
    EXPECT_EQ(m.cpu.cet.s_cet, endbr_en | tracker);
    EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
}

TEST(Fred, LoadKernelGs) {
    FredMachine m;
    m.put(M::free_index, descriptor(0x12345678, 0xFFFFF, 0xC093));
    m.cpu.reg(Gpr::rax) = M::free_selector;
    EXPECT_EQ(m.fault_of({0xF2, 0x0F, 0x00, 0xF0}), none);
    EXPECT_EQ(m.cpu.segment(Seg::gs).selector, M::free_selector);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x1111000u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 0x12345678u);
    m.cpu.reg(Gpr::rax) = 0;
    EXPECT_EQ(m.fault_of({0xF2, 0x0F, 0x00, 0xF0}), none);
    EXPECT_EQ(m.cpu.segment(Seg::gs).selector, 0u);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x1111000u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 0u);
    m.cpu.reg(Gpr::rax) = 0x88;
    m.put(17, 0);
    EXPECT_EQ(m.fault_of({0xF2, 0x0F, 0x00, 0xF0}), gp(0x88));
    FredMachine user(3);
    EXPECT_EQ(user.fault_of({0xF2, 0x0F, 0x00, 0xF0}), gp0);
}

TEST(Fred, Msrs) {
    struct Case {
        u32 index;
        u64 value;
        bool accepted;
    };
    for (const Case& c :
         {Case{0x1CC, 0x1040, true}, Case{0x1CC, 0x1020, false}, Case{0x1CF, 0x0100000000000000, false},
          Case{0x1D0, ~0ull, true}, Case{0x1D1, 0x1008, true}, Case{0x1D1, 0x1004, false},
          Case{0x1D3, 0x0100000000000000, false}, Case{0x1D4, 0x1000 | 0x7CB, true},
          Case{0x1D4, 0x1004, false}, Case{0x1D4, 0x1010, false}, Case{0x1D4, 0x1020, false},
          Case{0x1D4, 0x1800, false}, Case{0x1D4, 0x0100000000000000, false}, Case{0x1D5, 0, false}}) {
        FredMachine m;
        EXPECT_EQ(m.table.write(m.cpu, c.index, c.value), c.accepted)
            << std::hex << c.index << " " << c.value;
        if (c.accepted) {
            EXPECT_EQ(m.table.read(m.cpu, c.index), c.value) << std::hex << c.index;
        }
    }
    FredMachine m;
    for (u32 i = 0; i < 9; ++i)
        m.table.write(m.cpu, 0x1CC + i, 0x1000 * (i + 1));
    EXPECT_EQ(m.cpu.fred.rsp, (std::array<u64, 4>{0x1000, 0x2000, 0x3000, 0x4000}));
    EXPECT_EQ(m.cpu.fred.stack_levels, 0x5000u);
    EXPECT_EQ(m.cpu.fred.ssp[1], 0x6000u);
    EXPECT_EQ(m.cpu.fred.ssp[3], 0x8000u);
    EXPECT_EQ(m.cpu.fred.config, 0x9000u);
    SystemMachine old(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
    for (u32 i = 0x1CC; i < 0x1D5; ++i)
        EXPECT_EQ(old.table.read(old.cpu, i), std::nullopt) << i;
}

}  // namespace
}  // namespace droste::test
