// SPDX-License-Identifier: Apache-2.0
// A hypervisor outside IA-32e mode: 32-bit VMREAD and VMWRITE, entries and exits, PDPTEs of PAE paging.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

constexpr u64 directory = 0x22'0000;  ///< 32-bit paging: 4-MByte pages, identity
constexpr u64 pae_table = 0x22'1000;  ///< PDPTEs, then a page directory
constexpr u64 at = VmxMachine::guest_code;

class LegacyHost : public ::testing::Test {
protected:
    LegacyHost() {
        for (u64 i = 0; i < 1024; ++i) m.poke<u32>(directory + 4 * i, static_cast<u32>(i << 22 | 0x87));
        m.poke<u64>(pae_table, (pae_table + 0x1000) | 1);
        for (u64 i = 0; i < 512; ++i) m.poke<u64>(pae_table + 0x1000 + 8 * i, i << 21 | 0x87);
        use(false);
        m.start();
        m.disable("ia32e_mode_guest"_vmx);
        m.disable("host_address_space_size"_vmx);
    }
    /// Puts the processor into 32-bit protected mode with 32-bit or PAE paging.
    void use(bool pae) {
        Cpu& c = m.cpu;
        c.efer = 0;
        c.cr4 = (c.cr4 | cr4_bits::pse) & ~cr4_bits::pae;
        if (pae) c.cr4 |= cr4_bits::pae;
        c.cr3 = pae ? pae_table : directory;
        c.segment(Seg::cs).access = 0xC09B;
        m.install_exception_stops();
        c.mmu.flush_all();
        c.context_changed();
    }
    VmxMachine m;
};

TEST_F(LegacyHost, EntryAndExit) {
    EXPECT_EQ(m.run_guest({0x40, 0x0F, 0xA2}), 10u);  // inc eax; cpuid
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    EXPECT_EQ(m.cpu.segment(Seg::cs).access, 0xC09Bu);
    EXPECT_EQ(m.cpu.efer, 0u);
    EXPECT_FALSE(m.cpu.code64());
    m.cpu.activity = Activity::active;
    EXPECT_EQ(m.run_guest({0x0F, 0x01, 0xC1}), 18u);
}

TEST_F(LegacyHost, FieldsIn32BitHalves) {
    const std::vector<u8> vmread = {0x0F, 0x78, 0xC3}, vmwrite = {0x0F, 0x79, 0xC3};
    m.set("tsc_offset"_f, 0x1122334455667788);
    m.cpu.reg(Gpr::rax) = 0xFFFFFFFF'00002010;  // the upper half of the register does not count
    EXPECT_EQ(m.execute(vmread), Outcome::next);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x55667788u);
    m.cpu.reg(Gpr::rax) = 0x2011;
    EXPECT_EQ(m.execute(vmread), Outcome::next);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x11223344u);
    m.cpu.reg(Gpr::rbx) = 0xA;
    EXPECT_EQ(m.execute(vmwrite), Outcome::next);
    m.cpu.reg(Gpr::rax) = 0x2010;
    m.cpu.reg(Gpr::rbx) = 0xB;
    EXPECT_EQ(m.execute(vmwrite), Outcome::next);
    EXPECT_EQ(m.get("tsc_offset"_f), 0xA'0000'000Bu);
}

TEST_F(LegacyHost, PaeGuestWithoutEptLoadsPdptesFromMemory) {
    m.set("guest_cr4"_f, (m.get("guest_cr4"_f) | cr4_bits::pae));
    m.set("guest_cr3"_f, pae_table);
    EXPECT_EQ(m.run_guest({0x8B, 0x1D, 0x00, 0x40, 0, 0, 0x0F, 0xA2}), 10u);  // mov ebx, [0x4000]; cpuid
    EXPECT_EQ(m.cpu.pdpte[0], 0u + ((pae_table + 0x1000) | 1)) << "registers stay as loaded";
    m.poke<u64>(pae_table + 8, 3);  // reserved bit
    EXPECT_FALSE(m.enter());
    EXPECT_EQ(m.reason(), 33u | exit_reason_entry_failure);
    EXPECT_EQ(m.qualification(), 2u);
}

