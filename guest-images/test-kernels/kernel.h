// SPDX-License-Identifier: Apache-2.0
// What all test kernels share: ports, memory, registers, COM1, checks, and the way out.
#pragma once

#include <initializer_list>
#include <stdint.h>

namespace kernel {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

inline u8 in8(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
inline u16 in16(u16 port)
{
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
inline u32 in32(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
inline void out8(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory"); }
inline void out16(u16 port, u16 v) { asm volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory"); }
inline void out32(u16 port, u32 v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory"); }

template <class T> T load(u64 address) { return *reinterpret_cast<volatile T*>(address); }
template <class T> void store(u64 address, T v) { *reinterpret_cast<volatile T*>(address) = v; }

inline u64 rdmsr(u32 msr)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return low | u64(high) << 32;
}
inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"(u32(v)), "d"(u32(v >> 32)) : "memory");
}
inline u64 rdtsc()
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return low | u64(high) << 32;
}
inline void pause() { asm volatile("pause" : : : "memory"); }

void print(const char* text);
void print_hex(u64 v);

// Prints PASS or FAIL with the words; the kernel fails when any check does.
bool check(bool holds, const char* what);
bool check_equal(u64 found, u64 expected, const char* what);

// The kernel's arguments: the command line behind the file's name.
const char* arguments();
bool argument_is(const char* word);
// Debug-exit code 77: cannot be tested here.
[[noreturn]] void skip(const char* why);
[[noreturn]] void exit(u32 code);

// An 8-bit vector's interrupts count; they are acknowledged at the local APIC.
void handle_interrupt(u8 vector);
u32 interrupts_seen();

// A firmware configuration item (key), little-endian.
u64 firmware_item(u16 key, unsigned bytes);

// A test kernel's own part.
void main();

} // namespace kernel
