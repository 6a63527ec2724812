// SPDX-License-Identifier: Apache-2.0
// Section [vmx]: one key for each capability row, and what the machine makes of it.
#include "machine/vmx_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine/machine_parts.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<VmxCapabilities> made(std::initializer_list<std::string_view> assignments) {
    Options o;
    for (const std::string_view a : assignments) {
        const Status s = o.set(a);
        if (!s) return s.error();
    }
    Result<MachineConfig> c = machine_config(o);
    if (!c) return c.error();
    return c->vmx;
}
std::string problem(std::initializer_list<std::string_view> assignments) {
    const auto r = made(assignments);
    return r ? "" : r.error().text;
}

TEST(VmxOptions, EveryCapabilityHasAKeyThatTurnsItOff) {
    for (const CapabilityRow& row : capability_rows) {
        SCOPED_TRACE(row.name);
        Options o;
        const std::string key = "vmx." + std::string(row.name);
        EXPECT_TRUE(o.left_to_model(key));
        ASSERT_TRUE(o.set("cpu.model=max"));
        ASSERT_TRUE(o.set(key + "=false"));
        EXPECT_FALSE(o.left_to_model(key));
        const auto c = machine_config(o);
        ASSERT_TRUE(c) << c.error().text;
        EXPECT_FALSE(c->vmx.has({row.word, row.bit}));
    }
}

TEST(VmxOptions, ModelIsTheDefaultAndCanBeWritten) {
    Options o;
    ASSERT_TRUE(o.load_text("[vmx]\nvmcs_shadowing = false\nenable_pml = \"model\"\n", "s.toml", ""));
    EXPECT_FALSE(o.flag("vmx.vmcs_shadowing"));
    EXPECT_TRUE(o.left_to_model("vmx.enable_pml"));
    EXPECT_EQ(o.shown("vmx.enable_pml"), "model");
    EXPECT_FALSE(o.set("vmx.enable_pml=maybe"));
    EXPECT_FALSE(o.set("run.realtime=model")) << "only keys of the model";
    EXPECT_THAT(o.set("vmx.vmcs_shadowin=false").error().text, HasSubstr("did you mean vmx.vmcs_shadowing?"));
}

TEST(VmxOptions, AnOlderModelCanHaveWhatANewerOneHas) {
    EXPECT_FALSE(made({"cpu.model=haswell"})->has("enable_pml"_vmx));
    EXPECT_TRUE(made({"cpu.model=haswell", "vmx.enable_pml=true"})->has("enable_pml"_vmx));
}

TEST(VmxOptions, UnmetNeedNamesBothAndThePlace) {
    EXPECT_THAT(problem({"vmx.enable_pml=true", "vmx.enable_ept=false"}),
                AllOf(HasSubstr("--set"), HasSubstr("enable_pml needs enable_ept")));
    EXPECT_THAT(problem({"cpu.features=-rdseed", "vmx.rdseed_exiting=true"}),
                HasSubstr("rdseed_exiting needs the CPU feature rdseed"));
    EXPECT_THAT(problem({"vmx.capabilities=-activate_secondary_controls", "vmx.enable_vpid=true"}),
                AllOf(HasSubstr("vmx.capabilities"),
                      HasSubstr("enable_vpid needs activate_secondary_controls")));
    EXPECT_THAT(problem({"vmx.enable_ept=false", "vmx.invept=true"}), HasSubstr("invept needs enable_ept"));
    EXPECT_THAT(problem({"vmx.enable_vpid=false", "vmx.invvpid=true"}),
                HasSubstr("invvpid needs enable_vpid"));
    EXPECT_THAT(problem({"vmx.dual_monitor_treatment=true"}), HasSubstr("is not implemented"));
    EXPECT_EQ(problem({"vmx.dual_monitor_treatment=false"}), "");
}

TEST(VmxOptions, Numbers) {
    EXPECT_EQ(made({})->preemption_timer_rate, 7) << "Skylake-SP";
    EXPECT_EQ(made({"vmx.preemption_timer_rate=0"})->preemption_timer_rate, 0);
    EXPECT_EQ(made({"vmx.preemption_timer_rate=model"})->preemption_timer_rate, 7);
    EXPECT_EQ(made({"vmx.cr3_targets=0"})->cr3_targets, 0);
    EXPECT_THAT(problem({"vmx.cr3_targets=5"}), HasSubstr("0 to 4"));
    EXPECT_THAT(problem({"vmx.preemption_timer_rate=32"}), HasSubstr("0 to 31"));
    EXPECT_EQ(made({"vmx.hlat_prefix_size=0"})->hlat_prefix_size, 0);
}

TEST(VmxOptions, ExplainTellsWordAndBit) {
    const Options o;
    EXPECT_THAT(*explain_option(o, "vmx.use_tsc_scaling"),
                AllOf(HasSubstr("Bit 25 of the secondary processor-based"), HasSubstr("Since Skylake"),
                      HasSubstr("true|false|model")));
}

}  // namespace
}  // namespace droste
