// SPDX-License-Identifier: Apache-2.0
// Events of the guest: injection, windows, interrupts, NMIs, traps, timers, activity states.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

using namespace interruptibility_bits;

class Events : public ::testing::Test {
protected:
    Events() { m.start(); }
    /// Runs `bytes` in the guest; returns the exit reason, 0xFFFF when the guest was still running or halted.
    u32 run(const std::vector<u8>& bytes, u64 ticks = 1000) {
        m.write(VmxMachine::guest_code, bytes);
        m.poke<u8>(VmxMachine::guest_code + bytes.size(), 0xF4);
        m.set("guest_rip"_f, VmxMachine::guest_code);
        m.cpu.activity = Activity::active;
        return m.resume(ticks);
    }
    void inject(u32 information, u64 code = 0, u64 length = 0) {
        m.set("entry_interruption_information"_f, information);
        m.set("entry_exception_error_code"_f, code);
        m.set("entry_instruction_length"_f, length);
    }
    void external_interrupts() {
        m.enable("external_interrupt_exiting"_vmx);
        m.enable("acknowledge_interrupt_on_exit"_vmx);
    }
    void virtual_nmis() {
        m.enable("nmi_exiting"_vmx);
        m.enable("virtual_nmis"_vmx);
    }
    u64 stack(unsigned slot) { return m.peek<u64>(m.cpu.reg(Gpr::rsp) + 8 * slot); }
    VmxMachine m;
};

const std::vector<u8> cpuid = {0x0F, 0xA2};
const std::vector<u8> nop_cpuid = {0x90, 0x0F, 0xA2};
const std::vector<u8> spin = {0xEB, 0xFE};
constexpr u64 at = VmxMachine::guest_code;

// ---- injection

TEST_F(Events, InjectExternalInterrupt) {
    m.add("guest_rflags"_f, rflags_bits::if_);
    inject(0x80000041);
    EXPECT_EQ(run(cpuid), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x41);
    EXPECT_EQ(stack(0), at);
    EXPECT_FALSE(m.cpu.rflags & rflags_bits::if_);
}

TEST_F(Events, InjectExceptionWithErrorCode) {
    m.cpu.cr2 = 0x77;
    inject(0x80000B0E, 0x1234);
    m.set("exception_bitmap"_f, 1u << 14);  // injected events are not intercepted
    EXPECT_EQ(run(cpuid), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 14);
    EXPECT_EQ(stack(0), 0x1234u);
    EXPECT_EQ(stack(1), at);
    EXPECT_EQ(m.cpu.cr2, 0x77u);
}

TEST_F(Events, InjectSoftwareInterruptPushesTheNextInstruction) {
    inject(0x80000480, 0, 2);
    EXPECT_EQ(run({0xCD, 0x80}), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x80);
    EXPECT_EQ(stack(0), at + 2);
}

TEST_F(Events, InjectedFieldIsInvalidAfterAnExit) {
    inject(0x80000B0D, 0);
    m.enable("hlt_exiting"_vmx);
    EXPECT_EQ(run(cpuid), 12u);
    EXPECT_EQ(m.get("entry_interruption_information"_f), 0x00000B0Du);
}

TEST_F(Events, InjectionThatFaultsReportsItsEvent) {
    m.set("guest_idtr_limit"_f, 0xFF);
    m.set("exception_bitmap"_f, 1u << 13);
    inject(0x80000480, 0, 2);
    EXPECT_EQ(run(cpuid), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000480u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 2u);
}

