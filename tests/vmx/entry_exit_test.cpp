// SPDX-License-Identifier: Apache-2.0
// VM entries and exits of small guests.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

TEST(EntryExit, CpuidExitsAlways) {
    VmxMachine m;
    m.start();
    EXPECT_EQ(m.run_guest({0x0F, 0xA2}), "cpuid"_exit->number);
    EXPECT_FALSE(m.cpu.non_root);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 2u);
    EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0u);
    EXPECT_EQ(m.cpu.activity, Activity::hlt) << "the host's HLT";
    EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry + 1);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), TestMachine::stack_top);
}

TEST(EntryExit, HltWithAndWithoutExiting) {
    VmxMachine m;
    m.start();
    EXPECT_EQ(m.run_guest({0xF4}), 0xFFFFu);
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
    VmxMachine n;
    n.start();
    n.enable("hlt_exiting"_vmx);
    EXPECT_EQ(n.run_guest({0x90, 0xF4}), "hlt"_exit->number);
    EXPECT_EQ(n.get("guest_rip"_f), VmxMachine::guest_code + 1);
}

TEST(EntryExit, ResumeAfterLaunch) {
    VmxMachine m;
    m.start();
    EXPECT_EQ(m.vmx.current().launch_state(), LaunchState::clear);
    EXPECT_EQ(m.run_guest({0x0F, 0xA2}), "cpuid"_exit->number);
    EXPECT_EQ(m.vmx.current().launch_state(), LaunchState::launched);
    m.cpu.activity = Activity::active;
    EXPECT_EQ(m.run_guest({0x0F, 0x01, 0xC1}), "vmcall"_exit->number);
}

TEST(EntryExit, EptViolationReportsAddressAndLength) {
    VmxMachine m;
    m.start();
    m.enable_ept();
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, 0);  // guest-physical 32 MBytes
    // mov rax, [0x2000123]
    EXPECT_EQ(m.run_guest({0x48, 0x8B, 0x04, 0x25, 0x23, 0x01, 0x00, 0x02}), "ept_violation"_exit->number);
    EXPECT_EQ(m.get("guest_physical_address"_f), 0x2000123u);
    EXPECT_EQ(m.get("guest_linear_address"_f), 0x2000123u);
    EXPECT_EQ(m.qualification() & 0x1FF, 0x181u);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 8u);
    EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
    EXPECT_NE(m.get("guest_rflags"_f) & rflags_bits::rf, 0u);
}

}  // namespace
}  // namespace droste::test
