// SPDX-License-Identifier: Apache-2.0
// The table of MSRs against a literal one (SDM "Model-Specific Registers (MSRs)"), and each register is itself.
#include <array>
#include <map>

#include "cpu/msr.h"
#include "system_machine.h"

namespace droste::test {
namespace {

struct Literal {
    u32 index, count;
    std::string_view name;
    Feature needs;
    u64 CpuState::*member;
    u64 writable;
    bool reads, writes;  ///< by functions
};
// clang-format off
const Literal literals[] = {
    {0x10, 1, "ia32_time_stamp_counter", Feature::tsc, nullptr, 0, true, true},
    {0x17, 1, "ia32_platform_id", Feature::base, nullptr, 0, true, false},
    {0x1B, 1, "ia32_apic_base", Feature::apic, nullptr, 0, true, true},
    {0x3B, 1, "ia32_tsc_adjust", Feature::tsc_adjust, &CpuState::tsc_adjust, 0, false, true},
    {0x48, 1, "ia32_spec_ctrl", Feature::ibrs_ibpb, &CpuState::spec_ctrl, 0, false, true},
    {0x49, 1, "ia32_pred_cmd", Feature::ibrs_ibpb, nullptr, 0, false, true},
    {0x79, 1, "ia32_bios_updt_trig", Feature::base, nullptr, 0, false, true},
    {0x8B, 1, "ia32_bios_sign_id", Feature::base, nullptr, 0, true, true},
    {0xE1, 1, "ia32_umwait_control", Feature::waitpkg, nullptr, 0, true, true},
    {0xFE, 1, "ia32_mtrrcap", Feature::mtrr, nullptr, 0, true, false},
    {0x10A, 1, "ia32_arch_capabilities", Feature::arch_capabilities, nullptr, 0, true, false},
    {0x10B, 1, "ia32_flush_cmd", Feature::l1d_flush, nullptr, 0, false, true},
    {0x174, 1, "ia32_sysenter_cs", Feature::sep, &CpuState::sysenter_cs, 0, false, true},
    {0x175, 1, "ia32_sysenter_esp", Feature::sep, &CpuState::sysenter_esp, 0, false, true},
    {0x176, 1, "ia32_sysenter_eip", Feature::sep, &CpuState::sysenter_eip, 0, false, true},
    {0x179, 1, "ia32_mcg_cap", Feature::mca, nullptr, 0, true, false},
    {0x17A, 1, "ia32_mcg_status", Feature::mca, nullptr, 0, true, true},
    {0x1A0, 1, "ia32_misc_enable", Feature::base, &CpuState::misc_enable, 0, false, true},
    {0x1C4, 1, "ia32_xfd", Feature::xfd, nullptr, 0, true, true},
    {0x1C5, 1, "ia32_xfd_err", Feature::xfd, nullptr, 0, true, true},
    {0x1CC, 9, "ia32_fred_rsp_stklvls_ssp_config", Feature::fred, nullptr, 0, true, true},
    {0x1D9, 1, "ia32_debugctl", Feature::base, &CpuState::debugctl, 0, false, true},
    {0x200, 20, "ia32_mtrr_physbase_physmask", Feature::mtrr, nullptr, 0, true, true},
    {0x250, 1, "ia32_mtrr_fix64k", Feature::mtrr, nullptr, 0, true, true},
    {0x258, 2, "ia32_mtrr_fix16k", Feature::mtrr, nullptr, 0, true, true},
    {0x268, 8, "ia32_mtrr_fix4k", Feature::mtrr, nullptr, 0, true, true},
    {0x277, 1, "ia32_pat", Feature::pat, &CpuState::pat, 0, false, true},
    {0x280, 4, "ia32_mc_ctl2", Feature::mca, nullptr, 0, true, true},
    {0x2FF, 1, "ia32_mtrr_def_type", Feature::mtrr, nullptr, 0, true, true},
    {0x400, 16, "ia32_mc_ctl_status_addr_misc", Feature::mca, nullptr, 0, true, true},
    {0x6A0, 1, "ia32_u_cet", Feature::base, nullptr, 0, true, true},
    {0x6A2, 1, "ia32_s_cet", Feature::base, nullptr, 0, true, true},
    {0x6A4, 1, "ia32_pl0_ssp", Feature::base, nullptr, 0, true, true},
    {0x6A5, 4, "ia32_pl1_ssp_interrupt_ssp_table", Feature::cet_ss, nullptr, 0, true, true},
    {0x6E0, 1, "ia32_tsc_deadline", Feature::tsc_deadline, nullptr, 0, true, true},
    {0x6E1, 1, "ia32_pkrs", Feature::pks, nullptr, 0, true, true},
    {0x800, 0x100, "ia32_x2apic", Feature::x2apic, nullptr, 0, true, true},
    {0x985, 6, "ia32_uintr", Feature::uintr, nullptr, 0, true, true},
    {0xDA0, 1, "ia32_xss", Feature::xsaves, &CpuState::xss, 0, false, true},
    {0xC0000080, 1, "ia32_efer", Feature::lm, &CpuState::efer, 0, false, true},
    {0xC0000081, 1, "ia32_star", Feature::syscall, &CpuState::star, ~0ull, false, false},
    {0xC0000082, 1, "ia32_lstar", Feature::syscall, &CpuState::lstar, 0, false, true},
    {0xC0000083, 1, "ia32_cstar", Feature::syscall, &CpuState::cstar, 0, false, true},
    {0xC0000084, 1, "ia32_fmask", Feature::syscall, &CpuState::fmask, 0xFFFFFFFF, false, false},
    {0xC0000100, 1, "ia32_fs_base", Feature::lm, nullptr, 0, true, true},
    {0xC0000101, 1, "ia32_gs_base", Feature::lm, nullptr, 0, true, true},
    {0xC0000102, 1, "ia32_kernel_gs_base", Feature::lm, &CpuState::kernel_gs_base, 0, false, true},
    {0xC0000103, 1, "ia32_tsc_aux", Feature::rdtscp, &CpuState::tsc_aux, 0xFFFFFFFF, false, false},
};
// clang-format on

TEST(MsrRows, StandAsTheyShould) {
    ASSERT_EQ(std::size(literals), cpu_msr_rows().size());
    for (std::size_t i = 0; i < std::size(literals); ++i) {
        const Literal& l = literals[i];
        const MsrRow& r = cpu_msr_rows()[i];
        SCOPED_TRACE(l.name);
        EXPECT_EQ(r.index, l.index);
        EXPECT_EQ(r.count, l.count);
        EXPECT_EQ(r.name, l.name);
        EXPECT_EQ(r.needs, l.needs);
        EXPECT_TRUE(r.member == l.member);
        EXPECT_EQ(r.writable, l.writable);
        EXPECT_EQ(r.read != nullptr, l.reads);
        EXPECT_EQ(r.write != nullptr, l.writes);
    }
}

struct Storage {
    u32 index;
    u64 legal, illegal;  ///< `illegal` 0: there is none
};
constexpr u64 not_canonical = 0x8000'0000'0000'0000;
constexpr Storage storages[] = {
    {0x48, 1, 8},
    {0x8B, 0x55ull << 32, 0},
    {0xE1, 0x100, 2},
    {0x174, 0x10, 0},
    {0x175, 0x1111, not_canonical},
    {0x176, 0x2222, not_canonical},
    {0x17A, 4, 8},
    {0x1CC, 0x40, 0x20},
    {0x1D9, 1, 0x1000'0000},
    {0x200, 0xC000'0006, 0xC000'0100},
    {0x250, 0x0606'0606'0606'0606, 2},
    {0x258, 0x0505'0505'0505'0505, 2},
    {0x268, 0x0404'0404'0404'0404, 2},
    {0x277, 0x0007'0106'0007'0106, 2},
    {0x2FF, 0xC06, 0xC02},
    {0x400, ~0ull, 1},
    {0x6A0, 1, 1ull << 6},
    {0x6A2, 1, 1ull << 6},
    {0x6A4, 0x8000, 1},
    {0x6A5, 0x9000, 1},
    {0x6E1, 4, 1ull << 32},
    {0xC0000081, 5ull << 32, 0},
    {0xC0000082, 0x3333, not_canonical},
    {0xC0000083, 0x4444, not_canonical},
    {0xC0000084, 0x700, 1ull << 32},
    {0xC0000100, 0x5555, not_canonical},
    {0xC0000101, 0x6666, not_canonical},
    {0xC0000102, 0x7777, not_canonical},
    {0xC0000103, 9, 1ull << 32},
};

TEST(MsrRows, EachIsItself) {
    SystemMachine m(TestMachine::Mode::long64, 0, all_features_model());
    const MsrTable table({cpu_msr_rows()});
    const auto everything = [&] {
        std::map<u32, u64> values;
        for (const Storage& s : storages)
            values[s.index] = table.read(m.cpu, s.index).value_or(~0x1234ull);
        return values;
    };
    for (const Storage& s : storages) {
        SCOPED_TRACE(testing::Message() << std::hex << s.index);
        auto expected = everything();
        if (s.illegal != 0) {
            EXPECT_FALSE(table.write(m.cpu, s.index, s.illegal));
            EXPECT_EQ(everything(), expected);
        }
        EXPECT_TRUE(table.write(m.cpu, s.index, s.legal));
        expected[s.index] = s.legal;
        EXPECT_EQ(everything(), expected);
    }
}

TEST(MsrRows, RegistersOfTheLocalApicAreIts) {
    SystemMachine m(TestMachine::Mode::long64, 0, all_features_model());
    const MsrTable table({cpu_msr_rows()});
    m.interrupts.x2apic = true;  // the fixture's takes every write, and knows its base alone
    std::vector<std::pair<u32, u64>> written;
    for (const u32 index : {0x1Bu, 0x6E0u, 0x800u, 0x830u, 0x8FFu}) {
        EXPECT_EQ(table.read(m.cpu, index).has_value(), index == 0x1B) << std::hex << index;
        written.emplace_back(index, 0x1000 + index);
        EXPECT_TRUE(table.write(m.cpu, index, 0x1000 + index)) << std::hex << index;
    }
    EXPECT_EQ(m.interrupts.msr_writes, written);
}

TEST(MsrRows, FixedValues) {
    SystemMachine m(TestMachine::Mode::long64, 0, all_features_model());
    const MsrTable table({cpu_msr_rows()});
    EXPECT_TRUE(table.write(m.cpu, 0x8B, 7));
    EXPECT_EQ(table.read(m.cpu, 0x17), 0u);
    EXPECT_EQ(table.read(m.cpu, 0xFE), 0x50Au);
    EXPECT_EQ(table.read(m.cpu, 0x179).value_or(0) & 0xFF, 4u) << "banks";
    for (const u32 write_only : {0x49u, 0x79u, 0x10Bu})
        EXPECT_FALSE(table.read(m.cpu, write_only)) << std::hex << write_only;
    EXPECT_TRUE(table.write(m.cpu, 0x79, 0x1234)) << "an update that nothing is made of";
    for (const u32 command : {0x49u, 0x10Bu}) {
        EXPECT_TRUE(table.write(m.cpu, command, 1));
        EXPECT_FALSE(table.write(m.cpu, command, 2));
    }
}

}  // namespace
}  // namespace droste::test
