// SPDX-License-Identifier: Apache-2.0
// APIC virtualization, virtual-interrupt delivery, posted interrupts; VMCS shadowing.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

constexpr u64 at = VmxMachine::guest_code, vapic_page = VmxMachine::virtual_apic;
const std::vector<u8> spin = {0xEB, 0xFE};

class Apic : public ::testing::Test {
protected:
    Apic() {
        m.start();
        m.enable("use_tpr_shadow"_vmx);
    }
    void delivery() {
        m.enable("external_interrupt_exiting"_vmx);
        m.enable("acknowledge_interrupt_on_exit"_vmx);
        m.enable("virtual_interrupt_delivery"_vmx);
        m.enable("apic_register_virtualization"_vmx);
    }
    /// Linear page 0xFEE00000 is the APIC-access page, guest-physical = machine here.
    void access_page() {
        m.enable_ept();
        m.enable("virtualize_apic_accesses"_vmx);
        m.map(0xFEE0'0000, VmxMachine::apic_page);
    }
    void x2apic() {
        m.enable("virtualize_x2apic_mode"_vmx);
        m.enable("use_msr_bitmaps"_vmx);
    }
    u32 run(const std::vector<u8>& bytes, u64 ticks = 1000) {
        m.write(at, bytes);
        m.poke<u8>(at + bytes.size(), 0xF4);
        m.set("guest_rip"_f, at);
        m.cpu.activity = Activity::active;
        return m.resume(ticks);
    }
    u32 reg(u32 offset) { return m.peek<u32>(vapic_page + offset); }
    void set_reg(u32 offset, u32 v) { m.poke<u32>(vapic_page + offset, v); }
    void set_bit(u32 base, u8 v) { set_reg(base + v / 32 * 16, reg(base + v / 32 * 16) | 1u << v % 32); }
    bool bit_of(u32 base, u8 v) { return reg(base + v / 32 * 16) >> (v % 32) & 1; }
    VmxMachine m;
};

std::vector<u8> store(u32 offset, u32 value) {  // mov dword [0xFEE00000 + offset] via rdi, imm32
    std::vector<u8> b = {0xBF, 0x00, 0x00, 0xE0, 0xFE, 0xC7, 0x87};
    for (const u32 v : {offset, value})
        for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(v >> (8 * i)));
    return b;
}
std::vector<u8> load(u32 offset) {  // mov eax, [...]
    std::vector<u8> b = {0xBF, 0x00, 0x00, 0xE0, 0xFE, 0x8B, 0x87};
    for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(offset >> (8 * i)));
    return b;
}
std::vector<u8> then(std::vector<u8> a, const std::vector<u8>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
const std::vector<u8> cpuid = {0x0F, 0xA2};

TEST_F(Apic, Cr8IsTheVirtualTpr) {
    m.interrupts.set_cr8(3);
    set_reg(0x80, 0x50);
    // mov rbx, cr8; mov ecx, 9; mov cr8, rcx; cpuid
    EXPECT_EQ(run({0x44, 0x0F, 0x20, 0xC3, 0xB9, 9, 0, 0, 0, 0x44, 0x0F, 0x22, 0xC1, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 5u);
    EXPECT_EQ(reg(0x80), 0x90u);
    EXPECT_EQ(m.interrupts.cr8(), 3) << "the real one is untouched";
}

TEST_F(Apic, TprBelowThreshold) {
    set_reg(0x80, 0x50);
    m.set("tpr_threshold"_f, 5);
    // mov cr8, rcx with 4: trap-like exit after the instruction
    m.cpu.reg(Gpr::rcx) = 4;
    EXPECT_EQ(run({0x44, 0x0F, 0x22, 0xC1, 0x90}), 43u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 4);
    EXPECT_EQ(reg(0x80), 0x40u);
    // at VM entry, with APIC accesses virtualized
    access_page();
    EXPECT_EQ(run(cpuid), 43u);
    EXPECT_EQ(m.get("guest_rip"_f), at);
}

TEST_F(Apic, AccessPageWithoutRegisterVirtualization) {
    access_page();
    set_reg(0x80, 0x20);
    EXPECT_EQ(run(then(load(0x80), cpuid)), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x20u);
    EXPECT_EQ(run(then(store(0x80, 0x60), cpuid)), 10u);
    EXPECT_EQ(reg(0x80), 0x60u);
    EXPECT_EQ(run(load(0x20)), 44u);
    EXPECT_EQ(m.qualification(), 0x20u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 5);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 6u);
    EXPECT_EQ(run(store(0x300, 1)), 44u);
    EXPECT_EQ(m.qualification(), 0x1300u);
}

TEST_F(Apic, AccessPageWithoutTprShadow) {
    access_page();
    m.disable("use_tpr_shadow"_vmx);
    EXPECT_EQ(run(load(0x80)), 44u);
    EXPECT_EQ(m.qualification(), 0x80u);
}

TEST_F(Apic, RegisterVirtualization) {
    access_page();
    delivery();
    set_reg(0x30, 0x14);
    EXPECT_EQ(run(then(load(0x30), cpuid)), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x14u);
    EXPECT_EQ(run(load(0x390)), 44u) << "the current count is not virtualized";
    // LVT timer: written to the page, then APIC-write exit after the instruction
    EXPECT_EQ(run(store(0x320, 0x10030)), 56u);
    EXPECT_EQ(m.qualification(), 0x320u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 15);
    EXPECT_EQ(reg(0x320), 0x10030u);
    EXPECT_EQ(run(then(store(0x310, 0x0A123456), cpuid)), 10u);
    EXPECT_EQ(reg(0x310), 0x0A000000u);
    // an access wider than the register
    EXPECT_EQ(run({0xBF, 0, 0, 0xE0, 0xFE, 0x48, 0x8B, 0x47, 0x30}), 44u);
}

TEST_F(Apic, VirtualInterruptDelivery) {
    delivery();
    set_bit(0x200, 0x55);
    set_bit(0x200, 0x31);
    m.set("guest_interrupt_status"_f, 0x0055);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run(spin, 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x55);
    EXPECT_TRUE(bit_of(0x100, 0x55));
    EXPECT_FALSE(bit_of(0x200, 0x55));
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x5531u);
    EXPECT_EQ(reg(0xA0), 0x50u);
}

TEST_F(Apic, VirtualInterruptWaitsForIfAndPriority) {
    delivery();
    set_bit(0x200, 0x55);
    m.set("guest_interrupt_status"_f, 0x0055);
    // nop; sti; nop; nop
    EXPECT_EQ(run({0x90, 0xFB, 0x90, 0x90}, 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x55);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), at + 3);
}

