// SPDX-License-Identifier: Apache-2.0
// Delivery through the IDT in every mode, double and triple faults, IRET, and events between instructions.
#include "cpu/debug.h"
#include "cpu/interrupts.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
using namespace rflags_bits;
constexpr u64 code = TestMachine::code;

TEST(Exceptions, UserFaultSwitchesToTheKernelStack64) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    m.cpu.write_rflags(cf | if_ | df | nt | fixed1);
    m.run({0x90, 0x0F, 0x0B});  // nop; ud2
    EXPECT_EQ(m.stopped_at(), 6);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, TestMachine::code_selector);
    EXPECT_TRUE(m.cpu.segment(Seg::ss).unusable());
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 40);
    EXPECT_EQ(m.pushed<u64>(0), code + 1);
    EXPECT_EQ(m.pushed<u64>(1), TestMachine::user_code_selector);
    EXPECT_EQ(m.pushed<u64>(2), cf | if_ | df | nt | rf | fixed1) << "faults push RF";
    EXPECT_EQ(m.pushed<u64>(3), TestMachine::stack_top);
    EXPECT_EQ(m.pushed<u64>(4), TestMachine::user_data_selector);
    EXPECT_EQ(m.cpu.read_rflags() & (if_ | nt | tf | rf), 0u);
    EXPECT_TRUE(m.cpu.read_rflags() & df);
}

TEST(Exceptions, KernelFaultAlignsTheStack64) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rsp) = 0x7003;
    m.cpu.reg(Gpr::rax) = 0x8888;  // no such selector
    m.run({0x8E, 0xD8});
    EXPECT_EQ(m.stopped_at(), 13);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7000u - 48);
    EXPECT_EQ(m.pushed<u64>(0), 0x8888u) << "error code";
    EXPECT_EQ(m.pushed<u64>(4), 0x7003u);
    EXPECT_FALSE(m.cpu.segment(Seg::ss).unusable()) << "SS stays without a change of level";
}

TEST(Exceptions, InterruptStackTable) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.poke<u64>(TestMachine::idt + 16 * 6, m.peek<u64>(TestMachine::idt + 16 * 6) | 1ull << 32);
    m.run({0x0F, 0x0B});
    EXPECT_EQ(m.stopped_at(), 6);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::ist_stack - 40);
    EXPECT_EQ(m.pushed<u64>(3), TestMachine::stack_top);
}

TEST(Exceptions, PageFaultTellsAddressAndCause) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rbx) = 0x12345678000;
    m.run({0x88, 0x03});  // mov [rbx], al
    EXPECT_EQ(m.stopped_at(), 14);
    EXPECT_EQ(m.cpu.cr2, 0x12345678000u);
    EXPECT_EQ(m.pushed<u64>(0), 6u) << "write, user";

    SystemMachine n(Mode::long64);
    n.install_exception_stops();
    n.map(0x40000000, 0x9000, 3 | 1ull << 63);
    n.poke<u8>(0x9000 + 0xFF0, 0);  // somewhere harmless
    n.run({0xB8, 0x00, 0x00, 0x00, 0x40, 0xFF, 0xE0});  // mov eax, 40000000h; jmp rax
    EXPECT_EQ(n.stopped_at(), 14);
    EXPECT_EQ(n.cpu.cr2, 0x40000000u);
    EXPECT_EQ(n.pushed<u64>(0), 0x11u) << "present, fetch";
    EXPECT_EQ(n.pushed<u64>(1), 0x40000000u);
}

TEST(Exceptions, SoftwareInterruptsCheckTheGate) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    m.run({0xCD, 0x80});
    EXPECT_EQ(m.stopped_at(), 13);
    EXPECT_EQ(m.pushed<u64>(0), 0x80u * 8 + 2);
    EXPECT_EQ(m.pushed<u64>(1), code) << "a fault: the INT itself";

    SystemMachine ok(Mode::long64, 3);
    ok.install_exception_stops();
    ok.open_gate(0x80);
    ok.run({0xCD, 0x80});
    EXPECT_EQ(ok.stopped_at(), 0x80);
    EXPECT_EQ(ok.pushed<u64>(0), code + 2);

    SystemMachine absent(Mode::long64);
    absent.install_exception_stops();
    absent.poke<u8>(TestMachine::idt + 16 * 0x80 + 5, 0x0E);
    absent.run({0xCD, 0x80});
    EXPECT_EQ(absent.stopped_at(), 11);
    EXPECT_EQ(absent.pushed<u64>(0), 0x80u * 8 + 2);

    SystemMachine beyond(Mode::long64);
    beyond.install_exception_stops();
    beyond.cpu.idtr.limit = 16 * 32 - 1;
    beyond.run({0xCD, 0x20});
    EXPECT_EQ(beyond.stopped_at(), 13);
    EXPECT_EQ(beyond.pushed<u64>(0), 0x20u * 8 + 2);
}

