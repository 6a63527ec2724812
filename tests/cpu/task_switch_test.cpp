// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: what is saved and loaded, links and busy bits, and the faults before and after the
// commit point.
#include <functional>

#include "cpu/cet.h"
#include "cpu/debug.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using namespace rflags_bits;
constexpr u64 code = TestMachine::code;
constexpr u64 other_tss = 0x14000;
constexpr u16 other = SystemMachine::free_selector;
constexpr unsigned other_slot = SystemMachine::free_index;
constexpr u16 ldt_selector = 0x98, level3_code = 0x1B, level3_data = 0x23;

/// A second task at level 0: EIP 3000h, registers 100h + number.
struct TaskMachine : SystemMachine {
    explicit TaskMachine(bool wide = true, u32 limit = 0x67) : SystemMachine(Mode::protected32) {
        install_exception_stops();
        put(other_slot, descriptor(other_tss, limit, wide ? 0x89 : 0x81));
        put(ldt_selector >> 3, descriptor(0x30000, 0xFF, 0x82));
        if (wide) {
            poke<u32>(other_tss + 0x20, 0x3000);
            poke<u32>(other_tss + 0x24, fixed1 | cf);
            for (unsigned i = 0; i < 8; ++i) poke<u32>(other_tss + 0x28 + 4 * i, 0x100 + i);
            poke<u32>(other_tss + 0x38, 0x6800);  // ESP
            const u16 segments[] = {data_selector, code_selector, data_selector, data_selector, 0, 0};
            for (unsigned i = 0; i < 6; ++i) poke<u16>(other_tss + 0x48 + 4 * i, segments[i]);
        } else {
            poke<u16>(other_tss + 0x0E, 0x3000);
            poke<u16>(other_tss + 0x10, fixed1 | cf);
            for (unsigned i = 0; i < 8; ++i) poke<u16>(other_tss + 0x12 + 2 * i, 0x100 + i);
            poke<u16>(other_tss + 0x1A, 0x6800);
            const u16 segments[] = {data_selector, code_selector, data_selector, data_selector};
            for (unsigned i = 0; i < 4; ++i) poke<u16>(other_tss + 0x22 + 2 * i, segments[i]);
        }
        cpu.write_rflags(fixed1 | zf | if_);
        for (unsigned i = 0; i < 8; ++i)
            if (i != 4) cpu.gpr[i] = 0xABCD0000 + i;
    }
    Raised far(u8 opcode, u16 selector) {
        return fault_of({opcode, 0, 0, 0, 0, static_cast<u8>(selector), static_cast<u8>(selector >> 8)});
    }
    Raised jump(u16 selector = other) { return far(0xEA, selector); }
    Raised call(u16 selector = other) { return far(0x9A, selector); }
    u8 type_of(unsigned index) const { return got(index) >> 40 & 0xF; }
};

TEST(TaskSwitch, JumpSavesAndLoads) {
    TaskMachine m;
    EXPECT_EQ(m.jump(), none);
    // the old task
    EXPECT_EQ(m.peek<u32>(SystemMachine::tss + 0x20), code + 7);
    EXPECT_EQ(m.peek<u32>(SystemMachine::tss + 0x24), fixed1 | zf | if_);
    EXPECT_EQ(m.peek<u32>(SystemMachine::tss + 0x28), 0xABCD0000u);
    EXPECT_EQ(m.peek<u32>(SystemMachine::tss + 0x38), TestMachine::stack_top);
    EXPECT_EQ(m.peek<u16>(SystemMachine::tss + 0x4C), TestMachine::code_selector);
    EXPECT_EQ(m.type_of(SystemMachine::tss_selector >> 3), 9) << "no longer busy";
    // the new one
    EXPECT_EQ(m.cpu.rip, 0x3000u);
    EXPECT_EQ(m.cpu.read_rflags(), fixed1 | cf);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0x107u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x6800u);
    EXPECT_EQ(m.cpu.segment(Seg::tr).selector, other);
    EXPECT_EQ(m.cpu.segment(Seg::tr).access, 0x8Bu);
    EXPECT_EQ(m.type_of(other_slot), 11);
    EXPECT_TRUE(m.cpu.cr0 & cr0_bits::ts);
    EXPECT_TRUE(m.cpu.segment(Seg::fs).unusable());
    EXPECT_TRUE(m.cpu.segment(Seg::ldtr).unusable());
    EXPECT_EQ(m.peek<u16>(other_tss), 0) << "no link";
}

