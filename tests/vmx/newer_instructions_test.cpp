// SPDX-License-Identifier: Apache-2.0
// Exits of newer instructions: user waits, lists of MSRs.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {


constexpr std::initializer_list<u8> umwait_ebx = {0xF2, 0x0F, 0xAE, 0xF3}, tpause_ebx = {0x66, 0x0F, 0xAE, 0xF3},
                                    rdmsrlist = {0xF2, 0x0F, 0x01, 0xC6}, wrmsrlist = {0xF3, 0x0F, 0x01, 0xC6};
constexpr u32 exception = 0, hlt = 12;

struct Guest : VmxMachine {
    Guest() {
        start();
        set("exception_bitmap"_f, 1 << 6);
        enable("hlt_exiting"_vmx);
        cpu.reg(Gpr::rax) = cpu.reg(Gpr::rdx) = cpu.reg(Gpr::rbx) = 0;
    }
};

TEST(NewerInstructions, UserWaits) {
    for (const auto& [bytes, reason] : {std::pair{umwait_ebx, 67u}, std::pair{tpause_ebx, 68u}}) {
        Guest off;
        EXPECT_EQ(off.run_guest(bytes), exception) << "#UD without the control";
        Guest on;
        on.enable("enable_user_wait_and_pause"_vmx);
        EXPECT_EQ(on.run_guest(bytes), hlt);
        Guest exits;
        exits.enable("enable_user_wait_and_pause"_vmx);
        exits.enable("rdtsc_exiting"_vmx);
        EXPECT_EQ(exits.run_guest(bytes), reason);
    }
}

TEST(NewerInstructions, ListsOfMsrs) {
    constexpr u32 lstar = 0xC0000082;
    constexpr u64 indices = VmxMachine::msr_list, values = VmxMachine::msr_list + 512;
    const auto guest = [](VmxMachine& m, bool write, bool intercepted) {
        m.enable("use_msr_bitmaps"_vmx);
        m.set("msr_bitmap_address"_f, VmxMachine::msr_bitmap);
        const u32 bit = lstar & 0x1FFF;
        m.poke<u8>(VmxMachine::msr_bitmap + (write ? 3072 : 1024) + bit / 8, intercepted ? 1 << (bit % 8) : 0);
        m.poke<u64>(indices + 8, lstar);
        m.poke<u64>(values + 8, 0x123000);
        m.cpu.reg(Gpr::rsi) = indices;
        m.cpu.reg(Gpr::rdi) = values;
        m.cpu.reg(Gpr::rcx) = 2;
        m.cpu.lstar = 0x456000;
        return m.run_guest(write ? wrmsrlist : rdmsrlist);
    };
    for (const bool write : {false, true}) {
        Guest off;
        EXPECT_EQ(guest(off, write, false), exception) << "#UD without the control";
        Guest on;
        on.enable("enable_msr_list_instructions"_vmx);
        EXPECT_EQ(guest(on, write, false), hlt);
        EXPECT_EQ(on.cpu.lstar, write ? 0x123000u : 0x456000u);
        EXPECT_EQ(on.peek<u64>(values + 8), write ? 0x123000u : 0x456000u);
        Guest exits;
        exits.enable("enable_msr_list_instructions"_vmx);
        EXPECT_EQ(guest(exits, write, true), write ? 79u : 78u);
        EXPECT_EQ(exits.qualification(), lstar);
        EXPECT_EQ(exits.cpu.reg(Gpr::rcx), 2u) << "the MSR is still to do";
        EXPECT_EQ(exits.cpu.lstar, 0x456000u);
        if (write) {
            EXPECT_EQ(exits.get("msr_data"_f), 0x123000u);
        }
    }
}

}  // namespace
}  // namespace droste::test
