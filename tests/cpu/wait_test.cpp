// SPDX-License-Identifier: Apache-2.0
// UMONITOR, UMWAIT, TPAUSE; direct stores; lists of MSRs; encodings that mean something else without their
// feature.
#include "cpu/insns/system_operands.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;

const std::initializer_list<u8> umonitor_rbx = {0xF3, 0x0F, 0xAE, 0xF3},
                                umwait_ebx = {0xF2, 0x0F, 0xAE, 0xF3}, tpause_ebx = {0x66, 0x0F, 0xAE, 0xF3};

struct WaitMachine : SystemMachine {
    explicit WaitMachine(u8 cpl = 3) : SystemMachine(Mode::long64, cpl) {}
    void until(u64 tsc) {
        cpu.reg(Gpr::rax) = static_cast<u32>(tsc);
        cpu.reg(Gpr::rdx) = tsc >> 32;
    }
    /// Guest time and flags after TPAUSE or UMWAIT and three NOPs, as a machine's run loop makes them pass.
    u64 waits(std::initializer_list<u8> bytes, u64 longest = 1'000'000) {
        write(code, bytes);
        write(code + bytes.size(), {0x90, 0x90, 0x90, 0x0F, 0x0B});
        cpu.rip = code;
        const u64 start = cpu.now();
        while (cpu.now() < start + longest && cpu.rip < code + bytes.size() + 3) {
            if (cpu.activity != Activity::active && cpu.attention == false) {
                if (events.next() == never || events.next() > start + longest)
                    break;
                cpu.skip_to(events.next());
            }
            events.run(cpu.now());
            if (cpu.activity == Activity::active)
                cpu.step_one();
            else
                cpu.run();
        }
        return cpu.now() - start;
    }
};

TEST(UserWait, TpauseEndsWhenTheTscHasPassedTheDeadline) {
    for (const u8 cpl : {u8{0}, u8{3}}) {
        WaitMachine m(cpl);
        m.cpu.tsc_offset_host = 5000 - m.cpu.now();
        m.until(6000);
        m.cpu.flags = flag_image::all;
        EXPECT_EQ(m.waits(tpause_ebx), 1001u + 3) << "first TSC above 6000, and the NOPs";
        EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, 0u);
        m.until(6000);
        EXPECT_EQ(m.waits(tpause_ebx), 1u + 3) << "past already";
    }
}

TEST(UserWait, TheSystemsLimit) {
    WaitMachine m;
    m.cpu.tsc_offset_host = 0 - m.cpu.now();
    m.cpu.umwait_control = 400;
    m.until(100000);
    EXPECT_EQ(m.waits(tpause_ebx), 400u + 3);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, rflags_bits::cf);
    m.until(m.cpu.read_tsc() + 100);
    EXPECT_EQ(m.waits(tpause_ebx), 101u + 3);
    EXPECT_EQ(m.cpu.read_rflags() & rflags_bits::arithmetic, 0u);
    m.cpu.umwait_control = 401;  // bit 0 is another switch
    m.until(100000);
    EXPECT_EQ(m.waits(tpause_ebx), 400u + 3);
}

TEST(UserWait, ScaledTsc) {
    WaitMachine m;
    m.cpu.tsc_multiplier = 2ull << 48;
    m.cpu.tsc_offset = 77;
    m.until(m.cpu.read_tsc() + 1000);
    EXPECT_EQ(m.waits(tpause_ebx), 501u + 3);
}

TEST(UserWait, InterruptsEndIt) {
    WaitMachine m(0);
    m.until(~0ull);
    EXPECT_EQ(m.fault_of(tpause_ebx), none);
    EXPECT_EQ(m.cpu.activity, Activity::mwait);
    EXPECT_EQ(m.cpu.run(), Stop::halted);
    m.interrupts.raise(0x40);
    m.cpu.interrupt_pending_changed();
    m.write(TestMachine::code + 4, {0xF4});
    m.run_for(10);
    EXPECT_EQ(m.cpu.activity, Activity::hlt) << "a masked one too; it stays pending";
    EXPECT_TRUE(m.interrupts.interrupt_pending());
    EXPECT_FALSE(m.cpu.flags & flag_image::cf);
}

