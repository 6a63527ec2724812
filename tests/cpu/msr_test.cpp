// SPDX-License-Identifier: Apache-2.0
// MSRs: what exists, what is refused, and that CPUID and the table agree.
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;

struct MsrMachine : SystemMachine {
    explicit MsrMachine(std::string_view name = "skylake-sp", const std::vector<std::string>& changes = {})
        : SystemMachine(Mode::long64, 0, *make_cpu_model(name, changes)) {}
    Raised write_msr(u32 index, u64 value) {
        cpu.reg(Gpr::rcx) = index;
        cpu.reg(Gpr::rax) = static_cast<u32>(value);
        cpu.reg(Gpr::rdx) = value >> 32;
        return fault_of({0x0F, 0x30});
    }
    Raised read_msr(u32 index, u64& value) {
        cpu.reg(Gpr::rcx) = index;
        const Raised r = fault_of({0x0F, 0x32});
        value = cpu.reg(Gpr::rdx) << 32 | cpu.reg(Gpr::rax);
        return r;
    }
};

struct WriteCase {
    const char* name;
    u32 index;
    u64 value;
    bool accepted;
};
class MsrWrite : public testing::TestWithParam<WriteCase> {};

TEST_P(MsrWrite, IsCheckedAndReadsBack) {
    const WriteCase& c = GetParam();
    MsrMachine m;
    u64 before = 0, after = 0;
    ASSERT_EQ(m.read_msr(c.index, before), none);
    EXPECT_EQ(m.write_msr(c.index, c.value), c.accepted ? none : gp0);
    ASSERT_EQ(m.read_msr(c.index, after), none);
    EXPECT_EQ(after, c.accepted ? c.value : before);
}

INSTANTIATE_TEST_SUITE_P(
    All, MsrWrite,
    testing::Values(
        WriteCase{"lstar", 0xC0000082, 0xFFFF800012345678, true},
        WriteCase{"lstar_not_canonical", 0xC0000082, 0x800000000000, false},
        WriteCase{"cstar_not_canonical", 0xC0000083, 0x800000000000, false},
        WriteCase{"star", 0xC0000081, 0x1234567800000000, true},
        WriteCase{"fmask", 0xC0000084, 0x47700, true},
        WriteCase{"fmask_upper", 0xC0000084, 1ull << 32, false},
        WriteCase{"fs_base", 0xC0000100, 0x7FFFFFFFF000, true},
        WriteCase{"gs_base_not_canonical", 0xC0000101, 0x8000000000000000, false},
        WriteCase{"kernel_gs_base", 0xC0000102, 0xFFFFFFFF80000000, true},
        WriteCase{"tsc_aux", 0xC0000103, 7, true}, WriteCase{"tsc_aux_upper", 0xC0000103, 1ull << 32, false},
        WriteCase{"sysenter_eip", 0x176, 0xFFFFFFFF81000000, true},
        WriteCase{"sysenter_esp_not_canonical", 0x175, 0x800000000000, false},
        WriteCase{"pat", 0x277, 0x0007010600070106, true},
        WriteCase{"pat_type_2", 0x277, 0x0207040600070406, false},
        WriteCase{"pat_type_8", 0x277, 0x0008040600070406, false},
        WriteCase{"mtrr_def", 0x2FF, 0xC06, true}, WriteCase{"mtrr_def_type", 0x2FF, 0xC02, false},
        WriteCase{"mtrr_def_reserved", 0x2FF, 0x1C06, false},
        WriteCase{"mtrr_base", 0x200, 0xC0000000 | 6, true},
        WriteCase{"mtrr_base_reserved", 0x200, 0xC0000100, false},
        WriteCase{"mtrr_base_type", 0x202, 3, false},
        WriteCase{"mtrr_mask", 0x201, 0x3FFFC0000800, true},
        WriteCase{"mtrr_mask_beyond_maxphyaddr", 0x201, 0x7FFFC0000800, false},
        WriteCase{"mtrr_mask_reserved", 0x201, 0x400, false},
        WriteCase{"mtrr_last", 0x213, 0x800, true},
        WriteCase{"mtrr_fix64k", 0x250, 0x0606060606060606, true},
        WriteCase{"mtrr_fix4k_type", 0x26F, 0x0206060606060606, false},
        WriteCase{"spec_ctrl", 0x48, 7, true}, WriteCase{"spec_ctrl_reserved", 0x48, 8, false},
        WriteCase{"debugctl", 0x1D9, 3, true}, WriteCase{"debugctl_reserved", 0x1D9, 0x10, false},
        WriteCase{"xss_nothing", 0xDA0, 0, true}, WriteCase{"xss", 0xDA0, 1 << 8, false},
        WriteCase{"mcg_status", 0x17A, 4, true}, WriteCase{"mcg_status_reserved", 0x17A, 8, false},
        WriteCase{"mc0_ctl", 0x400, ~0ull, true}, WriteCase{"mc0_ctl_other", 0x400, 1, false},
        WriteCase{"mc0_status_zero", 0x401, 0, true},
        WriteCase{"mc0_status", 0x401, 1, false}, WriteCase{"mtrrcap", 0xFE, 0x50A, false},
        WriteCase{"mcg_cap", 0x179, 4, false}, WriteCase{"arch_capabilities", 0x10A, 0, false},
        WriteCase{"platform_id", 0x17, 0, false}, WriteCase{"misc_enable_reserved", 0x1A0, 1 << 1, false},
        WriteCase{"misc_enable_all", 0x1A0, 0xC51809, true}),
    [](const auto& i) { return i.param.name; });

