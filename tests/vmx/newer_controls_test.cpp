// SPDX-License-Identifier: Apache-2.0
// Tertiary and later secondary controls: IPI virtualization, APIC-timer virtualization, IA32_SPEC_CTRL,
// bus locks, instruction timeouts.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

constexpr u64 at = VmxMachine::guest_code, vapic_page = VmxMachine::virtual_apic;
constexpr u64 pids = VmxMachine::pid_table, descriptor = 0x22'0000;
const std::vector<u8> spin = {0xEB, 0xFE}, cpuid = {0x0F, 0xA2};

class NewerControls : public ::testing::Test {
protected:
    NewerControls() { m.start(); }
    u32 run(const std::vector<u8>& bytes, u64 ticks = 1000) {
        m.write(at, bytes);
        m.poke<u8>(at + bytes.size(), 0xF4);
        m.set("guest_rip"_f, at);
        m.cpu.activity = Activity::active;
        return m.resume(ticks);
    }
    /// WRMSR, then VMCALL.
    u32 wrmsr(u32 index, u64 value) {
        m.cpu.reg(Gpr::rcx) = index;
        m.cpu.reg(Gpr::rax) = static_cast<u32>(value);
        m.cpu.reg(Gpr::rdx) = value >> 32;
        return run({0x0F, 0x30, 0x0F, 0x01, 0xC1});
    }
    u64 rdmsr(u32 index) {
        m.cpu.reg(Gpr::rcx) = index;
        EXPECT_EQ(run({0x0F, 0x32, 0x0F, 0x01, 0xC1}), 18u);
        return m.cpu.reg(Gpr::rdx) << 32 | m.cpu.reg(Gpr::rax);
    }
    void delivery() {
        m.enable("use_tpr_shadow"_vmx);
        m.enable("external_interrupt_exiting"_vmx);
        m.enable("virtual_interrupt_delivery"_vmx);
        m.enable("use_msr_bitmaps"_vmx);
    }
    VmxMachine m;
};

// ---- IPI virtualization

class IpiVirtualization : public NewerControls {
protected:
    IpiVirtualization() {
        m.enable("use_tpr_shadow"_vmx);
        m.enable("use_msr_bitmaps"_vmx);
        m.enable("virtualize_x2apic_mode"_vmx);
        m.enable("ipi_virtualization"_vmx);
        m.set("pid_pointer_table_address"_f, pids);
        m.set("last_pid_pointer_index"_f, 2);
        m.poke<u64>(pids + 8 * 2, descriptor | 1);
        m.poke<u64>(descriptor + 32, u64{0x0305} << 32 | 0xE1 << 16);  // NDST, NV
        m.interrupts.x2apic = true;
    }
    bool requested(u8 v) { return m.peek<u64>(descriptor + v / 64 * 8) >> (v % 64) & 1; }
};

TEST_F(IpiVirtualization, PostsAndNotifies) {
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x91), 18u) << "no exit";
    EXPECT_TRUE(requested(0x91));
    EXPECT_EQ(m.peek<u64>(descriptor + 32), u64{0x0305} << 32 | 0xE1 << 16 | 1) << "ON is set";
    EXPECT_EQ(m.peek<u64>(vapic_page + 0x300), 2ull << 32 | 0x91);
    ASSERT_EQ(m.interrupts.msr_writes.size(), 1u);
    EXPECT_EQ(m.interrupts.msr_writes[0], std::pair(0x830u, u64{0x0305} << 32 | 0xE1));
    // A notification is outstanding: posted only.
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x20), 18u);
    EXPECT_TRUE(requested(0x20) && requested(0x91));
    EXPECT_EQ(m.interrupts.msr_writes.size(), 1u);
}

TEST_F(IpiVirtualization, SuppressedNotification) {
    m.poke<u64>(descriptor + 32, 0xE1 << 16 | 2);
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0xFF), 18u);
    EXPECT_TRUE(requested(0xFF));
    EXPECT_EQ(m.peek<u64>(descriptor + 32), 0xE1u << 16 | 2);
    EXPECT_TRUE(m.interrupts.msr_writes.empty());
}

TEST_F(IpiVirtualization, NotificationThroughTheMemoryMappedApic) {
    constexpr u64 apic = 0x23'0000;
    m.interrupts.page = MachinePhys(apic);
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x91), 18u);
    EXPECT_EQ(m.peek<u32>(apic + 0x310), 0x03000000u);
    EXPECT_EQ(m.peek<u32>(apic + 0x300), 0xE1u);
}

