// SPDX-License-Identifier: Apache-2.0
// Far JMP, CALL and RET, call gates between levels, SYSCALL and SYSENTER.
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr u16 sel = SystemMachine::free_selector;
constexpr unsigned slot = SystemMachine::free_index;
constexpr u64 code = TestMachine::code;

std::array<u8, 7> far32(u8 opcode, u16 selector, u32 offset) {
    return {opcode, static_cast<u8>(offset), static_cast<u8>(offset >> 8), static_cast<u8>(offset >> 16),
            static_cast<u8>(offset >> 24), static_cast<u8>(selector), static_cast<u8>(selector >> 8)};
}
constexpr u8 jmp = 0xEA, call = 0x9A;

struct DirectCase {
    const char* name;
    u32 access;
    u8 cpl, rpl;
    u32 offset;
    Raised expected;
};
class DirectTransfer : public testing::TestWithParam<DirectCase> {};

TEST_P(DirectTransfer, ChecksTheCodeSegment) {
    const DirectCase& c = GetParam();
    for (const u8 op : {jmp, call}) {
        SystemMachine m(Mode::protected32, c.cpl);
        m.put(slot, descriptor(0, 0x4FFF, c.access));
        EXPECT_EQ(m.fault_of(far32(op, sel | c.rpl, c.offset)), c.expected);
        if (c.expected == none) {
            EXPECT_EQ(m.cpu.rip, c.offset);
            EXPECT_EQ(m.cpu.segment(Seg::cs).selector, sel | c.cpl) << "RPL is replaced by CPL";
            EXPECT_EQ(m.cpu.cpl, c.cpl);
            if (op == call) {
                EXPECT_EQ(m.pushed<u32>(0), code + 7);
                EXPECT_EQ(m.pushed<u32>(1), c.cpl == 3 ? 0x1Bu : 0x08u);
            }
        } else {
            EXPECT_EQ(m.cpu.rip, code);
            EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top);
        }
    }
}
INSTANTIATE_TEST_SUITE_P(
    All, DirectTransfer,
    testing::Values(DirectCase{"same_level", 0x409A, 0, 0, 0x3000, none},
                    DirectCase{"rpl_above", 0x409A, 0, 1, 0x3000, gp(sel)},
                    DirectCase{"rpl_below", 0x40FA, 3, 0, 0x3000, none},
                    DirectCase{"outer_segment", 0x40FA, 0, 0, 0x3000, gp(sel)},
                    DirectCase{"inner_segment", 0x409A, 3, 3, 0x3000, gp(sel)},
                    DirectCase{"conforming_inner", 0x409E, 3, 3, 0x3000, none},
                    DirectCase{"conforming_outer", 0x40FE, 0, 0, 0x3000, gp(sel)},
                    DirectCase{"absent", 0x401A, 0, 0, 0x3000, np(sel)},
                    DirectCase{"data", 0x4092, 0, 0, 0x3000, gp(sel)},
                    DirectCase{"beyond_limit", 0x409A, 0, 0, 0x5000, gp0},
                    DirectCase{"bad_system_type", 0x0080, 0, 0, 0x3000, gp(sel)}),
    [](const auto& i) { return i.param.name; });

TEST(FarTransfer, NullSelector) {
    SystemMachine m(Mode::protected32);
    EXPECT_EQ(m.fault_of(far32(jmp, 0, 0)), gp0);
    EXPECT_EQ(m.fault_of(far32(jmp, 3, 0)), gp0);
    EXPECT_EQ(m.fault_of(far32(jmp, 0x4000, 0)), gp(0x4000));
}

