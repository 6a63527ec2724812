// SPDX-License-Identifier: Apache-2.0
// What happens between instructions of the guest, in which order, and what a wait does to it; APIC accesses as
// parts of operations.
#include <gtest/gtest.h>

#include "cpu/debug.h"
#include "vmx_machine.h"

namespace droste::test {
namespace {

using namespace interruptibility_bits;

constexpr u64 at = VmxMachine::guest_code;
const std::vector<u8> spin = {0xEB, 0xFE}, cpuid = {0x0F, 0xA2};
constexpr u64 handler(u8 vector) { return TestMachine::stops + 16 * vector; }
constexpr u32 running = 0xFFFF;
enum ActivityState : u64 { active, hlt, shutdown, wait_for_sipi };

class Boundary : public ::testing::Test {
protected:
    Boundary() { m.start(); }
    u32 run(const std::vector<u8>& bytes, u64 ticks = 100) {
        m.write(at, bytes);
        m.poke<u8>(at + bytes.size(), 0xF4);
        m.set("guest_rip"_f, at);
        m.cpu.activity = Activity::active;
        return m.resume(ticks);
    }
    u32 run_in(ActivityState state, const std::vector<u8>& bytes) {
        m.set("guest_activity_state"_f, state);
        return run(bytes);
    }
    void raise(u8 vector) {
        m.interrupts.raise(vector);
        m.cpu.interrupt_pending_changed();
    }
    void external_interrupts() {
        m.enable("external_interrupt_exiting"_vmx);
        m.enable("acknowledge_interrupt_on_exit"_vmx);
    }
    void virtual_nmis() {
        m.enable("nmi_exiting"_vmx);
        m.enable("virtual_nmis"_vmx);
    }
    /// Virtual-interrupt delivery, with `vector` requested.
    void request(u8 vector) {
        external_interrupts();
        m.enable("use_tpr_shadow"_vmx);
        m.enable("virtual_interrupt_delivery"_vmx);
        m.poke<u32>(VmxMachine::virtual_apic + 0x200 + vector / 32 * 16, 1u << vector % 32);
        m.set("guest_interrupt_status"_f, vector);
    }
    /// VTPR lies below the threshold when the guest is entered.
    void below_threshold() {
        m.enable("use_tpr_shadow"_vmx);
        m.enable("virtualize_apic_accesses"_vmx);
        m.set("tpr_threshold"_f, 5);
    }
    void user_mode() {
        m.set("guest_cs_selector"_f, 0x1B);
        m.set("guest_cs_access_rights"_f, 0xA0FB);
        for (const unsigned s : {0u, 2u, 3u, 4u, 5u}) {
            m.set("guest_es_selector"_f + s, 0x23);
            m.set("guest_es_access_rights"_f + s, 0xC0F3);
        }
    }
    u64 vectoring() const { return m.get("idt_vectoring_information"_f); }
    u64 interruption() const { return m.get("exit_interruption_information"_f); }
    VmxMachine m;
};

// ---- what delivery changes, it changes before a nested event exits

TEST_F(Boundary, NmiWhoseDeliveryExitsBlocks) {
    m.set("guest_idtr_limit"_f, 15);
    m.set("exception_bitmap"_f, 1u << 13);
    m.cpu.nmi();
    EXPECT_EQ(run_in(hlt, spin), 0u);
    EXPECT_EQ(interruption(), 0x80000B0Du);
    EXPECT_EQ(vectoring(), 0x80000202u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{active});
}

TEST_F(Boundary, InjectedVirtualNmiWhoseDeliveryExitsBlocks) {
    virtual_nmis();
    m.set("guest_idtr_limit"_f, 15);
    m.set("exception_bitmap"_f, 1u << 13);
    m.set("entry_interruption_information"_f, 0x80000202);
    EXPECT_EQ(run(spin), 0u);
    EXPECT_EQ(vectoring(), 0x80000202u);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{nmi});
}

TEST_F(Boundary, InterruptWhoseDeliveryExitsEndsTheWait) {
    m.set("guest_idtr_limit"_f, 15);
    m.set("exception_bitmap"_f, 1u << 13);
    m.add("guest_rflags"_f, rflags_bits::if_);
    raise(0x41);
    EXPECT_EQ(run_in(hlt, spin), 0u);
    EXPECT_EQ(vectoring(), 0x80000041u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{active});
}

// ---- order

TEST_F(Boundary, TprThresholdComesBeforeInit) {
    below_threshold();
    m.cpu.init();
    EXPECT_EQ(run(spin), 43u);
    EXPECT_TRUE(m.cpu.init_pending);
    m.set("tpr_threshold"_f, 0);
    EXPECT_EQ(run(spin), 3u);
}

TEST_F(Boundary, InitComesBeforeTheMonitorTrap) {
    m.set("entry_interruption_information"_f, 0x80000700);
    m.cpu.init();
    EXPECT_EQ(run(spin), 3u);
}

TEST_F(Boundary, NmiWindowComesBeforeNmiAndTimerBeforeBoth) {
    virtual_nmis();
    m.enable("nmi_window_exiting"_vmx);
    m.enable("activate_vmx_preemption_timer"_vmx);
    m.set("vmx_preemption_timer_value"_f, 0);
    const auto run_with_nmi = [&] {  // the host takes what the guest did not
        m.cpu.interruptibility = 0;
        m.cpu.nmi();
        return run(spin);
    };
    EXPECT_EQ(run_with_nmi(), 52u);
    m.disable("activate_vmx_preemption_timer"_vmx);
    EXPECT_EQ(run_with_nmi(), 8u);
    m.disable("nmi_window_exiting"_vmx);
    external_interrupts();
    raise(0x41);
    EXPECT_EQ(run_with_nmi(), 0u);
    EXPECT_EQ(interruption(), 0x80000202u);
    EXPECT_EQ(run(spin), 1u);
}

TEST_F(Boundary, InterruptWindowComesBeforeTheInterrupt) {
    external_interrupts();
    m.enable("interrupt_window_exiting"_vmx);
    m.add("guest_rflags"_f, rflags_bits::if_);
    raise(0x41);
    EXPECT_EQ(run(spin), 7u);
    EXPECT_EQ(m.interrupts.vectors.size(), 1u);
}

TEST_F(Boundary, VirtualInterruptComesBeforeTheInterrupt) {
    request(0x55);
    m.add("guest_rflags"_f, rflags_bits::if_);
    raise(0x41);
    EXPECT_EQ(run(spin), 1u);
    EXPECT_EQ(m.get("guest_rip"_f), handler(0x55));
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x5500u);
}

