// SPDX-License-Identifier: Apache-2.0
// General-purpose instructions where the host cannot be asked: privilege and virtual-8086 mode, real mode,
// ports, chunks of repetitions and their ticks, faults in the middle.
#include <gtest/gtest.h>

#include "test_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using namespace rflags_bits;

constexpr u64 data = TestMachine::data;

void enter_v86(Cpu& cpu, unsigned io_privilege) {
    cpu.cpl = 3;
    cpu.rflags = fixed1 | vm | (u64(io_privilege) << 12);
    for (unsigned i = 0; i < 6; ++i)
        cpu.seg[i] = Segment{.selector = 0, .limit = 0xFFFF, .access = 0xF3, .base = 0};
    cpu.context_changed();
}

// ---- PUSHF, POPF (SDM "POPF", table of effects on RFLAGS)

struct PopfCase {
    u8 cpl, io_privilege;
    u64 changed;  ///< of IF and IOPL
};

TEST(Popf, PrivilegeDecidesIfAndIopl) {
    for (const PopfCase& c : {PopfCase{0, 0, if_ | iopl}, PopfCase{0, 3, if_ | iopl}, PopfCase{3, 0, 0},
                              PopfCase{3, 3, if_}, PopfCase{1, 0, 0}, PopfCase{1, 1, if_}}) {
        for (const bool set : {false, true}) {
            TestMachine m(Mode::protected32, c.cpl == 3 ? 3 : 0);
            m.cpu.cpl = c.cpl;
            const u64 before = fixed1 | (u64(c.io_privilege) << 12) | (set ? 0 : if_);
            m.cpu.write_rflags(before | rf | vip);
            const u32 image = set ? 0x7FD5 & ~u32(tf) : 0;
            m.poke<u32>(TestMachine::stack_top, image | static_cast<u32>(set ? ac | id | vm | vif | rf : 0));
            ASSERT_EQ(m.execute({0x9D}), Outcome::branch);
            const u64 free = arithmetic | df | nt | ac | id | c.changed;
            const u64 want = (before & ~free) | vip | ((set ? image | ac | id : 0) & free) | fixed1;
            EXPECT_EQ(m.cpu.read_rflags(), want) << unsigned(c.cpl) << c.io_privilege << set;
            EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top + 4);
        }
    }
}

TEST(Popf, IfThatBecomesOneRaisesAttention) {
    TestMachine m(Mode::long64);
    m.cpu.attention = false;
    m.poke<u64>(TestMachine::stack_top, if_ | fixed1);
    EXPECT_EQ(m.execute({0x9D}), Outcome::branch);
    EXPECT_TRUE(m.cpu.attention);
}

TEST(Popf, SixteenBitsLeaveTheUpperFlags) {
    TestMachine m(Mode::long64);
    m.cpu.write_rflags(fixed1 | ac | id);
    m.poke<u16>(TestMachine::stack_top, 0x0001);
    EXPECT_EQ(m.execute({0x66, 0x9D}), Outcome::branch);
    EXPECT_EQ(m.cpu.read_rflags(), fixed1 | ac | id | cf);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top + 2);
}

TEST(VirtualMode, FlagsNeedIopl3) {
    for (const u8 opcode : {0x9C, 0x9D}) {
        TestMachine m(Mode::protected16);
        enter_v86(m.cpu, 2);
        const u64 sp = m.cpu.reg(Gpr::rsp);
        EXPECT_EQ(m.execute({opcode}), Outcome::fault);
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0));
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), sp);
        enter_v86(m.cpu, 3);
        EXPECT_NE(m.execute({opcode}), Outcome::fault);
    }
}

TEST(VirtualMode, ExtensionsGiveVifForIf) {
    TestMachine m(Mode::protected16);
    enter_v86(m.cpu, 0);
    m.cpu.cr4 |= cr4_bits::vme;
    m.cpu.write_rflags(m.cpu.read_rflags() | vif | cf);
    EXPECT_EQ(m.execute({0x9C}), Outcome::next);
    EXPECT_EQ(m.peek<u16>(m.cpu.reg(Gpr::rsp)), 0x3000 | if_ | cf | fixed1) << "IOPL reads 3, IF reads VIF";
    m.poke<u16>(m.cpu.reg(Gpr::rsp), static_cast<u16>(zf));
    EXPECT_EQ(m.execute({0x9D}), Outcome::branch);
    EXPECT_EQ(m.cpu.read_rflags(), fixed1 | vm | zf) << "VIF cleared, IF and IOPL stay";
    // A pending virtual interrupt and a set IF: the monitor must look.
    m.cpu.write_rflags(m.cpu.read_rflags() | vip);
    m.cpu.reg(Gpr::rsp) -= 2;
    m.poke<u16>(m.cpu.reg(Gpr::rsp), static_cast<u16>(if_));
    const u64 sp = m.cpu.reg(Gpr::rsp);
    EXPECT_EQ(m.execute({0x9D}), Outcome::fault);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), sp);
    m.poke<u16>(sp, static_cast<u16>(tf));
    EXPECT_EQ(m.execute({0x9D}), Outcome::fault);
    EXPECT_EQ(m.execute({0x66, 0x9C}), Outcome::fault) << "no extension for 32 bits";
}