TEST_F(IpiVirtualization, WhatItDoesNotSendExits) {
    const auto exits = [&](u64 icr) {
        EXPECT_EQ(wrmsr(0x830, icr), 56u) << std::hex << icr;
        EXPECT_EQ(m.qualification(), 0x300u);
        EXPECT_EQ(m.get("guest_rip"_f), at + 2) << "trap-like";
        EXPECT_EQ(m.peek<u64>(vapic_page + 0x300), icr);
        EXPECT_EQ(m.peek<u64>(descriptor), 0u);
    };
    exits(3ull << 32 | 0x91);               // beyond the table
    exits(2ull << 32 | 0x0F);               // illegal vector
    exits(2ull << 32 | 0x91 | 1 << 8);      // lowest priority
    exits(2ull << 32 | 0x91 | 1 << 11);     // logical
    exits(2ull << 32 | 0x91 | 1 << 12);     // delivery status
    exits(2ull << 32 | 0x91 | 1 << 15);     // level
    exits(2ull << 32 | 0x91 | 1 << 18);     // self
    exits(2ull << 32 | 0x91 | 2 << 18);     // all
    m.poke<u64>(pids + 8 * 2, descriptor);  // not valid
    exits(2ull << 32 | 0x91);
    m.poke<u64>(pids + 8 * 2, descriptor | 3);
    exits(2ull << 32 | 0x91);
    m.poke<u64>(pids + 8 * 2, descriptor | 1 | 1ull << 50);
    exits(2ull << 32 | 0x91);
    EXPECT_TRUE(m.interrupts.msr_writes.empty());
}

TEST_F(IpiVirtualization, SelfShorthandIsASelfIpiWithInterruptDelivery) {
    delivery();
    m.poke<u32>(vapic_page + 0x80, 0xF0);  // VTPR: pending, not delivered
    EXPECT_EQ(wrmsr(0x830, 7ull << 32 | 0x91 | 1 << 18), 18u) << "the destination does not matter";
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x91u);
    EXPECT_EQ(m.peek<u32>(vapic_page + 0x240), 1u << 0x11);
    EXPECT_EQ(m.peek<u64>(vapic_page + 0x300), 7ull << 32 | 0x91 | 1 << 18);
    EXPECT_TRUE(m.interrupts.msr_writes.empty());
    EXPECT_EQ(wrmsr(0x830, 0x0F | 1 << 18), 56u) << "an illegal vector";
    EXPECT_EQ(wrmsr(0x830, 0x91 | 1 << 18 | 1 << 15), 56u) << "level-triggered";
}

TEST_F(IpiVirtualization, ReservedBitsOfTheIcrFault) {
    m.set("exception_bitmap"_f, 1u << 13);
    for (const u32 bit : {13u, 16u, 17u, 20u, 31u})
        EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x91 | 1u << bit), 0u) << bit;
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x91), 18u);
}

TEST_F(IpiVirtualization, OffTheWriteIsThePhysicalOne) {
    m.disable("ipi_virtualization"_vmx);
    EXPECT_EQ(wrmsr(0x830, 2ull << 32 | 0x91), 18u);
    ASSERT_EQ(m.interrupts.msr_writes.size(), 1u);
    EXPECT_EQ(m.interrupts.msr_writes[0].second, 2ull << 32 | 0x91);
    EXPECT_EQ(m.peek<u64>(descriptor + 16), 0u);
}

TEST_F(IpiVirtualization, ThroughTheAccessPage) {
    m.disable("virtualize_x2apic_mode"_vmx);
    m.enable_ept();
    m.enable("virtualize_apic_accesses"_vmx);
    m.map(0xFEE0'0000, VmxMachine::apic_page);
    m.poke<u32>(vapic_page + 0x310, 2u << 24);
    // mov edi, FEE00000H; mov dword [rdi + 300H], imm32; vmcall
    const auto store = [&](u32 icr) {
        std::vector<u8> b = {0xBF, 0, 0, 0xE0, 0xFE, 0xC7, 0x87, 0, 3, 0, 0};
        for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(icr >> (8 * i)));
        b.insert(b.end(), {0x0F, 0x01, 0xC1});
        return run(b);
    };
    EXPECT_EQ(store(0x55), 18u);
    EXPECT_TRUE(requested(0x55));
    EXPECT_EQ(store(0x55 | 1 << 11), 56u);
    EXPECT_EQ(m.qualification(), 0x300u);
    EXPECT_EQ(store(0x55 | 1 << 20), 56u) << "no fault by memory";
    m.disable("ipi_virtualization"_vmx);
    EXPECT_EQ(store(0x55), 44u) << "not virtualized without the control";
}

