// SPDX-License-Identifier: Apache-2.0
// Single-stepping, breakpoints in DR0-DR3, general detect.
#include "cpu/debug.h"

#include <vector>

#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using namespace rflags_bits;
constexpr u64 code = TestMachine::code;

TEST(Debug, SingleStepTrapsAfterEachInstruction) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.write_rflags(tf | fixed1);
    m.run({0x90, 0x90});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 1);
    EXPECT_EQ(m.pushed<u64>(2) & (tf | rf), tf);
    EXPECT_EQ(m.cpu.dr6, dr6_bits::fixed1 | dr6_bits::bs);
    EXPECT_FALSE(m.cpu.rflags & tf);
}

TEST(Debug, PopfSetsTfForTheNextInstruction) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = tf | fixed1;
    m.run({0x50, 0x9D, 0x90, 0x90});  // push rax; popf; nop; nop
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 3);
}

TEST(Debug, ARepeatedRunStaysStepped) {
    // The second time the block of the stepped mode is known to the caches.
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    for (int i = 0; i < 3; ++i) {
        m.cpu.reg(Gpr::rsp) = TestMachine::stack_top;
        m.cpu.reg(Gpr::rax) = tf | fixed1;
        m.run({0x50, 0x9D, 0x90, 0x90, 0x90});
        EXPECT_EQ(m.stopped_at(), 1);
        EXPECT_EQ(m.pushed<u64>(0), code + 3) << i;
    }
}

TEST(Debug, EachIterationOfARepetitionTraps) {
    struct Case {
        std::vector<u8> bytes;
        const char* name;
    };
    for (const Case& c : {Case{{0xF3, 0xAA}, "rep stosb"}, Case{{0xF3, 0xA5}, "rep movsd"},
                          Case{{0xF3, 0xAE}, "repe scasb"}, Case{{0xF3, 0xAC}, "rep lodsb"}}) {
        SCOPED_TRACE(c.name);
        SystemMachine m(Mode::long64);
        m.install_exception_stops();
        m.cpu.reg(Gpr::rax) = 0;
        m.cpu.reg(Gpr::rsi) = 0x20000;
        m.cpu.reg(Gpr::rdi) = 0x21000;
        m.cpu.reg(Gpr::rcx) = 3;
        m.cpu.write_rflags(tf | fixed1);
        m.run(c.bytes);
        EXPECT_EQ(m.stopped_at(), 1);
        EXPECT_EQ(m.pushed<u64>(0), code);
        EXPECT_EQ(m.cpu.reg(Gpr::rcx), 2u);
    }
}

TEST(Debug, ADataBreakpointStopsWithinARepetition) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rdi) = 0x20000;
    m.cpu.reg(Gpr::rcx) = 8;
    m.cpu.dr[0] = 0x20003;
    m.cpu.reg(Gpr::rbx) = 0x10401;  // one byte, written
    m.run({0x0F, 0x23, 0xFB, 0xF3, 0xAA});  // mov dr7, rbx; rep stosb
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 3);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 4u);
}

TEST(Debug, BranchTrapFlag) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.debugctl = debugctl_bits::btf;
    m.cpu.write_rflags(tf | fixed1);
    m.run({0x90, 0x90, 0xEB, 0x01, 0x90, 0x90});  // jmp over one NOP
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 5);
    EXPECT_EQ(m.cpu.debugctl, 0u) << "#DB clears BTF";
}

TEST(Debug, SoftwareInterruptIsNotTrapped) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.write_rflags(tf | fixed1);
    m.run({0xCD, 0x80});
    EXPECT_EQ(m.stopped_at(), 0x80);
    EXPECT_EQ(m.cpu.pending_debug, 0u);
}

TEST(Debug, MovSsDelaysTheTrap) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = TestMachine::data_selector;
    m.cpu.write_rflags(tf | fixed1);
    m.run({0x8E, 0xD0, 0x90, 0x90});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 3);
}

void arm(SystemMachine& m, unsigned i, u64 address, unsigned condition, unsigned length) {
    m.cpu.dr[i] = address;
    m.cpu.dr7 |= (2ull << 2 * i) | (u64(condition) << (16 + 4 * i)) | (u64(length) << (18 + 4 * i));
    m.cpu.segments_changed();
}

TEST(Debug, InstructionBreakpointIsAFaultWithoutRf) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    arm(m, 2, code + 1, 0, 0);
    m.run({0x90, 0x48, 0xFF, 0xC0});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 1);
    EXPECT_EQ(m.pushed<u64>(2) & rf, 0u);
    EXPECT_EQ(m.cpu.dr6, dr6_bits::fixed1 | 4);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0u);
}

TEST(Debug, DataBreakpoints) {
    struct Case { const char* name; unsigned condition, length; u64 address; bool store; bool hit; };
    const Case cases[] = {
        {"write, stored", 1, 3, 0x4000, true, true},      {"write, loaded", 1, 3, 0x4000, false, false},
        {"access, loaded", 3, 3, 0x4000, false, true},    {"beside", 3, 0, 0x4008, true, false},
        {"last byte", 3, 0, 0x4007, true, true},          {"before", 3, 2, 0x3FF8, true, false},
        {"unaligned address is aligned", 3, 3, 0x4003, true, true},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        SystemMachine m(Mode::long64);
        m.install_exception_stops();
        arm(m, 1, c.address, c.condition, c.length);
        m.cpu.reg(Gpr::rbx) = 0x4000;
        m.run({0x48, static_cast<u8>(c.store ? 0x89 : 0x8B), 0x03, 0x90});
        if (c.hit) {
            EXPECT_EQ(m.stopped_at(), 1);
            EXPECT_EQ(m.pushed<u64>(0), code + 3) << "a trap, after the instruction";
            EXPECT_EQ(m.cpu.dr6, dr6_bits::fixed1 | 2);
        } else {
            EXPECT_EQ(m.cpu.rip, code + 5);
        }
    }
}

