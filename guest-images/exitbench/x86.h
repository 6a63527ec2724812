// SPDX-License-Identifier: Apache-2.0
// The instructions that C++ has no words for, one function each.
#pragma once

#include <stdint.h>

namespace exitbench {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

struct CpuidLeaf {
    u32 eax, ebx, ecx, edx;
};

inline CpuidLeaf cpuid(u32 leaf)
{
    CpuidLeaf r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
    return r;
}

inline u64 rdmsr(u32 msr)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return low | u64(high) << 32;
}

inline void wrmsr(u32 msr, u64 value)
{
    asm volatile("wrmsr" : : "c"(msr), "a"(u32(value)), "d"(u32(value >> 32)) : "memory");
}

inline u8 in8(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

inline void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline void out16(u16 port, u16 value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

inline u32 load32(u64 address)
{
    u32 value;
    asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
    return value;
}

// A plain MOV, since a hypervisor that emulates the access knows that form best.
inline void store32(u64 address, u32 value) { asm volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory"); }
inline void store8(u64 address, u8 value) { asm volatile("movb %0, (%1)" : : "q"(value), "r"(address) : "memory"); }

inline u64 rdtsc()
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return low | u64(high) << 32;
}

// RDTSC that neither overtakes what stands before it nor lets pass what stands behind it (SDM "RDTSC").
inline u64 fenced_tsc()
{
    asm volatile("lfence" : : : "memory");
    const u64 tsc = rdtsc();
    asm volatile("lfence" : : : "memory");
    return tsc;
}

inline void interrupts_on() { asm volatile("sti; nop" : : : "memory"); }
inline void interrupts_off() { asm volatile("cli" : : : "memory"); }
// STI's shadow keeps the interrupt away until HLT has begun, so none is missed.
inline void wait_for_interrupt() { asm volatile("sti; hlt; cli" : : : "memory"); }
inline void pause() { asm volatile("pause"); }

} // namespace exitbench