// ---- virtualized IA32_SPEC_CTRL

TEST_F(NewerControls, SpecCtrlMaskAndShadow) {
    m.enable("use_msr_bitmaps"_vmx);
    m.enable("virtualize_ia32_spec_ctrl"_vmx);
    m.cpu.spec_ctrl = 1;
    m.set("ia32_spec_ctrl_mask"_f, 1);
    m.set("ia32_spec_ctrl_shadow"_f, 4);
    EXPECT_EQ(rdmsr(0x48), 4u) << "the shadow is read";
    EXPECT_EQ(wrmsr(0x48, 2), 18u);
    EXPECT_EQ(m.cpu.spec_ctrl, 3u) << "the masked bit stays";
    EXPECT_EQ(m.get("ia32_spec_ctrl_shadow"_f), 2u);
    m.set("exception_bitmap"_f, 1u << 13);
    EXPECT_EQ(wrmsr(0x48, 8), 0u) << "#GP by a reserved bit";
    EXPECT_EQ(m.get("ia32_spec_ctrl_shadow"_f), 2u);
    // A reserved bit that is masked does not reach the register.
    m.set("ia32_spec_ctrl_mask"_f, 8);
    EXPECT_EQ(wrmsr(0x48, 8 | 4), 18u);
    EXPECT_EQ(m.cpu.spec_ctrl, 4u);
    EXPECT_EQ(rdmsr(0x48), 12u);
    m.disable("virtualize_ia32_spec_ctrl"_vmx);
    EXPECT_EQ(rdmsr(0x48), 4u);
    EXPECT_EQ(wrmsr(0x48, 1), 18u);
    EXPECT_EQ(m.cpu.spec_ctrl, 1u);
}

// ---- APIC-timer virtualization

class ApicTimer : public NewerControls {
protected:
    ApicTimer() {
        m.cpu.skip_to(m.cpu.now() + 10'000);
        delivery();
        m.enable("apic_timer_virtualization"_vmx);
        m.set("virtual_timer_vector"_f, 0x61);
        m.add("guest_rflags"_f, rflags_bits::if_);
    }
    u64 tsc() { return m.cpu.now() + m.cpu.tsc_offset_host; }
};

TEST_F(ApicTimer, FiresWithoutAnExit) {
    m.set("guest_deadline"_f, tsc() + 100);
    m.set("guest_deadline_shadow"_f, 0x1234);
    EXPECT_EQ(run(spin, 50), 0xFFFFu);
    m.events.run(m.cpu.now());
    m.run_for(20);
    EXPECT_EQ(m.stopped_at(), -1);
    m.run_for(100);
    m.events.run(m.cpu.now());
    m.run_for(10);
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.stopped_at(), 0x61);
    EXPECT_EQ(m.get("guest_deadline_shadow"_f), 0u);
    ASSERT_TRUE(m.cpu.non_root);
    m.exit_by_cpuid();
    EXPECT_EQ(m.get("guest_deadline"_f), 0u);
}

TEST_F(ApicTimer, WakesFromHlt) {
    m.set("guest_deadline"_f, tsc() + 100);
    EXPECT_EQ(run({0xF4}, 50), 0xFFFFu);
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
    m.cpu.skip_to(m.cpu.now() + 200);  // as the run loop of the machine does while the processor is halted
    m.events.run(m.cpu.now());
    m.run_for(10);
    EXPECT_EQ(m.stopped_at(), 0x61);
}

TEST_F(ApicTimer, ExitSavesAndEntryLoads) {
    const u64 deadline = tsc() + 5000;
    m.set("guest_deadline"_f, deadline);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.get("guest_deadline"_f), deadline);
    m.run_for(10);
    m.disable("apic_timer_virtualization"_vmx);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.get("guest_deadline"_f), 0u) << "not loaded, so the deadline was 0";
}

TEST_F(ApicTimer, MsrIsVirtual) {
    m.enable("use_tsc_offsetting"_vmx);
    m.set("tsc_offset"_f, 1'000'000);
    const u64 deadline = tsc() + 1'000'000 + 5000;
    EXPECT_EQ(wrmsr(0x6E0, deadline), 18u);
    EXPECT_EQ(m.get("guest_deadline_shadow"_f), deadline);
    EXPECT_EQ(m.get("guest_deadline"_f), deadline - 1'000'000);
    EXPECT_EQ(rdmsr(0x6E0), deadline);
    EXPECT_EQ(wrmsr(0x6E0, 0), 18u);
    EXPECT_EQ(m.get("guest_deadline"_f), 0u);
    EXPECT_EQ(rdmsr(0x6E0), 0u);
}

