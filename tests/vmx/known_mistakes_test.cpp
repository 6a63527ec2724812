// SPDX-License-Identifier: Apache-2.0
// Mistakes that implementations of VMX have made: capabilities that are announced and not there, or the other
// way round.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

TEST(KnownMistakes, LoadSpecCtrlIsAnEntryControlOfItsOwn) {
    VmxMachine m;
    EXPECT_EQ(*m.msr_table.read(m.cpu, 0x484) >> (32 + 24) & 1, 1u);
    EXPECT_EQ(*m.msr_table.read(m.cpu, 0x493) & ~0xFull, 0u) << "secondary VM-exit controls end at bit 3";
    m.start();
    m.add("entry_controls"_f, 1u << 24);
    m.set("guest_ia32_spec_ctrl"_f, 1);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.spec_ctrl, 1u);
}

TEST(KnownMistakes, SmmControlsAreNeitherAnnouncedNorTaken) {
    for (const unsigned bit : {10u, 11u}) {
        VmxMachine m;
        EXPECT_EQ(*m.msr_table.read(m.cpu, 0x484) >> (32 + bit) & 1, 0u);
        EXPECT_EQ(*m.msr_table.read(m.cpu, 0x490) >> (32 + bit) & 1, 0u);
        m.start();
        m.add("entry_controls"_f, 1u << bit);
        EXPECT_FALSE(m.enter());
        EXPECT_EQ(m.error(), VmxError::entry_controls);
    }
}

TEST(KnownMistakes, FredControlsComeWithTheFeature) {
    VmxMachine m;
    EXPECT_EQ(*m.msr_table.read(m.cpu, 0x484) >> (32 + 23) & 1, 1u);
    EXPECT_EQ(*m.msr_table.read(m.cpu, 0x493) & 3, 3u);
    CpuModel without = vmx_model();
    without.features.set(Feature::fred, false);
    const VmxCapabilities c = make_vmx_capabilities(without).value();
    EXPECT_EQ(capability_msr(c, 0x484) >> (32 + 23) & 1, 0u);
    EXPECT_EQ(capability_msr(c, 0x493) & 3, 0u);
}

/// KVM does not use a preemption timer that counts faster than 429 MHz.
TEST(KnownMistakes, EveryModelHasASlowPreemptionTimer) {
    for (const std::string_view name : cpu_model_names()) {
        CpuModel m = vmx_model();
        m.name = name;
        EXPECT_GE(make_vmx_capabilities(m)->preemption_timer_rate, 3) << name;
    }
}

/// A control that loads an MSR needs the MSR.
TEST(KnownMistakes, NoPerfGlobalCtrlWithoutItsMsr) {
    VmxMachine m;
    const bool msr = m.msr_table.find(0x38F) != nullptr;
    EXPECT_EQ((*m.msr_table.read(m.cpu, 0x483) >> (32 + 12) & 1) != 0, msr);
    EXPECT_EQ((*m.msr_table.read(m.cpu, 0x484) >> (32 + 13) & 1) != 0, msr);
    EXPECT_EQ((*m.msr_table.read(m.cpu, 0x483) >> (32 + 30) & 1) != 0, msr);
}

/// VMXON wants paging, not just protected mode.
TEST(KnownMistakes, VmxonChecksTheFixedBitsOfCr0) {
    for (const u64 bit : {cr0_bits::pg, cr0_bits::ne}) {
        VmxMachine m;
        m.poke<u64>(TestMachine::data, VmxMachine::vmxon_region);
        m.cpu.cr0 &= ~bit;
        // vmxon [data]
        EXPECT_EQ(m.execute({0xF3, 0x0F, 0xC7, 0x34, 0x25, 0x00, 0x40, 0, 0}), Outcome::fault);
        EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::gp);
        EXPECT_FALSE(m.vmx.in_operation());
    }
}

TEST(KnownMistakes, GuestCr0IsFixedWithoutUnrestrictedGuest) {
    for (const u64 bit : {cr0_bits::pe, cr0_bits::ne, cr0_bits::pg}) {
        VmxMachine m;
        m.start();
        m.set("exception_bitmap"_f, 1u << 13);
        m.cpu.reg(Gpr::rax) = m.get("guest_cr0"_f) & ~bit;
        EXPECT_EQ(m.run_guest({0x0F, 0x22, 0xC0, 0x0F, 0xA2}), 0u) << "mov cr0, rax gives #GP";
        EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
    }
}

TEST(KnownMistakes, ACapabilityMsrNeverContradictsItself) {
    for (const std::string_view name : cpu_model_names()) {
        CpuModel model = vmx_model();
        model.name = name;
        const VmxCapabilities c = make_vmx_capabilities(model).value();
        for (const u32 msr : {0x481u, 0x482u, 0x483u, 0x484u, 0x48Bu, 0x48Du, 0x48Eu, 0x48Fu, 0x490u}) {
            const u64 v = capability_msr(c, msr);
            EXPECT_EQ((v & 0xFFFFFFFF) & ~(v >> 32), 0u)
                << name << std::hex << msr << ": must be 1 and may not";
        }
        EXPECT_EQ(capability_msr(c, 0x48B) & 0xFFFFFFFF, 0u);
    }
}

/// BS of the pending debug exceptions follows TF and BTF when the guest is held back.
TEST(KnownMistakes, PendingSingleStepFollowsTfAndBtf) {
    for (const bool tf : {false, true})
        for (const bool btf : {false, true})
            for (const bool bs : {false, true}) {
                VmxMachine m;
                m.start();
                m.set("guest_interruptibility_state"_f, interruptibility_bits::mov_ss);
                if (tf)
                    m.add("guest_rflags"_f, rflags_bits::tf);
                m.set("guest_ia32_debugctl"_f, btf ? 2 : 0);
                m.set("guest_pending_debug_exceptions"_f, bs ? 1 << 14 : 0);
                EXPECT_EQ(m.enter(), bs == (tf && !btf)) << tf << btf << bs;
            }
}

}  // namespace
}  // namespace droste::test