TEST(FarTransfer, LeavesLongModeForCompatibilityModeAndBack) {
    SystemMachine m(Mode::long64);
    m.put(slot, descriptor(0, 0xFFFFF, 0xC09A));
    m.poke<u32>(0x4000, 0x3000);
    m.poke<u16>(0x4004, sel);
    EXPECT_EQ(m.fault_of({0xFF, 0x2C, 0x25, 0x00, 0x40, 0x00, 0x00}), none) << "jmp far [4000h]";
    EXPECT_FALSE(m.cpu.code64());
    EXPECT_TRUE(m.cpu.long_mode());
    EXPECT_EQ(m.cpu.rip, 0x3000u);
    EXPECT_EQ(m.fault_of(far32(jmp, TestMachine::code_selector, 0x2000)), none);
    EXPECT_TRUE(m.cpu.code64());
    m.put(slot, descriptor(0, 0xFFFFF, 0xE09A));
    EXPECT_EQ(m.fault_of({0xFF, 0x2C, 0x25, 0x00, 0x40, 0x00, 0x00}), gp(sel)) << "L and D";
    EXPECT_EQ(m.fault_of(far32(jmp, 8, 0)), ud) << "EA does not exist in 64-bit mode";
}

TEST(FarTransfer, RealMode) {
    SystemMachine m(Mode::real16);
    EXPECT_EQ(m.fault_of({0x9A, 0x34, 0x12, 0x00, 0x30}), none);
    EXPECT_EQ(m.cpu.rip, 0x1234u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).base, 0x30000u);
    EXPECT_EQ(m.pushed<u16>(0), code + 5);
    EXPECT_EQ(m.fault_of({0xCB}), none);
    EXPECT_EQ(m.cpu.rip, code + 5);
    EXPECT_EQ(m.cpu.segment(Seg::cs).base, 0u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top);
}

// ---- call gates

/// Gate at `sel` to level-0 code at 3000h.
void install_gate(SystemMachine& m, u8 type_dpl_p, u8 parameters = 0,
                  u16 target = TestMachine::code_selector) {
    m.put(slot, gate(target, 0x3000, type_dpl_p, parameters));
    m.put(slot + 1, 0);
}

TEST(CallGates, InnerLevelCopiesParameters) {
    SystemMachine m(Mode::protected32, 3);
    install_gate(m, 0xEC, 3);
    m.cpu.reg(Gpr::rsp) = 0x7000;
    for (unsigned i = 0; i < 3; ++i) m.poke<u32>(0x7000 + 4 * i, 0xA0 + i);
    EXPECT_EQ(m.fault_of(far32(call, sel | 3, 0xDEAD)), none);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.rip, 0x3000u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, TestMachine::code_selector);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, TestMachine::data_selector);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 28);
    const u32 expected[] = {static_cast<u32>(code + 7), 0x1B, 0xA0, 0xA1, 0xA2, 0x7000, 0x23};
    for (unsigned i = 0; i < 7; ++i) EXPECT_EQ(m.pushed<u32>(i), expected[i]) << i;
    // Back, releasing the parameters on both stacks.
    EXPECT_EQ(m.fault_of({0xCA, 12, 0}), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.rip, code + 7);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x700Cu);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0x23);
}

TEST(CallGates, SixteenBitGate) {
    SystemMachine m(Mode::protected32, 3);
    install_gate(m, 0xE4, 1);
    m.cpu.reg(Gpr::rsp) = 0x7000;
    m.poke<u16>(0x7000, 0xBEEF);
    EXPECT_EQ(m.fault_of(far32(call, sel | 3, 0)), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 10);
    EXPECT_EQ(m.pushed<u16>(0), (code + 7) & 0xFFFF);
    EXPECT_EQ(m.pushed<u16>(2), 0xBEEF);
}

TEST(CallGates, SixtyFourBit) {
    SystemMachine m(Mode::long64, 3);
    install_gate(m, 0xEC);
    m.put(slot + 1, 0xFFFF8000);
    m.poke<u32>(0x4000, 0);
    m.poke<u16>(0x4004, sel | 3);
    EXPECT_EQ(m.fault_of({0xFF, 0x1C, 0x25, 0x00, 0x40, 0x00, 0x00}), none) << "call far [4000h]";
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.rip, 0xFFFF800000003000u);
    EXPECT_TRUE(m.cpu.segment(Seg::ss).unusable());
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), SystemMachine::kernel_stack - 32);
    EXPECT_EQ(m.pushed<u64>(0), code + 7);
    EXPECT_EQ(m.pushed<u64>(1), 0x1Bu);
    EXPECT_EQ(m.pushed<u64>(2), TestMachine::stack_top);
    EXPECT_EQ(m.pushed<u64>(3), 0x23u);
}