TEST_F(ApicTimer, ScaledDeadline) {
    m.enable("use_tsc_offsetting"_vmx);
    m.enable("use_tsc_scaling"_vmx);
    m.set("tsc_multiplier"_f, 3ull << 48);
    m.set("tsc_offset"_f, 7);
    const u64 real = tsc() + 5000;
    EXPECT_EQ(wrmsr(0x6E0, real * 3 + 7), 18u);
    EXPECT_EQ(m.get("guest_deadline"_f), real);
    EXPECT_EQ(wrmsr(0x6E0, real * 3 + 8), 18u);
    EXPECT_EQ(m.get("guest_deadline"_f), real + 1) << "never early";
}

TEST_F(ApicTimer, PastDeadlineInterruptsAtOnce) {
    m.cpu.reg(Gpr::rcx) = 0x6E0;
    m.cpu.reg(Gpr::rax) = 1;
    m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(run({0x0F, 0x30, 0xEB, 0xFE}, 20), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x61);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), at + 2);
    EXPECT_EQ(m.get("guest_deadline_shadow"_f), 0u);
}

TEST_F(ApicTimer, HeldBackByPriorityButPending) {
    m.poke<u32>(vapic_page + 0x80, 0x70);  // VTPR above 61H
    m.set("guest_deadline"_f, 1);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x61u);
    EXPECT_EQ(m.peek<u32>(vapic_page + 0x230), 1u << 1);
}

TEST_F(ApicTimer, NoEventInShutdown) {
    m.set("guest_deadline"_f, 1);
    m.set("guest_activity_state"_f, 2);
    EXPECT_TRUE(m.enter());
    m.run_for(10);
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0u);
}

// ---- bus locks

class BusLock : public NewerControls {
protected:
    BusLock() { m.enable("vmm_bus_lock_detection"_vmx); }
    /// `bytes` at data + offset in rsi, then CPUID.
    u32 locked(std::vector<u8> bytes, u64 offset, std::vector<u8> after = {0x90, 0x90, 0x0F, 0xA2}) {
        length = bytes.size();
        m.cpu.reg(Gpr::rsi) = TestMachine::data + offset;
        bytes.insert(bytes.end(), after.begin(), after.end());
        return run(bytes);
    }
    u64 length = 0;
};
const std::vector<u8> lock_inc = {0xF0, 0xFF, 0x06}, lock_xadd = {0xF0, 0x48, 0x0F, 0xC1, 0x06},
                      xchg = {0x48, 0x87, 0x06}, lock_cmpxchg = {0xF0, 0x0F, 0xB1, 0x0E},
                      lock_bts = {0xF0, 0x0F, 0xBA, 0x2E, 0x05}, lock_cmpxchg8b = {0xF0, 0x0F, 0xC7, 0x0E};
constexpr u32 bus_lock_exit = 74 | exit_reason_bus_lock;

TEST_F(BusLock, SplitLocksExitAfterTheInstruction) {
    for (const auto& bytes : {lock_inc, lock_xadd, xchg, lock_cmpxchg, lock_bts, lock_cmpxchg8b}) {
        SCOPED_TRACE(::testing::PrintToString(bytes));
        for (unsigned pass = 0; pass < 3; ++pass) {
            EXPECT_EQ(locked(bytes, 62), bus_lock_exit);
            EXPECT_EQ(m.get("guest_rip"_f), at + length);
            EXPECT_EQ(m.qualification(), 0u);
            EXPECT_EQ(locked(bytes, 32), 10u) << "within a line";
        }
    }
    m.poke<u32>(TestMachine::data + 62, 5);
    EXPECT_EQ(locked(lock_inc, 62), bus_lock_exit);
    EXPECT_EQ(m.peek<u32>(TestMachine::data + 62), 6u) << "trap-like";
}

TEST_F(BusLock, AddressBeforeTheInstructionChangesIt) {
    m.cpu.reg(Gpr::rax) = 0;
    // lock xadd [rsi], rsi ; xchg rsi, [rsi]
    EXPECT_EQ(locked({0xF0, 0x48, 0x0F, 0xC1, 0x36}, 60), bus_lock_exit);
    EXPECT_EQ(locked({0x48, 0x87, 0x36}, 60), bus_lock_exit);
    m.poke<u64>(TestMachine::data + 64, TestMachine::data + 60);
    EXPECT_EQ(locked({0x48, 0x87, 0x36}, 64), 10u);
}

