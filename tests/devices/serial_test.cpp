// SPDX-License-Identifier: Apache-2.0
// The 16550A as drivers use it.
#include <gtest/gtest.h>

#include "devices/serial/serial.h"
#include "fakes.h"

namespace droste::test {
namespace {

enum : u64 { data, ier, iir, lcr, mcr, lsr, msr, scr, fcr = 2 };

class SerialTest : public ::testing::Test {
protected:
    explicit SerialTest(Transmit transmit = Transmit::instant)
        : serial(clock.queue, clock, wires.line(4), text, transmit) {
        serial.reset();
        out(mcr, 0x0B);  // OUT2 connects the interrupt
    }
    void out(u64 port, u8 v) { serial.write(port, Width::byte, v); }
    u8 in(u64 port) { return static_cast<u8>(serial.read(port, Width::byte)); }
    bool irq() const { return wires.level(4); }
    /// Time of `n` characters at 115200 8n1, with a little more.
    static Time characters(double n) { return static_cast<Time>(n * 10 / 115200 * 2e9 + 100); }
    void set_115200() {
        out(lcr, 0x83);
        out(0, 1);
        out(1, 0);
        out(lcr, 0x03);
    }

    Clock clock;
    Wires wires;
    Text text;
    Serial serial;
};
class TimedSerialTest : public SerialTest {
protected:
    TimedSerialTest() : SerialTest(Transmit::timed) { set_115200(); }
};

TEST_F(SerialTest, ResetValues) {
    serial.reset();
    EXPECT_EQ(in(ier), 0);
    EXPECT_EQ(in(iir), 0x01);
    EXPECT_EQ(in(lcr), 0);
    EXPECT_EQ(in(mcr), 0);
    EXPECT_EQ(in(lsr), 0x60);
    EXPECT_EQ(in(msr), 0xB0);
}

TEST_F(SerialTest, BanksAndScratch) {
    out(lcr, 0x80);
    out(0, 0x34);
    out(1, 0x12);
    EXPECT_EQ(serial.read(0, Width::word), 0x1234u);
    out(lcr, 0x03);
    EXPECT_EQ(in(ier), 0);
    out(ier, 0xFF);
    EXPECT_EQ(in(ier), 0x0F);
    out(scr, 0xA5);
    EXPECT_EQ(in(scr), 0xA5);
    EXPECT_TRUE(text.text.empty());
}

TEST_F(SerialTest, PolledOutput) {
    for (char c : std::string("hello")) {
        EXPECT_EQ(in(lsr) & 0x60, 0x60);
        out(data, static_cast<u8>(c));
    }
    EXPECT_EQ(text.text, "hello");
    EXPECT_FALSE(irq());
}

// The start-up test of Linux' 8250 driver: enabling the interrupt while THR is empty raises it each time.
TEST_F(SerialTest, ThrEmptyIsRaisedByEnabling) {
    for (int i = 0; i < 2; ++i) {
        out(ier, 0x02);
        EXPECT_TRUE(irq());
        EXPECT_EQ(in(iir), 0x02);
        EXPECT_FALSE(irq()) << "reading IIR acknowledges";
        EXPECT_EQ(in(iir), 0x01);
        out(ier, 0);
    }
    out(ier, 0x02);
    EXPECT_EQ(in(lsr) & 0x40, 0x40);
    EXPECT_EQ(in(iir), 0x02);
}

TEST_F(SerialTest, EachWriteMakesAnEdge) {
    out(ier, 0x02);
    unsigned rises = wires.rises[4];
    out(data, 'a');
    EXPECT_EQ(wires.rises[4], rises + 1) << "not acknowledged: falls and rises";
    in(iir);
    out(data, 'b');
    EXPECT_EQ(wires.rises[4], rises + 2);
    EXPECT_EQ(text.text, "ab");
}

TEST_F(SerialTest, FifoDetection) {
    EXPECT_EQ(in(iir) & 0xC0, 0);
    out(fcr, 0x01);
    EXPECT_EQ(in(iir), 0xC1);
    out(fcr, 0x00);
    EXPECT_EQ(in(iir), 0x01);
    // Neither a 16650 nor a 16750 nor National's high-speed part is to be found.
    out(fcr, 0x01);
    out(lcr, 0xBF);
    EXPECT_NE(in(2), 0);
    out(lcr, 0x80);
    out(fcr, 0x21);
    EXPECT_EQ(in(iir) & 0x20, 0);
}

TEST_F(SerialTest, LoopbackOfModemLines) {
    out(mcr, 0x1A);  // LOOP, OUT2, RTS
    EXPECT_EQ(in(msr) & 0xF0, 0x90);
    out(mcr, 0x15);  // LOOP, OUT1, DTR
    EXPECT_EQ(in(msr) & 0xF0, 0x60);
    out(mcr, 0x10);
    EXPECT_EQ(in(msr), 0x06) << "DSR changed, RI fell";
    EXPECT_EQ(in(msr), 0x00);
    out(mcr, 0x00);
    EXPECT_EQ(in(msr) & 0xF0, 0xB0);
}

TEST_F(SerialTest, LoopbackOfData) {
    out(mcr, 0x1B);
    out(data, 0x5A);
    EXPECT_TRUE(text.text.empty());
    EXPECT_EQ(in(lsr) & 1, 1);
    EXPECT_EQ(in(data), 0x5A);
    EXPECT_EQ(serial.room(), 0u);
    EXPECT_FALSE(serial.receive('x'));
    EXPECT_EQ(in(lsr) & 1, 0);
    out(ier, 0x0F);
    EXPECT_FALSE(irq()) << "OUT2 is off its pin";
}

TEST_F(SerialTest, ReceiveWithoutFifo) {
    out(ier, 0x05);
    EXPECT_EQ(serial.room(), 1u);
    EXPECT_TRUE(serial.receive('a'));
    EXPECT_TRUE(irq());
    EXPECT_EQ(in(iir), 0x04);
    EXPECT_FALSE(serial.receive('b'));
    EXPECT_EQ(in(iir), 0x06) << "the line status comes first";
    EXPECT_EQ(in(lsr), 0x63);
    EXPECT_EQ(in(lsr), 0x61);
    EXPECT_EQ(in(data), 'b');
    EXPECT_FALSE(irq());
}

TEST_F(SerialTest, TriggerLevels) {
    const struct { u8 fcr; unsigned level; } rows[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xC1, 14}};
    out(ier, 0x01);
    for (const auto& r : rows) {
        out(fcr, r.fcr | 2);
        for (unsigned i = 1; i <= 16; ++i) {
            EXPECT_EQ(serial.room(), 17 - i);
            EXPECT_TRUE(serial.receive(static_cast<u8>(i)));
            EXPECT_EQ(irq(), i >= r.level) << r.level << " " << i;
        }
        EXPECT_FALSE(serial.receive(99));
        EXPECT_EQ(in(lsr) & 2, 2);
        for (unsigned i = 1; i <= 16; ++i) EXPECT_EQ(in(data), i);
        EXPECT_FALSE(irq());
        EXPECT_EQ(in(lsr) & 1, 0);
    }
}

TEST_F(SerialTest, CharacterTimeout) {
    set_115200();
    out(ier, 0x01);
    out(fcr, 0x81);
    serial.receive('x');
    clock.run_for(characters(3));
    EXPECT_FALSE(irq());
    serial.receive('y');
    clock.run_for(characters(3.9));
    EXPECT_FALSE(irq());
    clock.run_for(characters(0.2));
    EXPECT_TRUE(irq());
    EXPECT_EQ(in(iir), 0xCC);
    EXPECT_EQ(in(data), 'x');
    EXPECT_FALSE(irq()) << "a read starts the timeout again";
    clock.run_for(characters(4.1));
    EXPECT_EQ(in(iir), 0xCC);
    EXPECT_EQ(in(data), 'y');
    EXPECT_EQ(in(iir), 0xC1);
    EXPECT_EQ(clock.queue.next(), never);
}

TEST_F(SerialTest, BreakAndItsPlaceInTheFifo) {
    out(fcr, 0x01);
    serial.receive('a');
    serial.receive_break();
    EXPECT_EQ(in(lsr) & 0x90, 0x80) << "somewhere in the FIFO";
    in(data);
    EXPECT_EQ(in(lsr) & 0x90, 0x90) << "at its top";
    EXPECT_EQ(in(lsr) & 0x90, 0x00);
    EXPECT_EQ(in(data), 0);
}

TEST_F(SerialTest, PrioritiesOfInterrupts) {
    out(ier, 0x0F);
    serial.set_modem_inputs(0);
    serial.receive('a');
    serial.receive('b');
    EXPECT_EQ(in(iir), 0x06);
    in(lsr);
    EXPECT_EQ(in(iir), 0x04);
    in(data);
    EXPECT_EQ(in(iir), 0x02);
    EXPECT_EQ(in(iir), 0x00);
    EXPECT_EQ(in(msr), 0x0B);
    EXPECT_EQ(in(iir), 0x01);
    EXPECT_FALSE(irq());
}

TEST_F(SerialTest, Out2GatesTheInterrupt) {
    out(mcr, 0x03);
    out(ier, 0x02);
    EXPECT_FALSE(irq());
    out(mcr, 0x0B);
    EXPECT_TRUE(irq());
}

TEST_F(TimedSerialTest, BytesTakeTheirTime) {
    out(ier, 0x02);
    in(iir);
    out(data, 'a');
    EXPECT_EQ(in(lsr) & 0x60, 0x20) << "in the shift register";
    EXPECT_EQ(in(iir), 0x02);
    out(data, 'b');
    EXPECT_EQ(in(lsr) & 0x60, 0x00);
    EXPECT_FALSE(irq());
    clock.run_for(characters(1));
    EXPECT_EQ(text.text, "a");
    EXPECT_TRUE(irq());
    EXPECT_EQ(in(lsr) & 0x60, 0x20);
    clock.run_for(characters(1));
    EXPECT_EQ(text.text, "ab");
    EXPECT_EQ(in(lsr) & 0x60, 0x60);
}

TEST_F(TimedSerialTest, FifoDrains) {
    out(fcr, 0x01);
    for (int i = 0; i < 16; ++i) out(data, static_cast<u8>('a' + i));
    clock.run_for(characters(15.5));
    EXPECT_EQ(text.text.size(), 15u);
    clock.run_for(characters(1));
    EXPECT_EQ(text.text, "abcdefghijklmnop");
}

}  // namespace
}  // namespace droste::test