TEST(CallGates, Checks) {
    struct Case { const char* name; u8 type; u8 rpl; u16 target; u8 op; Raised expected; };
    constexpr u16 kernel = TestMachine::code_selector;
    const Case cases[] = {
        {"gate DPL below CPL", 0x8C, 3, kernel, call, gp(sel)},
        {"RPL above gate DPL", 0xAC, 3, kernel, call, gp(sel)},
        {"absent", 0x6C, 3, kernel, call, np(sel)},
        {"JMP to an inner level", 0xEC, 3, kernel, jmp, gp(kernel)},
        {"null target", 0xEC, 3, 0, call, gp0},
        {"data target", 0xEC, 3, TestMachine::data_selector, call, gp(TestMachine::data_selector)},
        {"absent target", 0xEC, 3, 20 * 8, call, np(20 * 8)},
        {"same level by JMP", 0xEC, 3, 0x1B, jmp, none},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        SystemMachine m(Mode::protected32, 3);
        m.put(20, descriptor(0, 0xFFFFF, 0xC01A));
        install_gate(m, c.type, 0, c.target);
        EXPECT_EQ(m.fault_of(far32(c.op, sel | c.rpl, 0)), c.expected);
        EXPECT_EQ(m.cpu.cpl, 3);
    }
    SystemMachine m(Mode::long64, 3);
    m.put(20, descriptor(0, 0xFFFFF, 0xC09A));
    install_gate(m, 0xEC, 0, 20 * 8);
    m.poke<u32>(0x4000, 0);
    m.poke<u16>(0x4004, sel | 3);
    EXPECT_EQ(m.fault_of({0xFF, 0x1C, 0x25, 0x00, 0x40, 0x00, 0x00}), gp(20 * 8)) << "not 64-bit code";
}

// ---- RET

Raised ret32(SystemMachine& m, u32 eip, u32 cs, u32 esp = 0x5000, u32 ss_selector = 0x23) {
    m.cpu.reg(Gpr::rsp) = 0x7000;
    const u32 frame[] = {eip, cs, esp, ss_selector};
    for (unsigned i = 0; i < 4; ++i) m.poke<u32>(0x7000 + 4 * i, frame[i]);
    return m.fault_of({0xCB});
}

TEST(FarReturn, ToOuterLevelDropsSegments) {
    SystemMachine m(Mode::protected32);
    m.put(slot, descriptor(0, 0xFFFFF, 0xC0F3));
    m.cpu.reg(Gpr::rax) = sel | 3;
    ASSERT_EQ(m.fault_of({0x8E, 0xE0}), none);  // FS stays usable at level 3
    EXPECT_EQ(ret32(m, 0x3000, 0x1B), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x5000u);
    EXPECT_TRUE(m.cpu.segment(Seg::ds).unusable());
    EXPECT_EQ(m.cpu.segment(Seg::ds).selector, 0);
    EXPECT_EQ(m.cpu.segment(Seg::fs).selector, sel | 3);
}

TEST(FarReturn, Checks) {
    const auto result = [](u8 cpl, u32 cs, u32 stack_selector = 0x23) {
        SystemMachine m(Mode::protected32, cpl);
        m.put(20, descriptor(0, 0xFFFFF, 0xC07A));  // absent, DPL 3
        m.put(21, descriptor(0, 0xFFFFF, 0xC0FE));  // conforming, DPL 3
        m.put(22, descriptor(0, 0xFFFFF, 0xC073));  // data, absent, DPL 3
        return ret32(m, 0x3000, cs, 0x5000, stack_selector);
    };
    EXPECT_EQ(result(0, 0), gp0);
    EXPECT_EQ(result(3, 0x08), gp(0x08)) << "to an inner level";
    EXPECT_EQ(result(0, 0x18), gp(0x18)) << "RPL is not DPL";
    EXPECT_EQ(result(0, 20 * 8 + 3), np(20 * 8));
    EXPECT_EQ(result(0, 21 * 8), gp(21 * 8)) << "conforming with DPL above RPL";
    EXPECT_EQ(result(0, 0x1B, 0), gp0);
    EXPECT_EQ(result(0, 0x1B, 0x20), gp(0x20));
    EXPECT_EQ(result(0, 0x1B, 22 * 8 + 3), ss(22 * 8));
    EXPECT_EQ(result(0, 0x1B), none);
}

// ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT

TEST(FastCalls, SyscallAndSysret) {
    using namespace rflags_bits;
    SystemMachine m(Mode::long64, 3);
    m.cpu.star = (0x0023ull << 48) | (0x0010ull << 32);
    m.cpu.lstar = 0xFFFF800000001000;
    m.cpu.fmask = if_ | df;
    m.cpu.write_rflags(if_ | df | cf | fixed1);
    EXPECT_EQ(m.fault_of({0x0F, 0x05}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), code + 2);
    EXPECT_EQ(m.cpu.reg(Gpr::r11), if_ | df | cf | fixed1);
    EXPECT_EQ(m.cpu.rip, 0xFFFF800000001000u);
    EXPECT_EQ(m.cpu.read_rflags(), cf | fixed1);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, 0x10);
    EXPECT_EQ(m.cpu.segment(Seg::cs).access, 0xA09Bu);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0x18);
    EXPECT_EQ(m.cpu.segment(Seg::ss).access, 0xC093u);

    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x07}), none);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.rip, code + 2);
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, 0x33);
    EXPECT_EQ(m.cpu.segment(Seg::cs).access, 0xA0FBu);
    EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0x2B);
    EXPECT_EQ(m.cpu.read_rflags(), if_ | df | cf | fixed1);
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x07}), gp0) << "CPL 3";
}

TEST(FastCalls, SysretChecks) {
    SystemMachine m(Mode::long64);
    m.cpu.star = 0x0023ull << 48;
    m.cpu.reg(Gpr::rcx) = 0x800000000000;
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x07}), gp0) << "not canonical";
    EXPECT_EQ(m.fault_of({0x0F, 0x07}), none) << "32-bit form takes ECX";
    EXPECT_FALSE(m.cpu.code64());
    EXPECT_EQ(m.cpu.segment(Seg::cs).selector, 0x23);
    SystemMachine off(Mode::long64);
    off.cpu.efer &= ~efer_bits::sce;
    EXPECT_EQ(off.fault_of({0x0F, 0x05}), ud);
    EXPECT_EQ(off.fault_of({0x48, 0x0F, 0x07}), ud);
    SystemMachine p(Mode::protected32);
    EXPECT_EQ(p.fault_of({0x0F, 0x05}), ud);
}

TEST(FastCalls, SysenterAndSysexit) {
    for (const Mode mode : {Mode::protected32, Mode::long64}) {
        SystemMachine m(mode, 3);
        EXPECT_EQ(m.fault_of({0x0F, 0x34}), gp0) << "SYSENTER_CS is null";
        m.cpu.sysenter_cs = 0x08;
        m.cpu.sysenter_eip = 0x3000;
        m.cpu.sysenter_esp = 0x6F00;
        m.cpu.write_rflags(rflags_bits::if_ | rflags_bits::fixed1);
        EXPECT_EQ(m.fault_of({0x0F, 0x34}), none);
        EXPECT_EQ(m.cpu.cpl, 0);
        EXPECT_EQ(m.cpu.rip, 0x3000u);
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x6F00u);
        EXPECT_EQ(m.cpu.code64(), mode == Mode::long64);
        EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0x10);
        EXPECT_FALSE(m.cpu.rflags & rflags_bits::if_);
        m.cpu.reg(Gpr::rdx) = 0x2222;
        m.cpu.reg(Gpr::rcx) = 0x7777;
        EXPECT_EQ(m.fault_of({0x0F, 0x35}), none);
        EXPECT_EQ(m.cpu.cpl, 3);
        EXPECT_EQ(m.cpu.rip, 0x2222u);
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7777u);
        EXPECT_EQ(m.cpu.segment(Seg::cs).selector, 0x1B);
        EXPECT_EQ(m.cpu.segment(Seg::ss).selector, 0x23);
        EXPECT_EQ(m.fault_of({0x0F, 0x35}), gp0);
    }
}

}  // namespace
}  // namespace droste::test
