// SPDX-License-Identifier: Apache-2.0
// What precedes paging: metadata in addresses (LAM), separated halves (LASS), the width of registers for
// addresses; and protection keys of supervisor pages.
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr Raised ss0{12, 0};
constexpr Raised pf(u32 code) {
    return {14, code};
}

const std::initializer_list<u8> load_rbx = {0x48, 0x8B, 0x03}, store_rbx = {0x48, 0x89, 0x03},
                                load_rbp = {0x48, 0x8B, 0x45, 0x00};
constexpr u64 upper = 0xFFFF800000000000, upper_page = 0x300000;

struct AddressMachine : SystemMachine {
    explicit AddressMachine(u8 cpl = 0, const CpuModel& m = all_features_model())
        : SystemMachine(Mode::long64, cpl, m) {
        map(upper, upper_page);
        poke<u64>(upper_page, 0x5555);
        poke<u64>(data, 0x4444);
    }
    Raised access(std::initializer_list<u8> bytes, u64 at) {
        cpu.reg(Gpr::rbx) = cpu.reg(Gpr::rbp) = at;
        return fault_of(bytes);
    }
};

// ---- LAM

TEST(Lam, UserAddresses) {
    struct Case {
        u64 cr3_bits, metadata;
        Raised expected;
    };
    constexpr u64 u57 = 1ull << 61, u48 = 1ull << 62;
    for (const Case& c :
         {Case{0, 1ull << 62, gp0}, Case{u57, 0x3Full << 57, none}, Case{u57, 1ull << 56, gp0},
          Case{u57, 1ull << 47, gp0}, Case{u48, 0x7FFFull << 48, none}, Case{u48, 1ull << 47, gp0},
          Case{u57 | u48, 1ull << 50, gp0}, Case{u57 | u48, 1ull << 57, none}, Case{u48, 1ull << 63, gp0}}) {
        for (const u8 cpl : {u8{0}, u8{3}}) {
            AddressMachine m(cpl);
            m.cpu.cr3 |= c.cr3_bits;
            m.cpu.context_changed();
            EXPECT_EQ(m.access(load_rbx, TestMachine::data | c.metadata), c.expected)
                << std::hex << c.metadata;
            if (c.expected == none) {
                EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x4444u);
            }
            m.cpu.reg(Gpr::rax) = 7;
            EXPECT_EQ(m.access(store_rbx, TestMachine::data | c.metadata), c.expected);
            EXPECT_EQ(m.peek<u64>(TestMachine::data), c.expected == none ? 7u : 0x4444u);
        }
    }
}

TEST(Lam, SupervisorAddresses) {
    AddressMachine m;
    EXPECT_EQ(m.access(load_rbx, upper & ~(1ull << 60)), gp0);
    m.cpu.cr4 |= cr4_bits::lam_sup;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, upper & ~(0x7FFFull << 48)), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x5555u);
    EXPECT_EQ(m.access(load_rbx, upper & ~(1ull << 47)), gp0) << "bit 47 must be bit 63";
    EXPECT_EQ(m.access(load_rbx, TestMachine::data | 1ull << 60), gp0) << "bit 63 chooses the setting";
}

TEST(Lam, NotForFetchesAndInvlpg) {
    AddressMachine m;
    m.cpu.cr3 |= 1ull << 61;
    m.cpu.context_changed();
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = TestMachine::code | 1ull << 60;
    EXPECT_EQ(m.fault_of({0xFF, 0xE0}), gp0) << "jmp rax";
    m.poke<u64>(TestMachine::data, 0);
    m.poke<u64>(TestMachine::data + 8, 0x1000 | 1ull << 60);
    m.cpu.reg(Gpr::rax) = 0;
    EXPECT_EQ(m.access({0x66, 0x0F, 0x38, 0x82, 0x03}, TestMachine::data), gp0) << "INVPCID's linear address";
    m.poke<u64>(TestMachine::data + 8, 0x1000);
    EXPECT_EQ(m.access({0x66, 0x0F, 0x38, 0x82, 0x03}, TestMachine::data | 1ull << 60), none)
        << "its descriptor is data";
    EXPECT_EQ(m.access({0x0F, 0x01, 0x3B}, TestMachine::data | 1ull << 60), none) << "INVLPG does nothing";
}

TEST(Lam, PageFaultsReportTheMaskedAddress) {
    AddressMachine m;
    m.cpu.cr3 |= 1ull << 62;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, 0x123456789000 | (5ull << 56)), pf(0));
    EXPECT_EQ(m.cpu.memory_fault.linear.value, 0x123456789000u);
}