TEST_F(Apic, VirtualInterruptHeldByTpr) {
    delivery();
    set_bit(0x200, 0x55);
    set_reg(0x80, 0x60);
    m.set("guest_interrupt_status"_f, 0x0055);
    m.add("guest_rflags"_f, rflags_bits::if_);
    // mov cr8 0: opens
    m.cpu.reg(Gpr::rcx) = 0;
    EXPECT_EQ(run({0x90, 0x44, 0x0F, 0x22, 0xC1, 0x90}, 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x55);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), at + 5);
}

TEST_F(Apic, EoiDeliversTheNextOrExits) {
    access_page();
    delivery();
    set_bit(0x100, 0x55);
    set_bit(0x200, 0x41);
    m.set("guest_interrupt_status"_f, 0x5541);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run(then(store(0xB0, 0), spin), 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x41);
    EXPECT_FALSE(bit_of(0x100, 0x55));

    m.exit_by_cpuid();
    set_bit(0x100, 0x77);
    m.set("guest_interrupt_status"_f, 0x7700);
    m.set("eoi_exit_bitmap_1"_f, 1ull << (0x77 - 64));
    EXPECT_EQ(run(store(0xB0, 0)), 45u);
    EXPECT_EQ(m.qualification(), 0x77u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 15);
}