TEST(UserWait, UmwaitNeedsAnArmedMonitorAndStoresEndIt) {
    WaitMachine m;
    m.until(~0ull >> 1);
    EXPECT_EQ(m.waits(umwait_ebx), 4u) << "nothing is monitored";
    m.cpu.reg(Gpr::rbx) = TestMachine::data;
    EXPECT_EQ(m.fault_of(umonitor_rbx), none);
    EXPECT_TRUE(m.cpu.monitor_armed);
    m.cpu.reg(Gpr::rbx) = 0;
    m.until(m.cpu.read_tsc() + 500);
    EXPECT_EQ(m.waits(umwait_ebx), 501u + 3);
    m.cpu.reg(Gpr::rbx) = TestMachine::data;
    EXPECT_EQ(m.fault_of(umonitor_rbx), none);
    m.cpu.reg(Gpr::rbx) = 1;
    m.until(~0ull >> 1);
    EXPECT_EQ(m.fault_of(umwait_ebx), none);
    EXPECT_EQ(m.cpu.activity, Activity::mwait);
    m.memory.write64(TestMachine::data + 56, 1);
    EXPECT_EQ(m.cpu.activity, Activity::active) << "another's store to the line";
}

TEST(UserWait, Checks) {
    WaitMachine m;
    m.cpu.reg(Gpr::rbx) = 2;
    EXPECT_EQ(m.fault_of(tpause_ebx), gp0) << "reserved";
    EXPECT_EQ(m.fault_of(umwait_ebx), gp0);
    m.cpu.reg(Gpr::rbx) = 1ull << 32;
    m.until(0);
    EXPECT_EQ(m.fault_of(tpause_ebx), none) << "32 bits count";
    m.cpu.cr4 |= cr4_bits::tsd;
    EXPECT_EQ(m.fault_of(tpause_ebx), gp0);
    EXPECT_EQ(m.fault_of(umwait_ebx), gp0);
    m.cpu.reg(Gpr::rbx) = 0x0000800000000000;
    EXPECT_EQ(m.fault_of(umonitor_rbx), gp0);
    m.cpu.reg(Gpr::rbx) = 0x123456789000;
    EXPECT_EQ(m.fault_of(umonitor_rbx), (Raised{14, 4}));
    m.cpu.reg(Gpr::rbx) = TestMachine::data | 1ull << 32;
    EXPECT_EQ(m.fault_of({0x67, 0xF3, 0x0F, 0xAE, 0xF3}), none) << "address size";
    WaitMachine system(0);
    system.cpu.cr4 |= cr4_bits::tsd;
    system.until(0);
    EXPECT_EQ(system.fault_of(tpause_ebx), none);
    for (const Gate g : {Gate::wait_pause_disabled}) {
        system.cpu.gates.close(g);
        EXPECT_EQ(system.fault_of(tpause_ebx), ud);
        EXPECT_EQ(system.fault_of(umwait_ebx), ud);
        EXPECT_EQ(system.fault_of(umonitor_rbx), ud);
    }
}

TEST(UserWait, ControlMsr) {
    SystemMachine m(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
    EXPECT_TRUE(m.table.write(m.cpu, 0xE1, 0xFFFFFFFD));
    EXPECT_EQ(m.table.read(m.cpu, 0xE1), 0xFFFFFFFDu);
    EXPECT_FALSE(m.table.write(m.cpu, 0xE1, 2));
    EXPECT_FALSE(m.table.write(m.cpu, 0xE1, 1ull << 32));
    SystemMachine old(Mode::long64, 0, *make_cpu_model("icelake-sp"));
    EXPECT_EQ(old.table.read(old.cpu, 0xE1), std::nullopt);
}

// ---- direct stores

TEST(DirectStores, Movdiri) {
    SystemMachine m(Mode::long64, 3);
    m.cpu.reg(Gpr::rbx) = TestMachine::data;
    m.cpu.reg(Gpr::rax) = 0x1122334455667788;
    m.poke<u64>(TestMachine::data, ~0ull);
    EXPECT_EQ(m.fault_of({0x0F, 0x38, 0xF9, 0x03}), none);
    EXPECT_EQ(m.peek<u64>(TestMachine::data), 0xFFFFFFFF55667788u);
    EXPECT_EQ(m.fault_of({0x48, 0x0F, 0x38, 0xF9, 0x43, 1}), none) << "need not be aligned";
    EXPECT_EQ(m.peek<u64>(TestMachine::data + 1), 0x1122334455667788u);
    EXPECT_EQ(m.fault_of({0x0F, 0x38, 0xF9, 0xC3}), ud) << "memory only";
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x38, 0xF9, 0x03}), ud);
}