TEST_F(Boundary, BlockingByStiHoldsInterruptsButNoInit) {
    external_interrupts();
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.set("guest_interruptibility_state"_f, sti);
    raise(0x41);
    EXPECT_EQ(run({0x90, 0x90, 0x90}), 1u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    m.set("guest_interruptibility_state"_f, sti);
    m.cpu.init();
    EXPECT_EQ(run({0x90, 0x90, 0x90}), 3u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.get("guest_interruptibility_state"_f), u64{sti});
}

// ---- activity states

TEST_F(Boundary, TprThresholdInEachState) {
    below_threshold();
    EXPECT_EQ(run_in(hlt, spin), 43u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(run_in(shutdown, spin), running);
}

TEST_F(Boundary, ShutdownIsLeftByNmiAndInitAlone) {
    external_interrupts();
    virtual_nmis();
    m.enable("monitor_trap_flag"_vmx);
    raise(0x41);
    EXPECT_EQ(run_in(shutdown, spin), running);
    m.cpu.nmi();
    m.run_for(10);
    EXPECT_EQ(m.reason(), 0u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{shutdown});
    m.cpu.interruptibility = 0;
    EXPECT_EQ(run_in(shutdown, spin), running);
    m.cpu.init();
    m.run_for(10);
    EXPECT_EQ(m.reason(), 3u);
}

TEST_F(Boundary, WaitForSipiIsLeftBySipiAlone) {
    external_interrupts();
    virtual_nmis();
    m.enable("interrupt_window_exiting"_vmx);
    m.enable("nmi_window_exiting"_vmx);
    m.enable("activate_vmx_preemption_timer"_vmx);
    m.set("vmx_preemption_timer_value"_f, 0);
    m.add("guest_rflags"_f, rflags_bits::if_);
    raise(0x41);
    m.cpu.nmi();
    m.cpu.init();
    EXPECT_EQ(run_in(wait_for_sipi, spin), running);
    m.cpu.sipi(0x31);
    EXPECT_EQ(m.reason(), 4u);
    EXPECT_EQ(m.qualification(), 0x31u);
}

TEST_F(Boundary, SipiIsLostOnARunningGuest) {
    EXPECT_EQ(run(spin), running);
    m.cpu.sipi(0x31);
    m.run_for(10);
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.cpu.rip, at);
}

TEST_F(Boundary, WindowsAndTimerInHlt) {
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.enable("interrupt_window_exiting"_vmx);
    EXPECT_EQ(run_in(hlt, spin), 7u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
    m.disable("interrupt_window_exiting"_vmx);
    virtual_nmis();
    m.enable("nmi_window_exiting"_vmx);
    EXPECT_EQ(run_in(hlt, spin), 8u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
    m.disable("nmi_window_exiting"_vmx);
    m.enable("activate_vmx_preemption_timer"_vmx);
    EXPECT_EQ(run_in(hlt, spin), 52u);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
}

TEST_F(Boundary, VirtualInterruptEndsHlt) {
    request(0x55);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run_in(hlt, spin), running);
    EXPECT_EQ(m.stopped_at(), 0x55);
}

TEST_F(Boundary, PostedInterruptEndsMwaitThoughNothingIsPosted) {
    external_interrupts();
    m.enable("use_tpr_shadow"_vmx);
    m.enable("virtual_interrupt_delivery"_vmx);
    m.enable("process_posted_interrupts"_vmx);
    m.cpu.reg(Gpr::rax) = 0x4000;
    m.cpu.reg(Gpr::rcx) = m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(run({0x0F, 0x01, 0xC8, 0x0F, 0x01, 0xC9}), running);
    EXPECT_EQ(m.cpu.activity, Activity::mwait);
    raise(0xF2);
    m.run_for(10);
    EXPECT_EQ(m.cpu.activity, Activity::hlt) << "the next instruction";
    EXPECT_EQ(m.cpu.rip, at + 7);
}

struct MwaitCase {
    bool window, request, extension;
    u32 expected;
};
class MaskedMwait : public Boundary, public ::testing::WithParamInterface<MwaitCase> {};

TEST_P(MaskedMwait, DoesNotWaitForAWindowOrAVirtualInterrupt) {
    const MwaitCase& c = GetParam();
    if (c.request) request(0x55);
    if (c.window) m.enable("interrupt_window_exiting"_vmx);
    m.cpu.reg(Gpr::rax) = 0x4000;
    m.cpu.reg(Gpr::rcx) = 0;
    m.cpu.reg(Gpr::rbx) = c.extension;
    m.cpu.reg(Gpr::rdx) = 0;
    // monitor; mov ecx, ebx; mwait; vmcall, with IF clear
    EXPECT_EQ(run({0x0F, 0x01, 0xC8, 0x8B, 0xCB, 0x0F, 0x01, 0xC9, 0x0F, 0x01, 0xC1}), c.expected);
    if (c.expected == running) { EXPECT_EQ(m.cpu.activity, Activity::mwait); }
}
INSTANTIATE_TEST_SUITE_P(Cases, MaskedMwait,
                         ::testing::Values(MwaitCase{false, false, true, running}, MwaitCase{true, false, true, 18},
                                           MwaitCase{false, true, true, 18}, MwaitCase{true, false, false, running},
                                           MwaitCase{false, true, false, running}));

// ---- the monitor trap flag

TEST_F(Boundary, MonitorTrapInjectedInHlt) {
    m.set("entry_interruption_information"_f, 0x80000700);
    EXPECT_EQ(run_in(hlt, spin), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
}

TEST_F(Boundary, MonitorTrapAfterHlt) {
    m.enable("monitor_trap_flag"_vmx);
    EXPECT_EQ(run({0xF4}), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
    EXPECT_EQ(m.get("guest_activity_state"_f), u64{hlt});
}

TEST_F(Boundary, MonitorTrapAfterEachIteration) {
    m.enable("monitor_trap_flag"_vmx);
    m.cpu.reg(Gpr::rcx) = 3;
    m.cpu.reg(Gpr::rdi) = 0x4000;
    for (const unsigned left : {2u, 1u, 0u}) {
        EXPECT_EQ(run({0xF3, 0xAA}), 37u);
        EXPECT_EQ(m.cpu.reg(Gpr::rcx), left);
        EXPECT_EQ(m.get("guest_rip"_f), left == 0 ? at + 2 : at);
    }
}

TEST_F(Boundary, MonitorTrapAfterADeliveredVirtualInterrupt) {
    m.enable("monitor_trap_flag"_vmx);
    request(0x55);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run(spin), 37u);
    EXPECT_EQ(m.get("guest_rip"_f), handler(0x55));
}

TEST_F(Boundary, AnExitOfTheInstructionTakesTheMonitorTrapsPlace) {
    m.enable("monitor_trap_flag"_vmx);
    EXPECT_EQ(run(cpuid), 10u);
    EXPECT_EQ(m.resume(), 10u) << "nothing is left over";
}

// ---- pending debug exceptions

TEST_F(Boundary, WhichExitsKeepPendingDebugExceptions) {
    constexpr u64 step = 0x4000;
    m.set("guest_pending_debug_exceptions"_f, step);
    m.cpu.init();
    EXPECT_EQ(run(spin), 3u);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), step);
    m.set("entry_interruption_information"_f, 0x80000700);
    EXPECT_EQ(run(spin), 37u);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), step);
    below_threshold();
    EXPECT_EQ(run(spin), 43u);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), step);
    m.set("tpr_threshold"_f, 0);
    m.set("exception_bitmap"_f, 2);
    EXPECT_EQ(run(spin), 0u);
    EXPECT_EQ(m.qualification(), step);
    EXPECT_EQ(m.get("guest_pending_debug_exceptions"_f), 0u);
}

