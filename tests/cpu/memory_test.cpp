// SPDX-License-Identifier: Apache-2.0
// Memory accesses of instructions beyond the first-level TLB: faults, pages, wrap-around, devices, segments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr unsigned ds = static_cast<unsigned>(Seg::ds), ss = static_cast<unsigned>(Seg::ss),
                   cs = static_cast<unsigned>(Seg::cs), fs = static_cast<unsigned>(Seg::fs);

TEST(MemoryLong, CanonicalAddresses) {
    TestMachine m(Mode::long64);
    u64 v = 0;
    for (const u64 x : {0x0000'8000'0000'0000ull, 0xFFFF'7FFF'FFFF'FFF8ull, 0x0000'7FFF'FFFF'FFFDull}) {
        EXPECT_FALSE(m.cpu.load(ds, x, v));
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0)) << std::hex << x;
        EXPECT_FALSE(m.cpu.store(ss, x, v));
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::ss, 0));
        EXPECT_FALSE(m.cpu.load_system(x, v));
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0));
        EXPECT_EQ(m.cpu.bulk(x, 8, Access::read), nullptr);
    }
    EXPECT_FALSE(m.cpu.load(ds, 0x0000'7FFF'FFFF'FFF8ull, v));
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::pf);
    EXPECT_EQ(m.cpu.memory_fault.linear.value, 0x0000'7FFF'FFFF'FFF8ull);
}

// Nothing is written when the second page faults, and the address reported is that page's.
TEST(MemoryLong, PageCrossingIsAllOrNothing) {
    TestMachine m(Mode::long64);
    constexpr u64 linear = 0x10'0000'0000;
    m.map(linear, 0x30'0000);
    m.poke<u64>(0x30'0FF8, 0x1111'1111'1111'1111);
    u64 v = 0x2222'2222'2222'2222;
    EXPECT_FALSE(m.cpu.store(ds, linear + 0xFFC, v));
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::pf, 2));
    EXPECT_EQ(m.cpu.memory_fault.linear.value, linear + 0x1000);
    EXPECT_EQ(m.peek<u64>(0x30'0FF8), 0x1111'1111'1111'1111u);
    EXPECT_FALSE(m.cpu.probe_write(ds, linear + 0xFFC, 8));
    EXPECT_TRUE(m.cpu.probe_write(ds, linear + 0xFF8, 8));
    m.map(linear + 0x1000, 0x35'0000, 5);  // read-only: a write still fails there
    EXPECT_FALSE(m.cpu.store(ds, linear + 0xFFC, v));
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::pf, 3));
    EXPECT_TRUE(m.cpu.probe_read(ds, linear + 0xFFC, 8));
    Rmw<u64> rmw;
    EXPECT_FALSE(m.cpu.begin_rmw(ds, linear + 0xFFC, rmw));
    m.map(linear + 0x1000, 0x35'0000);
    ASSERT_TRUE(m.cpu.store(ds, linear + 0xFFC, v));
    EXPECT_EQ(m.peek<u32>(0x30'0FFC), 0x2222'2222u);
    EXPECT_EQ(m.peek<u32>(0x35'0000), 0x2222'2222u);
    ASSERT_TRUE(m.cpu.begin_rmw(ds, linear + 0xFFC, rmw));
    *rmw.p += 1;
    ASSERT_TRUE(m.cpu.end_rmw(rmw));
    u64 back = 0;
    ASSERT_TRUE(m.cpu.load(ds, linear + 0xFFC, back));
    EXPECT_EQ(back, v + 1);
    std::array<u8, 64> wide{};
    EXPECT_TRUE(m.cpu.load(ds, linear + 0xFE0, wide));
    EXPECT_EQ(wide[0x1C], 0x23);
}

TEST(MemoryLong, SecondUseIsServedByTheFirstLevel) {
    TestMachine m(Mode::long64);
    u32 v = 7;
    ASSERT_TRUE(m.cpu.store(ds, 0x30'0000, v));
    const u64 walks = m.cpu.mmu.counters.walks;
    const unsigned i = TlbClass::slot(0x30'0000);
    EXPECT_EQ(m.cpu.tlb->write_tag[i] + 0x300, 0u);
    EXPECT_EQ(m.cpu.tlb->read_tag[i] + 0x300, 0u);
    ASSERT_TRUE(m.cpu.load(ds, 0x30'0004, v));
    EXPECT_EQ(m.cpu.mmu.counters.walks, walks);
}

// In modes without 64-bit addresses an access at the end of the 4 GBytes goes on at 0.
TEST(MemoryProtected, LinearAddressesWrap) {
    TestMachine m(Mode::protected32);
    m.poke<u32>(0, 0xAABB'CCDD);
    u32 v = 0;
    ASSERT_TRUE(m.cpu.load(ds, 0xFFFF'FFFE, v));  // a device's range, empty: ones
    EXPECT_EQ(v, 0xCCDD'FFFFu);
    v = 0x1234'5678;
    ASSERT_TRUE(m.cpu.store(ds, 0xFFFF'FFFE, v));
    EXPECT_EQ(m.peek<u16>(0), 0x1234);
    ASSERT_TRUE(m.cpu.load(ds, 0x1'0000'0000, v));  // a sum that was not cut
    EXPECT_EQ(v, 0xAABB'1234u);
}

TEST(MemoryLong, AlignmentChecks) {
    TestMachine m(Mode::long64, 3);
    m.cpu.cr0 |= cr0_bits::am;
    m.cpu.rflags |= rflags_bits::ac;
    m.cpu.context_changed();
    u16 two = 0;
    u32 four = 0;
    u64 eight = 0;
    u8 one = 0;
    const Fault ac = Fault::of(Vector::ac, 0);
    EXPECT_TRUE(m.cpu.load(ds, TestMachine::data + 1, one));
    EXPECT_FALSE(m.cpu.load(ds, TestMachine::data + 1, two));
    EXPECT_EQ(m.cpu.pending_fault, ac);
    EXPECT_FALSE(m.cpu.store(ds, TestMachine::data + 2, four));
    EXPECT_FALSE(m.cpu.load(ds, TestMachine::data + 4, eight));
    EXPECT_TRUE(m.cpu.load(ds, TestMachine::data + 8, eight));
    EXPECT_TRUE(m.cpu.load(ds, TestMachine::data + 4, four));
    Rmw<u32> rmw;
    EXPECT_FALSE(m.cpu.begin_rmw(ds, TestMachine::data + 2, rmw));
    EXPECT_TRUE(m.cpu.load_system(TestMachine::data + 1, eight));  // not the program's own access
    EXPECT_EQ(m.cpu.bulk(TestMachine::data, 8, Access::read), nullptr);
    m.cpu.cr0 &= ~cr0_bits::am;
    m.cpu.context_changed();
    EXPECT_TRUE(m.cpu.load(ds, TestMachine::data + 4, eight));
}

TEST(MemoryLong, SmapFollowsTheAcFlag) {
    TestMachine m(Mode::long64);
    m.cpu.cr4 |= cr4_bits::smap;
    m.cpu.context_changed();
    u32 v = 0;
    EXPECT_FALSE(m.cpu.load(ds, TestMachine::data, v));  // all pages are users' pages here
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::pf, 1));
    m.cpu.write_rflags(2 | rflags_bits::ac);
    EXPECT_TRUE(m.cpu.load(ds, TestMachine::data, v));
    EXPECT_FALSE(m.cpu.load_system(TestMachine::data, v));  // implicit accesses never pass
    EXPECT_NE(m.cpu.bulk(TestMachine::data, 8, Access::read), nullptr);
    m.cpu.write_rflags(2);
    EXPECT_FALSE(m.cpu.load(ds, TestMachine::data, v));
    EXPECT_EQ(m.cpu.bulk(TestMachine::data, 8, Access::read), nullptr);
}

TEST(MemoryLong, BulkGivesHostMemoryWithinAPage) {
    TestMachine m(Mode::long64);
    struct Watcher : CodeWatcher {
        unsigned calls = 0;
        void code_overwritten(u64, u64) override { ++calls; }
    } watcher;
    EXPECT_EQ(m.cpu.bulk(0x30'0100, 0xF00, Access::write), m.memory.host(0x30'0100));
    EXPECT_EQ(m.cpu.bulk(0x30'0100, 0xF01, Access::write), nullptr);
    EXPECT_EQ(m.cpu.bulk(0x30'0100, 0, Access::write), nullptr);
    EXPECT_EQ(m.cpu.bulk(0x20'0000'0000, 8, Access::read), nullptr);
    EXPECT_EQ(m.cpu.pending_fault, Fault());
    m.memory.set_code_watcher(&watcher);
    m.memory.add_code(0x30'0000, 1);
    m.cpu.mmu.drop_write_tags(0x30'0000);
    EXPECT_NE(m.cpu.bulk(0x30'0040, 8, Access::write), nullptr);
    EXPECT_EQ(watcher.calls, 0u);
    EXPECT_NE(m.cpu.bulk(0x30'0000, 8, Access::read), nullptr);
    EXPECT_EQ(watcher.calls, 0u);
    EXPECT_NE(m.cpu.bulk(0x30'0020, 0x100, Access::write), nullptr);
    EXPECT_EQ(watcher.calls, 1u);
    u32 v = 0;
    EXPECT_TRUE(m.cpu.store(ds, 0x30'003E, v));
    EXPECT_EQ(watcher.calls, 2u);
    m.memory.set_code_watcher(nullptr);
}

/// Notes accesses, and when and where they happened.
struct Probe : Device {
    struct Call {
        char kind;
        unsigned width;
        u64 offset, value;
        bool operator==(const Call&) const = default;
    };
    std::vector<Call> calls;
    std::vector<Time> times;
    const TimeSource* clock = nullptr;
    const char* name() const override { return "probe"; }
    void reset() override {}
    u64 read(u64 offset, Width width) override {
        calls.push_back({'r', bytes(width), offset, 0});
        if (clock != nullptr) times.push_back(clock->now());
        return 0x8877'6655'4433'2211 >> (8 * (offset % 8));
    }
    void write(u64 offset, Width width, u64 value) override {
        calls.push_back({'w', bytes(width), offset, value});
        if (clock != nullptr) times.push_back(clock->now());
    }
    void visit(Archive&) override {}
};

struct DeviceTest : testing::Test {
    static constexpr u64 linear = 0x10'0000'0000, physical = 0xD000'0000;
    Probe probe;
    TestMachine m{Mode::long64};
    DeviceTest() {
        EXPECT_FALSE(m.mmio.attach({MachinePhys(physical), 0x1000}, probe));
        m.map(linear, physical);
        probe.clock = &m.cpu;
    }
};

TEST_F(DeviceTest, NaturalWidths) {
    u8 one = 0;
    u16 two = 0;
    u32 four = 0;
    u64 eight = 0;
    std::array<u8, 16> sixteen{};
    std::array<u8, 10> ten{};
    EXPECT_TRUE(m.cpu.load(ds, linear + 1, one) && m.cpu.load(ds, linear + 2, two) &&
                m.cpu.load(ds, linear + 3, four));
    EXPECT_TRUE(m.cpu.load(ds, linear, eight) && m.cpu.load(ds, linear, sixteen) &&
                m.cpu.load(ds, linear, ten));
    using C = Probe::Call;
    EXPECT_THAT(probe.calls,
                testing::ElementsAre(C{'r', 1, 1, 0}, C{'r', 2, 2, 0}, C{'r', 4, 3, 0}, C{'r', 8, 0, 0},
                                     C{'r', 8, 0, 0}, C{'r', 8, 8, 0}, C{'r', 8, 0, 0}, C{'r', 2, 8, 0}));
    EXPECT_EQ(eight, 0x8877'6655'4433'2211u);
    EXPECT_EQ(two, 0x4433u);
    probe.calls.clear();
    Rmw<u32> rmw;
    ASSERT_TRUE(m.cpu.begin_rmw(ds, linear + 8, rmw));
    *rmw.p |= 0xFF00'0000;
    ASSERT_TRUE(m.cpu.end_rmw(rmw));
    EXPECT_THAT(probe.calls, testing::ElementsAre(C{'r', 4, 8, 0}, C{'w', 4, 8, 0xFF33'2211}));
    EXPECT_EQ(m.cpu.bulk(linear, 8, Access::read), nullptr);
}

// Half in memory, half in a device.
TEST_F(DeviceTest, AcrossThePageIntoMemory) {
    m.map(linear + 0x1000, 0x30'0000);
    m.poke<u32>(0x30'0000, 0xDDCC'BBAA);
    u32 v = 0;
    ASSERT_TRUE(m.cpu.load(ds, linear + 0xFFE, v));
    EXPECT_EQ(v, 0xBBAA'8877u);
    v = 0x0102'0304;
    ASSERT_TRUE(m.cpu.store(ds, linear + 0xFFE, v));
    EXPECT_EQ(m.peek<u32>(0x30'0000), 0xDDCC'0102u);
    EXPECT_EQ(probe.calls.back(), (Probe::Call{'w', 2, 0xFFE, 0x0304}));
}

// In the middle of a block a device sees the exact time: each instruction before it is one tick, and it
// happens once.
TEST_F(DeviceTest, TimeIsExactInTheMiddleOfABlock) {
    m.cpu.reg(Gpr::rbx) = linear;
    const Time start = m.cpu.now();
    // inc eax x3; mov ecx,[rbx]; inc eax; mov [rbx+8],eax; add dword [rbx+16],eax; inc eax
    ASSERT_EQ(m.run({0xFF, 0xC0, 0xFF, 0xC0, 0xFF, 0xC0, 0x8B, 0x0B, 0xFF, 0xC0, 0x89, 0x43, 0x08, 0x01, 0x43,
                     0x10, 0xFF, 0xC0}),
              Stop::halted);
    using C = Probe::Call;
    ASSERT_EQ(probe.calls.size(), 4u);
    EXPECT_EQ(probe.calls[0], (C{'r', 4, 0, 0}));
    EXPECT_EQ(probe.calls[1].offset, 8u);
    EXPECT_EQ(probe.calls[2], (C{'r', 4, 16, 0}));
    EXPECT_EQ(probe.calls[3].kind, 'w');
    EXPECT_THAT(probe.times, testing::ElementsAre(start + 3, start + 5, start + 6, start + 6));
    EXPECT_EQ(m.cpu.now(), start + 9);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0x4433'2211u);
}

/// Takes what the CPU asks of VMX about the APIC-access page.
struct Hooks final : NonRootHooks {
    using K = Decision::Kind;
    Decision answer{K::done, 0x55};
    struct Call {
        u64 offset;
        Access access;
        Width width;
        u64 value, rip;
    };
    std::vector<Call> calls;
    Cpu* cpu = nullptr;
    void exit_instruction(Gate, const Insn&, u64) override {}
    Decision write_cr(unsigned, u64, const Insn&) override { return {}; }
    Decision clts(const Insn&) override { return {}; }
    Decision lmsw(u16, const Insn&, u64) override { return {}; }
    u64 shadowed_cr(unsigned, u64 value) const override { return value; }
    Decision read_cr(unsigned, const Insn&) override { return {}; }
    Decision io(const IoAccess&, const Insn&) override { return {}; }
    Decision read_msr(u32, const Insn&) override { return {}; }
    Decision write_msr(u32, u64, const Insn&) override { return {}; }
    bool pause(const Insn&) override { return false; }
    bool xsaves(u64, bool, const Insn&) override { return false; }
    bool exception(Fault, u64, bool) override { return false; }
    bool before_init() override { return false; }
    bool before_debug_traps() override { return false; }
    bool after_debug_traps(bool, bool) override { return false; }
    void init_signal() override {}
    void sipi(u8) override {}
    void task_switch(u16, unsigned, u32) override {}
    void triple_fault() override {}
    void memory_exit(const WalkFault&) override {}
    Decision apic_access(u64 offset, Access access, Width width, u64 value, GuestPhys) override {
        calls.push_back({offset, access, width, value, cpu->rip});
        if (answer.kind == K::exited) {
            cpu->non_root = false;
            cpu->apic_access_page = ~0ull;
            cpu->rip = TestMachine::stops;  // the host's entry: a HLT
            cpu->context_changed();
        }
        return answer;
    }
};

struct ApicPageTest : testing::Test {
    static constexpr u64 page = 0x30'0000;
    Hooks hooks;
    TestMachine m{Mode::long64};
    ApicPageTest() {
        hooks.cpu = &m.cpu;
        m.cpu.hooks = &hooks;
        m.cpu.non_root = true;
        m.cpu.apic_access_page = page;
        m.cpu.context_changed();
        m.poke<u8>(TestMachine::stops, 0xF4);
        m.poke<u32>(page + 0x80, 0x99);
    }
};

TEST_F(ApicPageTest, Decisions) {
    u32 v = 0;
    ASSERT_TRUE(m.cpu.load(ds, page + 0x80, v));
    EXPECT_EQ(v, 0x55u);
    v = 0x77;
    ASSERT_TRUE(m.cpu.store(ds, page + 0x80, v));
    EXPECT_EQ(m.peek<u32>(page + 0x80), 0x99u);  // virtualized: the page itself is not touched
    ASSERT_EQ(hooks.calls.size(), 2u);
    EXPECT_EQ(hooks.calls[1].offset, 0x80u);
    EXPECT_EQ(hooks.calls[1].access, Access::write);
    EXPECT_EQ(hooks.calls[1].value, 0x77u);
    hooks.answer.kind = Decision::Kind::proceed;
    ASSERT_TRUE(m.cpu.load(ds, page + 0x80, v));
    EXPECT_EQ(v, 0x99u);
    hooks.answer.kind = Decision::Kind::fault;
    EXPECT_FALSE(m.cpu.load(ds, page + 0x80, v));
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0));
    EXPECT_EQ(m.cpu.bulk(page, 8, Access::read), nullptr);
}

TEST_F(ApicPageTest, AnExitFromTheMiddleOfABlock) {
    hooks.answer.kind = Decision::Kind::exited;
    m.cpu.reg(Gpr::rbx) = page;
    ASSERT_EQ(m.run({0xFF, 0xC0, 0xFF, 0xC0, 0x8B, 0x8B, 0x80, 0, 0, 0, 0xFF, 0xC0}), Stop::halted);
    ASSERT_EQ(hooks.calls.size(), 1u);
    EXPECT_EQ(hooks.calls[0].rip, TestMachine::code + 4);
    EXPECT_EQ(hooks.calls[0].width, Width::dword);
    EXPECT_EQ(m.cpu.rip, TestMachine::stops + 1);
    EXPECT_EQ(m.cpu.reg(Gpr::rax) & 3, 2u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0u);
}

TEST_F(ApicPageTest, FetchingFromThePageExits) {
    hooks.answer.kind = Decision::Kind::exited;
    m.cpu.rip = page + 0x40;
    ASSERT_EQ(m.run_for(10), Stop::halted);
    ASSERT_EQ(hooks.calls.size(), 1u);
    EXPECT_EQ(hooks.calls[0].access, Access::execute);
    EXPECT_EQ(hooks.calls[0].offset, 0x40u);
    EXPECT_EQ(hooks.calls[0].rip, page + 0x40);
    EXPECT_EQ(m.cpu.rip, TestMachine::stops + 1);
}

// A write that crosses into the page exits before anything is written.
TEST_F(ApicPageTest, AnExitComesBeforeTheOtherHalf) {
    hooks.answer.kind = Decision::Kind::exited;
    m.poke<u32>(page - 4, 0xABAB'ABAB);
    u64 v = 0;
    EXPECT_FALSE(m.cpu.store(ds, page - 4, v));
    EXPECT_TRUE(m.cpu.access_exited);
    EXPECT_EQ(m.peek<u32>(page - 4), 0xABAB'ABABu);
}

/// SDM "Limit Checking" and "Type Checking", as sets of offsets.
struct SegmentCase {
    const char* name;
    u32 access;
    u32 limit;
    u64 ea;
    unsigned size;
    bool read, write;
};

TEST(MemoryProtected, SegmentChecks) {
    constexpr u32 data_ro = 0x91, data_rw = 0x93, down = 0x97, down_big = 0x4097, code_x = 0x99,
                  code_r = 0x9B, unusable = 0x10093;
    const SegmentCase cases[] = {
        {"inside", data_rw, 0xFFF, 0xFFC, 4, true, true},
        {"last byte", data_rw, 0xFFF, 0xFFF, 1, true, true},
        {"past the limit", data_rw, 0xFFF, 0xFFD, 4, false, false},
        {"beyond", data_rw, 0xFFF, 0x1000, 1, false, false},
        {"end of 32 bits", data_rw, 0xFFFF'FFFE, 0xFFFF'FFFC, 4, false, false},
        {"whole space", data_rw, 0xFFFF'FFFF, 0xFFFF'FFFE, 4, true, true},
        {"read-only", data_ro, 0xFFF, 0, 4, true, false},
        {"expand-down, below", down, 0xFFF, 0xFFF, 1, false, false},
        {"expand-down, first", down, 0xFFF, 0x1000, 1, true, true},
        {"expand-down, top of 64 KBytes", down, 0xFFF, 0xFFFC, 4, true, true},
        {"expand-down, past 64 KBytes", down, 0xFFF, 0xFFFD, 4, false, false},
        {"expand-down, big", down_big, 0xFFF, 0xFFFD, 4, true, true},
        {"expand-down, wraps", down_big, 0xFFF, 0xFFFF'FFFE, 4, false, false},
        {"code, execute-only", code_x, 0xFFF, 0, 4, false, false},
        {"code, readable", code_r, 0xFFF, 0, 4, true, false},
        {"unusable", unusable, 0xFFFF'FFFF, 0, 1, false, false},
    };
    for (const SegmentCase& c : cases) {
        TestMachine m(Mode::protected32);
        for (const unsigned s : {ds, ss, fs}) {
            m.cpu.seg[s] =
                Segment{.selector = 0x10, .limit = c.limit, .access = c.access, .base = 0xFFFF'F000};
            m.cpu.context_changed();
            for (const Access access : {Access::read, Access::write}) {
                u64 linear = 0;
                m.cpu.pending_fault = {};
                const bool ok = m.cpu.segmented(s, c.ea, c.size, access, linear);
                EXPECT_EQ(ok, access == Access::read ? c.read : c.write) << c.name;
                if (ok) {
                    EXPECT_EQ(linear, (0xFFFF'F000 + c.ea) & 0xFFFF'FFFF);
                    continue;
                }
                const bool type_fault = (c.access & 8) || (access == Access::write && !(c.access & 2));
                EXPECT_EQ(m.cpu.pending_fault, Fault::of(s == ss && !type_fault ? Vector::ss : Vector::gp, 0))
                    << c.name;
            }
        }
    }
}

// Real mode: the cached limit counts, the type does not.
TEST(MemoryReal, SegmentChecks) {
    TestMachine m(Mode::real16);
    m.cpu.load_segment_real(Seg::ds, 0x1234);
    u64 linear = 0;
    EXPECT_TRUE(m.cpu.segmented(ds, 0xFFFE, 2, Access::write, linear));
    EXPECT_EQ(linear, 0x1'2340u + 0xFFFE);
    EXPECT_FALSE(m.cpu.segmented(ds, 0xFFFF, 2, Access::write, linear));
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::gp);
    EXPECT_FALSE(m.cpu.segmented(ss, 0xFFFF, 2, Access::write, linear));
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::ss);
    EXPECT_TRUE(m.cpu.segmented(cs, 0, 2, Access::write, linear));
    m.cpu.seg[ds].limit = 0xFFFF'FFFF;  // "unreal" mode
    EXPECT_TRUE(m.cpu.segmented(ds, 0x20'0000, 4, Access::read, linear));
    EXPECT_EQ(linear, 0x1'2340u + 0x20'0000);
}

}  // namespace
}  // namespace droste::test
