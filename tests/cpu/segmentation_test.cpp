// SPDX-License-Identifier: Apache-2.0
// Segment loads, descriptor-table registers and the instructions that ask about selectors.
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr u16 sel = SystemMachine::free_selector;
constexpr unsigned slot = SystemMachine::free_index;

// MOV Sreg, AX: 8E /r with rm = 0.
std::array<u8, 2> mov_sreg(Seg s) { return {0x8E, static_cast<u8>(0xC0 | static_cast<u8>(s) << 3)}; }

Raised load(SystemMachine& m, Seg s, u16 selector) {
    m.cpu.reg(Gpr::rax) = selector;
    return m.fault_of(mov_sreg(s));
}

struct LoadCase {
    const char* name;
    Seg segment;
    u8 cpl;
    u32 access;
    u8 rpl;
    Raised expected;
};

class SegmentLoad : public testing::TestWithParam<LoadCase> {};

TEST_P(SegmentLoad, ChecksTypePrivilegeAndPresence) {
    const LoadCase& c = GetParam();
    for (const Mode mode : {Mode::protected32, Mode::long64}) {
        SystemMachine m(mode, c.cpl);
        m.put(slot, descriptor(0x1000, 0xFFFFF, c.access));
        const Segment before = m.cpu.segment(c.segment);
        EXPECT_EQ(load(m, c.segment, sel | c.rpl), c.expected);
        const Segment& s = m.cpu.segment(c.segment);
        if (c.expected == none) {
            EXPECT_EQ(s.selector, sel | c.rpl);
            EXPECT_EQ(s.base, 0x1000u);
            EXPECT_EQ(s.limit, c.access & 0x8000 ? 0xFFFFFFFFu : 0xFFFFFu);
            EXPECT_EQ(s.access, (c.access & 0xF0FF) | 1);
            EXPECT_EQ(m.got(slot) >> 40 & 1, 1u) << "accessed bit in memory";
        } else {
            EXPECT_EQ(s.selector, before.selector);
            EXPECT_EQ(s.base, before.base);
            EXPECT_EQ(m.got(slot) >> 40 & 1, c.access & 1u) << "a refused load touches nothing";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    All, SegmentLoad,
    testing::Values(
        LoadCase{"data", Seg::ds, 0, 0xC092, 0, none}, LoadCase{"data_rpl3", Seg::ds, 0, 0xC0F2, 3, none},
        LoadCase{"read_only", Seg::es, 0, 0xC090, 0, none},
        LoadCase{"readable_code", Seg::fs, 0, 0xC09A, 0, none},
        LoadCase{"execute_only", Seg::ds, 0, 0xC098, 0, gp(sel)},
        LoadCase{"conforming_from_outer", Seg::ds, 3, 0xC09E, 3, none},
        LoadCase{"nonconforming_from_outer", Seg::ds, 3, 0xC09A, 3, gp(sel)},
        LoadCase{"rpl_too_high", Seg::ds, 0, 0xC092, 3, gp(sel)},
        LoadCase{"cpl_too_high", Seg::gs, 3, 0xC0D2, 2, gp(sel)},
        LoadCase{"system", Seg::ds, 0, 0x0082, 0, gp(sel)},
        LoadCase{"absent", Seg::ds, 0, 0xC012, 0, np(sel)},
        LoadCase{"absent_and_wrong_type", Seg::ds, 0, 0xC018, 0, gp(sel)},
        LoadCase{"stack", Seg::ss, 0, 0xC092, 0, none}, LoadCase{"stack_user", Seg::ss, 3, 0xC0F2, 3, none},
        LoadCase{"stack_read_only", Seg::ss, 0, 0xC090, 0, gp(sel)},
        LoadCase{"stack_code", Seg::ss, 0, 0xC09A, 0, gp(sel)},
        LoadCase{"stack_rpl", Seg::ss, 0, 0xC092, 1, gp(sel)},
        LoadCase{"stack_dpl", Seg::ss, 0, 0xC0F2, 0, gp(sel)},
        LoadCase{"stack_absent", Seg::ss, 0, 0xC012, 0, ss(sel)}),
    [](const auto& i) { return i.param.name; });

TEST(Segmentation, NullSelectors) {
    SystemMachine p(Mode::protected32);
    EXPECT_EQ(load(p, Seg::ds, 3), none);
    EXPECT_TRUE(p.cpu.segment(Seg::ds).unusable());
    EXPECT_EQ(p.cpu.segment(Seg::ds).selector, 3);
    EXPECT_EQ(p.fault_of({0x8A, 0x03}), gp0) << "mov al, [ebx] through a null DS";
    EXPECT_EQ(load(p, Seg::ss, 0), gp0);

    SystemMachine kernel(Mode::long64);
    EXPECT_EQ(load(kernel, Seg::ss, 0), none);
    EXPECT_EQ(load(kernel, Seg::ss, 3), gp0);
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(load(user, Seg::ss, 3), gp0);
    user.cpu.segment(Seg::fs).base = 0x1234;
    EXPECT_EQ(load(user, Seg::fs, 0), none);
    EXPECT_EQ(user.cpu.segment(Seg::fs).base, 0u);
}

TEST(Segmentation, TableLimits) {
    SystemMachine m(Mode::protected32);
    m.cpu.gdtr.limit = 8 * slot + 6;
    m.put(slot, descriptor(0, 0xFFFFF, 0xC092));
    EXPECT_EQ(load(m, Seg::ds, sel), gp(sel));
    m.cpu.gdtr.limit = 8 * slot + 7;
    EXPECT_EQ(load(m, Seg::ds, sel), none);
    // LDT: unusable, then one of two entries.
    m.cpu.segment(Seg::ldtr) = {0, 0xFFFF, Segment::unusable_bit, 0x20000};
    EXPECT_EQ(load(m, Seg::ds, 0x0C), gp(0x0C));
    m.cpu.segment(Seg::ldtr) = {0x50, 15, 0x82, 0x20000};
    m.poke<u64>(0x20008, descriptor(0x5000, 0xFF, 0x4092));
    EXPECT_EQ(load(m, Seg::ds, 0x0C), none);
    EXPECT_EQ(m.cpu.segment(Seg::ds).base, 0x5000u);
    EXPECT_EQ(load(m, Seg::ds, 0x14), gp(0x14));
    EXPECT_EQ(load(m, Seg::ds, 0x04), gp(0x04)) << "index 0 of the LDT is not null, only empty";
}

TEST(Segmentation, MovToCsAndBeyondGsIsUndefined) {
    SystemMachine m(Mode::long64);
    EXPECT_EQ(m.fault_of({0x8E, 0xC8}), ud);
    EXPECT_EQ(m.fault_of({0x8E, 0xF0}), ud);
    EXPECT_EQ(m.fault_of({0x8C, 0xF8}), ud);
}

TEST(Segmentation, RealModeLoadsKeepTheLimit) {
    SystemMachine m(Mode::real16);
    m.cpu.segment(Seg::ds).limit = 0xFFFFFFFF;
    EXPECT_EQ(load(m, Seg::ds, 0x1234), none);
    EXPECT_EQ(m.cpu.segment(Seg::ds).base, 0x12340u);
    EXPECT_EQ(m.cpu.segment(Seg::ds).limit, 0xFFFFFFFFu);
    EXPECT_EQ(m.cpu.segment(Seg::ds).selector, 0x1234);
}

TEST(Segmentation, MovSsShadowsTheNextInstruction) {
    SystemMachine m(Mode::protected32);
    EXPECT_EQ(load(m, Seg::ss, TestMachine::data_selector), none);
    EXPECT_EQ(m.cpu.interruptibility, interruptibility_bits::mov_ss);
    SystemMachine l(Mode::protected32);
    l.poke<u32>(0x4000, 0x1111);
    l.poke<u16>(0x4004, TestMachine::data_selector);
    EXPECT_EQ(l.fault_of({0x0F, 0xB2, 0x0D, 0x00, 0x40, 0x00, 0x00}), none) << "lss ecx, [4000h]";
    EXPECT_EQ(l.cpu.reg(Gpr::rcx), 0x1111u);
    EXPECT_EQ(l.cpu.interruptibility, 0u);
}

TEST(Segmentation, PopSegmentMovesThePointerOnlyOnSuccess) {
    SystemMachine m(Mode::protected32);
    m.put(slot, descriptor(0, 0xFFFFF, 0xC092));
    m.poke<u32>(0x7000, sel);
    m.cpu.reg(Gpr::rsp) = 0x7000;
    EXPECT_EQ(m.fault_of({0x1F}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7004u);
    m.poke<u32>(0x7004, 0x7770);
    EXPECT_EQ(m.fault_of({0x1F}), gp(0x7770));
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7004u);
}

TEST(Segmentation, ExpandDownLimits) {
    SystemMachine m(Mode::protected32);
    m.put(slot, descriptor(0, 0x3FFF, 0x4096));  // offsets 4000h..FFFFFFFFh
    ASSERT_EQ(load(m, Seg::ds, sel), none);
    EXPECT_EQ(m.fault_of({0xA0, 0xFF, 0x3F, 0x00, 0x00}), gp0);
    EXPECT_EQ(m.fault_of({0xA0, 0x00, 0x40, 0x00, 0x00}), none);
    m.put(slot, descriptor(0, 0x3FFF, 0x0096));  // D = 0: up to FFFFh
    ASSERT_EQ(load(m, Seg::ds, sel), none);
    EXPECT_EQ(m.fault_of({0xA0, 0x00, 0x00, 0x01, 0x00}), gp0);
}

TEST(DescriptorTables, LgdtAndSgdt) {
    SystemMachine m(Mode::long64);
    m.poke<u16>(0x4000, 0x2FF);
    m.poke<u64>(0x4002, 0xFFFF800000012345);
    m.cpu.reg(Gpr::rbx) = 0x4000;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0x13}), none);
    EXPECT_EQ(m.cpu.gdtr.limit, 0x2FFu);
    EXPECT_EQ(m.cpu.gdtr.base, 0xFFFF800000012345u);
    m.cpu.reg(Gpr::rbx) = 0x4100;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0x03}), none);
    EXPECT_EQ(m.peek<u16>(0x4100), 0x2FF);
    EXPECT_EQ(m.peek<u64>(0x4102), 0xFFFF800000012345u);
    m.poke<u64>(0x4102, 0x0000900000000000);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0x13}), gp0) << "not canonical";

    SystemMachine p(Mode::protected32);
    p.poke<u16>(0x4000, 0xFF);
    p.poke<u32>(0x4002, 0x87654321);
    p.cpu.reg(Gpr::rbx) = 0x4000;
    EXPECT_EQ(p.fault_of({0x66, 0x0F, 0x01, 0x1B}), none);
    EXPECT_EQ(p.cpu.idtr.base, 0x654321u) << "16-bit operands load 24 bits";

    SystemMachine user(Mode::long64, 3);
    user.cpu.reg(Gpr::rbx) = 0x4000;
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0x13}), gp0);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0x03}), none);
    user.cpu.cr4 |= cr4_bits::umip;
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0x03}), gp0);
    EXPECT_EQ(user.fault_of({0x0F, 0x00, 0xC0}), gp0) << "sldt";
    EXPECT_EQ(user.fault_of({0x0F, 0x00, 0xC8}), gp0) << "str";
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xE0}), gp0) << "smsw";
}