TEST(TaskSwitch, CallNestsAndIretReturns) {
    TaskMachine m;
    EXPECT_EQ(m.call(), none);
    EXPECT_EQ(m.peek<u16>(other_tss), SystemMachine::tss_selector);
    EXPECT_TRUE(m.cpu.rflags & nt);
    EXPECT_EQ(m.type_of(SystemMachine::tss_selector >> 3), 11) << "still busy";
    m.cpu.reg(Gpr::rbx) = 0x5555;
    EXPECT_EQ(m.fault_of({0xCF}), none);
    EXPECT_EQ(m.cpu.rip, code + 7);
    EXPECT_EQ(m.cpu.read_rflags(), fixed1 | zf | if_);
    EXPECT_EQ(m.cpu.segment(Seg::tr).selector, SystemMachine::tss_selector);
    EXPECT_EQ(m.type_of(other_slot), 9);
    EXPECT_EQ(m.peek<u32>(other_tss + 0x34), 0x5555u);
    EXPECT_EQ(m.peek<u32>(other_tss + 0x24) & nt, 0u) << "the saved image has NT clear";
}

TEST(TaskSwitch, SixteenBitTss) {
    TaskMachine m(false, 0x2B);
    EXPECT_EQ(m.jump(), none);
    EXPECT_EQ(m.cpu.rip, 0x3000u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0xFFFF0101u);
    EXPECT_EQ(m.cpu.segment(Seg::tr).access, 0x83u);
    EXPECT_EQ(m.jump(SystemMachine::tss_selector), none) << "and back to a 32-bit one";
    EXPECT_EQ(m.peek<u16>(other_tss + 0x14), 0x0101);
    EXPECT_EQ(m.cpu.rip, code + 7);
}

TEST(TaskSwitch, TaskGate) {
    TaskMachine m;
    m.put(30, gate(other, 0, 0x85));
    EXPECT_EQ(m.call(30 * 8), none);
    EXPECT_EQ(m.cpu.segment(Seg::tr).selector, other);
    TaskMachine n;
    n.put(30, gate(other, 0, 0x05));
    EXPECT_EQ(n.call(30 * 8), np(30 * 8));
    n.put(30, gate(SystemMachine::tss_selector, 0, 0x85));
    EXPECT_EQ(n.call(30 * 8), gp(SystemMachine::tss_selector)) << "busy";
    n.put(30, gate(TestMachine::data_selector, 0, 0x85));
    EXPECT_EQ(n.jump(30 * 8), gp(TestMachine::data_selector));
}

TEST(TaskSwitch, ExceptionThroughTaskGatePushesTheErrorCode) {
    TaskMachine m;
    m.poke<u64>(TestMachine::idt + 8 * 13, gate(other, 0, 0x85));
    m.cpu.reg(Gpr::rax) = 0x7770;
    m.write(0x3000, {0xF4});
    m.run({0x8E, 0xD8});
    EXPECT_EQ(m.cpu.rip, 0x3001u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x67FCu);
    EXPECT_EQ(m.peek<u32>(0x67FC), 0x7770u);
    EXPECT_EQ(m.peek<u32>(SystemMachine::tss + 0x20), code);
    EXPECT_TRUE(m.peek<u32>(SystemMachine::tss + 0x24) & rf);
    EXPECT_TRUE(m.cpu.rflags & nt);
}

TEST(TaskSwitch, FaultsBeforeTheCommitPoint) {
    struct Case { const char* name; std::function<void(TaskMachine&)> change; Raised expected; };
    const Case cases[] = {
        {"busy", [](TaskMachine& m) { m.put(other_slot, descriptor(other_tss, 0x67, 0x8B)); }, gp(other)},
        {"absent", [](TaskMachine& m) { m.put(other_slot, descriptor(other_tss, 0x67, 0x09)); }, np(other)},
        {"too short", [](TaskMachine& m) { m.put(other_slot, descriptor(other_tss, 0x66, 0x89)); },
         ts(other)},
        {"16-bit too short", [](TaskMachine& m) { m.put(other_slot, descriptor(other_tss, 0x2A, 0x81)); },
         ts(other)},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        TaskMachine m;
        c.change(m);
        EXPECT_EQ(m.call(), c.expected);
        EXPECT_EQ(m.cpu.rip, code);
        EXPECT_EQ(m.cpu.segment(Seg::tr).selector, SystemMachine::tss_selector);
        EXPECT_FALSE(m.cpu.cr0 & cr0_bits::ts);
    }
}