TEST_F(BusLock, NotWithoutLockAndNotWithoutTheControl) {
    EXPECT_EQ(locked({0xFF, 0x06}, 62), 10u);
    m.disable("vmm_bus_lock_detection"_vmx);
    EXPECT_EQ(locked(lock_inc, 62), 10u);
    EXPECT_FALSE(m.cpu.watch_bus_locks);
}

TEST_F(BusLock, OutsideOfRamIsUncacheable) {
    m.map(0x4000'0000, 0xFD00'0000);
    m.cpu.reg(Gpr::rdi) = 0x4000'0000;
    EXPECT_EQ(run({0xF0, 0xFF, 0x07, 0x0F, 0xA2}), bus_lock_exit);
    EXPECT_EQ(m.get("guest_rip"_f), at + 3);
}

TEST_F(BusLock, RootOperationIsNotWatched) {
    EXPECT_EQ(run(cpuid), 10u);
    m.cpu.reg(Gpr::rsi) = TestMachine::data + 62;
    EXPECT_EQ(m.execute(lock_inc), Outcome::next);
    EXPECT_EQ(locked({}, 0), 10u) << "bit 26 is clear";
}

TEST_F(BusLock, AnotherExitOfTheSameInstructionSaysSo) {
    // A debug trap is lower; the exit after the instruction of a virtualized TPR write is higher.
    m.enable("monitor_trap_flag"_vmx);
    EXPECT_EQ(locked(lock_inc, 62), bus_lock_exit) << "before the monitor trap";
    EXPECT_EQ(locked({0x90}, 0), 37u);
}

// ---- instruction timeout

/// An alignment check whose delivery needs an unaligned push at CPL 3 has no end.
class Timeout : public NewerControls {
protected:
    static constexpr u64 handler = 0x5000;
    Timeout() {
        m.set("guest_cs_selector"_f, 0x1B), m.set("guest_ss_selector"_f, 0x23);
        m.set("guest_cs_access_rights"_f, 0xA0FB), m.set("guest_ss_access_rights"_f, 0xC0F3);
        m.add("guest_cr0"_f, cr0_bits::am);
        m.set("guest_rflags"_f, 2 | rflags_bits::ac);
        // 32-bit guest: pushes there are aligned by the operand alone. #AC to CPL 3 by a trap gate.
        m.enable_ept();
        m.disable("ia32e_mode_guest"_vmx);
        m.drop("guest_cr0"_f, cr0_bits::pg);
        m.enable("unrestricted_guest"_vmx);
        m.set("guest_cs_access_rights"_f, 0xC0FB);
        m.set("guest_gdtr_base"_f, gdt32), m.set("guest_gdtr_limit"_f, 39);
        m.poke<u64>(gdt32 + 8 * 3, 0x00CFFB000000FFFF), m.poke<u64>(gdt32 + 8 * 4, 0x00CFF3000000FFFF);
        m.set("guest_idtr_base"_f, idt32), m.set("guest_idtr_limit"_f, 0xFF);
        m.poke<u64>(idt32 + 8 * 17, handler | 0x1Bull << 16 | 0xEF00ull << 32);
        m.set("guest_rsp"_f, 0x6FE2);
        m.cpu.reg(Gpr::rsi) = TestMachine::data + 1;
    }
    static constexpr u64 gdt32 = 0x4800, idt32 = 0x4C00;
};

TEST_F(Timeout, EndlessDeliveryExits) {
    m.enable("instruction_timeout"_vmx);
    EXPECT_EQ(run({0x8B, 0x06}), 75u);  // mov eax, [rsi]
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.get("idt_vectoring_information"_f) >> 31, 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f) >> 31, 0u);
    // An aligned stack ends the delivery.
    m.set("guest_rsp"_f, 0x6FE0);
    EXPECT_EQ(run({0x8B, 0x06}, 10), 0xFFFFu);
    EXPECT_EQ(m.cpu.rip & ~0xFFull, handler);
}

TEST_F(Timeout, WithoutTheControlTheEmulatorGoesOn) {
    EXPECT_EQ(run({0x8B, 0x06}, 100), 0xFFFFu);
    EXPECT_EQ(m.cpu.rip, at);
    EXPECT_TRUE(m.cpu.non_root);
}

}  // namespace
}  // namespace droste::test