TEST_F(Events, InjectedNmiBlocks) {
    virtual_nmis();
    inject(0x80000202);
    m.enable("hlt_exiting"_vmx);
    EXPECT_EQ(run(cpuid), 12u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
}

TEST_F(Events, InjectionWakesHlt) {
    m.set("guest_activity_state"_f, 1);
    inject(0x80000202);
    EXPECT_EQ(run(cpuid), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 2);
}

// ---- interrupts

TEST_F(Events, ExternalInterruptExitsWhateverIfSays) {
    external_interrupts();
    m.interrupts.raise(0x55);
    EXPECT_EQ(run(spin), 1u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000055u);
    EXPECT_TRUE(m.interrupts.vectors.empty());
    EXPECT_EQ(m.get("guest_rip"_f), at);
}

TEST_F(Events, WithoutAcknowledgeTheInterruptStays) {
    m.enable("external_interrupt_exiting"_vmx);
    m.interrupts.raise(0x55);
    EXPECT_EQ(run(spin), 1u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0u);
    EXPECT_EQ(m.interrupts.vectors.size(), 1u);
}

TEST_F(Events, WithoutExitingTheGuestTakesIt) {
    m.interrupts.raise(0x55);
    EXPECT_EQ(run(spin, 50), 0xFFFFu);
    EXPECT_EQ(m.cpu.rip, at) << "IF is 0";
    m.interrupts.raise(0x55);
    m.cpu.write_rflags(2 | rflags_bits::if_);
    m.run_for(100);
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.stopped_at(), 0x55);
}

TEST_F(Events, ExternalInterruptEndsHlt) {
    external_interrupts();
    EXPECT_EQ(run({0xF4}), 0xFFFFu);
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
    m.interrupts.raise(0x60);
    m.cpu.interrupt_pending_changed();
    m.run_for(10);
    EXPECT_EQ(m.reason(), 1u);
    EXPECT_EQ(m.get("guest_activity_state"_f), 1u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
}

TEST_F(Events, InterruptWindow) {
    m.enable("interrupt_window_exiting"_vmx);
    // nop; sti; nop; nop: the window opens after the instruction that follows STI
    EXPECT_EQ(run({0x90, 0xFB, 0x90, 0x90}), 7u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 3);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), 0u);
    // already open
    EXPECT_EQ(run(nop_cpuid), 7u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
}

TEST_F(Events, NmiWindow) {
    virtual_nmis();
    m.enable("nmi_window_exiting"_vmx);
    EXPECT_EQ(run(cpuid), 8u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    // blocked until IRET: an IRET frame to the next instruction
    m.set("guest_interruptibility_state"_f, nmi);
    const u64 sp = VmxMachine::guest_stack - 40;
    m.set("guest_rsp"_f, sp);
    const u64 frame[] = {at + 2, 8, 2, VmxMachine::guest_stack, 0x10};
    for (unsigned i = 0; i < 5; ++i) m.poke<u64>(sp + 8 * i, frame[i]);
    EXPECT_EQ(run({0x48, 0xCF, 0x90, 0x90}), 8u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 2);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), 0u);
}

TEST_F(Events, NmiExitsAndBlocksInRoot) {
    virtual_nmis();
    m.set("guest_interruptibility_state"_f, nmi);  // virtual blocking does not hold back a real NMI
    m.cpu.nmi();
    EXPECT_EQ(run(spin), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000202u);
    EXPECT_TRUE(m.cpu.interruptibility & nmi);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
    EXPECT_FALSE(m.cpu.nmi_pending);
}

TEST_F(Events, NmiWithoutExitingIsDeliveredInTheGuest) {
    m.cpu.nmi();
    EXPECT_EQ(run(spin), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 2);
    EXPECT_TRUE(m.cpu.interruptibility & nmi);
}

TEST_F(Events, IretFaultReportsNmiUnblocking) {
    virtual_nmis();
    m.set("guest_interruptibility_state"_f, nmi);
    m.set("exception_bitmap"_f, 1u << 13);
    const u64 sp = VmxMachine::guest_stack - 40;
    m.set("guest_rsp"_f, sp);
    const u64 frame[] = {at + 2, 0x7770, 2, VmxMachine::guest_stack, 0x10};  // no such code segment
    for (unsigned i = 0; i < 5; ++i) m.poke<u64>(sp + 8 * i, frame[i]);
    EXPECT_EQ(run({0x48, 0xCF}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80001B0Du);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), 0u);
}