TEST(TaskSwitch, FaultsInTheNewTask) {
    // #TS and #NP served by a third task see the error code whatever the state of the second one is.
    constexpr u64 third_tss = 0x16000;
    constexpr unsigned third_slot = 40;
    struct Case { const char* name; unsigned offset; u16 value; u8 vector; u32 error; };
    const Case cases[] = {
        {"LDT in the LDT", 0x60, 0x0C, 10, 0x0C},
        {"LDT of a wrong type", 0x60, TestMachine::data_selector, 10, TestMachine::data_selector},
        {"null CS", 0x4C, 0, 10, 0},
        {"data in CS", 0x4C, TestMachine::data_selector, 10, TestMachine::data_selector},
        {"CS beyond the table", 0x4C, 0x4000, 10, 0x4000},
        {"CS of another level", 0x4C, 0x18, 10, 0x18},
        {"absent CS", 0x4C, 33 * 8, 11, 33 * 8},
        {"null SS", 0x50, 0, 10, 0},
        {"SS RPL", 0x50, TestMachine::data_selector | 1, 10, TestMachine::data_selector},
        {"SS code", 0x50, TestMachine::code_selector, 10, TestMachine::code_selector},
        {"absent SS", 0x50, 32 * 8, 12, 32 * 8},
        {"DS execute-only", 0x54, 31 * 8, 10, 31 * 8},
        {"absent DS", 0x54, 32 * 8, 11, 32 * 8},
        {"EIP beyond the limit", 0x4C, 34 * 8, 13, 0},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        TaskMachine m;
        m.put(31, descriptor(0, 0xFFFFF, 0xC098));
        m.put(32, descriptor(0, 0xFFFFF, 0xC013));
        m.put(33, descriptor(0, 0xFFFFF, 0xC01B));
        m.put(34, descriptor(0, 0x2FFF, 0x409B));
        m.put(third_slot, descriptor(third_tss, 0x67, 0x89));
        for (u64 i = 0; i < 0x68; i += 4) m.poke<u32>(third_tss + i, m.peek<u32>(other_tss + i));
        m.poke<u32>(third_tss + 0x38, 0x6000);
        m.poke<u64>(TestMachine::idt + 8 * c.vector, gate(third_slot * 8, 0, 0x85));
        m.poke<u16>(other_tss + c.offset, c.value);
        m.jump();
        EXPECT_EQ(m.cpu.segment(Seg::tr).selector, third_slot * 8);
        EXPECT_EQ(m.pushed<u32>(0), c.error);
        EXPECT_EQ(m.peek<u32>(other_tss + 0x20), 0x3000u);
        EXPECT_EQ(m.peek<u16>(third_tss), other);
    }
}

TEST(TaskSwitch, ToUserAndToVirtual8086) {
    TaskMachine user;
    user.poke<u16>(other_tss + 0x4C, level3_code);
    for (const unsigned o : {0x48u, 0x50u, 0x54u}) user.poke<u16>(other_tss + o, level3_data);
    EXPECT_EQ(user.jump(), none);
    EXPECT_EQ(user.cpu.cpl, 3);

    TaskMachine v86;
    v86.poke<u32>(other_tss + 0x24, fixed1 | vm);
    EXPECT_EQ(v86.jump(), none);
    EXPECT_TRUE(v86.cpu.v86());
    EXPECT_EQ(v86.cpu.cpl, 3);
    EXPECT_EQ(v86.cpu.segment(Seg::cs).base, TestMachine::code_selector * 16u);
}