TEST(Exceptions, Int3PushesTheNextAddressWithoutRf) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    m.open_gate(3);
    m.run({0xCC});
    EXPECT_EQ(m.stopped_at(), 3);
    EXPECT_EQ(m.pushed<u64>(0), code + 1);
    EXPECT_EQ(m.pushed<u64>(2) & rf, 0u);
}

TEST(Exceptions, Int1NeedsNoPrivilege) {
    SystemMachine m(Mode::long64, 3);
    m.install_exception_stops();
    const u64 before = m.cpu.dr6;
    m.run({0xF1});
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.pushed<u64>(0), code + 1);
    EXPECT_EQ(m.cpu.dr6, before);
}

/// Makes the gate of `vector` unusable in a way that raises `second` while it is used.
void spoil_gate(SystemMachine& m, u8 vector, Vector second) {
    const u64 at = TestMachine::idt + 16 * vector;
    if (second == Vector::np) m.poke<u8>(at + 5, 0x0E);
    if (second == Vector::gp) m.poke<u16>(at + 2, 0);
    if (second == Vector::pf) {  // a code segment descriptor in a page that is not there
        m.cpu.gdtr = {0x10000000000, 0xFFFF};
        m.poke<u16>(at + 2, 0x4000);
    }
}

TEST(DoubleFaults, ContributoryPairs) {
    for (const Vector second : {Vector::np, Vector::gp}) {
        SystemMachine m(Mode::long64);
        m.install_exception_stops();
        spoil_gate(m, 13, second);
        m.cpu.reg(Gpr::rax) = 0x8888;
        m.run({0x8E, 0xD8});
        EXPECT_EQ(m.stopped_at(), 8);
        EXPECT_EQ(m.pushed<u64>(0), 0u);
        EXPECT_EQ(m.pushed<u64>(1), code);
    }
}

TEST(DoubleFaults, PageFaultThenContributory) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    spoil_gate(m, 14, Vector::np);
    m.cpu.reg(Gpr::rbx) = 0x12345678000;
    m.run({0x88, 0x03});
    EXPECT_EQ(m.stopped_at(), 8);
    EXPECT_EQ(m.cpu.cr2, 0x12345678000u);
}

TEST(DoubleFaults, ContributoryThenPageFaultIsServedInTurn) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    // The handler of #GP lies on a stack that is not mapped: its delivery meets #PF, which is benign after
    // it.
    m.poke<u64>(TestMachine::idt + 16 * 13, m.peek<u64>(TestMachine::idt + 16 * 13) | 1ull << 32);
    m.poke<u64>(SystemMachine::tss + 36, 0x55555000);
    m.cpu.reg(Gpr::rax) = 0x8888;
    m.run({0x8E, 0xD8});
    EXPECT_EQ(m.stopped_at(), 14);
    EXPECT_EQ(m.cpu.cr2, 0x55554FF8u);
    EXPECT_EQ(m.pushed<u64>(0), 2u);
    EXPECT_EQ(m.pushed<u64>(1), code);
}

TEST(DoubleFaults, BenignFirstIsForgotten) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    spoil_gate(m, 6, Vector::np);
    m.run({0x0F, 0x0B});
    EXPECT_EQ(m.stopped_at(), 11);
    EXPECT_EQ(m.pushed<u64>(0), 6u * 8 + 2 + 1) << "IDT and EXT";
}

TEST(DoubleFaults, TripleFaultShutsDown) {
    SystemMachine m(Mode::long64);
    m.cpu.idtr = {0, 0};
    EXPECT_EQ(m.run({0x0F, 0x0B}), Stop::shutdown);
    EXPECT_EQ(m.cpu.activity, Activity::shutdown);
    EXPECT_TRUE(m.cpu.shut_down);
}