TEST_F(Apic, SelfIpiThroughIcr) {
    access_page();
    delivery();
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run(then(store(0x300, 0x40000 | 0x66), spin), 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x66);
    m.exit_by_cpuid();
    EXPECT_EQ(run(store(0x300, 0x40000 | 0x05)), 56u) << "an illegal vector exits";
    EXPECT_EQ(run(store(0x300, 0x00000 | 0x66)), 56u) << "to another processor";
    EXPECT_EQ(m.qualification(), 0x300u);
}

/// SDM "APIC-Write Emulation": what the processor compares of ICR_LO, bit by bit.
TEST_F(Apic, SelfIpiNeedsEveryBitOfIcr) {
    access_page();
    delivery();
    constexpr u32 self_ipi = 0x40066;
    constexpr u32 ignored = 1u << 11 | 1u << 14;  // destination mode, level
    for (int b = 8; b < 32; ++b) {
        const u32 bit = 1u << b;
        if (bit & ignored) continue;
        EXPECT_EQ(run(store(0x300, self_ipi ^ bit)), 56u) << "bit " << b;
        EXPECT_EQ(m.qualification(), 0x300u) << "bit " << b;
        EXPECT_FALSE(bit_of(0x200, 0x66)) << "bit " << b;
    }
    EXPECT_EQ(run(then(store(0x300, self_ipi | ignored), spin), 50), 0xFFFFu);
    EXPECT_TRUE(bit_of(0x200, 0x66));
}

TEST_F(Apic, X2apicMode) {
    x2apic();
    delivery();
    set_reg(0x20, 7);
    const auto rdmsr = [&](u32 index) {
        m.cpu.reg(Gpr::rcx) = index;
        return run({0x0F, 0x32, 0x0F, 0x01, 0xC1});
    };
    const auto wrmsr = [&](u32 index, u64 value) {
        m.cpu.reg(Gpr::rcx) = index;
        m.cpu.reg(Gpr::rax) = static_cast<u32>(value);
        m.cpu.reg(Gpr::rdx) = value >> 32;
        return run({0x0F, 0x30, 0x0F, 0x01, 0xC1});
    };
    EXPECT_EQ(rdmsr(0x802), 18u);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 7u);
    EXPECT_EQ(wrmsr(0x808, 0x30), 18u);
    EXPECT_EQ(reg(0x80), 0x30u);
    m.set("exception_bitmap"_f, 1u << 13);
    EXPECT_EQ(wrmsr(0x808, 0x100), 0u) << "#GP";
    EXPECT_EQ(wrmsr(0x80B, 1), 0u) << "#GP";
    EXPECT_EQ(wrmsr(0x83F, 5), 56u);
    EXPECT_EQ(m.qualification(), 0x3F0u);
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.cpu.reg(Gpr::rcx) = 0x83F;
    m.cpu.reg(Gpr::rax) = 0x71;
    m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(run(then({0x0F, 0x30}, spin), 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0x71);
}

TEST_F(Apic, X2apicModeWithoutRegisterVirtualization) {
    x2apic();
    set_reg(0x80, 0x40);
    m.cpu.reg(Gpr::rcx) = 0x808;
    EXPECT_EQ(run({0x0F, 0x32, 0x0F, 0x01, 0xC1}), 18u);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x40u);
    m.set("exception_bitmap"_f, 1u << 13);
    m.cpu.reg(Gpr::rcx) = 0x802;
    EXPECT_EQ(run({0x0F, 0x32, 0x0F, 0x01, 0xC1}), 0u) << "the others are the real ones: no x2APIC here, #GP";
}