TEST(DescriptorTables, LtrMarksBusyAndRefusesTwice) {
    for (const Mode mode : {Mode::protected32, Mode::long64}) {
        SystemMachine m(mode);
        m.put(slot, descriptor(0x30000, 0x67, 0x89));
        m.put(slot + 1, 0);
        m.cpu.reg(Gpr::rax) = sel;
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), none);
        EXPECT_EQ(m.cpu.segment(Seg::tr).base, 0x30000u);
        EXPECT_EQ(m.cpu.segment(Seg::tr).access, 0x8Bu);
        EXPECT_EQ(m.got(slot) >> 40 & 0xFF, 0x8Bu);
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), gp(sel)) << "busy";
        m.put(slot, descriptor(0x30000, 0x67, 0x09));
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), np(sel));
        m.cpu.reg(Gpr::rax) = 0;
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), gp0);
        m.cpu.reg(Gpr::rax) = sel | 4;
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), gp(sel | 4));
    }
    SystemMachine m(Mode::long64);
    m.put(slot, descriptor(0x30000, 0x67, 0x89));
    m.put(slot + 1, 0x0000000000801234);
    m.cpu.reg(Gpr::rax) = sel;
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), gp(sel)) << "base 0080123400030000h is not canonical";
}

TEST(DescriptorTables, LldtReadsSixteenBytesInLongMode) {
    SystemMachine m(Mode::long64);
    m.put(slot, descriptor(0x30000, 0xFF, 0x82));
    m.put(slot + 1, 0xFFFF8000);
    m.cpu.reg(Gpr::rax) = sel;
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD0}), none);
    EXPECT_EQ(m.cpu.segment(Seg::ldtr).base, 0xFFFF800000030000u);
    m.cpu.gdtr.limit = 8 * slot + 14;
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD0}), gp(sel));
    m.cpu.reg(Gpr::rax) = 0;
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD0}), none);
    EXPECT_TRUE(m.cpu.segment(Seg::ldtr).unusable());
}