// ---- 32-bit protected mode

TEST(Exceptions, InnerLevel32) {
    SystemMachine m(Mode::protected32, 3);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = 0x8888;
    m.run({0x8E, 0xD8});
    EXPECT_EQ(m.stopped_at(), 13);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 24);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, TestMachine::data_selector);
    EXPECT_EQ(m.pushed<u32>(0), 0x8888u);
    EXPECT_EQ(m.pushed<u32>(1), code);
    EXPECT_EQ(m.pushed<u32>(2), TestMachine::user_code_selector);
    EXPECT_EQ(m.pushed<u32>(4), TestMachine::stack_top);
    EXPECT_EQ(m.pushed<u32>(5), TestMachine::user_data_selector);
}

TEST(Exceptions, SixteenBitGate) {
    SystemMachine m(Mode::protected32);
    m.install_exception_stops();
    m.poke<u8>(TestMachine::idt + 8 * 6 + 5, 0x87);  // 16-bit trap gate
    m.cpu.write_rflags(if_ | fixed1);
    m.run({0x0F, 0x0B});
    EXPECT_EQ(m.stopped_at(), 6);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top - 6);
    EXPECT_EQ(m.pushed<u16>(0), code);
    EXPECT_EQ(m.pushed<u16>(1), TestMachine::code_selector);
    EXPECT_TRUE(m.cpu.read_rflags() & if_) << "a trap gate leaves IF";
}

TEST(Exceptions, NewStackFaults) {
    constexpr u16 sel = SystemMachine::free_selector;
    struct Case { const char* name; u16 ss; u32 access; u32 tss_limit; u8 vector; u32 code; };
    const Case cases[] = {
        {"TSS too short", TestMachine::data_selector, 0xC093, 8, 10, SystemMachine::tss_selector | 1},
        {"null SS", 0, 0xC093, 0x67, 10, 1},
        {"beyond the GDT", 0x4000, 0xC093, 0x67, 10, 0x4000 | 1},
        {"RPL", sel | 3, 0xC093, 0x67, 10, sel | 1},
        {"DPL", sel, 0xC0F3, 0x67, 10, sel | 1},
        {"read-only", sel, 0xC091, 0x67, 10, sel | 1},
        {"code", sel, 0xC09B, 0x67, 10, sel | 1},
        {"absent", sel, 0xC013, 0x67, 12, sel | 1},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        SystemMachine m(Mode::protected32, 3);
        m.install_exception_stops();
        // Handlers of #TS and #SS in a conforming segment stay at CPL 3 and need no other stack.
        m.put(17, descriptor(0, 0xFFFFF, 0xC09E));
        for (const unsigned v : {10u, 12u}) m.poke<u16>(TestMachine::idt + 8 * v + 2, 17 * 8);
        m.put(SystemMachine::free_index, descriptor(0, 0xFFFFF, c.access));
        m.poke<u16>(SystemMachine::tss + 8, c.ss);
        m.cpu.segment(Seg::tr).limit = c.tss_limit;
        m.write(code, {0x0F, 0x0B});
        m.cpu.rip = code;
        m.cpu.deliver(Fault::of(Vector::ud));
        EXPECT_EQ(m.cpu.rip, TestMachine::stops + 16 * c.vector);
        EXPECT_EQ(m.pushed<u32>(0), c.code);
        EXPECT_EQ(m.cpu.cpl, 3);
    }
}

// ---- virtual-8086 mode

/// A protected32 machine that has left to virtual-8086 mode by IRET.
void enter_v86(SystemMachine& m, u64 flags, u16 ip) {
    m.install_exception_stops();
    u32 frame[] = {ip, 0, static_cast<u32>(flags | vm | fixed1), 0x7F00, 0x20, 0x31, 0x32, 0x33, 0x34};
    m.cpu.reg(Gpr::rsp) = 0x7000;
    for (unsigned i = 0; i < 9; ++i) m.poke<u32>(0x7000 + 4 * i, frame[i]);
    ASSERT_EQ(m.execute({0xCF}), Outcome::branch);
    ASSERT_TRUE(m.cpu.v86());
}