// ---- real mode

TEST(RealMode, StackAndStringsWrapAt64KiB) {
    TestMachine m(Mode::real16);
    Cpu& cpu = m.cpu;
    cpu.reg(Gpr::rsp) = 0x12340000;
    cpu.reg(Gpr::rax) = 0xBEEF;
    EXPECT_EQ(m.execute({0x50}), Outcome::next);
    EXPECT_EQ(cpu.reg(Gpr::rsp), 0x1234FFFEu);
    EXPECT_EQ(m.peek<u16>(0xFFFE), 0xBEEF);
    EXPECT_EQ(m.execute({0x5B}), Outcome::next);
    EXPECT_EQ(cpu.reg(Gpr::rsp), 0x12340000u);
    EXPECT_EQ(cpu.reg<u16>(3u), 0xBEEF);
    // rep movsb over the end: SI goes on at 0.
    for (unsigned i = 0; i < 16; ++i) m.poke<u8>((0xFFF8 + i) & 0xFFFF, static_cast<u8>(i + 1));
    cpu.reg(Gpr::rsi) = 0xFFF8;
    cpu.reg(Gpr::rdi) = 0x4000;
    cpu.reg(Gpr::rcx) = 16;
    EXPECT_EQ(m.execute({0xF3, 0xA4}), Outcome::next);
    for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(m.peek<u8>(0x4000 + i), i + 1);
    EXPECT_EQ(cpu.reg<u16>(6u), 8);
    EXPECT_EQ(cpu.reg<u16>(1u), 0);
    // A word at FFFF is beyond the limit.
    cpu.reg(Gpr::rsi) = 0xFFFF;
    EXPECT_EQ(m.execute({0xAD}), Outcome::fault);
    EXPECT_EQ(cpu.pending_fault, Fault::of(Vector::gp, 0));
    cpu.reg(Gpr::rsp) = 0xFFFF;
    EXPECT_EQ(m.execute({0x58}), Outcome::fault);
    EXPECT_EQ(cpu.pending_fault, Fault::of(Vector::ss, 0));
}

TEST(RealMode, NearBranchesObeyTheLimit) {
    TestMachine m(Mode::real16);
    Cpu& cpu = m.cpu;
    cpu.rip = 0x1000;
    EXPECT_EQ(m.execute({0xE9, 0x00, 0xF0}), Outcome::branch);  // 16-bit displacements wrap
    EXPECT_EQ(cpu.rip, 0x0003u);
    cpu.rip = 0x1000;
    EXPECT_EQ(m.execute({0x66, 0xE9, 0x00, 0x00, 0x01, 0x00}), Outcome::fault);
    EXPECT_EQ(cpu.pending_fault, Fault::of(Vector::gp, 0));
    EXPECT_EQ(cpu.rip, 0x1000u);
}

// ---- faults leave nothing half done

TEST(Faults, PushaAndEnterTouchNoRegister) {
    TestMachine m(Mode::long64);
    Cpu& cpu = m.cpu;
    cpu.segment(Seg::cs).access = (cpu.segment(Seg::cs).access & ~0x6000u) | 0x4000;  // compatibility mode
    cpu.segments_changed();
    m.map(0x50000000, 0x300000);
    m.poke<u64>(0x300000, ~0ull);
    cpu.reg(Gpr::rsp) = 0x50000010;  // room for four of eight
    const auto registers = [&] { return std::vector<u64>(cpu.gpr.begin(), cpu.gpr.begin() + 16); };
    const auto before = registers();
    EXPECT_EQ(m.execute({0x60}), Outcome::fault);
    EXPECT_EQ(registers(), before);
    EXPECT_EQ(m.peek<u64>(0x300000), ~0ull) << "nothing was stored";
    EXPECT_EQ(m.execute({0xC8, 0x40, 0x00, 0x00}), Outcome::fault)
        << "the frame ends on a page that is missing";
    EXPECT_EQ(registers(), before);
    cpu.reg(Gpr::rsp) = 0x50000FF8;  // pop to a page that is missing
    const u64 sp = cpu.reg(Gpr::rsp);
    EXPECT_EQ(m.execute({0x8F, 0x05, 0x00, 0x20, 0x00, 0x50}), Outcome::fault);
    EXPECT_EQ(cpu.reg(Gpr::rsp), sp);
}

