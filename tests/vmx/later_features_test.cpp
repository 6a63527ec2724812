// SPDX-License-Identifier: Apache-2.0
// VMX and the features of later processors: user waits, lists of MSRs, user interrupts, FRED events, shadow
// stacks, OS bus-lock detection.
#include <gtest/gtest.h>

#include "cpu/msr_protection.h"
#include "vmx_machine.h"

namespace droste::test {
namespace {

constexpr u64 at = VmxMachine::guest_code, data = TestMachine::data, vapic_page = VmxMachine::virtual_apic;
constexpr u32 running = 0xFFFF, vmcall = 18;

class LaterFeatures : public ::testing::Test {
protected:
    LaterFeatures() {
        m.start();
        m.set("exception_bitmap"_f, 1u << 6 | 1u << 13);
    }
    /// Runs `bytes`, then VMCALL.
    u32 run(std::vector<u8> bytes, u64 ticks = 1000) {
        bytes.insert(bytes.end(), {0x0F, 0x01, 0xC1});
        m.write(at, bytes);
        m.set("guest_rip"_f, at);
        m.cpu.activity = Activity::active;
        return m.resume(ticks);
    }
    bool exception(unsigned vector) { return (m.get("exit_interruption_information"_f) & 0xFF) == vector; }
    VmxMachine m;
};

// ---- user wait and pause

const std::vector<u8> umonitor = {0xF3, 0x0F, 0xAE, 0xF0}, umwait = {0xF2, 0x0F, 0xAE, 0xF1},
                      tpause = {0x66, 0x0F, 0xAE, 0xF1}, tpause_r10 = {0x66, 0x41, 0x0F, 0xAE, 0xF2};

TEST_F(LaterFeatures, UserWaitsAreUndefinedWithoutTheControl) {
    for (const auto& bytes : {umonitor, umwait, tpause}) {
        EXPECT_EQ(run(bytes), 0u);
        EXPECT_TRUE(exception(6));
    }
}

TEST_F(LaterFeatures, UserWaitsExecuteWithTheControl) {
    m.enable("enable_user_wait_and_pause"_vmx);
    m.cpu.reg(Gpr::rax) = data;
    m.cpu.reg(Gpr::rcx) = m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(run(umonitor), vmcall);
    m.cpu.reg(Gpr::rax) = 0;  // the deadline has passed
    EXPECT_EQ(run(umwait), vmcall);
    EXPECT_EQ(run(tpause), vmcall);
}

TEST_F(LaterFeatures, UserWaitsExitWithRdtscExiting) {
    m.enable("enable_user_wait_and_pause"_vmx);
    m.enable("rdtsc_exiting"_vmx);
    m.cpu.reg(Gpr::rax) = data;
    EXPECT_EQ(run(umonitor), vmcall) << "UMONITOR never exits";
    EXPECT_EQ(run(umwait), 67u);
    EXPECT_EQ(m.get("exit_instruction_information"_f), 1u << 3 | 1u << 11) << "ECX, 32 bits";
    EXPECT_EQ(m.get("exit_instruction_length"_f), 4u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(run(tpause_r10), 68u);
    EXPECT_EQ(m.get("exit_instruction_information"_f), 10u << 3 | 1u << 11) << "66H is no operand size";
    EXPECT_EQ(m.qualification(), 0u);
}

// ---- lists of MSRs, WRMSRNS, WBNOINVD

class MsrLists : public LaterFeatures {
protected:
    MsrLists() {
        m.enable("enable_msr_list_instructions"_vmx);
        m.enable("use_msr_bitmaps"_vmx);
        m.cpu.reg(Gpr::rsi) = data;
        m.cpu.reg(Gpr::rdi) = data + 0x200;
        m.cpu.reg(Gpr::rcx) = 3;
        m.poke<u64>(data, 0x174), m.poke<u64>(data + 8, 0xC0000082);
        m.poke<u64>(data + 0x200, 0x11), m.poke<u64>(data + 0x208, 0x22);
        m.cpu.sysenter_cs = 7;
        m.set("guest_ia32_sysenter_cs"_f, 7);
        m.cpu.lstar = 0x5000;
    }
    void intercept(u32 index, bool write) {
        const u64 byte = VmxMachine::msr_bitmap + (write ? 2048 : 0) + (index >= 0xC0000000 ? 1024 : 0) +
                         (index & 0x1FFF) / 8;
        m.poke<u8>(byte, static_cast<u8>(m.peek<u8>(byte) | 1u << index % 8));
    }
};
const std::vector<u8> rdmsrlist = {0xF2, 0x0F, 0x01, 0xC6}, wrmsrlist = {0xF3, 0x0F, 0x01, 0xC6};

TEST_F(MsrLists, Execute) {
    EXPECT_EQ(run(rdmsrlist), vmcall);
    EXPECT_EQ(m.peek<u64>(data + 0x200), 7u);
    EXPECT_EQ(m.peek<u64>(data + 0x208), 0x5000u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0u);
}

TEST_F(MsrLists, UndefinedWithoutTheControl) {
    m.disable("enable_msr_list_instructions"_vmx);
    for (const auto& bytes : {rdmsrlist, wrmsrlist}) {
        EXPECT_EQ(run(bytes), 0u);
        EXPECT_TRUE(exception(6));
    }
}

TEST_F(MsrLists, ExitAtOnceWithoutBitmaps) {
    m.disable("use_msr_bitmaps"_vmx);
    EXPECT_EQ(run(rdmsrlist), 78u);
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(run(wrmsrlist), 79u);
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 3u);
}

TEST_F(MsrLists, ExitAtTheInterceptedOne) {
    intercept(0xC0000082, false);
    EXPECT_EQ(run(rdmsrlist), 78u);
    EXPECT_EQ(m.qualification(), 0xC0000082u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 2u) << "the first was read";
    EXPECT_EQ(m.peek<u64>(data + 0x200), 7u);
    EXPECT_EQ(m.peek<u64>(data + 0x208), 0x22u);
    m.cpu.reg(Gpr::rcx) = 3;
    m.poke<u64>(data + 0x200, 0x11);
    intercept(0xC0000082, true);
    EXPECT_EQ(run(wrmsrlist), 79u);
    EXPECT_EQ(m.qualification(), 0xC0000082u);
    EXPECT_EQ(m.get("msr_data"_f), 0x22u);
    EXPECT_EQ(m.get("guest_ia32_sysenter_cs"_f), 0x11u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 2u);
}

TEST_F(MsrLists, VirtualizedMsrs) {
    m.enable("virtualize_ia32_spec_ctrl"_vmx);
    m.set("ia32_spec_ctrl_shadow"_f, 4);
    m.poke<u64>(data, 0x48);
    m.cpu.reg(Gpr::rcx) = 1;
    EXPECT_EQ(run(rdmsrlist), vmcall);
    EXPECT_EQ(m.peek<u64>(data + 0x200), 4u);
}

TEST_F(LaterFeatures, InstructionsThatShareAReasonAreToldApart) {
    m.cpu.reg(Gpr::rcx) = 0x174;
    EXPECT_EQ(run({0x0F, 0x30}), 32u);
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(run({0x0F, 0x01, 0xC6}), 32u);
    EXPECT_EQ(m.qualification(), 1u) << "WRMSRNS";
    m.enable("wbinvd_exiting"_vmx);
    EXPECT_EQ(run({0x0F, 0x09}), 54u);
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(run({0xF3, 0x0F, 0x09}), 54u);
    EXPECT_EQ(m.qualification(), 1u) << "WBNOINVD";
}

// ---- user interrupts

class UserInterrupts : public LaterFeatures {
protected:
    static constexpr u64 table = data + 0x400, descriptor = data + 0x480, pid = 0x22'0000;
    UserInterrupts() {
        m.add("guest_cr4"_f, cr4_bits::uintr);
        m.cpu.uintr.tt = table | 1;
        m.poke<u64>(table, 1 | 5 << 8);  // valid, user vector 5
        m.poke<u64>(table + 8, descriptor);
        m.poke<u64>(descriptor, u64{0x0304} << 32 | 0xE2 << 16);
        m.cpu.reg(Gpr::rax) = 0;
    }
    const std::vector<u8> senduipi = {0xF3, 0x0F, 0xC7, 0xF0};
};

TEST_F(UserInterrupts, SenduipiIsPhysicalWithoutTprShadow) {
    EXPECT_EQ(run(senduipi), vmcall);
    EXPECT_EQ(m.peek<u64>(descriptor + 8), 1u << 5);
    ASSERT_EQ(m.interrupts.notifications.size(), 1u);
    EXPECT_EQ(m.interrupts.notifications[0], std::pair(0x0304u, u8{0xE2}));
}

TEST_F(UserInterrupts, SenduipiThroughTheVirtualIcr) {
    m.enable("use_tpr_shadow"_vmx);
    EXPECT_EQ(run(senduipi), 56u);
    EXPECT_EQ(m.qualification(), 0x300u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 4) << "trap-like";
    EXPECT_EQ(m.peek<u64>(vapic_page + 0x300), u64{0x0304} << 32 | 0xE2);
    EXPECT_TRUE(m.interrupts.notifications.empty());
    m.poke<u64>(descriptor, u64{0x0304} << 32 | 0xE2 << 16);
    m.poke<u64>(vapic_page + 0x300, 0);
    m.enable("virtualize_apic_accesses"_vmx);
    EXPECT_EQ(run(senduipi), 56u);
    EXPECT_EQ(m.peek<u32>(vapic_page + 0x310), 0x03000000u);
    EXPECT_EQ(m.peek<u32>(vapic_page + 0x300), 0xE2u);
}

TEST_F(UserInterrupts, SenduipiWithIpiVirtualization) {
    m.enable("use_tpr_shadow"_vmx);
    m.enable("ipi_virtualization"_vmx);
    m.set("pid_pointer_table_address"_f, VmxMachine::pid_table);
    m.set("last_pid_pointer_index"_f, 0x0304);
    m.poke<u64>(VmxMachine::pid_table + 8 * 0x0304, pid | 1);
    m.poke<u64>(pid + 32, 2);  // SN: nothing is sent
    EXPECT_EQ(run(senduipi), vmcall);
    EXPECT_EQ(m.peek<u64>(pid + 0xE2 / 64 * 8), 1ull << (0xE2 % 64));
}

TEST_F(UserInterrupts, InjectedNotificationIsProcessed) {
    m.enable("load_uinv"_vmx);
    m.set("guest_uinv"_f, 0x55);
    m.cpu.uintr.pd = descriptor;
    m.poke<u64>(descriptor, 1);
    m.poke<u64>(descriptor + 8, 1ull << 9);
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.set("entry_interruption_information"_f, 0x80000055);
    EXPECT_EQ(run({}), vmcall) << "nothing goes through the IDT";
    EXPECT_EQ(m.cpu.uintr.rr, 1ull << 9);
    EXPECT_EQ(m.peek<u64>(descriptor), 0u);
    EXPECT_EQ(m.peek<u64>(descriptor + 8), 0u);
    // another vector does
    m.set("entry_interruption_information"_f, 0x80000056);
    EXPECT_EQ(run({}), running);
    EXPECT_EQ(m.stopped_at(), 0x56);
}

TEST_F(UserInterrupts, VirtualNotificationEndsWithoutAnExit) {
    m.enable("use_tpr_shadow"_vmx);
    m.enable("external_interrupt_exiting"_vmx);
    m.enable("virtual_interrupt_delivery"_vmx);
    m.set("eoi_exit_bitmap_1"_f, ~0ull);
    m.enable("load_uinv"_vmx);
    m.set("guest_uinv"_f, 0x55);
    m.cpu.uintr.pd = descriptor;
    m.poke<u64>(descriptor + 8, 4);
    m.poke<u32>(vapic_page + 0x220, 1u << 0x15);
    m.set("guest_interrupt_status"_f, 0x0055);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run({}), vmcall);
    EXPECT_EQ(m.cpu.uintr.rr, 4u);
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0u) << "in service and over";
    EXPECT_EQ(m.peek<u32>(vapic_page + 0x120), 0u);
}