TEST(Virtual8086, IretEntersAndFaultsLeave) {
    SystemMachine m(Mode::protected32);
    enter_v86(m, if_, 0x2000);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.rip, 0x2000u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7F00u);
    EXPECT_EQ(m.cpu.segment(Seg::es).selector, 0x31);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x340u);
    EXPECT_EQ(m.cpu.segment(Seg::ss).access, access_rights::virtual8086);
    m.run({0x0F, 0x0B});
    EXPECT_EQ(m.stopped_at(), 6);
    EXPECT_FALSE(m.cpu.v86());
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 36);
    const u32 expected[] = {0x2000, 0,   static_cast<u32>(if_ | vm | rf | fixed1), 0x7F00, 0x20, 0x31, 0x32,
                            0x33,   0x34};
    for (unsigned i = 0; i < 9; ++i) EXPECT_EQ(m.pushed<u32>(i), expected[i]) << i;
    for (const Seg s : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) EXPECT_TRUE(m.cpu.segment(s).unusable());
}

TEST(Virtual8086, SensitiveInstructionsNeedIopl3) {
    for (const u8 op : {u8{0xFA}, u8{0xFB}, u8{0x9C}, u8{0x9D}, u8{0xCF}}) {
        SystemMachine m(Mode::protected32);
        enter_v86(m, 0, 0x2000);
        EXPECT_EQ(m.fault_of(std::array{op}), gp0) << std::hex << int{op};
    }
    SystemMachine m(Mode::protected32);
    enter_v86(m, iopl, 0x2000);
    EXPECT_EQ(m.fault_of({0xFB}), none);
    EXPECT_TRUE(m.cpu.rflags & if_);
}

TEST(Virtual8086, ExtensionsUseVif) {
    SystemMachine m(Mode::protected32);
    m.cpu.cr4 |= cr4_bits::vme;
    enter_v86(m, if_, 0x2000);
    EXPECT_EQ(m.fault_of({0xFB}), none);
    EXPECT_TRUE(m.cpu.rflags & vif);
    EXPECT_EQ(m.fault_of({0xFA}), none);
    EXPECT_FALSE(m.cpu.rflags & vif);
    EXPECT_TRUE(m.cpu.rflags & if_);
    m.cpu.rflags |= vip;
    EXPECT_EQ(m.fault_of({0xFB}), gp0) << "VIP";
}

TEST(Virtual8086, RedirectionBitMap) {
    for (const bool to_monitor : {false, true}) {
        SystemMachine m(Mode::protected32);
        m.cpu.cr4 |= cr4_bits::vme;
        m.poke<u16>(SystemMachine::tss + 0x66, 0x88);
        m.poke<u8>(SystemMachine::tss + 0x68 + 0x21 / 8, to_monitor ? 1 << (0x21 & 7) : 0);
        m.poke<u32>(4 * 0x21, 0x00402345);
        enter_v86(m, if_ | vif, 0x2000);
        m.write(code, {0xCD, 0x21});
        m.cpu.rip = code;
        const Outcome o = m.execute({0xCD, 0x21});
        if (to_monitor) {
            EXPECT_EQ(o, Outcome::branch);
            EXPECT_EQ(m.cpu.rip, TestMachine::stops + 16 * 13) << "IOPL 0: #GP for the monitor";
            EXPECT_EQ(m.pushed<u32>(0), 0u);
        } else {
            EXPECT_TRUE(m.cpu.v86());
            EXPECT_EQ(m.cpu.rip, 0x2345u);
            EXPECT_EQ(m.cpu.segment(Seg::cs).selector, 0x40);
            EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7EFAu);
            EXPECT_EQ(m.peek<u16>(0x200 + 0x7EFA), code + 2);
            EXPECT_EQ(m.peek<u16>(0x200 + 0x7EFE), (if_ | iopl | fixed1))
                << "IF stands for VIF, IOPL reads 3";
            EXPECT_FALSE(m.cpu.rflags & vif);
        }
    }
}

// ---- real-address mode

