// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware: the timer's rate and rollover, SCI, mode switch, soft off.
#include <gtest/gtest.h>

#include "devices/acpi_pm/acpi_pm.h"
#include "fakes.h"

namespace droste::test {
namespace {

enum : u64 { pm1_sts = 0, pm1_en = 2, pm1_cnt = 4, pm_tmr = 8, gpe0_sts = 0x20, gpe0_en = 0x22 };

class AcpiPmTest : public ::testing::Test {
protected:
    AcpiPmTest() { pm.reset(); }
    u64 in(u64 at, Width w = Width::word) { return pm.read(at, w); }
    void out(u64 at, u64 v, Width w = Width::word) { pm.write(at, w, v); }
    bool sci() const { return wires.level(9); }
    Clock clock;
    Wires wires;
    Platform platform;
    AcpiPm pm{{}, clock.queue, clock, wires.line(9), platform};
    SmiCommandPort smi{pm};
};

TEST_F(AcpiPmTest, TimerRunsAtItsRate) {
    EXPECT_EQ(in(pm_tmr, Width::dword), 0u);
    clock.run_seconds(1);
    EXPECT_EQ(in(pm_tmr, Width::dword), 3'579'545u);
    clock.run_seconds(9);
    EXPECT_EQ(in(pm_tmr, Width::dword), 35'795'450u & 0xFF'FFFF);
    out(pm_tmr, 0, Width::dword);
    EXPECT_NE(in(pm_tmr, Width::dword), 0u);
}

TEST_F(AcpiPmTest, WideTimer) {
    AcpiPm wide({.timer_32_bits = true}, clock.queue, clock, wires.line(9), platform);
    wide.reset();
    clock.run_seconds(10);
    EXPECT_EQ(wide.read(pm_tmr, Width::dword), 35'795'450u);
}

TEST_F(AcpiPmTest, RolloverSetsTheStatus) {
    const ClockRatio ratio{AcpiPm::clock_hz, 2'000'000'000};
    clock.run_to(ratio.time_of(0x80'0000) - 1);
    EXPECT_EQ(in(pm1_sts) & 1, 0u);
    clock.run_for(1);
    EXPECT_EQ(in(pm1_sts) & 1, 1u);
    out(pm1_sts, 1);
    EXPECT_EQ(in(pm1_sts) & 1, 0u);
    smi.write(0, Width::byte, 0xF1);
    out(pm1_en, 1);
    EXPECT_EQ(clock.queue.next(), ratio.time_of(0x100'0000));
    clock.run_to(clock.queue.next());
    EXPECT_TRUE(sci());
    out(pm1_sts, 1);
    EXPECT_FALSE(sci());
    out(pm1_en, 0);
    EXPECT_EQ(clock.queue.next(), never);
}

TEST_F(AcpiPmTest, ModeSwitchByTheSmiPort) {
    EXPECT_EQ(in(pm1_cnt) & 1, 0u);
    out(pm1_cnt, 1);
    EXPECT_EQ(in(pm1_cnt) & 1, 0u) << "not by the register itself";
    smi.write(0, Width::byte, 0xF1);
    EXPECT_EQ(in(pm1_cnt) & 1, 1u);
    EXPECT_EQ(smi.read(0, Width::byte), 0xF1u);
    out(pm1_cnt, 0);
    EXPECT_EQ(in(pm1_cnt) & 1, 1u);
    smi.write(0, Width::byte, 0xF0);
    EXPECT_EQ(in(pm1_cnt) & 1, 0u);
    AcpiPm always({.acpi_mode_at_reset = true}, clock.queue, clock, wires.line(9), platform);
    always.reset();
    EXPECT_EQ(always.read(pm1_cnt, Width::word) & 1, 1u);
}

TEST_F(AcpiPmTest, EventsInterruptWhenEnabled) {
    smi.write(0, Width::byte, 0xF1);
    pm.press_power_button();
    EXPECT_EQ(in(pm1_sts), 0x100u);
    EXPECT_FALSE(sci());
    out(pm1_en, 0x100);
    EXPECT_TRUE(sci());
    out(pm1_sts, 0x20);
    EXPECT_TRUE(sci());
    out(pm1_sts + 1, 1, Width::byte);
    EXPECT_FALSE(sci());
    pm.release_global_lock();
    out(pm1_en, 0x20);
    EXPECT_TRUE(sci());
    smi.write(0, Width::byte, 0xF0);
    EXPECT_FALSE(sci());
    smi.write(0, Width::byte, 0xF1);
    out(pm1_sts, 0xFFFF);
    pm.raise_gpe(3);
    out(gpe0_en, 8);
    EXPECT_TRUE(sci());
    EXPECT_EQ(in(gpe0_sts), 8u);
    out(gpe0_sts, 8);
    EXPECT_FALSE(sci());
}

TEST_F(AcpiPmTest, SoftOff) {
    out(pm1_cnt, 1u << 10);
    EXPECT_EQ(in(pm1_cnt) >> 10 & 7, 1u);
    out(pm1_cnt, 1u << 10 | 1u << 13);
    EXPECT_EQ(platform.power_offs, 0u);
    EXPECT_EQ(in(pm1_sts) >> 15, 1u) << "awake again";
    out(pm1_cnt, 1u << 13);
    EXPECT_EQ(platform.power_offs, 1u);
    EXPECT_EQ(in(pm1_cnt) & 1u << 13, 0u);
}

}  // namespace
}  // namespace droste::test