TEST_F(Boundary, BreakpointsThatAreNotEnabledRaiseNothing) {
    m.set("guest_pending_debug_exceptions"_f, 3);
    m.set("exception_bitmap"_f, 2);
    EXPECT_EQ(run(cpuid), 10u);
    m.set("guest_pending_debug_exceptions"_f, 0x1003);
    EXPECT_EQ(run(cpuid), 0u);
    EXPECT_EQ(m.qualification(), 3u);
}

TEST_F(Boundary, MovSsHoldsPendingDebugExceptionsOverEntry) {
    m.set("guest_pending_debug_exceptions"_f, 0x4000);
    m.set("guest_interruptibility_state"_f, mov_ss);
    m.add("guest_rflags"_f, rflags_bits::tf);
    m.set("exception_bitmap"_f, 2);
    EXPECT_EQ(run({0x90, 0x90}), 0u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 1);
}

// ---- instructions

TEST_F(Boundary, MovDrExitsBeforeItsFaults) {
    const std::vector<u8> to_dr7 = {0x0F, 0x23, 0xFB}, from_dr4 = {0x0F, 0x21, 0xE3};
    m.set("exception_bitmap"_f, 1u << 13 | 1u << 6 | 1u << 1);
    m.add("guest_cr4"_f, cr4_bits::de);
    EXPECT_EQ(run(from_dr4), 0u);
    EXPECT_EQ(interruption(), 0x80000306u);
    m.enable("load_debug_controls"_vmx);
    m.add("guest_dr7"_f, dr7_bits::gd);
    EXPECT_EQ(run(to_dr7), 0u);
    EXPECT_EQ(interruption(), 0x80000301u);
    m.enable("mov_dr_exiting"_vmx);
    EXPECT_EQ(run(from_dr4), 29u);
    EXPECT_EQ(m.qualification(), 4u | 16 | 3 << 8);
    EXPECT_EQ(run(to_dr7), 29u);
    user_mode();
    EXPECT_EQ(run(to_dr7), 29u);
    EXPECT_EQ(m.qualification(), 7u | 3 << 8);
    EXPECT_EQ(run({0x44, 0x0F, 0x21, 0xC3}), 0u) << "DR8 is undefined";
    EXPECT_EQ(interruption(), 0x80000306u);
    m.disable("mov_dr_exiting"_vmx);
    EXPECT_EQ(run(to_dr7), 0u);
    EXPECT_EQ(interruption(), 0x80000B0Du);
}

