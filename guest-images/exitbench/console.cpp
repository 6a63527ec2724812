// SPDX-License-Identifier: Apache-2.0
// The UART driven by polling, and the power-off registers of the known machines.
#include "console.h"

namespace exitbench {

namespace {

constexpr u16 com1 = 0x3f8;
constexpr u16 fifo_control = com1 + 2, line_control = com1 + 3, modem_control = com1 + 4, line_status = com1 + 5;
constexpr u8 holding_empty = 0x20, transmitter_empty = 0x40;

// A UART that never gets ready must not hang the guest.
constexpr unsigned poll_limit = 1'000'000;

void wait_for(u8 status)
{
    for (unsigned i = 0; i < poll_limit && !(in8(line_status) & status); ++i) pause();
}

} // namespace

Console::Console()
{
    out8(com1 + 1, 0);              // interrupts off
    out8(line_control, 0x83);       // DLAB
    out8(com1 + 0, 1);              // 115200 baud
    out8(com1 + 1, 0);
    out8(line_control, 0x03);       // 8N1
    out8(fifo_control, 0x07);
    out8(modem_control, 0x03);
    if ((in8(fifo_control) & 0xc0) == 0xc0) burst_ = 16; // a 16550A: an empty holding register means 16 free places
}

void Console::put(char c)
{
    if (length_ < sizeof line_) line_[length_++] = c;
}

void Console::text(const char* words)
{
    while (*words) put(*words++);
}

void Console::number(u64 value)
{
    char digits[20];
    unsigned n = 0;
    do digits[n++] = char('0' + value % 10);
    while (value /= 10);
    while (n) put(digits[--n]);
}

void Console::hex(u64 value)
{
    text("0x");
    int shift = 60;
    while (shift && !(value >> shift)) shift -= 4;
    for (; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}

void Console::end_line()
{
    put('\r');
    put('\n');
    for (unsigned i = 0; i < length_; ++i) {
        if (i % burst_ == 0) wait_for(holding_empty);
        out8(com1, u8(line_[i]));
    }
    length_ = 0;
}

void Console::drain() const { wait_for(transmitter_empty); }

void power_off(const Console& console)
{
    console.drain();
    out16(0x604, 0x2000);           // ACPI PM1a control: SLP_EN with SLP_TYP 0 (QEMU pc and q35, Droste)
    store8(0xfea00200, 0x34);       // sleep control of QEMU microvm's generic event device: SLP_EN, SLP_TYP 5
    out8(0xcf9, 0x02);              // from here on resets, which end a machine started with -no-reboot
    out8(0xcf9, 0x06);
    out8(0x64, 0xfe);               // 8042: pulse the reset line
    struct [[gnu::packed]] {
        u16 limit = 0;
        u64 base = 0;
    } no_idt;
    asm volatile("lidt %0; int3" : : "m"(no_idt)); // triple fault
    for (;;) asm volatile("cli; hlt");
}

} // namespace exitbench