TEST_F(Apic, PostedInterrupts) {
    delivery();
    m.enable("process_posted_interrupts"_vmx);
    const u64 pir = VmxMachine::posted_descriptor;
    m.poke<u32>(pir + 4 * (0x62 / 32), 1u << (0x62 % 32));
    m.poke<u32>(pir + 4 * (0xA1 / 32), 1u << (0xA1 % 32));
    m.poke<u32>(pir + 32, 1);
    m.add("guest_rflags"_f, rflags_bits::if_);
    m.interrupts.raise(0xF2);
    EXPECT_EQ(run(spin, 50), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 0xA1);
    EXPECT_EQ(m.peek<u32>(pir + 32) & 1, 0u);
    EXPECT_EQ(m.peek<u32>(pir + 4 * (0x62 / 32)), 0u);
    EXPECT_TRUE(bit_of(0x200, 0x62));
    EXPECT_TRUE(m.interrupts.vectors.empty());
    // another vector exits
    m.interrupts.raise(0x44);
    m.cpu.interrupt_pending_changed();
    m.run_for(10);
    EXPECT_EQ(m.reason(), 1u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000044u);
}

TEST_F(Apic, PostedInterruptWakesHlt) {
    delivery();
    m.enable("process_posted_interrupts"_vmx);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run({0xF4}), 0xFFFFu);
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
    m.poke<u32>(VmxMachine::posted_descriptor + 8, 1);  // vector 0x40
    m.interrupts.raise(0xF2);
    m.cpu.interrupt_pending_changed();
    m.run_for(10);
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.stopped_at(), 0x40);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), at + 1);
}

TEST_F(Apic, InterruptWindowHoldsVirtualInterruptsBack) {
    delivery();
    m.enable("interrupt_window_exiting"_vmx);
    set_bit(0x200, 0x55);
    m.set("guest_interrupt_status"_f, 0x0055);
    m.add("guest_rflags"_f, rflags_bits::if_);
    EXPECT_EQ(run(spin), 7u);
    EXPECT_EQ(m.get("guest_interrupt_status"_f), 0x0055u);
}

// ---- VMCS shadowing

class Shadowing : public ::testing::Test {
protected:
    Shadowing() {
        m.start();
        m.enable("vmcs_shadowing"_vmx);
        m.set("vmcs_link_pointer"_f, VmxMachine::shadow_vmcs);
    }
    void let(u64 bitmap, u32 encoding) {
        m.poke<u8>(bitmap + encoding / 8,
                   static_cast<u8>(m.peek<u8>(bitmap + encoding / 8) & ~(1u << encoding % 8)));
    }
    u32 run(const std::vector<u8>& bytes) {
        m.write(at, bytes);
        m.set("guest_rip"_f, at);
        m.cpu.activity = Activity::active;
        return m.resume();
    }
    VmxMachine m;
    const std::vector<u8> vmread = {0x0F, 0x78, 0xC3, 0x0F, 0x01, 0xC1};   // vmread rbx, rax; vmcall
    const std::vector<u8> vmwrite = {0x0F, 0x79, 0xC3, 0x0F, 0x01, 0xC1};  // vmwrite rax, rbx; vmcall
};

TEST_F(Shadowing, ReadsAndWritesGoToTheLinkedVmcs) {
    const Vmcs shadow(m.memory, VmxMachine::shadow_vmcs);
    shadow.set("guest_rip"_f, 0x1234);
    m.cpu.reg(Gpr::rax) = 0x681E;
    EXPECT_EQ(run(vmread), 23u) << "the bitmap says exit";
    let(VmxMachine::vmread_bitmap, 0x681E);
    EXPECT_EQ(run(vmread), 18u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x1234u);
    EXPECT_EQ(run(vmwrite), 25u);
    let(VmxMachine::vmwrite_bitmap, 0x681E);
    m.cpu.reg(Gpr::rbx) = 0x4321;
    EXPECT_EQ(run(vmwrite), 18u);
    EXPECT_EQ(shadow["guest_rip"_f], 0x4321u);
    EXPECT_NE(m.get("guest_rip"_f), 0x4321u);
}

