// SPDX-License-Identifier: Apache-2.0
// The real-time clock: calendar, formats, UIP, the three interrupts, memory.
#include <gtest/gtest.h>

#include <ctime>

#include "devices/rtc/rtc.h"
#include "fakes.h"

namespace droste::test {
namespace {

constexpr i64 epoch = 1'709'251'190;  // 2024-02-29 23:59:50 UTC, a Thursday

class RtcTest : public ::testing::Test {
protected:
    RtcTest() { rtc.reset(); }
    u8 in(u8 index) {
        rtc.write(0, Width::byte, index);
        return static_cast<u8>(rtc.read(1, Width::byte));
    }
    void out(u8 index, u8 v) {
        rtc.write(0, Width::byte, index);
        rtc.write(1, Width::byte, v);
    }
    std::string time() {
        char s[40];
        std::snprintf(s, sizeof s, "%02x%02x-%02x-%02x %02x:%02x:%02x %d", in(0x32), in(9), in(8), in(7),
                      in(4), in(2), in(0), in(6));
        return s;
    }
    Clock clock;
    Wires wires;
    Rtc rtc{clock.queue, clock, wires.line(8), epoch};
};

TEST_F(RtcTest, LeapDayPasses) {
    EXPECT_EQ(time(), "2024-02-29 23:59:50 5");
    clock.run_seconds(9);
    EXPECT_EQ(time(), "2024-02-29 23:59:59 5");
    clock.run_seconds(1);
    EXPECT_EQ(time(), "2024-03-01 00:00:00 6");
}

// The calendar agrees with the C library's over six centuries.
TEST_F(RtcTest, CalendarAgreesWithTheLibrary) {
    for (i64 t = -2'000'000'000; t < 16'000'000'000; t += 987'654'321) {
        Rtc r(clock.queue, clock, wires.line(8), t);
        rtc.reset();
        const std::time_t host = static_cast<std::time_t>(t);
        std::tm tm{};
        gmtime_r(&host, &tm);
        const auto reg = [&](u8 index) {
            r.write(0, Width::byte, index);
            const u8 v = static_cast<u8>(r.read(1, Width::byte));
            return (v >> 4) * 10 + (v & 15);
        };
        EXPECT_EQ(reg(0x32) * 100 + reg(9), tm.tm_year + 1900);
        EXPECT_EQ(reg(8), tm.tm_mon + 1);
        EXPECT_EQ(reg(7), tm.tm_mday);
        EXPECT_EQ(reg(6), tm.tm_wday + 1);
        EXPECT_EQ(reg(4), tm.tm_hour);
        EXPECT_EQ(reg(2), tm.tm_min);
        EXPECT_EQ(reg(0), tm.tm_sec);
        clock.queue = EventQueue{};
    }
}

TEST_F(RtcTest, SettingTheClock) {
    out(0x0B, 0x82);  // SET
    out(0, 0x58);
    out(2, 0x59);
    out(4, 0x23);
    out(7, 0x31);
    out(8, 0x12);
    out(9, 0x99);
    out(0x32, 0x19);
    clock.run_seconds(5);
    EXPECT_EQ(in(0), 0x58) << "no updates while SET";
    out(0x0B, 0x02);
    clock.run_seconds(2);
    EXPECT_EQ(time(), "2000-01-01 00:00:00 7");
}

TEST_F(RtcTest, TwelveHoursAndBinary) {
    out(0x0B, 0x84);  // binary, 12 hours
    out(0, 59);
    out(2, 59);
    out(4, 11);  // 11 am
    out(7, 10);
    out(8, 6);
    out(9, 24);
    out(0x32, 20);
    out(0x0B, 0x04);
    clock.run_seconds(1);
    EXPECT_EQ(in(4), 0x8C) << "12 pm";
    EXPECT_EQ(in(0), 0);
    clock.run_seconds(3600);
    EXPECT_EQ(in(4), 0x81);
    clock.run_seconds(11 * 3600);
    EXPECT_EQ(in(4), 12) << "12 am";
    EXPECT_EQ(in(7), 11);
}

TEST_F(RtcTest, UpdateInProgress) {
    constexpr double warning = 8.0 / 32768;
    clock.run_seconds(1 - warning - 1e-5);
    EXPECT_EQ(in(0x0A), 0x26);
    clock.run_seconds(2e-5);
    EXPECT_EQ(in(0x0A), 0xA6);
    EXPECT_EQ(in(0), 0x50);
    clock.run_seconds(warning);
    EXPECT_EQ(in(0x0A), 0x26);
    EXPECT_EQ(in(0), 0x51);
    clock.run_seconds(1 - warning / 2 - 1e-5);
    out(0x0B, 0x82);
    EXPECT_EQ(in(0x0A), 0x26) << "SET stops updates";
}

TEST_F(RtcTest, UpdateInterrupt) {
    EXPECT_EQ(clock.queue.next(), never);
    out(0x0A, 0x20);  // no periodic flag
    out(0x0B, 0x12);
    clock.run_seconds(0.999);
    EXPECT_FALSE(wires.level(8));
    clock.run_seconds(0.002);
    EXPECT_TRUE(wires.level(8));
    EXPECT_EQ(in(0x0C), 0x90);
    EXPECT_FALSE(wires.level(8));
    EXPECT_EQ(in(0x0C), 0x00);
    clock.run_seconds(1);
    EXPECT_TRUE(wires.level(8));
}

TEST_F(RtcTest, PeriodicInterrupt) {
    const struct { u8 rate; double hz; } rows[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {15, 2}};
    for (const auto& r : rows) {
        out(0x0A, 0x20 | r.rate);
        out(0x0B, 0x42);
        unsigned count = 0;
        const Time end = clock.now() + 4'000'000'000;
        in(0x0C);
        while (clock.queue.next() <= end) {
            clock.run_to(clock.queue.next());
            if (in(0x0C) & 0x40) ++count;
        }
        clock.run_to(end);
        EXPECT_NEAR(count, 2 * r.hz, 1) << int(r.rate);
    }
    out(0x0A, 0x20);
    EXPECT_EQ(clock.queue.next(), never);
}

TEST_F(RtcTest, AlarmInterrupt) {
    out(1, 0x05);  // 00:00:05 tomorrow
    out(3, 0x00);
    out(5, 0x00);
    out(0x0B, 0x22);
    clock.run_seconds(14.9);
    EXPECT_FALSE(wires.level(8));
    clock.run_seconds(0.2);
    EXPECT_TRUE(wires.level(8));
    EXPECT_EQ(in(0x0C) & 0xA0, 0xA0);
    out(1, 0xFF);  // every second
    out(3, 0xC0);
    out(5, 0xC5);
    clock.run_seconds(1);
    EXPECT_TRUE(wires.level(8));
    in(0x0C);
    out(0x0B, 0x02);
    clock.run_seconds(100'000);  // noticed late, by a look only
    EXPECT_EQ(in(0x0C), 0x70);
}

TEST_F(RtcTest, DividerResetHoldsTheClock) {
    out(0x0A, 0x76);
    clock.run_seconds(10);
    EXPECT_EQ(in(0), 0x50);
    out(0x0A, 0x26);
    clock.run_seconds(0.49);
    EXPECT_EQ(in(0), 0x50);
    clock.run_seconds(0.02);
    EXPECT_EQ(in(0), 0x51) << "the first update comes after half a second";
}

TEST_F(RtcTest, MemoryAndReset) {
    rtc.set_memory_size(3ull << 30, 5ull << 30);
    EXPECT_EQ(in(0x15) | in(0x16) << 8, 640);
    EXPECT_EQ(in(0x17) | in(0x18) << 8, 0xFFFF);
    EXPECT_EQ(in(0x34) | in(0x35) << 8, (3072 - 16) * 16);
    EXPECT_EQ(in(0x5B) | in(0x5C) << 8 | in(0x5D) << 16, 5 * 1024 * 16);
    out(0x40, 0x99);
    out(0x0B, 0x72);
    rtc.write(0, Width::byte, 0x8D);
    EXPECT_TRUE(rtc.nmi_masked());
    rtc.reset();
    EXPECT_FALSE(rtc.nmi_masked());
    EXPECT_EQ(in(0x40), 0x99);
    EXPECT_EQ(in(0x0B), 0x02);
    EXPECT_EQ(in(0x0D), 0x80);
    EXPECT_EQ(rtc.read(0, Width::byte) & 0xFF, 0xFFu);
}

}  // namespace
}  // namespace droste::test
