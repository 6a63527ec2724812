// SPDX-License-Identifier: Apache-2.0
// The local APIC's register page follows IA32_APIC_BASE.
#include "machine/apic_window.h"

#include <gtest/gtest.h>

namespace droste {
namespace {

struct Still final : TimeSource {
    Still() : TimeSource(2'000'000'000) {}
    Time now() const override { return 0; }
};

struct NoPins final : CpuPins {
    void interrupt_pending_changed() override {}
    void nmi() override {}
    void init() override {}
    void sipi(u8) override {}
};

constexpr u64 enabled = 0x800, x2apic = 0xC00;
constexpr u64 id_register = 0x20, tpr_register = 0x80, nothing = 0xFFFF'FFFF;

struct Running final : RunningProcessor {
    unsigned running_processor() const override { return number; }
    unsigned number = 0;
};

/// Two processors, each with its local APIC.
struct Fixture : ::testing::Test {
    MemoryBus mmio;
    Still time;
    NoPins pins;
    EventQueue events;
    ApicBus bus;
    Running running;
    ApicPages pages{mmio, running};
    ApicWindow& first = pages.add();
    ApicWindow& second = pages.add();
    LocalApic first_apic{{.id = 0}, bus, events, time, pins};
    LocalApic second_apic{{.id = 1, .bootstrap_processor = false}, bus, events, time, pins};
    u64 tsc_offset = 0;
    /// What processor `number` reads there.
    u64 read(unsigned number, u64 address) {
        running.number = number;
        return mmio.read(MachinePhys(address), Width::dword);
    }
    void SetUp() override {
        first_apic.reset();
        second_apic.reset();
        first.connect(first_apic, tsc_offset);
        second.connect(second_apic, tsc_offset);
    }
};
using ApicWindowTest = Fixture;

TEST_F(ApicWindowTest, EachProcessorFindsItsOwnRegisters) {
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
    EXPECT_EQ(read(1, 0xFEE0'0000 + id_register), 1u << 24);
    EXPECT_EQ(read(1, 0xFEE0'1000 + id_register), nothing);
    mmio.write(MachinePhys(0xFEE0'0000 + tpr_register), Width::dword, 0x50);
    EXPECT_EQ(first_apic.cr8(), 0u);
    EXPECT_EQ(second_apic.cr8(), 5u);
    EXPECT_EQ(first.id(), 0u);
    EXPECT_EQ(second.id(), 1u);
}

TEST_F(ApicWindowTest, PageMovesForOneProcessor) {
    ASSERT_TRUE(second.write_msr(0x1B, 0xFEE1'0000 | enabled));
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
    EXPECT_EQ(read(1, 0xFEE0'0000 + id_register), nothing);
    EXPECT_EQ(read(0, 0xFEE1'0000 + id_register), nothing);
    EXPECT_EQ(read(1, 0xFEE1'0000 + id_register), 1u << 24);
    ASSERT_TRUE(first.write_msr(0x1B, 0xFEE1'0000 | enabled));
    EXPECT_EQ(mmio.device_at(MachinePhys(0xFEE0'0000)), nullptr);
    EXPECT_EQ(read(0, 0xFEE1'0000 + id_register), 0u);
    EXPECT_EQ(read(1, 0xFEE1'0000 + id_register), 1u << 24);
}

TEST_F(ApicWindowTest, PageVanishesInX2apicModeAndWhenDisabled) {
    ASSERT_TRUE(second.write_msr(0x1B, 0xFEE0'0000 | x2apic));
    EXPECT_EQ(read(1, 0xFEE0'0000 + id_register), nothing);
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
    ASSERT_TRUE(first.write_msr(0x1B, 0xFEE0'0000));
    EXPECT_EQ(mmio.device_at(MachinePhys(0xFEE0'0000)), nullptr);
    ASSERT_TRUE(first.write_msr(0x1B, 0xFEE0'0000 | enabled));
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
}

TEST_F(ApicWindowTest, PageOverAnotherDeviceIsOutOfReach) {
    ASSERT_TRUE(second.write_msr(0x1B, 0xFEE0'0000));
    LocalApic other({}, bus, events, time, pins);
    ASSERT_FALSE(mmio.attach({MachinePhys(0xFEE2'0000), 0x1000}, other));
    ASSERT_TRUE(first.write_msr(0x1B, 0xFEE2'0000 | enabled));
    EXPECT_EQ(mmio.device_at(MachinePhys(0xFEE2'0000)), &other);
    ASSERT_TRUE(first.write_msr(0x1B, 0xFEE0'0000 | enabled));
    EXPECT_EQ(mmio.device_at(MachinePhys(0xFEE2'0000)), &other);
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
}

TEST_F(ApicWindowTest, RefusedWritesMoveNothing) {
    EXPECT_FALSE(first.write_msr(0x1B, ~0ull));
    EXPECT_EQ(read(0, 0xFEE0'0000 + id_register), 0u);
}

// SDM "TSC-Deadline Mode": the deadline is a value of the TSC, whatever moves the TSC afterwards.
TEST_F(ApicWindowTest, ArmedDeadlineFollowsTheTsc) {
    constexpr u32 lvt_timer = 0x320, tsc_deadline_msr = 0x6E0;
    ASSERT_FALSE(mmio.read(MachinePhys(0xFEE0'0000), Width::dword));
    mmio.write(MachinePhys(0xFEE0'0000 + 0xF0), Width::dword, 0x1FF);
    mmio.write(MachinePhys(0xFEE0'0000 + lvt_timer), Width::dword, 0x4'0040);
    ASSERT_TRUE(first.write_msr(tsc_deadline_msr, 1000));
    EXPECT_EQ(events.next(), 1000u);
    tsc_offset = 400;
    first.tsc_changed();
    EXPECT_EQ(events.next(), 600u);
    tsc_offset = 1000;
    first.tsc_changed();
    EXPECT_EQ(events.next(), never);
    EXPECT_TRUE(first.interrupt_pending());
}

}  // namespace
}  // namespace droste
