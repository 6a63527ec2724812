// SPDX-License-Identifier: Apache-2.0
// The UART driven by polling, the debug-exit port, and the IDT whose every gate ends the machine.
#include "console.h"

extern "C" char exception_stubs[], nmi_stub[];
extern "C" void panic_exception(const nano::u64* frame);

namespace nano {

namespace {

constexpr u16 com1 = 0x3f8, line_status = com1 + 5, debug_exit = 0xf4;
constexpr u8 holding_empty = 0x20;
constexpr unsigned poll_limit = 1'000'000; // a UART that never gets ready must not hang this program

unsigned panic_level;

struct [[gnu::packed]] Gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
Gate idt[32];

} // namespace

void put(char c)
{
    for (unsigned i = 0; i < poll_limit && !(in8(line_status) & holding_empty); ++i) {}
    out8(com1, u8(c));
}

void text(const char* words)
{
    while (*words) put(*words++);
}

void number(u64 value)
{
    char digits[20];
    unsigned n = 0;
    do digits[n++] = char('0' + value % 10);
    while (value /= 10);
    while (n) put(digits[--n]);
}

void hex(u64 value)
{
    text("0x");
    int shift = 60;
    while (shift && !(value >> shift)) shift -= 4;
    for (; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}

void end_line() { text("\r\n"); }

void finish(u32 status)
{
    out32(debug_exit, status);
    for (;;) asm volatile("cli; hlt");
}

void panic(const char* why, u64 value)
{
    text("nanovisor level ");
    number(panic_level);
    text(" cannot go on: ");
    text(why);
    put(' ');
    hex(value);
    end_line();
    finish(1);
}

void set_panic_level(unsigned level) { panic_level = level; }

void load_idt()
{
    for (unsigned i = 0; i < 32; ++i) {
        constexpr unsigned nmi = 2;
        const u64 stub = i == nmi ? reinterpret_cast<u64>(nmi_stub) : reinterpret_cast<u64>(exception_stubs) + 16 * i;
        idt[i] = {u16(stub), 0x08, 0, 0x8e, u16(stub >> 16), u32(stub >> 32), 0};
    }
    struct [[gnu::packed]] {
        u16 limit = sizeof idt - 1;
        u64 base = address_of(idt);
    } pointer;
    asm volatile("lidt %0" : : "m"(pointer));
}

} // namespace nano

void panic_exception(const nano::u64* frame)
{
    nano::text("exception ");
    nano::number(frame[0]);
    nano::text(" error ");
    nano::hex(frame[1]);
    nano::text(" rip ");
    nano::hex(frame[2]);
    nano::end_line();
    nano::panic("an exception in the hypervisor", frame[0]);
}
