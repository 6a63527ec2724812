// SPDX-License-Identifier: Apache-2.0
// smp: starts all other processors and lets each count; the argument is how many there should be.
#include "kernel.h"

namespace kernel {

namespace {

volatile u32 running = 1, sum = 0;
constexpr u64 local_apic = 0xfee00000, icr_low = 0x300, icr_high = 0x310;
constexpr u32 turns = 1000;

void wait(u64 tsc_periods)
{
    const u64 start = rdtsc();
    while (rdtsc() - start < tsc_periods) pause();
}

void send_to_all_others(u32 command)
{
    constexpr u32 all_excluding_self = 3u << 18, delivery_pending = 1u << 12;
    store<u32>(local_apic + icr_low, command | all_excluding_self);
    while (load<u32>(local_apic + icr_low) & delivery_pending) pause();
}

void add_turns()
{
    for (u32 i = 0; i < turns; ++i) asm volatile("lock incl %0" : "+m"(sum));
}

} // namespace

extern "C" char trampoline[], trampoline_end[];

extern "C" void processor_main(u32)
{
    add_turns();
    asm volatile("lock incl %0" : "+m"(running));
}

void main()
{
    u32 wanted = 0;
    for (const char* c = arguments(); *c >= '0' && *c <= '9'; ++c) wanted = wanted * 10 + u32(*c - '0');
    const u32 present = static_cast<u32>(firmware_item(5, 2));
    check_equal(present, wanted, "fw_cfg tells how many processors there are");
    constexpr u64 page = 0x8000;
    for (u64 i = 0; i < u64(trampoline_end - trampoline); ++i) store<u8>(page + i, static_cast<u8>(trampoline[i]));
    store<u32>(local_apic + 0xf0, 0x1ff);
    constexpr u32 init = 0x4500, start_up = 0x4600;
    send_to_all_others(init);
    wait(20'000'000);
    send_to_all_others(start_up | u32(page >> 12));
    add_turns();
    for (u64 start = rdtsc(); running < present && rdtsc() - start < 200'000'000;) pause();
    check_equal(running, present, "all processors ran");
    check_equal(sum, present * turns, "locked additions of all processors");
}

} // namespace kernel