TEST(DescriptorTables, NeedProtectedMode) {
    SystemMachine m(Mode::real16);
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xC0}), ud);
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xD8}), ud);
    EXPECT_EQ(m.fault_of({0x0F, 0x02, 0xC0}), ud);
    EXPECT_EQ(m.fault_of({0x63, 0xC0}), ud);
}

// ---- LAR, LSL, VERR, VERW, ARPL

bool zf(const SystemMachine& m) { return m.cpu.flags & flag_image::zf; }

TEST(SelectorQueries, LarAndLslKnowTheSystemTypesOfTheMode) {
    constexpr u16 legacy_lar = 0x1A3E;  // types 1, 2, 3, 4, 5, 9, B, C
    constexpr u16 legacy_lsl = 0x0A0E;      // 1, 2, 3, 9, B
    constexpr u16 long_lar = 0x1A04, long_lsl = 0x0A04;
    for (const Mode mode : {Mode::protected32, Mode::long64})
        for (unsigned type = 0; type < 16; ++type) {
            SystemMachine m(mode);
            m.put(slot, descriptor(0x123456, 0x54321, 0x80 | type));
            m.put(slot + 1, 0);
            m.cpu.reg(Gpr::rax) = sel;
            m.cpu.reg(Gpr::rcx) = 0xAAAA;
            EXPECT_EQ(m.fault_of({0x0F, 0x02, 0xC8}), none);
            EXPECT_EQ(zf(m), bit(mode == Mode::long64 ? long_lar : legacy_lar, type)) << "lar, type " << type;
            EXPECT_EQ(m.cpu.reg(Gpr::rcx), zf(m) ? ((m.got(slot) >> 32) & 0xFFFF00) : 0xAAAAu);
            m.cpu.reg(Gpr::rcx) = 0xAAAA;
            EXPECT_EQ(m.fault_of({0x0F, 0x03, 0xC8}), none);
            EXPECT_EQ(zf(m), bit(mode == Mode::long64 ? long_lsl : legacy_lsl, type)) << "lsl, type " << type;
            EXPECT_EQ(m.cpu.reg(Gpr::rcx), zf(m) ? 0x54321u : 0xAAAAu);
        }
}

