// SPDX-License-Identifier: Apache-2.0
// The 8259 pair: initialisation, priorities, EOI in all its forms, cascade, spurious requests.
#include <gtest/gtest.h>

#include "devices/pic/pic.h"
#include "fakes.h"

namespace droste::test {
namespace {

class PicTest : public ::testing::Test {
protected:
    PicTest() {
        pic.reset();
        init(1, 1);
    }
    void out(u64 port, u8 v) { pic.write(port, Width::byte, v); }
    u8 in(u64 port) { return static_cast<u8>(pic.read(port, Width::byte)); }
    /// ICW1-4 with vectors 0x30 and 0x38, nothing masked.
    void init(u8 icw4_master, u8 icw4_slave) {
        out(0, 0x11);
        out(1, 0x30);
        out(1, 4);
        out(1, icw4_master);
        out(2, 0x11);
        out(3, 0x38);
        out(3, 2);
        out(3, icw4_slave);
        out(1, 0);
        out(3, 0);
    }
    void up(unsigned irq) { pic.set_level(irq, true); }
    void down(unsigned irq) { pic.set_level(irq, false); }
    bool intr() const { return wires.level(0); }
    u8 ack() { return pic.interrupt_acknowledge(); }
    u8 isr(u64 chip) {
        out(chip, 0x0B);
        return in(chip);
    }
    u8 irr(u64 chip) {
        out(chip, 0x0A);
        return in(chip);
    }
    Wires wires;
    Pic pic{wires.line(0)};
};

TEST_F(PicTest, MaskedChipAnswers) {
    out(1, 0xFF);
    out(3, 0xFB);
    EXPECT_EQ(in(1), 0xFF);
    EXPECT_EQ(in(3), 0xFB);
    up(3);
    EXPECT_FALSE(intr());
    EXPECT_EQ(irr(0), 0x08);
    out(1, 0xF7);
    EXPECT_TRUE(intr());
}

TEST_F(PicTest, FullyNested) {
    up(4);
    up(1);
    EXPECT_TRUE(intr());
    EXPECT_EQ(ack(), 0x31);
    EXPECT_FALSE(intr());
    EXPECT_EQ(isr(0), 0x02);
    EXPECT_EQ(irr(0), 0x10);
    up(0);
    EXPECT_TRUE(intr());
    EXPECT_EQ(ack(), 0x30);
    out(0, 0x20);
    EXPECT_EQ(isr(0), 0x02);
    out(0, 0x20);
    EXPECT_EQ(ack(), 0x34);
    out(0, 0x64);  // specific
    EXPECT_EQ(isr(0), 0);
    EXPECT_FALSE(intr());
    up(4);
    EXPECT_FALSE(intr()) << "no new edge";
    down(4);
    up(4);
    EXPECT_TRUE(intr());
}

TEST_F(PicTest, Cascade) {
    up(10);
    EXPECT_TRUE(intr());
    EXPECT_EQ(ack(), 0x3A);
    EXPECT_EQ(isr(0), 0x04);
    EXPECT_EQ(isr(2), 0x04);
    up(8);  // higher within the slave, but the master holds it back
    EXPECT_FALSE(intr());
    out(2, 0x20);
    out(0, 0x20);
    EXPECT_TRUE(intr());
    EXPECT_EQ(ack(), 0x38);
    up(2);  // the cascade input is not a pin
    EXPECT_EQ(irr(0) & 4, 0);
}

TEST_F(PicTest, SpecialFullyNestedLetsTheSlaveNest) {
    init(0x11, 0x01);
    up(10);
    EXPECT_EQ(ack(), 0x3A);
    up(8);
    EXPECT_TRUE(intr());
    EXPECT_EQ(ack(), 0x38);
}

TEST_F(PicTest, SpuriousRequests) {
    up(5);
    down(5);
    EXPECT_FALSE(intr());
    EXPECT_EQ(ack(), 0x37);
    EXPECT_EQ(isr(0), 0);
    up(11);
    up(12);
    EXPECT_EQ(ack(), 0x3B);
    out(2, 0x20);
    out(0, 0x20);
    // The slave's request goes away while the master is being acknowledged: masked between.
    EXPECT_TRUE(intr());
    down(12);
    EXPECT_EQ(ack(), 0x37);
}

TEST_F(PicTest, AutoEoiAndRotation) {
    init(0x03, 0x01);
    up(3);
    EXPECT_EQ(ack(), 0x33);
    EXPECT_EQ(isr(0), 0);
    out(0, 0x80);  // rotate in automatic EOI
    down(3);
    up(3);
    EXPECT_EQ(ack(), 0x33);
    up(4);
    down(3);
    up(3);
    EXPECT_EQ(ack(), 0x34) << "3 has the lowest priority now";
    EXPECT_EQ(ack(), 0x33);
}

TEST_F(PicTest, RotateAndSetPriority) {
    out(0, 0xC3);  // 3 lowest, 4 highest
    up(1);
    up(5);
    EXPECT_EQ(ack(), 0x35);
    out(0, 0xA0);  // rotate on non-specific EOI: 5 lowest
    EXPECT_EQ(isr(0), 0);
    up(6);
    EXPECT_EQ(ack(), 0x36);
    out(0, 0xE6);  // rotate on specific EOI: 6 lowest
    EXPECT_EQ(ack(), 0x31);
}

TEST_F(PicTest, SpecialMaskMode) {
    up(1);
    EXPECT_EQ(ack(), 0x31);
    up(4);
    EXPECT_FALSE(intr());
    out(1, 0x02);
    out(0, 0x68);
    EXPECT_TRUE(intr()) << "only input 1 itself is held back";
    EXPECT_EQ(ack(), 0x34);
    out(0, 0x48);
}

TEST_F(PicTest, Poll) {
    out(0, 0x0C);
    EXPECT_EQ(in(0), 0x00);
    up(6);
    out(0, 0x0C);
    EXPECT_EQ(in(0), 0x86);
    EXPECT_EQ(isr(0), 0x40);
    EXPECT_FALSE(intr());
}

TEST_F(PicTest, LevelTriggeredInputs) {
    out(4, 0xFF);
    out(5, 0xFF);
    EXPECT_EQ(in(4), 0xF8);
    EXPECT_EQ(in(5), 0xDE);
    up(11);
    EXPECT_EQ(ack(), 0x3B);
    out(2, 0x20);
    out(0, 0x20);
    EXPECT_TRUE(intr()) << "still asserted";
    down(11);
    EXPECT_FALSE(intr());
}

TEST_F(PicTest, InitClearsMaskAndRequests) {
    up(3);
    out(1, 0xFF);
    out(0, 0x11);
    EXPECT_EQ(in(1), 0);
    out(1, 0x50);
    out(1, 4);
    out(1, 1);
    EXPECT_EQ(irr(0), 0) << "a new edge is wanted";
    down(3);
    up(3);
    EXPECT_EQ(ack(), 0x53);
}

}  // namespace
}  // namespace droste::test