TEST(Faults, RepetitionStopsAtThePage) {
    TestMachine m(Mode::long64);
    Cpu& cpu = m.cpu;
    m.map(0x50000000, 0x300000);
    cpu.reg(Gpr::rdi) = 0x50000FE0;
    cpu.reg(Gpr::rcx) = 100;
    cpu.reg(Gpr::rax) = 0x77;
    EXPECT_EQ(m.execute({0xF3, 0xAA}), Outcome::fault);
    EXPECT_EQ(cpu.reg(Gpr::rdi), 0x50001000u);
    EXPECT_EQ(cpu.reg(Gpr::rcx), 68u);
    EXPECT_EQ(cpu.memory_fault.linear.value, 0x50001000u);
    EXPECT_EQ(m.peek<u8>(0x300FFF), 0x77);
}

// ---- chunks: a tick for 64 bytes, and for each page

TEST(Repetition, TicksPerChunk) {
    struct Case {
        std::initializer_list<u8> code;
        u64 count, source, destination, ticks;
    };
    for (const Case& c :
         {Case{{0xF3, 0xA4}, 64, data, data + 0x800, 1}, Case{{0xF3, 0xA4}, 65, data, data + 0x800, 2},
          Case{{0xF3, 0x48, 0xA5}, 512, data, data + 0x1000, 64},
          Case{{0xF3, 0x48, 0xAB}, 16, 0, data + 0xFC0, 2},
          Case{{0xF3, 0xAA}, 64, 0, data + 0xFE0, 2},  // the page ends after 32
          Case{{0xF3, 0xAA}, 0, 0, data, 1},           // nothing to do is an instruction, too
          Case{{0xF3, 0x48, 0xA5}, 4, data, data + 8, 1}}) {
        TestMachine m(Mode::long64);
        for (u64 i = 0; i < 0x2000; ++i) m.poke<u8>(data + i, static_cast<u8>(i * 7));
        m.cpu.reg(Gpr::rcx) = c.count;
        m.cpu.reg(Gpr::rsi) = c.source;
        m.cpu.reg(Gpr::rdi) = c.destination;
        const u64 before = m.cpu.ticks();
        ASSERT_EQ(m.run(std::span(c.code.begin(), c.code.size())), Stop::halted);
        EXPECT_EQ(m.cpu.ticks() - before, c.ticks + 1) << c.count << " with HLT";
        EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0u);
    }
}

TEST(Repetition, OverlappingMoveRepeatsItsStart) {
    TestMachine m(Mode::long64);
    m.poke<u64>(data, 0x1122334455667788);
    m.cpu.reg(Gpr::rsi) = data;
    m.cpu.reg(Gpr::rdi) = data + 1;
    m.cpu.reg(Gpr::rcx) = 100;
    EXPECT_EQ(m.execute({0xF3, 0xA4}), Outcome::next);
    for (u64 i = 0; i <= 100; ++i) ASSERT_EQ(m.peek<u8>(data + i), 0x88) << i;
}

TEST(Repetition, AnInterruptComesBetweenChunks) {
    TestMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.write_rflags(fixed1 | if_);
    m.cpu.reg(Gpr::rdi) = data;
    m.cpu.reg(Gpr::rcx) = 256;
    m.write(TestMachine::code, {0xF3, 0xAA, 0xF4});
    m.cpu.rip = TestMachine::code;
    EXPECT_EQ(m.run_for(1), Stop::deadline);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 192u);
    m.interrupts.raise(0x40);
    m.cpu.interrupt_pending_changed();
    EXPECT_EQ(m.run_for(100), Stop::halted);
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 192u);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), TestMachine::code) << "returns to the repetition";
}

// ---- ports