TEST(Debug, IoBreakpointsNeedDe) {
    for (const bool de : {false, true}) {
        SystemMachine m(Mode::long64);
        m.install_exception_stops();
        if (de) m.cpu.cr4 |= cr4_bits::de;
        arm(m, 0, 0xE0, 2, 0);
        m.run({0xE6, 0xE0, 0x90});
        EXPECT_EQ(m.stopped_at(), de ? 1 : -1);
    }
}

TEST(Debug, GeneralDetect) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.dr7 |= dr7_bits::gd;
    m.run({0x0F, 0x21, 0xC0});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code) << "a fault";
    EXPECT_TRUE(m.pushed<u64>(2) & rf);
    EXPECT_EQ(m.cpu.dr6, dr6_bits::fixed1 | dr6_bits::bd);
    EXPECT_FALSE(m.cpu.dr7 & dr7_bits::gd) << "so that the handler can look";
}

TEST(Debug, TrapsHeldByMovSsAreLostWhenTheNextInstructionFaults) {
    struct Case { const char* name; std::vector<u8> next; u64 dr6; };
    const Case cases[] = {{"general detect", {0x0F, 0x21, 0xC0}, dr6_bits::fixed1 | dr6_bits::bd},
                          {"int1", {0xF1}, dr6_bits::fixed1}};
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        SystemMachine m(Mode::long64);
        m.install_exception_stops();
        m.write(TestMachine::stops + 16, {0x90, 0xF4});  // a second #DB would be seen at the NOP
        m.cpu.reg(Gpr::rax) = TestMachine::data_selector;
        m.cpu.dr7 |= dr7_bits::gd;
        m.cpu.write_rflags(tf | fixed1);
        std::vector<u8> program{0x8E, 0xD0};
        program.insert(program.end(), c.next.begin(), c.next.end());
        m.run(program);
        EXPECT_EQ(m.cpu.rip, TestMachine::stops + 16 + 2);
        EXPECT_EQ(m.cpu.dr6, c.dr6);
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top - 40) << "one frame";
    }
}

TEST(Debug, SyscallAndSysretTrapByTheFlagsTheyLeave) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    m.cpu.star = (0x0010ull << 48) | (0x0008ull << 32);
    m.cpu.lstar = 0x3000;
    m.cpu.fmask = tf;
    m.write(0x3000, {0x90, 0xF4});
    m.cpu.write_rflags(tf | fixed1);
    m.run({0x0F, 0x05});
    EXPECT_EQ(m.cpu.rip, 0x3002u) << "SYSCALL that clears TF does not trap";
    m.cpu.activity = Activity::active;
    m.cpu.write_rflags(fixed1);
    m.cpu.reg(Gpr::rcx) = 0x2500;
    m.cpu.reg(Gpr::r11) = tf | fixed1;
    m.run({0x48, 0x0F, 0x07});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), 0x2500u) << "before the first instruction at the target";
}

TEST(Debug, InterruptsBetweenIterationsPushRf) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rdi) = 0x20000;
    m.cpu.reg(Gpr::rcx) = 0x4000;
    m.cpu.write_rflags(if_ | fixed1);
    m.write(code, {0x90, 0xF3, 0xAA, 0xF4});  // nop; rep stosb
    m.cpu.rip = code;
    m.run_for(10);
    ASSERT_EQ(m.cpu.rip, code + 1);
    ASSERT_LT(m.cpu.reg(Gpr::rcx), 0x4000u);
    m.interrupts.raise(0x40);
    m.cpu.set_attention();
    m.run_for(100);
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_TRUE(m.pushed<u64>(2) & rf);
    EXPECT_EQ(m.fault_of({0x48, 0xCF}), none);
    EXPECT_TRUE(m.cpu.rflags & rf);
    m.cpu.activity = Activity::active;
    m.run_for(100000);
    EXPECT_EQ(m.cpu.rip, code + 4);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0u);
    EXPECT_FALSE(m.cpu.rflags & rf);
}

TEST(Debug, Registers) {
    SystemMachine m(Mode::long64);
    const auto write = [&](unsigned dr, u64 v) {
        m.cpu.reg(Gpr::rax) = v;
        return m.fault_of({0x0F, 0x23, static_cast<u8>(0xC0 | dr << 3)});
    };
    EXPECT_EQ(write(0, 0xFFFF800000000000), none);
    EXPECT_EQ(m.cpu.dr[0], 0xFFFF800000000000u);
    EXPECT_EQ(write(6, 0x100000000), gp0);
    EXPECT_EQ(write(7, 0x100000000), gp0);
    EXPECT_EQ(write(7, 0xFFFF0000), none);
    EXPECT_EQ(m.cpu.dr7, 0xFFFF0400u);
    // With OS bus-lock detection bit 11 is written as any other; without it is 1.
    constexpr u64 bus_lock = dr6_bits::bld, others = dr6_bits::fixed1 & ~bus_lock;
    const u64 read0 = m.model.features.has(Feature::bus_lock_detect) ? others : dr6_bits::fixed1;
    EXPECT_EQ(write(6, 0), none);
    EXPECT_EQ(m.cpu.dr6, read0);
    EXPECT_EQ(write(4, 0xF | bus_lock), none) << "an alias of DR6";
    EXPECT_EQ(m.cpu.dr6, dr6_bits::fixed1 | 0xF);
    m.cpu.cr4 |= cr4_bits::de;
    EXPECT_EQ(write(4, 0), ud);
    EXPECT_EQ(write(5, 0), ud);
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x21, 0xC0}), gp0);
}

}  // namespace
}  // namespace droste::test