TEST_F(LegacyHost, PaeGuestUnderEptUsesTheFields) {
    m.enable_ept();
    m.set("guest_cr4"_f, (m.get("guest_cr4"_f) | cr4_bits::pae));
    m.set("guest_cr3"_f, 0x7000);  // nothing is read there
    m.set("guest_pdpte0"_f, (pae_table + 0x1000) | 1);
    EXPECT_EQ(m.run_guest({0x8B, 0x1D, 0x00, 0x40, 0, 0, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("guest_pdpte0"_f), (pae_table + 0x1000) | 1);
}

TEST_F(LegacyHost, PaeHostWhosePdptesAreBadAborts) {
    use(true);
    m.start();
    m.disable("ia32e_mode_guest"_vmx);
    m.disable("host_address_space_size"_vmx);
    m.set("guest_cr4"_f, m.get("guest_cr4"_f) & ~cr4_bits::pae);
    m.set("guest_cr3"_f, directory);
    EXPECT_EQ(m.run_guest({0x0F, 0xA2}), 10u);
    m.cpu.activity = Activity::active;
    m.poke<u64>(pae_table + 16, 3);
    m.write(at, {0x0F, 0xA2});
    m.set("guest_rip"_f, at);
    ASSERT_TRUE(m.enter());
    EXPECT_EQ(m.run_for(10), Stop::shutdown);
    EXPECT_EQ(m.vmx.last_abort(), VmxAbort::host_pdptes);
}

TEST_F(LegacyHost, ExitFromIa32eModeAborts) {
    // The guest turns long mode on by itself; a 32-bit host cannot take over from there.
    m.enable_ept();
    m.enable("unrestricted_guest"_vmx);
    m.enable("entry_load_ia32_efer"_vmx);
    m.enable("use_msr_bitmaps"_vmx);
    m.set("guest_ia32_efer"_f, efer_bits::lme);
    m.set("guest_cr4"_f, m.get("guest_cr4"_f) | cr4_bits::pae);
    m.drop("guest_cr0"_f, cr0_bits::pg);
    m.set("guest_cr3"_f, TestMachine::tables);
    m.write(at, {0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80, 0x0F, 0x22, 0xC0, 0x0F, 0xA2});
    ASSERT_TRUE(m.enter());
    EXPECT_EQ(m.run_for(20), Stop::shutdown);
    EXPECT_EQ(m.vmx.last_abort(), VmxAbort::from_32_bit_host);
}

TEST_F(LegacyHost, InterruptsOfAVirtual8086Guest) {
    // INT n in virtual-8086 mode goes through the IDT with IOPL 3, to level 0.
    m.set("guest_rflags"_f, 2 | rflags_bits::vm | rflags_bits::iopl);
    for (unsigned i = 0; i < 6; ++i) {
        m.set("guest_es_selector"_f + i, 0x300);
        m.set("guest_es_base"_f + i, 0x3000);
        m.set("guest_es_limit"_f + i, 0xFFFF);
        m.set("guest_es_access_rights"_f + i, 0xF3);
    }
    m.poke<u32>(0xB004, 0x6F00);  // ESP0 and SS0 of the TSS
    m.poke<u32>(0xB008, TestMachine::data_selector);
    m.poke<u8>(TestMachine::idt + 8 * 0x80 + 5, 0xEE);  // a gate for level 3
    m.write(0x3000, {0xCD, 0x80, 0xF4});
    m.set("guest_rip"_f, 0);
    EXPECT_EQ(m.resume(), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x80);
    EXPECT_EQ(m.peek<u32>(m.cpu.reg(Gpr::rsp)), 2u) << "pushed EIP";
    m.exit_by_cpuid();
    EXPECT_EQ(m.reason(), 10u);
}

}  // namespace
}  // namespace droste::test