TEST(Lam, StringsAndPageCrossing) {
    AddressMachine m;
    m.cpu.cr3 |= 1ull << 61;
    m.cpu.context_changed();
    m.cpu.reg(Gpr::rsi) = TestMachine::data | 1ull << 61;
    m.cpu.reg(Gpr::rdi) = 0x14FF8 | 1ull << 62;
    m.cpu.reg(Gpr::rcx) = 16;
    for (unsigned i = 0; i < 16; ++i)
        m.poke<u8>(TestMachine::data + i, static_cast<u8>(i + 1));
    EXPECT_EQ(m.fault_of({0xF3, 0xA4}), none);
    for (unsigned i = 0; i < 16; ++i)
        EXPECT_EQ(m.peek<u8>(0x14FF8 + i), i + 1);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0x15008u | (1ull << 62));
    EXPECT_EQ(m.access(load_rbx, 0x14FFC | 1ull << 57), none);
}

TEST(Lam, Cr3BitsNeedTheFeature) {
    const auto mov_cr3 = [](SystemMachine& m, u64 v) {
        m.cpu.reg(Gpr::rax) = v;
        return m.fault_of({0x0F, 0x22, 0xD8});
    };
    SystemMachine with(Mode::long64, 0, *make_cpu_model("max")),
        without(Mode::long64, 0, *make_cpu_model("sapphire-rapids"));
    for (const unsigned b : {61u, 62u}) {
        EXPECT_EQ(mov_cr3(with, TestMachine::tables | 1ull << b), none) << b;
        EXPECT_EQ(mov_cr3(without, TestMachine::tables | 1ull << b), gp0) << b;
    }
    EXPECT_EQ(mov_cr3(with, TestMachine::tables | 1ull << 60), gp0);
    EXPECT_EQ(with.model.valid_cr4 & (cr4_bits::lam_sup | cr4_bits::lass),
              cr4_bits::lam_sup | cr4_bits::lass);
    EXPECT_EQ(without.model.valid_cr4 & (cr4_bits::lam_sup | cr4_bits::lass), 0u);
}

// ---- LASS

TEST(Lass, DataAccesses) {
    struct Case {
        u8 cpl;
        bool smap, ac;
        u64 address;
        bool allowed;
    };
    for (const Case& c :
         {Case{3, true, false, TestMachine::data, true}, Case{3, true, false, upper, false},
          Case{3, false, true, upper, false}, Case{0, true, false, upper, true},
          Case{0, true, false, TestMachine::data, false}, Case{0, true, true, TestMachine::data, true},
          Case{0, false, false, TestMachine::data, true}, Case{0, false, true, upper, true}}) {
        for (const bool on : {true, false}) {
            AddressMachine m(c.cpl);
            // Supervisor pages below, so that SMAP itself has nothing to say.
            if (c.cpl == 0) {
                m.map(0xFFFF800000001000, 0x301000, 3);
                for (u64 a = 0; a < 0x200000; a += 0x200000) {
                    m.poke<u64>(TestMachine::tables + 0x2000, a | 0x83);
                    m.poke<u64>(upper_page, 0x5555);
                }
                m.map(upper, upper_page, 3);
            }
            m.cpu.cr4 |= (on ? cr4_bits::lass : 0) | (c.smap ? cr4_bits::smap : 0);
            if (c.ac)
                m.cpu.rflags |= rflags_bits::ac;
            m.cpu.context_changed();
            const Raised expected = c.allowed || !on ? none : gp0;
            EXPECT_EQ(m.access(load_rbx, c.address), expected)
                << int(c.cpl) << c.smap << c.ac << on << std::hex << c.address;
            EXPECT_EQ(m.access(store_rbx, c.address), expected);
            EXPECT_EQ(m.access(load_rbp, c.address), expected == none ? none : ss0) << "through SS";
            EXPECT_EQ(m.access(load_rbx, c.address), expected) << "again, with warm TLBs";
        }
    }
}

TEST(Lass, OutrunsPaging) {
    AddressMachine m(3);
    m.cpu.cr4 |= cr4_bits::lass;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, 0xFFFF900000000000), gp0) << "not a page fault";
}

TEST(Lass, TurningItOnForgetsWhatWasCached) {
    AddressMachine m(3);
    EXPECT_EQ(m.access(load_rbx, upper), none);
    m.cpu.cr4 |= cr4_bits::lass;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, upper), gp0);
    m.cpu.cr4 &= ~cr4_bits::lass;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, upper), none);
}