TEST_F(Shadowing, EncodingsBeyondTheBitmapExit) {
    m.cpu.reg(Gpr::rax) = 0x8000;
    EXPECT_EQ(run(vmread), 23u);
}

TEST_F(Shadowing, ErrorsGoToTheCurrentVmcs) {
    const Vmcs shadow(m.memory, VmxMachine::shadow_vmcs);
    m.cpu.reg(Gpr::rax) = 0x6830;
    let(VmxMachine::vmread_bitmap, 0x6830);
    EXPECT_EQ(run(vmread), 18u);
    EXPECT_NE(m.get("guest_rflags"_f) & rflags_bits::zf, 0u);
    EXPECT_EQ(shadow["vm_instruction_error"_f], 0u);
    EXPECT_EQ(m.get("vm_instruction_error"_f), 12u);
}

TEST_F(Shadowing, WithoutLinkVmfailInvalid) {
    m.set("vmcs_link_pointer"_f, ~0ull);
    m.cpu.reg(Gpr::rax) = 0x681E;
    let(VmxMachine::vmread_bitmap, 0x681E);
    EXPECT_EQ(run(vmread), 18u);
    EXPECT_NE(m.get("guest_rflags"_f) & rflags_bits::cf, 0u);
}

// ---- observers and routers

class Recorder final : public VmxObserver, public ExitRouter {
public:
    void exit_recognised(const ExitEvent& e) override { events.push_back(e); }
    void vmread(Field f, u64, bool shadow) override { reads.emplace_back(f.row, shadow); }
    Route route(const ExitEvent& e, Vmx& vmx) override {
        if (e.row->number != take) return {};
        // makes CPUID a no-op of the guest
        vmx.cpu().rip += e.instruction_length;
        return {.taken = true, .why = "test"};
    }
    std::vector<ExitEvent> events;
    std::vector<std::pair<u16, bool>> reads;
    u32 take = 0xFFFF;
};

TEST(Observers, AttemptsCarryTheirOperand) {
    VmxMachine m;
    Recorder r;
    m.vmx.add_observer(r);
    m.start();
    m.poke<u64>(TestMachine::data, 0xABC000);
    m.run_guest({0x0F, 0xC7, 0x34, 0x25, 0, 0x40, 0, 0});  // vmptrld [data]
    ASSERT_EQ(r.events.size(), 1u);
    EXPECT_EQ(r.events[0].row, "vmptrld"_exit);
    EXPECT_EQ(r.events[0].operand, 0xABC000u);
    EXPECT_EQ(r.events[0].vmcs, VmxMachine::vmcs_a);
    EXPECT_EQ(r.events[0].linear_rip, at);
    m.cpu.activity = Activity::active;
    m.run_guest({0x0F, 0xC7, 0x34, 0x25, 0, 0, 0, 0x70});  // not mapped: still exits, no operand
    ASSERT_EQ(r.events.size(), 2u);
    EXPECT_FALSE(r.events[1].operand.has_value());
    m.cpu.activity = Activity::active;
    m.cpu.reg(Gpr::rax) = 0x681E;
    m.run_guest({0x0F, 0x78, 0xC3});
    EXPECT_EQ(r.events.back().operand, 0x681Eu);
}

TEST(Observers, ARouterTakesAnExit) {
    VmxMachine m;
    Recorder r;
    m.vmx.set_router(&r);
    m.start();
    r.take = 10;
    EXPECT_EQ(m.run_guest({0x0F, 0xA2, 0x0F, 0xA2, 0x0F, 0x01, 0xC1}), 18u);
    EXPECT_EQ(m.get("guest_rip"_f), at + 4);
}

}  // namespace
}  // namespace droste::test