class CountingPort final : public Device {
public:
    const char* name() const override { return "counting port"; }
    void reset() override {}
    u64 read(u64, Width) override { return ++reads; }
    void write(u64, Width, u64 value) override { written.push_back(value); }
    void visit(Archive&) override {}
    u64 reads = 0;
    std::vector<u64> written;
};

TEST(PortStrings, StringsMoveOneElementATick) {
    TestMachine m(Mode::long64);
    CountingPort port;
    ASSERT_FALSE(m.ports.attach({Port(0x500), 8}, port));
    m.cpu.reg(Gpr::rdx) = 0x500;
    m.cpu.reg(Gpr::rdi) = data;
    m.cpu.reg(Gpr::rcx) = 5;
    const u64 before = m.cpu.ticks();
    ASSERT_EQ(m.run({0xF3, 0x66, 0x6D}), Stop::halted);
    EXPECT_EQ(m.cpu.ticks() - before, 6u);
    for (u64 i = 0; i < 5; ++i) EXPECT_EQ(m.peek<u16>(data + 2 * i), i + 1);
    m.cpu.reg(Gpr::rsi) = data;
    m.cpu.reg(Gpr::rcx) = 3;
    ASSERT_EQ(m.run({0xF3, 0x6E}), Stop::halted);
    EXPECT_EQ(port.written, (std::vector<u64>{1, 0, 2}));
    EXPECT_EQ(m.cpu.reg(Gpr::rsi), data + 3);
}

TEST(PortStrings, NothingIsReadWhenItsPlaceIsMissing) {
    TestMachine m(Mode::long64);
    CountingPort port;
    ASSERT_FALSE(m.ports.attach({Port(0x500), 8}, port));
    m.cpu.reg(Gpr::rdx) = 0x500;
    m.cpu.reg(Gpr::rdi) = 0x50000000;
    EXPECT_EQ(m.execute({0x6C}), Outcome::fault);
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::pf);
    EXPECT_EQ(port.reads, 0u);
}

TEST(PortStrings, UsersNeedPermission) {
    TestMachine m(Mode::long64, 3);
    m.cpu.segment(Seg::tr).limit = 0x67;  // no permission map
    m.cpu.reg(Gpr::rdx) = 0x500;
    m.cpu.reg(Gpr::rdi) = data;
    m.cpu.reg(Gpr::rcx) = 1;
    EXPECT_EQ(m.execute({0xF3, 0x6C}), Outcome::fault);
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0));
    m.cpu.reg(Gpr::rcx) = 0;
    EXPECT_EQ(m.execute({0xF3, 0x6C}), Outcome::next) << "no element, no check";
}

// ---- what the timing model is told

TEST(Costs, LockAndDivisionAreCharged) {
    TestMachine m(Mode::long64);
    Cpu& cpu = m.cpu;
    cpu.costs.cycles[static_cast<std::size_t>(CostEvent::lock)] = 100;
    cpu.costs.cycles[static_cast<std::size_t>(CostEvent::div)] = 7;
    cpu.reg(Gpr::rbx) = data;
    const auto charged = [&](std::initializer_list<u8> code) {
        const u64 before = cpu.model_cycles;
        EXPECT_NE(m.execute(code), Outcome::fault);
        return cpu.model_cycles - before;
    };
    EXPECT_EQ(charged({0x01, 0x03}), 0u);                    // add [rbx], eax
    EXPECT_EQ(charged({0xF0, 0x01, 0x03}), 100u);            // lock add
    EXPECT_EQ(charged({0x87, 0x03}), 100u);                  // xchg [rbx], eax locks by itself
    EXPECT_EQ(charged({0x93}), 0u);                          // xchg ebx, eax
    cpu.reg(Gpr::rbx) = data;
    EXPECT_EQ(charged({0xF0, 0x0F, 0xB1, 0x03}), 100u);      // lock cmpxchg
    EXPECT_EQ(charged({0xF0, 0x0F, 0xC7, 0x0B}), 100u);      // lock cmpxchg8b
    EXPECT_EQ(charged({0xF0, 0x0F, 0xBA, 0x2B, 0x01}), 100u);  // lock bts
    cpu.reg(Gpr::rdx) = 0;
    cpu.reg(Gpr::rcx) = 3;
    EXPECT_EQ(charged({0xF7, 0xF1}), 7u);                    // div ecx
    EXPECT_EQ(m.execute({0xF0, 0x01, 0xD8}), Outcome::fault) << "LOCK with a register destination";
    EXPECT_EQ(cpu.pending_fault, Fault::of(Vector::ud));
}

}  // namespace
}  // namespace droste::test
