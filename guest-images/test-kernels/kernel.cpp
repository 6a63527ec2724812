// SPDX-License-Identifier: Apache-2.0
// The part of a test kernel that is the same in all.
#include "kernel.h"

namespace kernel {

namespace {

constexpr u16 com1 = 0x3f8, debug_exit = 0xf4;
constexpr u32 multiboot_magic = 0x2badb002, has_command_line = 4;
constexpr u64 local_apic = 0xfee00000, end_of_interrupt = 0xb0;

struct MultibootInfo {
    u32 flags, mem_lower, mem_upper, boot_device, command_line, modules, module_list;
};

struct [[gnu::packed]] Gate {
    u16 offset_low, selector;
    u8 stack, type;
    u16 offset_mid;
    u32 offset_high, reserved;
};

struct Frame;

Gate idt[256];
const char* command_line = "";
bool failed = false;
volatile u32 interrupts = 0;

void put(char c)
{
    while (!(in8(com1 + 5) & 0x20)) {}
    out8(com1, static_cast<u8>(c));
}

void set_gate(u8 vector, void* handler)
{
    const u64 at = reinterpret_cast<u64>(handler);
    idt[vector] = {u16(at), 0x08, 0, 0x8e, u16(at >> 16), u32(at >> 32), 0};
}

[[gnu::interrupt]] void on_interrupt(Frame*)
{
    interrupts = interrupts + 1;
    store<u32>(local_apic + end_of_interrupt, 0);
}

// An exception that nobody expects. One function for all vectors: its number is not known, its address is.
[[gnu::interrupt]] void on_exception(Frame* frame)
{
    print("FAIL: unexpected exception at ");
    print_hex(reinterpret_cast<u64*>(frame)[0]);
    print("\n");
    exit(2);
}

} // namespace

void print(const char* text)
{
    while (*text) put(*text++);
}

void print_hex(u64 v)
{
    print("0x");
    bool started = false;
    for (int shift = 60; shift >= 0; shift -= 4) {
        const unsigned digit = v >> shift & 15;
        started = started || digit != 0 || shift == 0;
        if (started) put("0123456789abcdef"[digit]);
    }
}

bool check(bool holds, const char* what)
{
    print(holds ? "PASS: " : "FAIL: ");
    print(what);
    print("\n");
    failed = failed || !holds;
    return holds;
}

bool check_equal(u64 found, u64 expected, const char* what)
{
    if (found != expected) {
        print("found ");
        print_hex(found);
        print(", expected ");
        print_hex(expected);
        print("\n");
    }
    return check(found == expected, what);
}

const char* arguments()
{
    const char* at = command_line;
    while (*at && *at != ' ') ++at;
    while (*at == ' ') ++at;
    return at;
}

bool argument_is(const char* word)
{
    const char* at = arguments();
    while (*word && *word == *at) ++word, ++at;
    return !*word && (!*at || *at == ' ');
}

void exit(u32 code)
{
    out32(debug_exit, code);
    for (;;) asm volatile("cli; hlt");
}

void skip(const char* why)
{
    print("SKIP: ");
    print(why);
    print("\n");
    exit(77);
}

void handle_interrupt(u8 vector) { set_gate(vector, reinterpret_cast<void*>(&on_interrupt)); }
u32 interrupts_seen() { return interrupts; }

u64 firmware_item(u16 key, unsigned bytes)
{
    u64 v = 0;
    out16(0x510, key);
    for (unsigned i = 0; i < bytes; ++i) v |= u64(in8(0x511)) << (8 * i);
    return v;
}

extern "C" [[noreturn]] void boot_main(u32 magic, const MultibootInfo* info)
{
    for (unsigned v = 0; v < 32; ++v) set_gate(static_cast<u8>(v), reinterpret_cast<void*>(&on_exception));
    const struct [[gnu::packed]] {
        u16 limit;
        const void* base;
    } pointer{sizeof idt - 1, idt};
    asm volatile("lidt %0" : : "m"(pointer));
    if (magic == multiboot_magic && (info->flags & has_command_line))
        command_line = reinterpret_cast<const char*>(u64(info->command_line));
    check(magic == multiboot_magic, "started by a multiboot loader");
    main();
    print(failed ? "FAILED\n" : "ok\n");
    exit(failed ? 1 : 0);
}

extern "C" [[gnu::weak]] void processor_main(u32) {}

} // namespace kernel

// The compiler may call these whatever the flags say.
extern "C" void* memset(void* to, int value, unsigned long size)
{
    auto* p = static_cast<volatile kernel::u8*>(to);
    for (unsigned long i = 0; i < size; ++i) p[i] = static_cast<kernel::u8>(value);
    return to;
}
extern "C" void* memcpy(void* to, const void* from, unsigned long size)
{
    auto* p = static_cast<volatile kernel::u8*>(to);
    for (unsigned long i = 0; i < size; ++i) p[i] = static_cast<const kernel::u8*>(from)[i];
    return to;
}
