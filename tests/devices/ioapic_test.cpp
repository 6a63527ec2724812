// SPDX-License-Identifier: Apache-2.0
// The I/O APIC: indirect registers, edges, levels with remote IRR, EOI.
#include <gtest/gtest.h>

#include "devices/ioapic/ioapic.h"
#include "devices/local_apic/local_apic.h"
#include "fakes.h"

namespace droste::test {
namespace {

class IoApicTest : public ::testing::Test {
protected:
    IoApicTest() {
        apic.reset();
        apic.write(0xF0, Width::dword, 0x1FF);
        io.reset();
    }
    u32 get(u8 index) {
        io.write(0, Width::dword, index);
        return static_cast<u32>(io.read(0x10, Width::dword));
    }
    void set(u8 index, u32 value) {
        io.write(0, Width::dword, index);
        io.write(0x10, Width::dword, value);
    }
    void route(unsigned pin, u32 low, u32 high = 0) {
        set(static_cast<u8>(0x11 + 2 * pin), high);
        set(static_cast<u8>(0x10 + 2 * pin), low);
    }
    bool remote_irr(unsigned pin) { return bit(get(static_cast<u8>(0x10 + 2 * pin)), 14); }
    u8 take() {
        const u8 v = apic.acknowledge();
        return v;
    }
    void eoi() { apic.write(0xB0, Width::dword, 0); }

    Clock clock;
    ApicBus bus;
    Pins pins;
    LocalApic apic{{}, bus, clock.queue, clock, pins};
    IoApic io{bus, 3};
};

TEST_F(IoApicTest, Registers) {
    EXPECT_EQ(get(0), 3u << 24);
    EXPECT_EQ(get(1), 0x0017'0020u);
    set(0, 0xFFFF'FFFF);
    EXPECT_EQ(get(0), 0x0F00'0000u);
    for (unsigned pin = 0; pin < 24; ++pin) {
        EXPECT_EQ(get(static_cast<u8>(0x10 + 2 * pin)), 1u << 16);
        EXPECT_EQ(get(static_cast<u8>(0x11 + 2 * pin)), 0u);
    }
    route(5, 0xFFFF'FFFF, 0xFFFF'FFFF);
    EXPECT_EQ(get(0x1A), 0x1'AFFFu);
    EXPECT_EQ(get(0x1B), 0xFF00'0000u);
    EXPECT_EQ(get(0x40), 0u);  // beyond the last entry
    io.write(0, Width::dword, 0x1A);
    EXPECT_EQ(io.read(0, Width::dword), 0x1Au);
}

TEST_F(IoApicTest, Edges) {
    io.set_level(4, true);  // masked: lost
    route(4, 0x34);
    EXPECT_FALSE(apic.interrupt_pending());
    io.set_level(4, true);
    EXPECT_FALSE(apic.interrupt_pending()) << "no edge";
    io.set_level(4, false);
    io.set_level(4, true);
    EXPECT_EQ(take(), 0x34);
    EXPECT_FALSE(remote_irr(4));
    eoi();
    EXPECT_FALSE(apic.interrupt_pending());
}

TEST_F(IoApicTest, Levels) {
    route(9, 0x8039);
    io.set_level(9, true);
    EXPECT_TRUE(remote_irr(9));
    EXPECT_EQ(take(), 0x39);
    EXPECT_FALSE(apic.interrupt_pending());
    eoi();
    EXPECT_EQ(take(), 0x39) << "still asserted";
    EXPECT_TRUE(remote_irr(9));
    io.set_level(9, false);
    eoi();
    EXPECT_FALSE(remote_irr(9));
    EXPECT_FALSE(apic.interrupt_pending());
    route(9, 0x1'8039);
    io.set_level(9, true);
    EXPECT_FALSE(apic.interrupt_pending());
    route(9, 0x8039);  // unmasked while asserted
    EXPECT_TRUE(apic.interrupt_pending());
}

TEST_F(IoApicTest, DirectedEoi) {
    apic.write(0xF0, Width::dword, 0x11FF);  // no broadcast
    route(9, 0x8039);
    io.set_level(9, true);
    take();
    eoi();
    io.set_level(9, false);
    EXPECT_TRUE(remote_irr(9));
    io.write(0x40, Width::dword, 0x38);
    EXPECT_TRUE(remote_irr(9));
    io.write(0x40, Width::dword, 0x39);
    EXPECT_FALSE(remote_irr(9));
    io.set_level(9, true);
    EXPECT_TRUE(remote_irr(9));
    io.set_level(9, false);
    route(9, 0x1'0039);  // the older way: to edge and back
    route(9, 0x8039);
    EXPECT_FALSE(remote_irr(9));
}

TEST_F(IoApicTest, NobodyAcceptsNobodyOwes) {
    route(9, 0x8039, 0x0700'0000);
    io.set_level(9, true);
    EXPECT_FALSE(remote_irr(9));
    route(9, 0x8039, 0);
    EXPECT_TRUE(remote_irr(9));
}

TEST_F(IoApicTest, OtherDeliveryModes) {
    route(1, 0x400);
    io.set_level(1, true);
    EXPECT_EQ(pins.nmis, 1u);
    io.set_level(0, true);
    route(0, 0x700);  // ExtINT, already asserted
    EXPECT_TRUE(apic.interrupt_pending());
}

}  // namespace
}  // namespace droste::test