// ---- the APIC-access page

class ApicAccesses : public Boundary {
protected:
    ApicAccesses() {
        m.enable("use_tpr_shadow"_vmx);
        m.enable_ept();
        m.enable("virtualize_apic_accesses"_vmx);
        m.map(0xFEE0'0000, VmxMachine::apic_page);
    }
    /// `bytes` with RDI at the page.
    u32 run_at_page(const std::vector<u8>& bytes, u64 offset = 0) {
        m.cpu.reg(Gpr::rdi) = 0xFEE0'0000 + offset;
        return run(bytes);
    }
    u32 reg(u32 offset) { return m.peek<u32>(VmxMachine::virtual_apic + offset); }
    void set_reg(u32 offset, u32 v) { m.poke<u32>(VmxMachine::virtual_apic + offset, v); }
};

const std::vector<u8> load_and_leave = {0x8B, 0x07, 0x0F, 0xA2};         // mov eax, [rdi]; cpuid
const std::vector<u8> store_and_leave = {0x89, 0x1F, 0x0F, 0xA2};        // mov [rdi], ebx; cpuid
const std::vector<u8> store_byte_and_leave = {0x88, 0x1F, 0x0F, 0xA2};  // mov [rdi], bl; cpuid

TEST_F(ApicAccesses, OnlyTheRegistersThemselvesWithoutRegisterVirtualization) {
    EXPECT_EQ(run_at_page(store_byte_and_leave, 0x81), 44u);
    EXPECT_EQ(m.qualification(), 0x1081u);
    m.cpu.reg(Gpr::rbx) = 0x40;
    EXPECT_EQ(run_at_page(store_byte_and_leave, 0x80), 10u);
    EXPECT_EQ(reg(0x80), 0x40u);
    m.enable("apic_register_virtualization"_vmx);
    EXPECT_EQ(run_at_page(store_byte_and_leave, 0x81), 56u);
    EXPECT_EQ(m.qualification(), 0x81u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 2);
    EXPECT_EQ(run_at_page(load_and_leave, 0x82), 44u) << "beyond the register's four bytes";
    EXPECT_EQ(m.qualification(), 0x82u);
}

TEST_F(ApicAccesses, EoiAndIcrAreReadWithVirtualInterruptDelivery) {
    for (const u32 offset : {0xB0u, 0x300u}) EXPECT_EQ(run_at_page(load_and_leave, offset), 44u);
    external_interrupts();
    m.enable("virtual_interrupt_delivery"_vmx);
    set_reg(0x300, 0x1234);
    for (const u32 offset : {0xB0u, 0x300u}) EXPECT_EQ(run_at_page(load_and_leave, offset), 10u);
    EXPECT_EQ(run_at_page(load_and_leave, 0x310), 44u);
}

TEST_F(ApicAccesses, ReadModifyWrite) {
    set_reg(0x80, 0x20);
    EXPECT_EQ(run_at_page({0x83, 0x07, 0x10, 0x0F, 0xA2}, 0x80), 10u);  // add dword [rdi], 0x10
    EXPECT_EQ(reg(0x80), 0x30u);
    EXPECT_EQ(run_at_page({0x83, 0x07, 0x10}, 0x20), 44u);
    EXPECT_EQ(m.qualification() & 0xFFF, 0x20u);
}

TEST_F(ApicAccesses, ARepetitionStopsAfterAVirtualizedWrite) {
    m.set("tpr_threshold"_f, 0);
    m.cpu.reg(Gpr::rcx) = 3;
    m.cpu.reg(Gpr::rax) = 0x50;
    EXPECT_EQ(run_at_page({0xF3, 0xAB}, 0x80), 44u);  // rep stosd
    EXPECT_EQ(m.qualification(), 0x1084u);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 2u);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0xFEE0'0084u);
    EXPECT_EQ(reg(0x80), 0x50u);
    // below the threshold: the exit comes between the iterations
    m.set("tpr_threshold"_f, 8);
    set_reg(0x80, 0x90);
    m.cpu.reg(Gpr::rcx) = 3;
    EXPECT_EQ(run_at_page({0xF3, 0xAB}, 0x80), 43u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 2u);
}