TEST(TaskSwitch, DebugTrapFlag) {
    TaskMachine m;
    m.poke<u16>(other_tss + 0x64, 1);
    m.cpu.dr7 = 0x400 | 0x155 | 0xAA;
    EXPECT_EQ(m.jump(), none);
    EXPECT_EQ(m.cpu.dr7, 0x400u | 0xAA) << "local enables are cleared";
    m.run_for(1);
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_TRUE(m.cpu.dr6 & dr6_bits::bt);
}

TEST(TaskSwitch, IretChecksTheLink) {
    TaskMachine m;
    m.cpu.rflags |= nt;
    m.poke<u16>(SystemMachine::tss, 0x0C);
    EXPECT_EQ(m.fault_of({0xCF}), ts(0x0C)) << "in the LDT";
    m.poke<u16>(SystemMachine::tss, other);
    EXPECT_EQ(m.fault_of({0xCF}), ts(other)) << "not busy";
    m.put(other_slot, descriptor(other_tss, 0x67, 0x0B));
    EXPECT_EQ(m.fault_of({0xCF}), np(other));
}

TEST(TaskSwitch, NotInLongMode) {
    SystemMachine m(Mode::long64);
    m.put(other_slot, descriptor(other_tss, 0x67, 0x89));
    m.put(other_slot + 1, 0);
    m.poke<u32>(0x4000, 0);
    m.poke<u16>(0x4004, other);
    EXPECT_EQ(m.fault_of({0xFF, 0x2C, 0x25, 0x00, 0x40, 0x00, 0x00}), gp(other));
}

// ---- shadow stacks

constexpr u64 old_stack = 0x31000, new_stack = 0x32000;  // without paging every page serves
constexpr Raised cp_return{21, 2};

/// Both tasks at level 0 with shadow stacks; a token lies at `new_stack`.
struct ShadowTasks : TaskMachine {
    explicit ShadowTasks(u32 limit = 0x6B, bool wide = true) : TaskMachine(wide, limit) {
        put(SystemMachine::tss_selector >> 3, descriptor(SystemMachine::tss, 0x6B, 0x8B));
        cpu.segment(Seg::tr).limit = 0x6B;
        cpu.cr4 |= cr4_bits::cet;
        cpu.cet.s_cet = cet_bits::sh_stk_en;
        cpu.cet.ssp = old_stack;
        poke<u32>(other_tss + 0x68, new_stack);
        poke<u64>(new_stack, new_stack);
        cpu.context_changed();
    }
    /// What was delivered after the commit point.
    Raised in_new_task(Raised before) {
        EXPECT_EQ(before, none);
        return {static_cast<u8>((cpu.rip - TestMachine::stops) / 16), pushed<u32>(0)};
    }
    Raised switched_by_jump() { return in_new_task(jump()); }
    Raised switched_by_iret() { return in_new_task(fault_of({0xCF})); }
};

TEST(TaskSwitchWithShadowStacks, CallPushesItsReturnAndIretFreesTheToken) {
    ShadowTasks m;
    EXPECT_EQ(m.call(), none);
    EXPECT_EQ(m.cpu.cet.ssp, new_stack - 24);
    EXPECT_EQ(m.peek<u64>(new_stack), new_stack | 1) << "busy";
    EXPECT_EQ(m.peek<u64>(new_stack - 8), TestMachine::code_selector);
    EXPECT_EQ(m.peek<u64>(new_stack - 16), code + 7);
    EXPECT_EQ(m.peek<u64>(new_stack - 24), old_stack);
    EXPECT_EQ(m.fault_of({0xCF}), none);
    EXPECT_EQ(m.cpu.rip, code + 7);
    EXPECT_EQ(m.cpu.cet.ssp, old_stack);
    EXPECT_EQ(m.peek<u64>(new_stack), new_stack) << "free";
}

TEST(TaskSwitchWithShadowStacks, JumpTakesTheTokenAlone) {
    ShadowTasks m;
    EXPECT_EQ(m.jump(), none);
    EXPECT_EQ(m.cpu.cet.ssp, new_stack);
    EXPECT_EQ(m.peek<u64>(new_stack), new_stack | 1);
    EXPECT_EQ(m.peek<u64>(new_stack - 8), 0u);
}