TEST(Exceptions, RealMode) {
    SystemMachine m(Mode::real16);
    m.cpu.idtr = {0, 0x3FF};
    m.poke<u32>(4 * 0x10, 0x01003456);
    m.cpu.segment(Seg::ss).base = 0;
    m.cpu.reg(Gpr::rsp) = 0x12347000;
    m.cpu.write_rflags(if_ | tf | cf | fixed1);
    m.cpu.rip = code;
    EXPECT_EQ(m.execute({0xCD, 0x10}), Outcome::branch);
    EXPECT_EQ(m.cpu.rip, 0x3456u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).base, 0x1000u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x12346FFAu) << "only SP moves";
    EXPECT_EQ(m.peek<u16>(0x6FFA), code + 2);
    EXPECT_EQ(m.peek<u16>(0x6FFE), if_ | tf | cf | fixed1);
    EXPECT_EQ(m.cpu.read_rflags() & (if_ | tf), 0u);
    EXPECT_EQ(m.execute({0xCF}), Outcome::branch);
    EXPECT_EQ(m.cpu.rip, code + 2);
    EXPECT_EQ(m.cpu.read_rflags(), if_ | tf | cf | fixed1);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x12347000u);
}

TEST(Exceptions, RealModeVectorBeyondTheTable) {
    SystemMachine m(Mode::real16);
    m.cpu.idtr = {0, 4 * 14 - 1};
    m.poke<u32>(4 * 13, 0x00003000);
    m.cpu.rip = code;
    EXPECT_EQ(m.execute({0xCD, 0x10}), Outcome::branch);
    EXPECT_EQ(m.cpu.rip, 0x3000u) << "#GP, without an error code";
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top - 6);
    EXPECT_EQ(m.peek<u16>(TestMachine::stack_top - 6), code);
}

// ---- IRET

struct Frame64 { u64 rip, cs, flags, rsp, ss; };
Raised iret64(SystemMachine& m, const Frame64& f) {
    m.cpu.reg(Gpr::rsp) = 0x7000;
    m.poke(0x7000, f);
    return m.fault_of({0x48, 0xCF});
}

TEST(Iret, ToUserInLongMode) {
    SystemMachine m(Mode::long64);
    m.cpu.segment(Seg::fs) = {0, 0, Segment::unusable_bit, 0x7FFF12345678};  // as WRMSR leaves it
    EXPECT_EQ(iret64(m, {0x401000, 0x1B, if_ | cf | fixed1 | iopl, 0x123458, 0x23}), none);
    EXPECT_EQ(m.cpu.rip, 0x401000u);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x123458u);
    EXPECT_EQ(m.cpu.read_rflags(), if_ | cf | fixed1 | iopl);
    EXPECT_TRUE(m.cpu.segment(Seg::ds).unusable()) << "DPL 0 data is dropped";
    EXPECT_EQ(m.cpu.segment(Seg::fs).base, 0x7FFF12345678u) << "a null FS keeps its base";
}

TEST(Iret, ADroppedGsKeepsItsBase) {
    SystemMachine m(Mode::long64);
    m.cpu.segment(Seg::gs).base = 0x400000;
    ASSERT_NE(m.cpu.segment(Seg::gs).selector, 0);
    EXPECT_EQ(iret64(m, {0x401000, 0x1B, fixed1, 0x123458, 0x23}), none);
    EXPECT_TRUE(m.cpu.segment(Seg::gs).unusable());
    EXPECT_EQ(m.cpu.segment(Seg::gs).selector, 0);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0x400000u);
}

TEST(Iret, Checks) {
    const Frame64 good{0x401000, 0x1B, fixed1, 0x1000, 0x23};
    const auto changed = [&](auto change) {
        Frame64 f = good;
        change(f);
        SystemMachine m(Mode::long64);
        m.put(SystemMachine::free_index, descriptor(0, 0xFFFFF, 0xE0FB));  // L and D
        m.put(17, descriptor(0, 0xFFFFF, 0xA07B));                         // absent
        const Raised r = iret64(m, f);
        if (r != none) {
            EXPECT_EQ(m.cpu.cpl, 0);
            EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7000u);
        }
        return r;
    };
    EXPECT_EQ(changed([](Frame64&) {}), none);
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0; }), gp0);
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x18; }), gp(0x18)) << "RPL 0, DPL 3";
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x23; }), gp(0x20)) << "data";
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x83; }), gp(0x80)) << "L and D";
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x8B; }), np(0x88));
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x4003; }), gp(0x4000));
    EXPECT_EQ(changed([](Frame64& f) { f.ss = 0; }), gp0);
    EXPECT_EQ(changed([](Frame64& f) { f.ss = 0x10; }), gp(0x10));
    EXPECT_EQ(changed([](Frame64& f) { f.rip = 0x800000000000; }), gp0) << "not canonical";
    EXPECT_EQ(changed([](Frame64& f) { f.cs = 0x08, f.ss = 0; }), none) << "a null SS at CPL 0";
    EXPECT_EQ(changed([](Frame64& f) { f.flags |= vm; }), none) << "VM is ignored in IA-32e mode";
    SystemMachine nested(Mode::long64);
    nested.cpu.rflags |= nt;
    EXPECT_EQ(iret64(nested, good), gp0);
}