TEST_F(ApicAccesses, EventDelivery) {
    m.set("guest_rsp"_f, 0xFEE0'0800);
    m.set("entry_interruption_information"_f, 0x80000306);
    EXPECT_EQ(run(spin), 44u);
    EXPECT_EQ(m.qualification() >> 12, 3u);
    EXPECT_EQ(vectoring(), 0x80000306u);
}

TEST_F(ApicAccesses, Fetch) {
    m.set("guest_rip"_f, 0xFEE0'0010);
    EXPECT_EQ(m.resume(), 44u);
    EXPECT_EQ(m.qualification(), 0x2010u);
    EXPECT_EQ(m.get("guest_rip"_f), 0xFEE0'0010u);
}

TEST_F(ApicAccesses, PagingStructures) {
    m.set("guest_cr3"_f, VmxMachine::apic_page);
    EXPECT_EQ(run(spin), 44u);
    EXPECT_EQ(m.qualification() >> 12, 15u);
}

TEST_F(ApicAccesses, SelfIpiNeedsAnIcrWithoutReservedBits) {
    external_interrupts();
    m.enable("virtual_interrupt_delivery"_vmx);
    for (const u32 more : {0x2000u, 0x10000u, 0x20000u, 0x100000u, 0x80000000u, 0x1000u, 0x8000u, 0x100u}) {
        m.cpu.reg(Gpr::rbx) = 0x40066 | more;
        EXPECT_EQ(run_at_page(store_and_leave, 0x300), 56u) << std::hex << more;
        EXPECT_EQ(m.qualification(), 0x300u);
    }
    m.cpu.reg(Gpr::rbx) = 0x40066;
    EXPECT_EQ(run_at_page(store_and_leave, 0x300), 10u);
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x66u);
}

}  // namespace
}  // namespace droste::test
