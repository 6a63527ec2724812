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

constexpr u64 enabled = 0x900, x2apic = 0xD00;

struct Fixture : ::testing::Test {
    MemoryBus mmio;
    Still time;
    NoPins pins;
    EventQueue events;
    ApicBus bus;
    ApicWindow window{mmio};
    LocalApic apic{{}, bus, events, time, pins};
    u64 tsc_offset = 0;
    Device* at(u64 address) const { return mmio.device_at(MachinePhys(address)); }
    void SetUp() override {
        apic.reset();
        window.connect(apic, tsc_offset);
    }
};
using ApicWindowTest = Fixture;

TEST_F(ApicWindowTest, PageStandsWhereReset) {
    EXPECT_EQ(at(0xFEE0'0000), &apic);
    EXPECT_EQ(at(0xFEE0'0FFF), &apic);
    EXPECT_EQ(at(0xFEE0'1000), nullptr);
}

TEST_F(ApicWindowTest, PageMoves) {
    ASSERT_TRUE(window.write_msr(0x1B, 0xFEE1'0000 | enabled));
    EXPECT_EQ(at(0xFEE0'0000), nullptr);
    EXPECT_EQ(at(0xFEE1'0000), &apic);
}

TEST_F(ApicWindowTest, PageVanishesInX2apicModeAndWhenDisabled) {
    ASSERT_TRUE(window.write_msr(0x1B, 0xFEE0'0000 | x2apic));
    EXPECT_EQ(at(0xFEE0'0000), nullptr);
    ASSERT_TRUE(window.write_msr(0x1B, 0xFEE0'0000));
    EXPECT_EQ(at(0xFEE0'0000), nullptr);
    ASSERT_TRUE(window.write_msr(0x1B, 0xFEE0'0000 | enabled));
    EXPECT_EQ(at(0xFEE0'0000), &apic);
}

TEST_F(ApicWindowTest, RefusedWritesMoveNothing) {
    EXPECT_FALSE(window.write_msr(0x1B, ~0ull));
    EXPECT_EQ(at(0xFEE0'0000), &apic);
}

}  // namespace
}  // namespace droste