TEST(Lass, Fetches) {
    for (const u8 cpl : {u8{0}, u8{3}})
        for (const bool high : {false, true}) {
            AddressMachine m(cpl);
            m.cpu.cr4 |= cr4_bits::lass;
            m.cpu.context_changed();
            Translation t;
            m.cpu.pending_fault = {};
            const bool ok = m.cpu.translate_fetch(high ? upper : TestMachine::code, t);
            EXPECT_EQ(ok, high == (cpl == 0)) << int(cpl) << high;
            if (!ok) {
                EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::gp, 0));
            }
        }
}

// ---- addresses in registers

TEST(LinearAddressWidth, RegistersHoldWhatTheModelCanTranslate) {
    constexpr u64 wide = 0x00FF000000000000, too_wide = 0x0100000000000000;
    SystemMachine with(Mode::long64, 0, *make_cpu_model("icelake-sp")),
        without(Mode::long64, 0, *make_cpu_model("skylake-sp"));
    for (const u32 index : {0xC0000082u, 0xC0000100u, 0xC0000101u, 0xC0000102u, 0x175u}) {
        EXPECT_TRUE(with.table.write(with.cpu, index, wide)) << index << ": whatever CR4.LA57 is";
        EXPECT_FALSE(with.table.write(with.cpu, index, too_wide)) << index;
        EXPECT_FALSE(without.table.write(without.cpu, index, wide)) << index;
    }
    for (SystemMachine* m : {&with, &without}) {
        m->poke<u16>(TestMachine::data, 0xFFF);
        m->poke<u64>(TestMachine::data + 2, wide);
        m->cpu.reg(Gpr::rbx) = TestMachine::data;
        EXPECT_EQ(m->fault_of({0x0F, 0x01, 0x1B}), m == &with ? none : gp0) << "LIDT";
    }
}

TEST(LinearAddressWidth, FiveLevelPaging) {
    SystemMachine m(Mode::long64, 0, *make_cpu_model("icelake-sp"));
    constexpr u64 root = 0x60000;
    for (u64 i = 0; i < 4096; i += 8)
        m.poke<u64>(root + i, 0);
    m.poke<u64>(root, TestMachine::tables | 7);
    m.poke<u64>(root + 8 * 0x100, TestMachine::tables | 7);  // the same again at the bottom of the upper half
    m.poke<u64>(TestMachine::data, 0x77);
    m.cpu.cr4 |= cr4_bits::la57;
    m.cpu.cr3 = root;
    m.cpu.context_changed();
    m.cpu.reg(Gpr::rbx) = 0xFF00000000000000 | TestMachine::data;
    EXPECT_EQ(m.fault_of({0x48, 0x8B, 0x03}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x77u);
    m.cpu.reg(Gpr::rbx) = 0xFE00000000000000;
    EXPECT_EQ(m.fault_of({0x48, 0x8B, 0x03}), gp0);
    m.cpu.reg(Gpr::rax) = m.cpu.cr4 & ~cr4_bits::la57;
    EXPECT_EQ(m.fault_of({0x0F, 0x22, 0xE0}), gp0) << "not in IA-32e mode";
}

// ---- protection keys for supervisor pages

TEST(ProtectionKeysForSupervisorPages, Rights) {
    AddressMachine m;
    m.map(upper, upper_page, 3 | 5ull << 59);
    m.cpu.cr4 |= cr4_bits::pks;
    const auto set = [&](u64 v) { return m.table.write(m.cpu, 0x6E1, v); };
    EXPECT_TRUE(set(0));
    EXPECT_EQ(m.access(store_rbx, upper), none);
    EXPECT_TRUE(set(2u << 10));
    EXPECT_EQ(m.access(load_rbx, upper), none);
    EXPECT_EQ(m.access(store_rbx, upper), pf(0x23));
    m.cpu.cr0 &= ~cr0_bits::wp;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(store_rbx, upper), none) << "write disable needs CR0.WP";
    EXPECT_TRUE(set(1u << 10));
    EXPECT_EQ(m.access(load_rbx, upper), pf(0x21));
    EXPECT_EQ(m.access(store_rbx, upper), pf(0x23));
    m.cpu.cr4 &= ~cr4_bits::pks;
    m.cpu.context_changed();
    EXPECT_EQ(m.access(load_rbx, upper), none);
    EXPECT_FALSE(set(1ull << 32));
    EXPECT_EQ(m.table.read(m.cpu, 0x6E1), 1u << 10);
    SystemMachine old(Mode::long64, 0, *make_cpu_model("icelake-sp"));
    EXPECT_EQ(old.table.read(old.cpu, 0x6E1), std::nullopt);
    EXPECT_FALSE(old.model.valid_cr4 & cr4_bits::pks);
}

}  // namespace
}  // namespace droste::test