TEST(SelectorQueries, VerrAndVerw) {
    struct Case { u32 access; u8 cpl, rpl; bool read, write; };
    constexpr Case cases[] = {{0xC092, 0, 0, true, true},  {0xC090, 0, 0, true, false},
                              {0xC09A, 0, 0, true, false},
                              {0xC098, 0, 0, false, false}, {0xC092, 3, 3, false, false},
                              {0xC0F2, 3, 3, true, true},
                              {0xC092, 0, 3, false, false}, {0xC09E, 3, 3, true, false},
                              {0x0082, 0, 0, false, false}};
    for (const Case& c : cases) {
        SystemMachine m(Mode::protected32, c.cpl);
        m.put(slot, descriptor(0, 0xFFFFF, c.access));
        m.cpu.reg(Gpr::rax) = sel | c.rpl;
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xE0}), none);
        EXPECT_EQ(zf(m), c.read) << std::hex << c.access;
        EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xE8}), none);
        EXPECT_EQ(zf(m), c.write) << std::hex << c.access;
    }
    SystemMachine m(Mode::protected32);
    m.cpu.gdtr.limit = 7;
    m.cpu.reg(Gpr::rax) = sel;
    m.cpu.flags |= flag_image::zf;
    EXPECT_EQ(m.fault_of({0x0F, 0x00, 0xE0}), none);
    EXPECT_FALSE(zf(m));
}

TEST(SelectorQueries, Arpl) {
    SystemMachine m(Mode::protected32);
    m.cpu.reg(Gpr::rax) = 0x1110;
    m.cpu.reg(Gpr::rcx) = 3;
    EXPECT_EQ(m.fault_of({0x63, 0xC8}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x1113u);
    EXPECT_TRUE(zf(m));
    EXPECT_EQ(m.fault_of({0x63, 0xC8}), none);
    EXPECT_FALSE(zf(m));
}

}  // namespace
}  // namespace droste::test