TEST_F(Events, IretEptViolationReportsNmiUnblocking) {
    virtual_nmis();
    m.enable_ept();
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, 0);
    m.set("guest_interruptibility_state"_f, nmi);
    m.set("guest_rsp"_f, 32u << 20);
    EXPECT_EQ(run({0x48, 0xCF}), "ept_violation"_exit->number);
    EXPECT_EQ(m.qualification() & 0x1000, 0x1000u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), 0u);
    // another instruction in the same place does not say so
    m.set("guest_interruptibility_state"_f, nmi);
    m.set("guest_rsp"_f, 32u << 20);
    EXPECT_EQ(run({0x5B}), "ept_violation"_exit->number);
    EXPECT_EQ(m.qualification() & 0x1000, 0u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
}

TEST_F(Events, WithoutVirtualNmisIretLeavesBlocking) {
    m.enable("nmi_exiting"_vmx);
    m.set("guest_interruptibility_state"_f, nmi);
    const u64 sp = VmxMachine::guest_stack - 40;
    m.set("guest_rsp"_f, sp);
    const u64 frame[] = {at + 2, 8, 2, VmxMachine::guest_stack, 0x10};
    for (unsigned i = 0; i < 5; ++i) m.poke<u64>(sp + 8 * i, frame[i]);
    EXPECT_EQ(run({0x48, 0xCF, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
    EXPECT_TRUE(m.cpu.interruptibility & nmi) << "and root operation inherits it";
}

TEST_F(Events, InjectEveryTypeOfSoftwareEvent) {
    for (const auto& [information, vector] :
         {std::pair{0x80000603u, 3}, {0x80000604u, 4}, {0x80000501u, 1}, {0x80000480u, 0x80}}) {
        VmxMachine n;
        n.start();
        n.write(at, {0x90, 0x90, 0xF4});
        n.set("entry_interruption_information"_f, information);
        n.set("entry_instruction_length"_f, 1);
        EXPECT_EQ(n.resume(), 0xFFFFu);
        EXPECT_EQ(n.stopped_at(), vector);
        EXPECT_EQ(n.peek<u64>(n.cpu.reg(Gpr::rsp)), at + 1);
    }
}

TEST_F(Events, InitAndSipi) {
    m.cpu.init();
    EXPECT_EQ(run(spin), 3u);
    EXPECT_FALSE(m.cpu.init_pending);
    m.set("guest_activity_state"_f, 3);
    EXPECT_EQ(run(spin), 0xFFFFu);
    m.cpu.sipi(0x9A);
    EXPECT_EQ(m.reason(), 4u);
    EXPECT_EQ(m.qualification(), 0x9Au);
    EXPECT_EQ(m.get("guest_activity_state"_f), 3u);
}

TEST_F(Events, InitIsBlockedInRoot) {
    m.cpu.init();
    m.write(TestMachine::code, {0x90, 0x90, 0xF4});
    m.cpu.rip = TestMachine::code;
    m.run_for(10);
    EXPECT_TRUE(m.cpu.init_pending);
    EXPECT_TRUE(m.vmx.in_operation());
}

// ---- traps and timers

TEST_F(Events, MonitorTrapFlag) {
    m.enable("monitor_trap_flag"_vmx);
    EXPECT_EQ(run({0x90, 0x90}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    EXPECT_EQ(m.resume(), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 2);
}

TEST_F(Events, MonitorTrapFlagAfterInjection) {
    m.enable("monitor_trap_flag"_vmx);
    inject(0x80000306);
    EXPECT_EQ(run({0x90}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), TestMachine::stops + 16 * 6) << "before the handler's first instruction";
}

TEST_F(Events, MonitorTrapFlagAfterAFault) {
    m.enable("monitor_trap_flag"_vmx);
    EXPECT_EQ(run({0x0F, 0x0B}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), TestMachine::stops + 16 * 6);
}

TEST_F(Events, MonitorTrapFlagAfterAnInterruptAtTheFirstBoundary) {
    m.enable("monitor_trap_flag"_vmx);
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.interrupts.raise(0x44);
    EXPECT_EQ(run({0x90, 0x90}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), TestMachine::stops + 16 * 0x44);
}

TEST_F(Events, PendingMonitorTrapIsInjected) {
    inject(0x80000700);
    EXPECT_EQ(run({0x90}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
}

TEST_F(Events, PreemptionTimer) {
    m.enable("activate_vmx_preemption_timer"_vmx);
    m.enable("save_vmx_preemption_timer_value"_vmx);
    const unsigned rate = m.vmx.capabilities().preemption_timer_rate;
    m.set("vmx_preemption_timer_value"_f, 10);
    const u64 start = m.cpu.now();
    // The run loop of the machine fires events; here the test does.
    m.write(at, spin);
    ASSERT_TRUE(m.enter());
    u64 end = 0;
    for (int i = 0; i < 100 && m.cpu.non_root; ++i) {
        m.run_for(20);
        m.events.run(m.cpu.now());
        end = m.cpu.now();
    }
    EXPECT_EQ(m.reason(), 52u);
    EXPECT_EQ(m.get("vmx_preemption_timer_value"_f), 0u);
    EXPECT_GE(end - start, 9u << rate);
    EXPECT_LE(end - start, (11u << rate));
    // 0 expires before the first instruction
    EXPECT_EQ(run(spin), 52u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    // an exit before saves what is left
    m.set("vmx_preemption_timer_value"_f, 1000);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_GE(m.get("vmx_preemption_timer_value"_f), 998u);
    EXPECT_LE(m.get("vmx_preemption_timer_value"_f), 1000u);
}

TEST_F(Events, ExitsInMidBlockTellTheExactTime) {
    // VMREAD stands in the middle of a block; the same guest single-stepped by the run loop gives the same ticks.
    class Ticks final : public VmxObserver {
    public:
        void exit_recognised(const ExitEvent& e) override { at.push_back(e.ticks); }
        std::vector<u64> at;
    };
    const auto ticks_of_exit = [](bool stepped) {
        VmxMachine n;
        Ticks ticks;
        n.vmx.add_observer(ticks);
        n.start();
        n.write(at, {0x90, 0x90, 0x0F, 0x78, 0xC3, 0x90, 0x90, 0x90, 0x0F, 0xA2});
        EXPECT_TRUE(n.enter());
        const u64 start = n.cpu.ticks();
        for (int i = 0; i < 20 && n.cpu.non_root; ++i) n.run_for(stepped ? 1 : 100);
        EXPECT_EQ(ticks.at.size(), 1u);
        return ticks.at.at(0) - start;
    };
    EXPECT_EQ(ticks_of_exit(true), 2u);
    EXPECT_EQ(ticks_of_exit(false), 2u);
}

TEST_F(Events, SingleStepTrapIsDeliveredAndPends) {
    m.add("guest_rflags"_f, rflags_bits::tf);
    EXPECT_EQ(run({0x90, 0x90}), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(stack(0), at + 1);
}

TEST_F(Events, PendingDebugExceptionIsDeliveredAfterEntry) {
    m.set("guest_pending_debug_exceptions"_f, 0x4000);
    m.set("exception_bitmap"_f, 1u << 1);
    EXPECT_EQ(run({0x90}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000301u);
    EXPECT_EQ(m.qualification(), 0x4000u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), 0u);
}

TEST_F(Events, HltStateOfTheGuest) {
    m.set("guest_activity_state"_f, 1);
    m.write(at, cpuid);
    ASSERT_TRUE(m.enter());
    EXPECT_EQ(m.run_for(100), Stop::halted);
    EXPECT_TRUE(m.cpu.non_root);
}

// ---- state and lists

TEST_F(Events, GuestStateIsSavedAndHostStateLoaded) {
    m.set("host_fs_base"_f, 0x1111000);
    m.set("host_gs_base"_f, 0xFFFF888000000000);
    m.set("host_ia32_sysenter_eip"_f, 0x4444);
    m.cpu.dr7 = 0x455;
    m.enable("save_debug_controls"_vmx);
    m.enable("load_debug_controls"_vmx);
    m.set("guest_dr7"_f, 0x401);
    // mov ebx, 0x10; mov fs, ebx; std; cpuid
    EXPECT_EQ(run({0xBB, 0x10, 0, 0, 0, 0x8E, 0xE3, 0xFD, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("guest_fs_selector"_f), 0x10u);
    EXPECT_EQ(m.get("guest_dr7"_f), 0x401u);
    EXPECT_NE(m.get("guest_rflags"_f) & rflags_bits::df, 0u);
    EXPECT_EQ(m.cpu.segment(Seg::fs).base, 0x1111000u);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0xFFFF888000000000u);
    EXPECT_EQ(m.cpu.segment(Seg::cs).access, 0xA09Bu);
    EXPECT_EQ(m.cpu.segment(Seg::tr).limit, 0x67u);
    EXPECT_TRUE(m.cpu.segment(Seg::ldtr).unusable());
    EXPECT_EQ(m.cpu.gdtr.limit, 0xFFFFu);
    EXPECT_EQ(m.cpu.sysenter_eip, 0x4444u);
    EXPECT_EQ(m.cpu.dr7, 0x400u);
    EXPECT_EQ(m.cpu.read_rflags(), 2u);
}

TEST_F(Events, EferAndIa32eControlFollowTheGuest) {
    m.enable_ept();
    m.enable("unrestricted_guest"_vmx);
    m.enable("entry_load_ia32_efer"_vmx);
    m.enable("save_ia32_efer"_vmx);
    m.enable("exit_load_ia32_efer"_vmx);
    // A guest in compatibility-free protected mode turns long mode on by itself and exits.
    m.disable("ia32e_mode_guest"_vmx);
    m.drop("guest_cr0"_f, cr0_bits::pg);
    m.set("guest_ia32_efer"_f, efer_bits::lme);
    m.set("guest_cs_access_rights"_f, 0xC09B);
    // mov eax, cr0; or eax, 0x80000000; mov cr0, eax; cpuid
    EXPECT_EQ(run({0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80, 0x0F, 0x22, 0xC0, 0x0F, 0xA2}), 10u);
    EXPECT_NE(m.get("entry_controls"_f) & "ia32e_mode_guest"_vmx.mask(), 0u)
        << "IA32_EFER.LMA is stored on exit";
    EXPECT_EQ(m.get("guest_ia32_efer"_f), efer_bits::lme | efer_bits::lma);
    EXPECT_NE(m.cpu.efer & efer_bits::sce, 0u) << "the host's EFER came back";
    EXPECT_EQ(m.resume(), 10u) << "and the guest goes on";
}

TEST_F(Events, RealModeGuest) {
    m.enable_ept();
    m.enable("unrestricted_guest"_vmx);
    m.disable("ia32e_mode_guest"_vmx);
    m.drop("guest_cr0"_f, cr0_bits::pe | cr0_bits::pg);
    for (unsigned i = 0; i < 6; ++i) {
        m.set("guest_es_selector"_f + i, 0x30);
        m.set("guest_es_base"_f + i, 0x300);
        m.set("guest_es_limit"_f + i, 0xFFFF);
        m.set("guest_es_access_rights"_f + i, 0x93);
    }
    m.set("guest_cs_access_rights"_f, 0x9B);
    m.set("guest_rsp"_f, 0x4000);
    m.write(at + 0x300, {0x68, 0x34, 0x12, 0x5B, 0x0F, 0xA2});  // push 0x1234; pop bx; cpuid
    m.cpu.reg(Gpr::rbx) = 0;
    m.set("guest_rip"_f, at);
    EXPECT_EQ(m.resume(), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x1234u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 4);
}

TEST_F(Events, MsrLists) {
    m.poke<u32>(VmxMachine::msr_list, 0xC0000102);  // IA32_KERNEL_GS_BASE
    m.poke<u64>(VmxMachine::msr_list + 8, 0x7777);
    m.set("entry_msr_load_address"_f, VmxMachine::msr_list);
    m.set("entry_msr_load_count"_f, 1);
    m.poke<u32>(VmxMachine::msr_list + 0x100, 0xC0000102);
    m.set("exit_msr_store_address"_f, VmxMachine::msr_list + 0x100);
    m.set("exit_msr_store_count"_f, 1);
    m.poke<u32>(VmxMachine::msr_list + 0x200, 0xC0000102);
    m.poke<u64>(VmxMachine::msr_list + 0x208, 0x8888);
    m.set("exit_msr_load_address"_f, VmxMachine::msr_list + 0x200);
    m.set("exit_msr_load_count"_f, 1);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.peek<u64>(VmxMachine::msr_list + 0x108), 0x7777u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 0x8888u);
}

TEST_F(Events, EntryFailsAtTheMsrThatIsIllegal) {
    const auto entry = [&](unsigned i, u64 head, u64 data) {
        m.poke<u64>(VmxMachine::msr_list + 16 * i, head);
        m.poke<u64>(VmxMachine::msr_list + 16 * i + 8, data);
    };
    m.set("entry_msr_load_address"_f, VmxMachine::msr_list);
    m.set("entry_msr_load_count"_f, 2);
    m.cpu.interruptibility = nmi;
    entry(0, 0xC0000102, 0x1000);
    const std::pair<u64, u64> illegal[] = {
        {0xC0000100, 0x1000},     {0xC0000101, 0x1000},         {0x808, 0},
        {0xC0000102, 1ull << 47}, {1ull << 32 | 0xC0000102, 0}, {0x480, 0}};
    for (const auto& [head, data] : illegal) {
        entry(1, head, data);
        EXPECT_FALSE(m.enter());
        EXPECT_EQ(m.reason(), 34u | exit_reason_entry_failure) << std::hex << head;
        EXPECT_EQ(m.qualification(), 2u);
        EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry);
        EXPECT_EQ(m.vmx.current().launch_state(), LaunchState::clear);
        EXPECT_EQ(m.cpu.interruptibility, nmi) << "blocking by NMI is what it was before the entry";
    }
}

TEST_F(Events, LongestMsrList) {
    constexpr u64 list = 0x30'0000;
    for (u64 i = 0; i < 513; ++i) {
        m.poke<u64>(list + 16 * i, 0xC0000102);
        m.poke<u64>(list + 16 * i + 8, i);
    }
    m.set("entry_msr_load_address"_f, list);
    m.set("entry_msr_load_count"_f, 512);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 511u);
    m.set("entry_msr_load_count"_f, 0xFFFFFFFF);
    EXPECT_FALSE(m.enter()) << "the host is not kept busy by an endless list";
    EXPECT_EQ(m.qualification(), 513u);
}

TEST_F(Events, NmiWindowIsClosedByEveryBlocking) {
    virtual_nmis();
    m.enable("nmi_window_exiting"_vmx);
    m.add("guest_rflags"_f, rflags_bits::if_);
    for (const u32 blocking : {sti, mov_ss}) {
        m.set("guest_interruptibility_state"_f, blocking);
        EXPECT_EQ(run(nop_cpuid), 8u);
        EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    }
    m.set("guest_interruptibility_state"_f, 0);
    EXPECT_EQ(run(nop_cpuid), 8u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
}

TEST_F(Events, MonitorTrapComesBeforeTheSingleStepTrap) {
    m.enable("monitor_trap_flag"_vmx);
    m.add("guest_rflags"_f, rflags_bits::tf);
    EXPECT_EQ(run({0x90, 0x90}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), 0x4000u);
    m.disable("monitor_trap_flag"_vmx);
    m.set("exception_bitmap"_f, 2);
    EXPECT_EQ(m.resume(), 0u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    EXPECT_EQ(m.qualification(), 0x4000u);
}

TEST_F(Events, TrapHeldByMovSsIsSavedAndComesBack) {
    m.add("guest_rflags"_f, rflags_bits::tf);
    m.set("exception_bitmap"_f, 2);
    // mov ss, eax; cpuid: CPUID exits while MOV SS holds the single-step trap back
    m.cpu.reg(Gpr::rax) = 0x10;
    EXPECT_EQ(run({0x8E, 0xD0, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{mov_ss});
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), 0x4000u);
    m.write(at + 2, {0x90, 0x90});
    EXPECT_EQ(m.resume(), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000301u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 3);
}

TEST_F(Events, HltInjectingAnEventOpensTheWindowAtTheHandler) {
    virtual_nmis();
    m.enable("nmi_window_exiting"_vmx);
    m.set("guest_activity_state"_f, 1);
    inject(0x80000301);
    EXPECT_EQ(run(nop_cpuid), 8u);
    EXPECT_EQ(m.get("guest_rip"_f), TestMachine::stops + 16);
    EXPECT_EQ(m.get("guest_activity_state"_f), 0u);
}

TEST_F(Events, TimerComesAfterTheSingleStepTrap) {
    m.enable("activate_vmx_preemption_timer"_vmx);
    m.set("vmx_preemption_timer_value"_f, 0);
    m.set("guest_pending_debug_exceptions"_f, 0x4000);
    EXPECT_EQ(run(nop_cpuid), 52u);
    EXPECT_EQ(m.get("guest_rip"_f), TestMachine::stops + 16) << "the trap was delivered first";
}

TEST_F(Events, AbortsShutTheProcessorDown) {
    m.poke<u32>(VmxMachine::msr_list, 0x480);
    m.set("exit_msr_load_address"_f, VmxMachine::msr_list);
    m.set("exit_msr_load_count"_f, 1);
    m.write(at, cpuid);
    ASSERT_TRUE(m.enter());
    EXPECT_EQ(m.run_for(100), Stop::shutdown);
    EXPECT_EQ(m.vmx.last_abort(), VmxAbort::msr_load);
    EXPECT_EQ(m.peek<u32>(VmxMachine::vmcs_a + vmcs_layout::abort), 4u);
}

TEST_F(Events, TscOffsetAndScaling) {
    m.enable("use_tsc_offsetting"_vmx);
    m.set("tsc_offset"_f, 1ull << 40);
    EXPECT_EQ(run({0x0F, 0x31, 0x0F, 0xA2}), 10u);
    const u64 tsc = m.cpu.reg(Gpr::rdx) << 32 | m.cpu.reg(Gpr::rax);
    EXPECT_EQ(tsc >> 40, 1u);
    m.enable("use_tsc_scaling"_vmx);
    m.set("tsc_multiplier"_f, 2ull << 48);
    const u64 before = m.cpu.now() + m.cpu.tsc_offset_host;
    EXPECT_EQ(run({0x0F, 0x31, 0x0F, 0xA2}), 10u);
    const u64 scaled = (m.cpu.reg(Gpr::rdx) << 32 | m.cpu.reg(Gpr::rax)) - (1ull << 40);
    EXPECT_GE(scaled, 2 * before);
    EXPECT_LE(scaled, 2 * before + 20);
    EXPECT_EQ(m.cpu.read_tsc(), m.cpu.now() + m.cpu.tsc_offset_host) << "root sees the plain TSC";
}

TEST_F(Events, VpidKeepsTranslationsAndItsAbsenceFlushes) {
    // A translation cached by the guest is stale after the host changed the page tables without invalidation.
    const u64 page = 0x4000'0000;
    const auto second_load = [&](bool vpid) {
        if (vpid) m.enable("enable_vpid"_vmx);
        else m.disable("enable_vpid"_vmx);
        m.map(page, 0x40'0000);
        m.poke<u64>(0x40'0000, 1);
        m.poke<u64>(0x40'1000, 2);
        const std::vector<u8> load = {0x48, 0x8B, 0x1C, 0x25, 0, 0, 0, 0x40, 0x0F, 0xA2};
        EXPECT_EQ(run(load), 10u);
        EXPECT_EQ(m.cpu.reg(Gpr::rbx), 1u);
        // change the leaf entry behind the TLB's back
        u64 table = TestMachine::tables;
        for (unsigned level = 3; level > 0; --level)
            table = m.memory.read64(table + 8 * ((page >> (12 + 9 * level)) & 511)) & 0xF'FFFF'FFFF'F000;
        m.poke<u64>(table + 8 * ((page >> 12) & 511), 0x40'1000 | 7);
        EXPECT_EQ(run(load), 10u);
        return m.cpu.reg(Gpr::rbx);
    };
    EXPECT_EQ(second_load(false), 2u) << "VM entry without VPID flushes";
    EXPECT_EQ(second_load(true), 1u);
    EXPECT_EQ(m.vmx.invvpid(1, 1, 0), Outcome::next);
    EXPECT_EQ(m.resume(), 10u);
    m.set("guest_rip"_f, at);
    EXPECT_EQ(m.resume(), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 2u) << "INVVPID drops them";
}

}  // namespace
}  // namespace droste::test