TEST(TaskSwitchWithShadowStacks, ExceptionsPushToo) {
    ShadowTasks m;
    m.poke<u64>(TestMachine::idt + 8 * 6, gate(other, 0, 0x85));
    m.write(code, {0x0F, 0x0B});
    m.cpu.rip = code;
    m.run_for(1);
    EXPECT_EQ(m.cpu.segment(Seg::tr).selector, other);
    EXPECT_EQ(m.peek<u64>(new_stack - 16), code);
    EXPECT_EQ(m.cpu.cet.ssp, new_stack - 24);
}

TEST(TaskSwitchWithShadowStacks, TheNewTssMustHoldAPointerToAFreeToken) {
    EXPECT_EQ(ShadowTasks(0x6A).jump(), (Raised{10, other}));
    EXPECT_EQ(ShadowTasks(0x6B, false).jump(), (Raised{10, other})) << "a 16-bit TSS";
    for (const u64 token : {u64{0}, new_stack | 1, new_stack + 8}) {
        ShadowTasks m;
        m.poke<u64>(new_stack, token);
        EXPECT_EQ(m.switched_by_jump(), (Raised{10, other})) << std::hex << token;
        EXPECT_EQ(m.cpu.segment(Seg::tr).selector, other) << "in the new task";
        EXPECT_EQ(m.peek<u64>(new_stack), token);
    }
    ShadowTasks m;
    m.poke<u32>(other_tss + 0x68, new_stack + 4);
    EXPECT_EQ(m.switched_by_jump(), (Raised{10, other}));
}

TEST(TaskSwitchWithShadowStacks, ReturnIsCompared) {
    for (const u64 at : {u64{8}, u64{16}}) {
        ShadowTasks m;
        EXPECT_EQ(m.call(), none);
        m.poke<u64>(new_stack - at, m.peek<u64>(new_stack - at) ^ 0x10);
        EXPECT_EQ(m.switched_by_iret(), cp_return) << at;
        EXPECT_EQ(m.cpu.segment(Seg::tr).selector, SystemMachine::tss_selector) << "in the task returned to";
        EXPECT_EQ(m.peek<u64>(new_stack), new_stack);
    }
    for (const u64 back : {old_stack + 2, old_stack | u64{1} << 32}) {
        ShadowTasks m;
        EXPECT_EQ(m.call(), none);
        m.poke<u64>(new_stack - 24, back);
        EXPECT_EQ(m.switched_by_iret(), cp_return) << std::hex << back;
    }
    ShadowTasks m;
    EXPECT_EQ(m.call(), none);
    m.cpu.cet.ssp += 4;
    EXPECT_EQ(m.fault_of({0xCF}), (Raised{10, other})) << "a misaligned pointer is the current task's fault";
    EXPECT_EQ(m.cpu.segment(Seg::tr).selector, other);
}

TEST(TaskSwitchWithShadowStacks, TrackerWaitsForEndbranchAfterCallsNotAfterReturns) {
    ShadowTasks m;
    m.cpu.cet.s_cet = cet_bits::endbr_en | cet_bits::suppress;
    m.cpu.context_changed();
    EXPECT_EQ(m.call(), none);
    EXPECT_EQ(m.cpu.cet.s_cet, cet_bits::endbr_en | cet_bits::tracker);
    m.cpu.cet.s_cet = cet_bits::endbr_en;
    m.cpu.segments_changed();
    EXPECT_EQ(m.fault_of({0xCF}), none);
    EXPECT_EQ(m.cpu.cet.s_cet, cet_bits::endbr_en);
}

TEST(TaskSwitchWithShadowStacks, NotIntoVirtual8086Mode) {
    ShadowTasks m;
    m.poke<u32>(other_tss + 0x24, fixed1 | vm);
    EXPECT_EQ(m.jump(), none) << "user shadow stacks are off";
    ShadowTasks n;
    n.cpu.cet.u_cet = cet_bits::endbr_en;
    n.poke<u32>(other_tss + 0x24, fixed1 | vm);
    n.poke<u32>(other_tss + 4, 0x6800);
    n.poke<u16>(other_tss + 8, TestMachine::data_selector);
    n.cpu.cet.pl_ssp[0] = new_stack;
    EXPECT_EQ(n.switched_by_jump(), (Raised{10, other}));
}

}  // namespace
}  // namespace droste::test