TEST(Iret, UserCannotChangeIfNorIopl) {
    SystemMachine m(Mode::long64, 3);
    m.cpu.write_rflags(fixed1);
    EXPECT_EQ(iret64(m, {0x401000, 0x1B, if_ | iopl | zf | ac | fixed1 | vif, 0x1000, 0x23}), none);
    EXPECT_EQ(m.cpu.read_rflags(), zf | ac | fixed1);
}

TEST(Iret, SetsRfForOneInstruction) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.poke(0x7000, Frame64{0x3000, 8, rf | fixed1, 0x6800, 0x10});
    m.cpu.reg(Gpr::rsp) = 0x7000;
    m.cpu.dr[0] = 0x3000;
    m.cpu.dr7 = 0x402;  // instruction breakpoint 0
    m.cpu.segments_changed();
    m.write(0x3000, {0x90, 0xF4});
    m.run({0x48, 0xCF});
    EXPECT_EQ(m.cpu.rip, 0x3002u) << "the breakpoint was skipped once";
    EXPECT_EQ(m.cpu.rflags & rf, 0u);
}

// ---- events between instructions

/// An interrupt handler table in which vector 0x40 halts at its stop.
TEST(Interrupts, TakenWhenEnabled) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.interrupts.raise(0x40);
    m.cpu.set_attention();
    m.run({0x90});
    EXPECT_EQ(m.cpu.rip, code + 2) << "masked by IF";
    m.cpu.reg(Gpr::rsp) = TestMachine::stack_top;
    m.run({0xFB, 0x90, 0x90});  // sti; nop; nop
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_EQ(m.pushed<u64>(0), code + 2) << "after the instruction that follows STI";
    EXPECT_EQ(m.pushed<u64>(2) & (if_ | rf), if_);
}

TEST(Interrupts, StiHltWakes) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.interrupts.raise(0x40);
    m.run({0xFB, 0xF4, 0x90});
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_EQ(m.pushed<u64>(0), code + 2);
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
}

TEST(Interrupts, MovSsHoldsBack) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = TestMachine::data_selector;
    m.cpu.write_rflags(if_ | fixed1);
    m.write(code, {0x8E, 0xD0, 0x90, 0x90, 0xF4});
    m.cpu.rip = code;
    m.cpu.attention = false;
    ASSERT_EQ(m.execute({0x8E, 0xD0}), Outcome::branch);
    m.interrupts.raise(0x40);
    m.cpu.set_attention();
    m.run_for(100);
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_EQ(m.pushed<u64>(0), code + 3);
}

TEST(Interrupts, NmiIsBlockedUntilIret) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.nmi();
    m.run({0x90});
    EXPECT_EQ(m.stopped_at(), 2);
    EXPECT_TRUE(m.cpu.interruptibility & interruptibility_bits::nmi);
    m.cpu.nmi();
    m.cpu.activity = Activity::active;
    m.cpu.rip = code;
    m.run({0x90});
    EXPECT_EQ(m.cpu.rip, code + 2) << "second NMI waits";
    // IRET, even one that faults, ends the blocking.
    EXPECT_EQ(iret64(m, {0, 0, 0, 0, 0}), gp0);
    EXPECT_FALSE(m.cpu.interruptibility & interruptibility_bits::nmi);
    EXPECT_TRUE(m.cpu.attention);
}

TEST(Interrupts, InitResets) {
    SystemMachine m(Mode::long64);
    m.cpu.reg(Gpr::rbx) = 5;
    m.cpu.init();
    recognise_events(m.cpu);
    EXPECT_EQ(m.cpu.rip, 0xFFF0u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).base, 0xFFFF0000u);
    EXPECT_FALSE(m.cpu.protected_mode());
}

}  // namespace
}  // namespace droste::test
