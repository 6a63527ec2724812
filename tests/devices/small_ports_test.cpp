// SPDX-License-Identifier: Apache-2.0
// Reset registers, debug ports, passive wiring, and the register table's rules.
#include <gtest/gtest.h>

#include <set>

#include "devices/debug/debug.h"
#include "devices/register_file.h"
#include "devices/reset/reset.h"
#include "devices/wiring.h"
#include "devices/test_device/memory_errors.h"
#include "devices/test_device/test_device.h"
#include "fakes.h"

namespace droste::test {
namespace {

TEST(ResetControl, ARisingBitResets) {
    Platform platform;
    ResetControl r(platform);
    r.write(0, Width::byte, 0x02);
    EXPECT_EQ(platform.resets, 0u);
    r.write(0, Width::byte, 0x06);
    EXPECT_EQ(platform.resets, 1u);
    EXPECT_EQ(r.read(0, Width::byte), 0x06u);
    r.write(0, Width::byte, 0x06);
    EXPECT_EQ(platform.resets, 1u);
}

TEST(SystemControlA, A20AndReset) {
    Platform platform;
    A20 a20;
    SystemControlA p(platform, a20);
    p.write(0, Width::byte, 0x00);
    EXPECT_FALSE(a20.a20());
    p.write(0, Width::byte, 0x02);
    EXPECT_TRUE(a20.a20());
    EXPECT_EQ(p.read(0, Width::byte), 0x02u);
    EXPECT_EQ(platform.resets, 0u);
    p.write(0, Width::byte, 0x03);
    EXPECT_EQ(platform.resets, 1u);
}

TEST(DebugPorts, ExitConsolePost) {
    Platform platform;
    Text text;
    DebugExit exit(platform);
    exit.write(0, Width::dword, 0x1'2345'6789);
    exit.write(1, Width::byte, 9);
    EXPECT_EQ(platform.exits, std::vector<u32>{0x2345'6789});
    DebugConsole console(text);
    EXPECT_EQ(console.read(0, Width::byte), 0xE9u);
    console.write(0, Width::byte, 'o');
    console.write(0, Width::byte, 'k');
    EXPECT_EQ(text.text, "ok");
    PostCodes post;
    post.write(0, Width::byte, 0xAB);
    EXPECT_EQ(post.last(), 0xAB);
}

TEST(TestDevices, MemoryErrorsComeAtIntervalsUntilAcknowledged) {
    Clock clock;
    Wires wires;
    TestMemoryErrors errors(clock.queue, clock, wires.line(20));
    errors.write(0, Width::dword, 0x700);
    errors.write(4, Width::dword, 16);
    errors.write(8, Width::dword, 5000);
    unsigned uncorrected = 0;
    std::set<u64> pages;
    for (unsigned i = 1; i <= 64; ++i) {
        clock.run_for(4999);
        EXPECT_FALSE(wires.level(20));
        clock.run_for(1);
        ASSERT_TRUE(wires.level(20)) << i;
        const u64 status = errors.read(12, Width::dword);
        EXPECT_NE(status & 1u << 31, 0u);
        uncorrected += (status >> 30) & 1;
        EXPECT_EQ((status >> 30) & 1, i % 8 == 0);
        pages.insert(status & 0x3FFF'FFFF);
        errors.write(12, Width::dword, 0);
        EXPECT_FALSE(wires.level(20));
        EXPECT_EQ(errors.read(12, Width::dword), 0u);
    }
    EXPECT_EQ(uncorrected, 8u);
    EXPECT_GE(pages.size(), 12u) << "all over the range";
    EXPECT_GE(*pages.begin(), 0x700u);
    EXPECT_LT(*pages.rbegin(), 0x710u);
    clock.run_for(5000);
    const u64 first = errors.read(12, Width::dword);
    clock.run_for(50'000);
    EXPECT_EQ(errors.read(12, Width::dword), first) << "one at a time";
    errors.write(12, Width::dword, 0);
    errors.write(8, Width::dword, 3);
    EXPECT_EQ(errors.read(8, Width::dword), 1024u);
    errors.write(8, Width::dword, 0);
    clock.run_for(50'000);
    EXPECT_FALSE(wires.level(20));
}

TEST(TestDevices, DoWhatTestKernelsExpect) {
    Wires wires;
    Platform platform;
    TestInterruptPorts lines(wires);
    lines.write(14, Width::byte, 1);
    EXPECT_TRUE(wires.level(14));
    lines.write(14, Width::byte, 0);
    EXPECT_FALSE(wires.level(14));
    TestEchoPort echo;
    echo.write(0, Width::dword, 0x1234'5678);
    EXPECT_EQ(echo.read(0, Width::dword), 0x1234'5678u);
    echo.write(4, Width::dword, 1);
    EXPECT_EQ(echo.read(0, Width::dword), 0x1234'5678u);
    echo.write(1, Width::word, 0xABCD);
    EXPECT_EQ(echo.read(0, Width::dword), 0x12AB'CD78u) << "each byte on its own";
    echo.write(3, Width::byte, 0xEE);
    EXPECT_EQ(echo.read(2, Width::word) & 0xFFFF, 0xEEABu);
    TestMemoryRegion region;
    region.write(0xFFFE, Width::dword, 0xAABB'CCDD);
    EXPECT_EQ(region.read(0xFFFE, Width::dword), 0xCCDDu);
    ShutdownPort off(platform);
    for (char c : std::string("ShutShutdow")) off.write(0, Width::byte, static_cast<u8>(c));
    EXPECT_EQ(platform.power_offs, 0u);
    off.write(0, Width::byte, 'n');
    EXPECT_EQ(platform.power_offs, 1u);
}

TEST(Wiring, FanOutAndOr) {
    Wires a, b;
    InterruptFanout fan;
    fan.connect(0, a.line(0));
    fan.connect(0, b.line(2));
    fan.connect(1, a.line(1));
    fan.set_level(0, true);
    EXPECT_TRUE(a.level(0) && b.level(2) && !a.level(1));
    InterruptOr either(a.line(5));
    either.set_level(0, true);
    either.set_level(1, true);
    either.set_level(0, false);
    EXPECT_TRUE(a.level(5));
    either.set_level(1, false);
    EXPECT_FALSE(a.level(5));
}

struct Part {
    u64 plain = 0, flags = 0, low = 0, banked = 0;
    std::string told;
    u64 seen(u64 stored) { return stored + 1; }
    void changed(u64 before, u64 after) {
        told += std::to_string(before) + ">" + std::to_string(after) + " ";
    }
};
constexpr Reg<Part> rows[] = {
    {.offset = 0, .width = Width::dword, .name = "PLAIN", .stored = &Part::plain, .reset = 0x1122'3344,
     .mask = 0xFFFF'00FF},
    {.offset = 4, .width = Width::word, .name = "FLAGS", .on = On::w1c, .stored = &Part::flags, .reset = 0xFF,
     .mask = 0x0F},
    {.offset = 6, .width = Width::byte, .name = "LOW", .stored = &Part::low, .mask = 0xFF,
     .wrote = &Part::changed},
    {.offset = 7, .width = Width::byte, .name = "SEEN", .on = On::ro, .reading = &Part::seen, .bank = 0},
    {.offset = 7, .width = Width::byte, .name = "BANKED", .stored = &Part::banked, .mask = 0xFF, .bank = 1},
};

TEST(RegisterFile, TheTableDecides) {
    const RegisterFile<Part> file{rows, 0xFF};
    Part p;
    file.reset(p);
    EXPECT_EQ(file.read(p, 0, Width::dword), 0x1122'3344u);
    EXPECT_EQ(file.read(p, 1, Width::word), 0x2233u);
    file.write(p, 0, Width::dword, 0);
    EXPECT_EQ(p.plain, 0x3300u) << "only bits of the mask";
    file.write(p, 3, Width::byte, 0xAA);
    EXPECT_EQ(p.plain, 0xAA00'3300u);
    file.write(p, 4, Width::word, 0xFFF3);
    EXPECT_EQ(p.flags, 0xFCu);
    file.write(p, 6, Width::byte, 7);
    file.write(p, 6, Width::byte, 8);
    EXPECT_EQ(p.told, "0>7 7>8 ");
    EXPECT_EQ(file.read(p, 7, Width::byte), 1u);
    file.write(p, 7, Width::byte, 5, 1);
    EXPECT_EQ(file.read(p, 7, Width::byte, 1), 5u);
    EXPECT_EQ(file.read(p, 0, Width::qword), 0x01'08'00FC'AA00'3300u) << "registers side by side";
    EXPECT_EQ(file.read(p, 8, Width::word), 0xFFFFu) << "a hole";
    EXPECT_STREQ(file.name_at(5), "FLAGS");
}

}  // namespace
}  // namespace droste::test
