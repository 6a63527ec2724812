// SPDX-License-Identifier: Apache-2.0
// The 8254 against a model that is stepped one clock at a time, and the PC's wiring around it.
#include <gtest/gtest.h>

#include "devices/pit/pit.h"
#include "fakes.h"

namespace droste::test {
namespace {

constexpr u64 start = 1'000'000;

u8 control(unsigned access, unsigned mode, bool bcd = false) {
    return static_cast<u8>(access << 4 | mode << 1 | (bcd ? 1 : 0));
}
std::string outputs(PitChannel& c, u64 from, u64 count) {
    std::string s;
    for (u64 t = from; t < from + count; ++t) s += c.output(t) ? '1' : '0';
    return s;
}
u16 count_at(PitChannel& c, u64 tick) {
    c.latch_count(tick);
    const u8 low = c.read(tick);
    return static_cast<u16>(low | c.read(tick) << 8);
}
PitChannel channel(unsigned mode, u16 count, bool bcd = false) {
    PitChannel c;
    c.reset(true);
    c.set_control(control(3, mode, bcd));
    c.write(static_cast<u8>(count), start);
    c.write(static_cast<u8>(count >> 8), start);
    return c;
}

// The waveforms of the data sheet's mode diagrams; the count is loaded by the clock after the write.
TEST(PitChannel, Waveforms) {
    PitChannel c = channel(0, 4);
    EXPECT_EQ(outputs(c, start, 8), "00000111");
    EXPECT_EQ(count_at(c, start + 1), 4);
    EXPECT_EQ(count_at(c, start + 5), 0);
    EXPECT_EQ(count_at(c, start + 6), 0xFFFF);
    c = channel(2, 3);
    EXPECT_EQ(outputs(c, start, 10), "1110110110");
    EXPECT_EQ(count_at(c, start + 1), 3);
    EXPECT_EQ(count_at(c, start + 3), 1);
    EXPECT_EQ(count_at(c, start + 4), 3);
    c = channel(3, 4);
    EXPECT_EQ(outputs(c, start, 10), "1110011001");
    EXPECT_EQ(count_at(c, start + 1), 4);
    EXPECT_EQ(count_at(c, start + 2), 2);
    EXPECT_EQ(count_at(c, start + 3), 4);
    c = channel(3, 5);
    EXPECT_EQ(outputs(c, start, 12), "111100111001");
    c = channel(4, 3);
    EXPECT_EQ(outputs(c, start, 9), "111101111");
}

TEST(PitChannel, TriggeredModes) {
    for (unsigned mode : {1u, 5u}) {
        PitChannel c = channel(mode, 3);
        EXPECT_EQ(outputs(c, start, 8), "11111111") << "waits for the gate";
        c.set_gate(false, start + 10);
        c.set_gate(true, start + 20);
        EXPECT_EQ(outputs(c, start + 20, 7), mode == 1 ? "1000111" : "1111011");
        c.set_gate(false, start + 40);
        c.set_gate(true, start + 41);
        c.set_gate(false, start + 42);
        c.set_gate(true, start + 43);  // again before the end
        EXPECT_EQ(outputs(c, start + 43, 6), mode == 1 ? "000011" : "111101");
    }
}

TEST(PitChannel, GateStopsTheCount) {
    PitChannel c = channel(0, 10);
    c.set_gate(false, start + 4);
    EXPECT_EQ(count_at(c, start + 100), 7);
    c.set_gate(true, start + 200);
    EXPECT_EQ(count_at(c, start + 203), 4);
    EXPECT_FALSE(c.output(start + 206));
    EXPECT_TRUE(c.output(start + 207));
    c.set_gate(false, start + 210);
    EXPECT_TRUE(c.output(start + 400)) << "the end was reached";
    c = channel(2, 10);
    c.set_gate(false, start + 10);
    EXPECT_TRUE(c.output(start + 11));
    c.set_gate(true, start + 50);
    EXPECT_EQ(count_at(c, start + 51), 10) << "loaded anew";
}

TEST(PitChannel, NewCountWaitsForThePeriod) {
    PitChannel c = channel(2, 4);
    c.write(6, start + 2);
    c.write(0, start + 2);
    EXPECT_EQ(outputs(c, start + 1, 4), "1110");
    c.latch_status(start + 3);
    EXPECT_EQ(c.read(start + 3) & 0x40, 0x40) << "null count";
    c.sync(start + 5);
    EXPECT_EQ(outputs(c, start + 5, 12), "111110111110");
    c.latch_status(start + 6);
    EXPECT_EQ(c.read(start + 6) & 0x40, 0);
}

TEST(PitChannel, Bcd) {
    PitChannel c = channel(2, 0x0100, true);
    EXPECT_EQ(count_at(c, start + 1), 0x0100);
    EXPECT_EQ(count_at(c, start + 2), 0x0099);
    EXPECT_EQ(count_at(c, start + 101), 0x0100);
    c = channel(0, 0, true);
    EXPECT_EQ(count_at(c, start + 2), 0x9999);
    EXPECT_TRUE(c.output(start + 10001));
    EXPECT_FALSE(c.output(start + 10000));
}

TEST(PitChannel, AccessModes) {
    PitChannel c;
    c.reset(true);
    c.set_control(control(1, 2));
    c.write(0x20, start);
    EXPECT_EQ(c.read(start + 1), 0x20);
    EXPECT_EQ(c.read(start + 2), 0x1F);
    c.set_control(control(2, 2));
    c.write(0x20, start);
    EXPECT_EQ(c.read(start + 1), 0x20);
    EXPECT_EQ(c.read(start + 2), 0x1F);
    c.latch_count(start + 3);
    c.latch_count(start + 0x400);  // the first latch stands
    EXPECT_EQ(c.read(start + 0x500), 0x1F);
}

// next_change() is right: between two changes the output is constant, and at each it differs or is about to.
TEST(PitChannel, NextChangeAgreesWithTheOutput) {
    for (unsigned mode : {0u, 2u, 3u, 4u})
        for (u16 count : {2, 3, 4, 7, 100}) {
            PitChannel c = channel(mode, count);
            u64 t = start;
            for (int i = 0; i < 8; ++i) {
                const u64 next = c.next_change(t);
                const u64 end = next == PitChannel::no_tick ? t + 1000 : next;
                ASSERT_GT(end, t);
                for (u64 at = t; at < end; ++at) ASSERT_EQ(c.output(at), c.output(t)) << mode << " " << count;
                if (next == PitChannel::no_tick) break;
                t = next;
            }
        }
}

class PitTest : public ::testing::Test {
protected:
    PitTest() { pit.reset(); }
    void out(u64 port, u8 v) { pit.write(port, Width::byte, v); }
    u8 in(u64 port) { return static_cast<u8>(pit.read(port, Width::byte)); }
    Clock clock;
    Wires wires;
    Pit pit{clock.queue, clock, wires.line(0)};
};

TEST_F(PitTest, HundredHertz) {
    out(3, 0x34);
    out(0, static_cast<u8>(11932));
    out(0, static_cast<u8>(11932 >> 8));
    const unsigned before = wires.rises[0];
    clock.run_seconds(10);
    const unsigned expected = static_cast<unsigned>(10 * Pit::clock_hz / 11932);
    EXPECT_NEAR(wires.rises[0] - before, expected, 1);
    EXPECT_TRUE(wires.level(0));
}

// The output is high from the control word on: loading the count is no edge.
TEST_F(PitTest, TheFirstInterruptComesAfterAPeriod) {
    const ClockRatio ratio{Pit::clock_hz, 2'000'000'000};
    for (const unsigned mode : {2u, 3u}) {
        const u64 tick = ratio.count_at(clock.now());
        out(3, control(3, mode));
        const unsigned before = wires.rises[0];
        out(0, 0xE8);
        out(0, 0x03);
        clock.run_to(ratio.time_of(tick + 1001) - 1);
        EXPECT_EQ(wires.rises[0], before) << "mode " << mode;
        clock.run_to(ratio.time_of(tick + 1001));
        EXPECT_EQ(wires.rises[0], before + 1) << "mode " << mode;
        clock.run_to(ratio.time_of(tick + 2001));
        EXPECT_EQ(wires.rises[0], before + 2) << "mode " << mode;
    }
}

TEST_F(PitTest, OneShotInterruptsOnce) {
    out(3, 0x30);
    EXPECT_FALSE(wires.level(0));
    out(0, 0xE8);
    out(0, 0x03);
    const ClockRatio ratio{Pit::clock_hz, 2'000'000'000};
    clock.run_to(ratio.time_of(1001) - 1);
    EXPECT_FALSE(wires.level(0));
    clock.run_to(ratio.time_of(1001));
    EXPECT_TRUE(wires.level(0));
    EXPECT_EQ(clock.queue.next(), never);
}

TEST_F(PitTest, LateEventKeepsTheEdge) {
    out(3, 0x14);
    out(0, 100);
    clock.run_for(1'000'000);
    const unsigned before = wires.rises[0];
    clock.set(clock.now() + 10'000'000);
    clock.queue.run(clock.now());
    EXPECT_LE(wires.rises[0], before + 1);
    clock.run_for(1'000'000);
    EXPECT_NEAR(wires.rises[0] - before, 1'000'000.0 * Pit::clock_hz / 2e9 / 100, 2);
}

// The calibration loops of kernels: gate channel 2 by port 0x61 and watch OUT2.
TEST_F(PitTest, Channel2ThroughPort61) {
    out(4, in(4) & ~1);
    out(3, 0xB0);
    out(2, 0x9C);
    out(2, 0x2E);  // 11932 clocks: 10 ms
    clock.run_seconds(0.05);
    EXPECT_EQ(in(4) & 0x20, 0);
    out(4, 1);
    const Time begin = clock.now();
    while (!(in(4) & 0x20)) clock.run_for(1000);
    EXPECT_NEAR(static_cast<double>(clock.now() - begin) / 2e9, 11932.0 / Pit::clock_hz, 2e-6);
    EXPECT_EQ(in(4) & 0x0F, 1);
}

TEST_F(PitTest, RefreshToggles) {
    unsigned toggles = 0;
    u8 last = in(4) & 0x10;
    for (int i = 0; i < 10000; ++i) {
        clock.run_for(200);
        if ((in(4) & 0x10) != last) {
            ++toggles;
            last ^= 0x10;
        }
    }
    EXPECT_NEAR(toggles, 1e-3 / 15.085e-6, 2);
}

TEST_F(PitTest, ReadBack) {
    out(3, 0x34);
    out(0, 0x10);
    out(0, 0x27);
    out(3, 0xB6);
    clock.run_for(100'000);
    out(3, 0xC2);  // status and count of channel 0
    EXPECT_EQ(in(0), 0xB4);
    const unsigned count = in(0) | in(0) << 8;
    EXPECT_NEAR(count, 10000 - 59, 2);
    out(3, 0xE8);  // status of channel 2, no count yet
    EXPECT_EQ(in(2), 0xF6);
    EXPECT_EQ(in(3), 0xFF);
}

}  // namespace
}  // namespace droste::test