// ---- FRED events

class Fred : public LaterFeatures {
protected:
    static constexpr u64 handlers = 0x5000, stack = 0x6FC0;
    Fred() {
        m.add("guest_cr4"_f, cr4_bits::fred);
        m.enable("entry_load_ia32_fred"_vmx);
        m.set("guest_ia32_fred_config"_f, handlers);
        m.set("guest_rsp"_f, stack);
        m.poke<u8>(handlers + 256, 0xF4);
    }
    void inject(u32 information, u64 code = 0, u64 length = 0, u64 event_data = 0) {
        m.set("entry_interruption_information"_f, information);
        m.set("entry_exception_error_code"_f, code);
        m.set("entry_instruction_length"_f, length);
        m.set("injected_event_data"_f, event_data);
    }
    u64 frame(unsigned slot) { return m.peek<u64>(m.cpu.reg(Gpr::rsp) + 8 * slot); }
};

TEST_F(Fred, InjectedEventDataGoesToTheFrame) {
    inject(0x80000B0E, 2, 0, 0xABCD'1234);
    EXPECT_EQ(run({}, 20), running);
    EXPECT_EQ(m.cpu.rip, handlers + 257);
    EXPECT_EQ(frame(0), 2u) << "error code";
    EXPECT_EQ(frame(1), at);
    EXPECT_EQ(frame(6), 0xABCD'1234u);
    EXPECT_EQ(frame(5) >> 58 & 1, 0u) << "not nested";
    EXPECT_EQ(frame(5) >> 32 & 0xFF, 14u);
}

TEST_F(Fred, NestedExceptionIsMarked) {
    inject(0x8000'2B0E, 2);
    EXPECT_EQ(run({}, 20), running);
    EXPECT_EQ(frame(5) >> 58 & 1, 1u);
}

TEST_F(Fred, SystemCallsAreInjected) {
    for (const u32 which : {1u, 2u}) {
        inject(0x80000700 | which, 0, 2);
        EXPECT_EQ(run({}, 20), running);
        EXPECT_EQ(m.cpu.rip, handlers + 257);
        EXPECT_EQ(frame(1), at + 2);
        EXPECT_EQ(frame(5) >> 32 & 0xFF, which);
        EXPECT_EQ(frame(5) >> 48 & 0xF, 7u);
        m.exit_by_cpuid();
        m.set("guest_rsp"_f, stack);
    }
}

TEST_F(Fred, AnExitDuringDeliveryKeepsTheEventData) {
    m.enable_ept();
    m.map(0x7000'0000, 0x4000'0000);  // beyond what EPT maps
    m.set("guest_rsp"_f, 0x7000'0800);
    inject(0x80000B0E, 2, 0, 0x77);
    EXPECT_EQ(run({}), 48u);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000B0Eu);
    EXPECT_EQ(m.get("idt_vectoring_error_code"_f), 2u);
    EXPECT_EQ(m.get("original_event_data"_f), 0x77u);
}

TEST_F(Fred, AnExceptionMetDuringDeliverySaysSo) {
    m.set("exception_bitmap"_f, 1u << 14);
    m.set("guest_rsp"_f, 0x7000'0800);  // not mapped
    inject(0x80000306);
    EXPECT_EQ(run({}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80002B0Eu);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000306u);
}

// ---- prematurely busy shadow stacks

class ShadowStackBusy : public LaterFeatures {
protected:
    static constexpr u64 token = 0x7000'1000, token_phys = 0x24'0000;
    ShadowStackBusy() {
        m.add("guest_cr4"_f, cr4_bits::cet);
        m.enable("entry_load_cet_state"_vmx);
        m.enable("exit_load_cet_state"_vmx);
        m.set("guest_ia32_s_cet"_f, 1);
        m.set("guest_ssp"_f, token + 0x800);
        m.map(token, token_phys, 0x61);  // a shadow-stack page of the supervisor; nothing below it
        m.poke<u64>(token_phys, token);
        m.set("guest_ia32_interrupt_ssp_table_addr"_f, data + 0x800);
        m.poke<u64>(data + 0x808, token);
        m.poke<u64>(0xB000 + 36, 0x6F00);              // IST 1
        m.poke<u8>(TestMachine::idt + 16 * 3 + 4, 1);  // of INT3
        m.set("exception_bitmap"_f, 1u << 14);
    }
};

TEST_F(ShadowStackBusy, ExitSaysSo) {
    m.enable("prematurely_busy_shadow_stack"_vmx);
    EXPECT_EQ(run({0xCC}), 0u | exit_reason_shadow_stack_busy);
    EXPECT_EQ(m.get("exit_interruption_information"_f) & 0xFF, 14u);
    EXPECT_EQ(m.get("guest_linear_address"_f), token - 8);
    EXPECT_EQ(m.peek<u64>(token_phys), token | 1) << "the token stays busy";
    // the next exit does not
    m.poke<u8>(TestMachine::idt + 16 * 3 + 4, 0);
    EXPECT_EQ(run({}), vmcall);
}

TEST_F(ShadowStackBusy, NotWithoutTheControl) {
    EXPECT_EQ(run({0xCC}), 0u);
    EXPECT_EQ(m.peek<u64>(token_phys), token | 1);
}

TEST_F(ShadowStackBusy, NotBeforeTheTokenIsSet) {
    m.enable("prematurely_busy_shadow_stack"_vmx);
    m.poke<u64>(token_phys,
                token | 1);  // busy already: #GP, delivered by its own gate without a stack switch
    m.set("exception_bitmap"_f, 1u << 13);
    EXPECT_EQ(run({0xCC}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f) & 0xFF, 13u);
}

TEST_F(ShadowStackBusy, NoVirtualizationExceptionHidesIt) {
    constexpr u64 table = 0x23'0000, info = 0x24'8000, gdt = TestMachine::gdt;
    m.map(token - 0x1000, token_phys + 0x1000, 0x61);
    m.enable_ept();
    m.enable("ept_violation_ve"_vmx);
    m.enable("prematurely_busy_shadow_stack"_vmx);
    m.set("virtualization_exception_information_address"_f, info);
    for (u64 i = 0; i < 512; ++i) m.poke<u64>(table + 8 * i, (0x20'0000 + (i << 12)) | 0x37);
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * (token_phys >> 21), table | 7);
    // A CALL from level 1 through a gate to level 0: the frame goes to a page that EPT does not map.
    m.poke<u64>(table + 8 * ((token_phys + 0x1000) >> 12 & 0x1FF), 0);
    m.cpu.cet.pl_ssp[0] = token;
    m.set("guest_gdtr_limit"_f, 0xFF);
    m.poke<u64>(gdt + 0xF0, 0x0000'AC00'0008'0000 | (at + 0x40));
    m.poke<u64>(gdt + 0xF8, 0);
    m.poke<u64>(0xB000 + 4, 0x6F00);
    m.set("guest_cs_selector"_f, 0x09), m.set("guest_cs_access_rights"_f, 0xA0BB);
    m.set("guest_ss_selector"_f, 0x11), m.set("guest_ss_access_rights"_f, 0xC0B3);
    m.poke<u64>(data, u64{0xF0} << 32);
    m.cpu.reg(Gpr::rbx) = data;
    EXPECT_EQ(run({0xFF, 0x1B}), 48u | exit_reason_shadow_stack_busy);
    EXPECT_EQ(m.qualification() & 0x2003, 0x2002u) << "a write to a shadow stack";
    EXPECT_EQ(m.get("guest_linear_address"_f), token - 8);
    EXPECT_EQ(m.peek<u64>(token_phys), token | 1);
    EXPECT_EQ(m.peek<u32>(info + 4), 0u);
}

// ---- OS bus-lock detection

class OsBusLock : public LaterFeatures {
protected:
    OsBusLock() {
        m.enable("load_debug_controls"_vmx);
        m.enable("save_debug_controls"_vmx);
        m.set("guest_ia32_debugctl"_f, 4);
        m.cpu.reg(Gpr::rsi) = data + 62;
    }
    void user() {
        m.set("guest_cs_selector"_f, 0x1B), m.set("guest_ss_selector"_f, 0x23);
        m.set("guest_cs_access_rights"_f, 0xA0FB), m.set("guest_ss_access_rights"_f, 0xC0F3);
    }
    const std::vector<u8> lock_inc = {0xF0, 0xFF, 0x06, 0x90, 0x90};
};

TEST_F(OsBusLock, TrapsInUserMode) {
    user();
    m.set("exception_bitmap"_f, 1u << 1);
    EXPECT_EQ(run(lock_inc), 0u);
    EXPECT_TRUE(exception(1));
    EXPECT_EQ(m.qualification(), 1u << 11);
    EXPECT_EQ(m.get("guest_rip"_f), at + 3);
    EXPECT_EQ(m.get("guest_ia32_debugctl"_f), 4u);
}

TEST_F(OsBusLock, ClearsItsBitOfDr6) {
    // delivered in root operation, where the same detection works
    m.cpu.debugctl = 4;
    m.cpu.cpl = 0;
    m.cpu.context_changed();
    EXPECT_TRUE(m.cpu.watch_bus_locks);
    m.cpu.pending_debug = 1 << 11 | 1 << 12;
    m.cpu.set_attention();
    m.cpu.dr6 = 0xFFFF0FF0;
    m.run_for(5);
    EXPECT_EQ(m.stopped_at(), 1);
    EXPECT_EQ(m.cpu.dr6, 0xFFFF07F0u);
}

TEST_F(OsBusLock, NotInSupervisorModeAndNotWithoutTheBit) {
    m.set("exception_bitmap"_f, 1u << 1);
    EXPECT_EQ(run(lock_inc), vmcall);
    user();
    m.set("guest_ia32_debugctl"_f, 0);
    m.set("exception_bitmap"_f, 1u << 1);
    EXPECT_EQ(run(lock_inc), vmcall);
    EXPECT_FALSE(m.cpu.watch_bus_locks);
}

TEST_F(OsBusLock, TheBitExistsWithTheFeature) {
    EXPECT_TRUE(m.msr_table.write(m.cpu, 0x1D9, 4));
    EXPECT_TRUE(m.cpu.watch_bus_locks);
    EXPECT_TRUE(m.msr_table.write(m.cpu, 0x1D9, 0));
    EXPECT_FALSE(m.cpu.watch_bus_locks);
    m.model.features.set(Feature::bus_lock_detect, false);
    EXPECT_FALSE(m.msr_table.write(m.cpu, 0x1D9, 4));
    EXPECT_FALSE(m.enter());
    EXPECT_EQ(m.reason(), 33u | exit_reason_entry_failure);
}

}  // namespace
}  // namespace droste::test
