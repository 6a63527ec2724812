// SPDX-License-Identifier: Apache-2.0
// The HPET: counter, one-shot and periodic comparators, edge, level, legacy replacement.
#include <gtest/gtest.h>

#include "devices/hpet/hpet.h"
#include "fakes.h"

namespace droste::test {
namespace {

enum : u64 {
    capabilities = 0,
    conf = 0x10,
    status = 0x20,
    counter = 0xF0,
    timer0 = 0x100,
    timer1 = 0x120,
    timer2 = 0x140
};
constexpr u64 cmp = 8;
constexpr u64 level = 2, enable = 4, periodic = 8, set_value = 64, mode32 = 256;
constexpr u64 route(u64 gsi) { return gsi << 9; }
constexpr Time tick = 20;  // 100 MHz against 2 GHz

class HpetTest : public ::testing::Test {
protected:
    HpetTest() { hpet.reset(); }
    u64 in(u64 at, Width w = Width::qword) { return hpet.read(at, w); }
    void out(u64 at, u64 v, Width w = Width::qword) { hpet.write(at, w, v); }
    Clock clock;
    Wires gsi, isa;
    Hpet hpet{{}, clock.queue, clock, gsi, isa.line(0), isa.line(8)};
};

TEST_F(HpetTest, Capabilities) {
    EXPECT_EQ(in(capabilities), 10'000'000ull << 32 | 0x8086'A201);
    EXPECT_EQ(in(capabilities + 4, Width::dword), 10'000'000u);
    EXPECT_EQ(in(timer0), 0x00F0'0000ull << 32 | 0x30);
    out(timer0, route(5));
    EXPECT_EQ(in(timer0) & 0x3E00, 0u) << "not offered";
    out(timer0, route(21));
    EXPECT_EQ(in(timer0) & 0x3E00, route(21));
}

TEST_F(HpetTest, CounterRunsWhileEnabled) {
    clock.run_for(1000);
    EXPECT_EQ(in(counter), 0u);
    out(counter, 0x1'0000'0000);
    out(conf, 1);
    clock.run_for(100 * tick);
    EXPECT_EQ(in(counter), 0x1'0000'0064u);
    EXPECT_EQ(in(counter, Width::dword), 100u);
    EXPECT_EQ(in(counter + 4, Width::dword), 1u);
    out(counter, 7);
    EXPECT_EQ(in(counter), 0x1'0000'0064u) << "only while it stands";
    out(conf, 0);
    clock.run_for(100 * tick);
    EXPECT_EQ(in(counter), 0x1'0000'0064u);
}

TEST_F(HpetTest, OneShotEdge) {
    out(timer2 + cmp, 50);
    out(timer2, enable | route(20));
    out(conf, 1);
    clock.run_for(50 * tick - 1);
    EXPECT_EQ(gsi.rises[20], 0u);
    clock.run_for(1);
    EXPECT_EQ(gsi.rises[20], 1u);
    EXPECT_EQ(in(status), 0u);
    clock.run_for(1'000'000);
    EXPECT_EQ(gsi.rises[20], 1u);
    out(timer2 + cmp, 10);  // behind the counter: not before the wrap
    clock.run_for(1'000'000);
    EXPECT_EQ(gsi.rises[20], 1u);
}

TEST_F(HpetTest, ThirtyTwoBitWrap) {
    out(counter, 0xFFFF'FFF0);
    out(timer2, enable | route(20) | mode32);
    out(timer2 + cmp, 0x10);
    out(conf, 1);
    clock.run_for(31 * tick);
    EXPECT_EQ(gsi.rises[20], 0u);
    clock.run_for(tick);
    EXPECT_EQ(gsi.rises[20], 1u);
}

TEST_F(HpetTest, LevelUntilAcknowledged) {
    out(timer1, enable | level | route(22));
    out(timer1 + cmp, 5);
    out(conf, 1);
    clock.run_for(5 * tick);
    EXPECT_TRUE(gsi.level(22));
    EXPECT_EQ(in(status), 2u);
    out(status, 1);
    EXPECT_TRUE(gsi.level(22));
    out(status, 2);
    EXPECT_FALSE(gsi.level(22));
    EXPECT_EQ(in(status), 0u);
}

// As Linux programs it: value to accumulate, then the period.
TEST_F(HpetTest, PeriodicInLegacyReplacement) {
    out(timer0, enable | periodic | set_value | mode32, Width::dword);
    out(timer0 + cmp, 300, Width::dword);
    out(timer0 + cmp, 100, Width::dword);
    EXPECT_EQ(in(timer0) & set_value, 0u);
    EXPECT_EQ(in(timer0 + cmp), 300u);
    out(conf, 3);
    clock.run_for(299 * tick);
    EXPECT_EQ(isa.rises[0], 0u);
    clock.run_for(tick);
    EXPECT_EQ(isa.rises[0], 1u);
    EXPECT_EQ(in(timer0 + cmp), 400u);
    clock.run_for(1000 * tick);
    EXPECT_EQ(isa.rises[0], 11u);
    clock.set(clock.now() + 550 * tick);  // late: one interrupt, the phase stays
    clock.queue.run(clock.now());
    EXPECT_EQ(isa.rises[0], 12u);
    EXPECT_EQ(in(timer0 + cmp), 1900u);
}

TEST_F(HpetTest, LegacyReplacementTakesTheLines) {
    hpet.set_level(Hpet::pit_input, true);
    EXPECT_TRUE(isa.level(0));
    out(conf, 3);
    EXPECT_FALSE(isa.level(0));
    hpet.set_level(Hpet::rtc_input, true);
    EXPECT_FALSE(isa.level(8));
    out(timer1, enable);
    out(timer1 + cmp, in(counter) + 10);
    clock.run_for(10 * tick);
    EXPECT_EQ(isa.rises[8], 1u);
    out(conf, 1);
    EXPECT_TRUE(isa.level(0));
    EXPECT_TRUE(isa.level(8));
}

}  // namespace
}  // namespace droste::test