TEST(Msr, UnknownOnesFault) {
    MsrMachine m;
    u64 v = 0;
    for (const u32 index : {0x33u, 0xCEu, 0xCFu, 0xE2u, 0xE7u, 0x140u, 0x186u, 0x17Bu, 0x214u, 0x345u, 0x38Fu,
                            0x410u, 0x4000'0000u, 0xC0000104u, 0xFFFFFFFFu}) {
        EXPECT_EQ(m.read_msr(index, v), gp0) << std::hex << index;
        EXPECT_EQ(m.write_msr(index, 0), gp0) << std::hex << index;
    }
}

TEST(Msr, FollowTheModel) {
    u64 v = 0;
    MsrMachine without("skylake-sp", {"-xsaves", "-tsc_adjust", "-l1d_flush", "-arch_capabilities"});
    EXPECT_EQ(without.read_msr(0xDA0, v), gp0);
    EXPECT_EQ(without.read_msr(0x3B, v), gp0);
    EXPECT_EQ(without.read_msr(0x10A, v), gp0);
    EXPECT_EQ(without.write_msr(0x10B, 1), gp0);
    MsrMachine with;
    EXPECT_EQ(with.read_msr(0x10A, v), none);
    EXPECT_TRUE(v & 1) << "RDCL_NO";
    EXPECT_EQ(with.write_msr(0x10B, 1), none);
    EXPECT_EQ(with.read_msr(0x10B, v), gp0) << "write-only";
    EXPECT_EQ(with.write_msr(0x49, 1), none);
    EXPECT_EQ(with.write_msr(0x49, 2), gp0);
}

/// Corrected machine checks: the local APIC has the LVT entry, no bank signals.
TEST(Msr, MachineCheckBanksSignalNoCorrectedErrors) {
    MsrMachine m;
    u64 value = 0;
    ASSERT_EQ(m.read_msr(0x179, value), none);
    EXPECT_EQ(value, 4u | 1u << 10);
    for (u32 bank = 0; bank < 4; ++bank) {
        EXPECT_EQ(m.write_msr(0x280 + bank, 0x4000'7FFF), none);
        ASSERT_EQ(m.read_msr(0x280 + bank, value), none);
        EXPECT_EQ(value, 0u);
        for (const u64 reserved : {1ull << 15, 1ull << 29, 1ull << 31, 1ull << 32})
            EXPECT_EQ(m.write_msr(0x280 + bank, reserved), gp0) << reserved;
    }
    EXPECT_EQ(m.read_msr(0x284, value), gp0);
}

TEST(Msr, NeedPrivilege) {
    SystemMachine user(Mode::long64, 3);
    user.cpu.reg(Gpr::rcx) = 0x10;
    EXPECT_EQ(user.fault_of({0x0F, 0x32}), gp0);
    EXPECT_EQ(user.fault_of({0x0F, 0x30}), gp0);
}

TEST(Msr, Efer) {
    MsrMachine m;
    u64 v = 0;
    ASSERT_EQ(m.read_msr(0xC0000080, v), none);
    EXPECT_EQ(v, 0xD01u);
    EXPECT_EQ(m.write_msr(0xC0000080, v & ~efer_bits::lme), gp0) << "LME with paging";
    EXPECT_EQ(m.write_msr(0xC0000080, v | 1 << 12), gp0) << "SVME";
    EXPECT_EQ(m.write_msr(0xC0000080, v & ~(efer_bits::lma | efer_bits::sce)), none);
    ASSERT_EQ(m.read_msr(0xC0000080, v), none);
    EXPECT_EQ(v, 0xD00u) << "LMA is not written";
}

TEST(Msr, TimeStampCounterAndAdjustMoveTogether) {
    MsrMachine m;
    u64 tsc = 0, adjust = 0;
    ASSERT_EQ(m.write_msr(0x10, 1'000'000), none);
    ASSERT_EQ(m.read_msr(0x10, tsc), none);
    EXPECT_EQ(tsc, 1'000'000u);
    ASSERT_EQ(m.read_msr(0x3B, adjust), none);
    ASSERT_EQ(m.write_msr(0x3B, adjust + 500), none);
    ASSERT_EQ(m.read_msr(0x10, tsc), none);
    EXPECT_EQ(tsc, 1'000'500u);
    EXPECT_EQ(m.fault_of({0x0F, 0x31}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 1'000'500u);
}

TEST(Msr, MicrocodeRevisionByTheDocumentedSequence) {
    MsrMachine m;
    u64 v = 0;
    ASSERT_EQ(m.write_msr(0x8B, 0), none);
    ASSERT_EQ(m.read_msr(0x8B, v), none);
    EXPECT_EQ(v, 0u);
    m.cpu.reg(Gpr::rax) = 1;
    ASSERT_EQ(m.fault_of({0x0F, 0xA2}), none);
    ASSERT_EQ(m.read_msr(0x8B, v), none);
    EXPECT_EQ(v, u64(m.model.microcode) << 32);
    EXPECT_EQ(m.write_msr(0x79, 0x1000), none);
    EXPECT_EQ(m.read_msr(0x79, v), gp0);
}

TEST(Msr, MiscEnableChangesCpuid) {
    MsrMachine m;
    const auto cpuid_leaf = [&](u32 leaf) {
        m.cpu.reg(Gpr::rax) = leaf;
        m.cpu.reg(Gpr::rcx) = 0;
        EXPECT_EQ(m.fault_of({0x0F, 0xA2}), none);
    };
    ASSERT_EQ(m.write_msr(0x1A0, 1 | 1 << 22), none);
    cpuid_leaf(0);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 2u);
    m.cpu.efer &= ~efer_bits::nxe;
    ASSERT_EQ(m.write_msr(0x1A0, 1 | 1ull << 34), none);
    cpuid_leaf(0x80000001);
    EXPECT_FALSE(bit(m.cpu.reg(Gpr::rdx), 20));
    EXPECT_EQ(m.write_msr(0xC0000080, m.cpu.efer | efer_bits::nxe), gp0);
}

TEST(Msr, SegmentBasesAreTheSegments) {
    MsrMachine m;
    ASSERT_EQ(m.write_msr(0xC0000100, 0x4000), none);
    m.poke<u64>(0x4010, 0xCAFE);
    EXPECT_EQ(m.fault_of({0x64, 0x48, 0x8B, 0x04, 0x25, 0x10, 0, 0, 0}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0xCAFEu);
}

}  // namespace
}  // namespace droste::test
