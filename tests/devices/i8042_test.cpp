// SPDX-License-Identifier: Apache-2.0
// The keyboard controller, its keyboard and its mouse.
#include <gtest/gtest.h>

#include "devices/i8042/i8042.h"
#include "fakes.h"

namespace droste::test {
namespace {

class I8042Test : public ::testing::Test {
protected:
    I8042Test() { kbc.reset(); }
    void command(u8 v) { kbc.write(1, Width::byte, v); }
    void data(u8 v) { kbc.write(0, Width::byte, v); }
    u8 status() { return static_cast<u8>(kbc.read(1, Width::byte)); }
    std::vector<int> drain() {
        std::vector<int> all;
        while (status() & 1) {
            const int from = status() & 0x20 ? 0x100 : 0;  // marks bytes of the mouse
            all.push_back(static_cast<u8>(kbc.read(0, Width::byte)) | from);
        }
        return all;
    }
    using Bytes = std::vector<int>;
    Wires wires;
    Platform platform;
    A20 a20;
    I8042 kbc{wires.line(1), wires.line(12), platform, a20};
};

TEST_F(I8042Test, SelfTests) {
    EXPECT_EQ(status(), 0x14);
    command(0xAA);
    EXPECT_EQ(status() & 0x09, 0x09);
    EXPECT_EQ(drain(), Bytes{0x55});
    command(0xAB);
    EXPECT_EQ(drain(), Bytes{0x00});
    command(0xA9);
    EXPECT_EQ(drain(), Bytes{0x00});
    data(0xEE);
    EXPECT_EQ(status() & 0x08, 0);
    EXPECT_EQ(drain(), Bytes{0xEE});
}

TEST_F(I8042Test, ConfigurationByte) {
    command(0x20);
    EXPECT_EQ(drain(), Bytes{0x44});
    command(0x60);
    data(0x47);
    command(0x20);
    EXPECT_EQ(drain(), Bytes{0x47});
    command(0xA7);
    command(0xAD);
    command(0x20);
    EXPECT_EQ(drain(), Bytes{0x77});
    command(0xA8);
    command(0xAE);
    command(0x20);
    EXPECT_EQ(drain(), Bytes{0x47});
}

TEST_F(I8042Test, KeyboardCommands) {
    data(0xFF);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAA}));
    data(0xF2);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAB, 0x41})) << "translated";
    command(0x60);
    data(0x04);
    data(0xF2);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAB, 0x83}));
    data(0xED);
    data(0x07);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xFA}));
    data(0xF0);
    data(0x00);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xFA, 0x02}));
    data(0x99);
    EXPECT_EQ(drain(), Bytes{0xFE});
}

TEST_F(I8042Test, KeysAreTranslated) {
    const u8 make_a[] = {0x1C}, break_a[] = {0xF0, 0x1C}, up[] = {0xE0, 0x75},
             up_released[] = {0xE0, 0xF0, 0x75}, f7[] = {0x83};
    EXPECT_TRUE(kbc.key(make_a, 1));
    EXPECT_TRUE(kbc.key(break_a, 2));
    EXPECT_TRUE(kbc.key(up, 2));
    EXPECT_TRUE(kbc.key(up_released, 3));
    EXPECT_TRUE(kbc.key(f7, 1));
    EXPECT_EQ(drain(), (Bytes{0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8, 0x41}));
    data(0xF5);
    EXPECT_FALSE(kbc.key(make_a, 1));
}

TEST_F(I8042Test, SavedBetweenPrefixAndCode) {
    const u8 prefix[] = {0xF0}, code[] = {0x1C};
    EXPECT_TRUE(kbc.key(prefix, 1));
    LoadArchive archive(save(kbc));
    kbc.reset();
    kbc.visit(archive);
    EXPECT_TRUE(kbc.key(code, 1));
    EXPECT_EQ(drain(), Bytes{0x9E});
}

TEST_F(I8042Test, InterruptsForEachByte) {
    command(0x60);
    data(0x47);
    const unsigned before = wires.rises[1];
    data(0xFF);
    EXPECT_TRUE(wires.level(1));
    drain();
    EXPECT_FALSE(wires.level(1));
    EXPECT_EQ(wires.rises[1], before + 2);
    command(0xD4);
    data(0xF4);
    EXPECT_TRUE(wires.level(12));
    EXPECT_FALSE(wires.level(1));
    EXPECT_EQ(drain(), Bytes{0x1FA});
    EXPECT_FALSE(wires.level(12));
}

TEST_F(I8042Test, Mouse) {
    const auto mouse = [&](u8 v) {
        command(0xD4);
        data(v);
    };
    mouse(0xFF);
    EXPECT_EQ(drain(), (Bytes{0x1FA, 0x1AA, 0x100}));
    mouse(0xF2);
    EXPECT_EQ(drain(), (Bytes{0x1FA, 0x100}));
    EXPECT_FALSE(kbc.mouse(1, 1, 0)) << "not reporting";
    mouse(0xF6);
    mouse(0xF4);
    drain();
    EXPECT_TRUE(kbc.mouse(5, -3, 1));
    EXPECT_EQ(drain(), (Bytes{0x129, 0x105, 0x1FD}));
    mouse(0xE8);
    mouse(3);
    mouse(0xF3);
    mouse(60);
    mouse(0xE9);
    EXPECT_EQ(drain(), (Bytes{0x1FA, 0x1FA, 0x1FA, 0x1FA, 0x1FA, 0x124, 0x103, 0x13C}));
    command(0xD3);
    data(0x42);
    EXPECT_EQ(drain(), Bytes{0x142});
    command(0xA7);
    EXPECT_TRUE(kbc.mouse(1, 0, 0));
    EXPECT_TRUE(drain().empty()) << "its clock is off";
    command(0xA8);
    EXPECT_EQ(drain().size(), 3u);
}

TEST_F(I8042Test, A20AndReset) {
    command(0xDD);
    EXPECT_FALSE(a20.a20());
    command(0xD0);
    EXPECT_EQ(drain()[0] & 0x03, 0x01);
    command(0xD1);
    data(0xDF);
    EXPECT_TRUE(a20.a20());
    EXPECT_EQ(platform.resets, 0u);
    command(0xFF);
    EXPECT_EQ(platform.resets, 0u) << "pulses nothing";
    command(0xFE);
    EXPECT_EQ(platform.resets, 1u);
    command(0xD1);
    data(0xDE);
    EXPECT_EQ(platform.resets, 2u);
}

}  // namespace
}  // namespace droste::test