TEST(DirectStores, Movdir64b) {
    SystemMachine m(Mode::long64, 3);
    constexpr u64 from = 0x14FD0, to = 0x18040;  // the source crosses a page
    for (u64 i = 0; i < 64; i += 8)
        m.poke<u64>(from + i, 0x0101010101010101 * (i + 1));
    m.cpu.reg(Gpr::rbx) = from;
    m.cpu.reg(Gpr::rax) = to;
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x38, 0xF8, 0x03}), none);
    for (u64 i = 0; i < 64; i += 8)
        EXPECT_EQ(m.peek<u64>(to + i), 0x0101010101010101 * (i + 1)) << i;
    m.cpu.reg(Gpr::rax) = to + 32;
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x38, 0xF8, 0x03}), gp0) << "the destination is a line";
    m.cpu.reg(Gpr::rax) = to | 1ull << 32;
    EXPECT_EQ(m.fault_of({0x67, 0x66, 0x0F, 0x38, 0xF8, 0x03}), none) << "address size of the register";
    m.cpu.reg(Gpr::rax) = 0x123456789000;
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x38, 0xF8, 0x03}), (Raised{14, 6}));
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x38, 0xF8, 0xC3}), ud);
    SystemMachine p(Mode::protected32);
    p.cpu.segment(Seg::es).base = 0x1000;
    p.cpu.context_changed();
    p.cpu.reg(Gpr::rbx) = TestMachine::data;
    p.cpu.reg(Gpr::rax) = to;
    p.poke<u64>(TestMachine::data, 0x42);
    EXPECT_EQ(p.fault_of({0x66, 0x0F, 0x38, 0xF8, 0x03}), none);
    EXPECT_EQ(p.peek<u64>(to + 0x1000), 0x42u) << "ES";
}

// ---- lists of MSRs

const std::initializer_list<u8> rdmsrlist = {0xF2, 0x0F, 0x01, 0xC6}, wrmsrlist = {0xF3, 0x0F, 0x01, 0xC6};

struct ListMachine : SystemMachine {
    static constexpr u64 indices = 0x20000, values = 0x21000;
    explicit ListMachine(u8 cpl = 0) : SystemMachine(Mode::long64, cpl) {
        cpu.reg(Gpr::rsi) = indices;
        cpu.reg(Gpr::rdi) = values;
        const u64 msrs[] = {0xC0000081, 0xC0000082, 0xC0000084, 0x12345678};
        for (unsigned i = 0; i < 4; ++i) {
            poke<u64>(indices + 8 * i, msrs[i]);
            poke<u64>(values + 8 * i, 0x1000 * (i + 1));
        }
    }
};

TEST(MsrList, ReadsAndWritesByMask) {
    ListMachine m;
    m.cpu.reg(Gpr::rcx) = 5;
    EXPECT_EQ(m.fault_of(wrmsrlist), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0u);
    EXPECT_EQ(m.cpu.star, 0x1000u);
    EXPECT_EQ(m.cpu.lstar, 0u);
    EXPECT_EQ(m.cpu.fmask, 0x3000u);
    m.cpu.lstar = 0x7777;
    m.cpu.reg(Gpr::rcx) = 6;
    EXPECT_EQ(m.fault_of(rdmsrlist), none);
    EXPECT_EQ(m.peek<u64>(m.values), 0x1000u);
    EXPECT_EQ(m.peek<u64>(m.values + 8), 0x7777u);
    EXPECT_EQ(m.peek<u64>(m.values + 16), 0x3000u);
}

TEST(MsrList, FaultsKeepTheProgress) {
    ListMachine m;
    m.cpu.reg(Gpr::rcx) = 0xB;
    EXPECT_EQ(m.fault_of(wrmsrlist), gp0) << "the fourth does not exist";
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 8u);
    EXPECT_EQ(m.cpu.lstar, 0x2000u);
    m.poke<u64>(m.indices + 16, 1ull << 32 | 0xC0000084);
    m.cpu.reg(Gpr::rcx) = 4;
    EXPECT_EQ(m.fault_of(rdmsrlist), gp0);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 4u);
    m.cpu.reg(Gpr::rdi) = m.values + 4;
    m.cpu.reg(Gpr::rcx) = 0;
    EXPECT_EQ(m.fault_of(rdmsrlist), gp0) << "alignment";
    ListMachine user(3);
    EXPECT_EQ(user.fault_of(rdmsrlist), gp0);
    ListMachine disabled;
    disabled.cpu.gates.close(Gate::msrlist_disabled);
    EXPECT_EQ(disabled.fault_of(wrmsrlist), ud);
    SystemMachine p(Mode::protected32);
    EXPECT_EQ(p.fault_of(rdmsrlist), ud);
}

