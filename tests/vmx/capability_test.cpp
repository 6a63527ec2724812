// SPDX-License-Identifier: Apache-2.0
// The capability MSRs against values read on real processors.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

VmxCapabilities capabilities(std::string_view name, const std::vector<std::string>& changes = {}) {
    CpuModel model = vmx_model();
    model.name = name;
    model.valid_cr4 = 0x7767FF;
    return make_vmx_capabilities(model, changes).value();
}

/// Controls and capabilities that the part has and Droste lacks: dual-monitor treatment and entry to SMM,
/// processor trace, the performance monitor.
struct RealValue {
    u32 index;
    u64 value;
    u64 lacking;
};

TEST(CapabilityMsrs, SkylakeServer) {
    // Xeon Gold 6140
    constexpr RealValue real[] = {
        {0x481, 0x000000ff00000016, 0},
        {0x482, 0xfff9fffe0401e172, 0},
        {0x483, 0x01ffffff00036dff, (1ull << 12 | 1ull << 24) << 32},
        {0x484, 0x0003ffff000011ff, (1ull << 10 | 1ull << 11 | 1ull << 13 | 1ull << 17) << 32},
        {0x485, 0x000000007004c1e7, 1ull << 14 | 1ull << 15 | 1ull << 28},
        {0x486, 0x80000021, 0},
        {0x487, 0xffffffff, 0},
        {0x488, 0x2000, 0},
        {0x489, 0x7767ff, 0},
        {0x48b, 0x025f7fff00000000, (1ull << 19) << 32},
        {0x48c, 0x00000f0106734141, 0},
        {0x48d, 0x000000ff00000016, 0},
        {0x48e, 0xfff9fffe04006172, 0},
        {0x48f, 0x01ffffff00036dfb, (1ull << 12 | 1ull << 24) << 32},
        {0x490, 0x0003ffff000011fb, (1ull << 10 | 1ull << 11 | 1ull << 13 | 1ull << 17) << 32},
        {0x491, 1, 0},
    };
    const VmxCapabilities c = capabilities("skylake-sp");
    for (const RealValue& r : real)
        EXPECT_EQ(capability_msr(c, r.index), r.value & ~r.lacking) << std::hex << "MSR " << r.index;
    // BASIC: our region is a whole page, and there is no dual-monitor treatment (bit 49).
    EXPECT_EQ(capability_msr(c, 0x480),
              (0x00da040000000004 & ~(0x1FFFull << 32) & ~(1ull << 49)) | 0x1000ull << 32);
}

TEST(CapabilityMsrs, Haswell) {
    // Core i7-4770
    const VmxCapabilities c = capabilities("haswell");
    EXPECT_EQ(capability_msr(c, 0x481),
              0x0000007f00000016u | 1ull << 39);  // the server part has posted interrupts
    EXPECT_EQ(capability_msr(c, 0x482), 0xfff9fffe0401e172);
    EXPECT_EQ(capability_msr(c, 0x483), 0x007fffff00036dff & ~(1ull << 44));
    EXPECT_EQ(capability_msr(c, 0x48c), 0x00000f0106334141u);
    EXPECT_EQ(capability_msr(c, 0x485) & 0x1F, 5u);
    EXPECT_EQ(capability_msr(c, 0x48b) >> 32, 0x7cffu | 1u << 8 | 1u << 9);  // likewise APIC virtualization
}

TEST(CapabilityMsrs, DependentCapabilitiesGoTogether) {
    const VmxCapabilities no_ept = capabilities("skylake-sp", {"-enable_ept"});
    EXPECT_FALSE(no_ept.has("unrestricted_guest"_vmx));
    EXPECT_FALSE(no_ept.has("enable_pml"_vmx));
    EXPECT_EQ(capability_msr(no_ept, 0x48C) & 0xFFFFFFFF, 0u) << "KVM refuses to load otherwise";
    const VmxCapabilities no_vpid = capabilities("skylake-sp", {"-enable_vpid"});
    EXPECT_EQ(capability_msr(no_vpid, 0x48C) >> 32, 0u);
    const VmxCapabilities no_pat = capabilities("skylake-sp", {"-entry_load_ia32_pat"});
    EXPECT_FALSE(no_pat.has("exit_load_ia32_pat"_vmx)) << "entry and exit controls come in pairs";
    const VmxCapabilities no_shadow = capabilities("skylake-sp", {"-use_tpr_shadow"});
    EXPECT_FALSE(no_shadow.has("virtual_interrupt_delivery"_vmx));
    EXPECT_FALSE(no_shadow.has("process_posted_interrupts"_vmx));
}

TEST(CapabilityMsrs, UnknownChangeIsAnErrorThatNamesIt) {
    const auto r = make_vmx_capabilities(vmx_model(), {"-vmcs_shadowin"});
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().text.find("-vmcs_shadowin"), std::string::npos);
    EXPECT_FALSE(make_vmx_capabilities(vmx_model(), {"vmcs_shadowing"}));
    EXPECT_FALSE(make_vmx_capabilities(vmx_model(), {""}));
}

TEST(CapabilityMsrs, FieldsExistWithTheirControls) {
    const VmxCapabilities c = capabilities("skylake-sp", {"-enable_pml", "-virtual_interrupt_delivery"});
    EXPECT_FALSE(c.field_exists("pml_address"_f));
    EXPECT_FALSE(c.field_exists("guest_interrupt_status"_f));
    EXPECT_TRUE(c.field_exists("guest_rip"_f));
    EXPECT_EQ(capability_msr(c, 0x48A), 0x32u) << "the highest index is the TSC multiplier's";
}

TEST(CapabilityMsrs, ReadByInstruction) {
    VmxMachine m;
    EXPECT_EQ(m.msr_table.read(m.cpu, 0x480), capability_msr(m.vmx.capabilities(), 0x480));
    EXPECT_FALSE(m.msr_table.write(m.cpu, 0x480, 0));
    EXPECT_EQ(m.msr_table.read(m.cpu, 0x492), capability_msr(m.vmx.capabilities(), 0x492));
    EXPECT_EQ(m.msr_table.read(m.cpu, 0x494), std::nullopt);
    VmxMachine old({"-activate_tertiary_controls", "-activate_secondary_exit_controls"});
    EXPECT_EQ(old.msr_table.read(old.cpu, 0x492), std::nullopt);
    EXPECT_EQ(old.msr_table.read(old.cpu, 0x493), std::nullopt);
    // IA32_FEATURE_CONTROL: locked by the fixture
    EXPECT_EQ(m.msr_table.read(m.cpu, 0x3A), 5u);
    EXPECT_FALSE(m.msr_table.write(m.cpu, 0x3A, 5));
    m.cpu.feature_control = 0;
    EXPECT_FALSE(m.msr_table.write(m.cpu, 0x3A, 2));
    EXPECT_TRUE(m.msr_table.write(m.cpu, 0x3A, 5));
}

}  // namespace
}  // namespace droste::test