TEST(MsrList, NonSerializingWrite) {
    SystemMachine m(Mode::long64);
    m.cpu.reg(Gpr::rcx) = 0xC0000082;
    m.cpu.reg(Gpr::rax) = 0x5000;
    m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xC6}), none);
    EXPECT_EQ(m.cpu.lstar, 0x5000u);
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xC6}), gp0);
}

// ---- hints

TEST(Hints, WithoutTheFeatureAnotherInstructionIsMeant) {
    const CpuModel with = *make_cpu_model("sapphire-rapids");
    const CpuModel without = *make_cpu_model("nehalem");
    struct Case {
        const char* name;
        std::vector<u8> bytes;
        u64 source, with, without;
    };
    for (const Case& c : {Case{"TZCNT", {0xF3, 0x48, 0x0F, 0xBC, 0xC3}, 0, 64, 0x55},
                          Case{"LZCNT", {0xF3, 0x48, 0x0F, 0xBD, 0xC3}, 1, 63, 0}}) {
        for (const CpuModel* model : {&with, &without}) {
            SystemMachine m(Mode::long64, 0, *model);
            m.cpu.reg(Gpr::rax) = 0x55;
            m.cpu.reg(Gpr::rbx) = c.source;
            EXPECT_EQ(m.fault_of(c.bytes), none) << c.name;
            EXPECT_EQ(m.cpu.reg(Gpr::rax), model == &with ? c.with : c.without) << c.name;
        }
    }
    SystemMachine old(Mode::long64, 0, without), user(Mode::long64, 3, without);
    EXPECT_EQ(old.fault_of({0x0F, 0x1C, 0x03}), none) << "CLDEMOTE is NOP";
    EXPECT_EQ(old.fault_of({0xF3, 0x0F, 0x09}), none) << "WBNOINVD is WBINVD";
    EXPECT_EQ(old.fault_of({0xF3, 0x48, 0x0F, 0x1E, 0xC8}), none) << "RDSSP is NOP";
    EXPECT_EQ(old.fault_of({0x66, 0x0F, 0xAE, 0xF3}), ud) << "TPAUSE is nothing";
}

TEST(Hints, EnumeratedByTheModelsThatHaveThem) {
    struct Case {
        Feature feature;
        bool icelake, sapphire_rapids, max;
    };
    const CpuModel i = *make_cpu_model("icelake-sp"), s = *make_cpu_model("sapphire-rapids"),
                   x = *make_cpu_model("max");
    for (const Case& c :
         {Case{Feature::la57, true, true, true}, Case{Feature::wbnoinvd, true, true, true},
          Case{Feature::waitpkg, false, true, true}, Case{Feature::cldemote, false, true, true},
          Case{Feature::movdiri, false, true, true}, Case{Feature::movdir64b, false, true, true},
          Case{Feature::pks, false, true, true}, Case{Feature::cet_ss, false, true, true},
          Case{Feature::cet_ibt, false, true, true}, Case{Feature::uintr, false, true, true},
          Case{Feature::fzrm, false, true, true}, Case{Feature::fsrs, false, true, true},
          Case{Feature::fsrc, false, true, true}, Case{Feature::lass, false, false, true},
          Case{Feature::lam, false, false, true}, Case{Feature::wrmsrns, false, false, true},
          Case{Feature::msrlist, false, false, true}, Case{Feature::fred, false, false, true},
          Case{Feature::lkgs, false, false, true}}) {
        EXPECT_EQ(i.features.has(c.feature), c.icelake) << static_cast<int>(c.feature);
        EXPECT_EQ(s.features.has(c.feature), c.sapphire_rapids) << static_cast<int>(c.feature);
        EXPECT_EQ(x.features.has(c.feature), c.max) << static_cast<int>(c.feature);
    }
}

}  // namespace
}  // namespace droste::test
