// SPDX-License-Identifier: Apache-2.0
// Measures, inside the guest, what each kind of exit costs there: one line `exitbench NAME MEDIAN_CYCLES` a kind.
#include "console.h"
#include "interrupts.h"
#include "memory.h"

using namespace exitbench;

namespace {

constexpr unsigned repetitions = 101, warm_ups = 4;

// What the measurements share: what was found out about the machine, and about earlier measurements.
struct Bench {
    InterruptState& interrupts;
    Range memory;
    bool small_pages;                    // the host backs memory with 4 KiB pages
    u64 fresh_page = 0, page_stride = 0; // ept_fault's next page
    u64 misc_enable = 0;
    u64 idle_time = 0;                   // hlt_wake: cycles from arming to the deadline
    u64 timer_cost = 0;
    bool hypercall_faults = false;
};

template <typename F>
u64 timed(F f)
{
    const u64 begin = fenced_tsc();
    f();
    return fenced_tsc() - begin;
}

constexpr u8 invalid_opcode = 6, general_protection = 13;
constexpr u64 lost = ~0ull; // a repetition whose interrupt did not come

// KVM_HC_VAPIC_POLL_IRQ: does nothing and returns 0. Where the CPU knows no VMCALL it raises #UD, and the round trip
// to the handler is what is measured; KVM on AMD rewrites the instruction as VMMCALL at its first fault.
u64 hypercall(Bench&)
{
    return timed([] {
        u64 number = 1;
        asm volatile("vmcall" : "+a"(number) : : "memory");
    });
}

const char* prepare_hypercall(Bench& bench)
{
    bench.hypercall_faults = !survives(invalid_opcode, 3, [&] { hypercall(bench); });
    bench.interrupts.expected_vector = invalid_opcode;
    bench.interrupts.expected_length = bench.hypercall_faults ? 3 : 0;
    return nullptr;
}

u64 measure_cpuid(Bench&)
{
    return timed([] { cpuid(0); });
}

// IA32_MISC_ENABLE: exists on every Intel CPU, and no hypervisor passes it through. Written with its own value.
const char* prepare_msr(Bench& bench)
{
    const bool exists = survives(general_protection, 2, [&] { bench.misc_enable = rdmsr(msr::misc_enable); });
    return exists ? nullptr : "#GP from IA32_MISC_ENABLE";
}

u64 measure_rdmsr(Bench&)
{
    return timed([] { rdmsr(msr::misc_enable); });
}

const char* prepare_wrmsr(Bench& bench)
{
    if (const char* reason = prepare_msr(bench)) return reason;
    const bool accepted = survives(general_protection, 2, [&] { wrmsr(msr::misc_enable, bench.misc_enable); });
    return accepted ? nullptr : "#GP from writing IA32_MISC_ENABLE";
}

u64 measure_wrmsr(Bench& bench)
{
    return timed([&] { wrmsr(msr::misc_enable, bench.misc_enable); });
}

// The mask register of the first 8259: every PC has it, KVM emulates it in the kernel, and 0xff is already there.
// (Port 0x80 would leave the kernel for QEMU; `notify` measures that way.)
constexpr u16 pic_mask = 0x21;

u64 measure_in(Bench&)
{
    return timed([] { in8(pic_mask); });
}

u64 measure_out(Bench&)
{
    return timed([] { out8(pic_mask, 0xff); });
}

// QueueNotify of the first virtio-mmio transport of QEMU's microvm. Elsewhere a hole, which swallows the store.
constexpr u64 queue_notify = 0xfeb00000 + 0x50;

u64 measure_notify(Bench&)
{
    return timed([] { store32(queue_notify, 0); });
}

// Arms the timer for a moment that never comes.
u64 measure_timer(Bench& bench)
{
    const LocalApic& apic = bench.interrupts.apic;
    if (apic.has_deadline()) {
        const u64 far = rdtsc() + (1ull << 40);
        return timed([&] { apic.arm_timer(far); });
    }
    return timed([&] { apic.arm_counter(0xffff'ffff); });
}

void stop_timer(Bench& bench)
{
    const LocalApic& apic = bench.interrupts.apic;
    if (apic.has_deadline()) apic.arm_timer(0);
    else apic.arm_counter(0);
}

// Runs `trigger` and waits for its interrupt, awake: cycles to the first instruction of the handler.
template <typename F>
u64 until_interrupt(const Bench& bench, F trigger)
{
    constexpr unsigned patience = 10'000'000;
    const u32 before = bench.interrupts.interrupts;
    interrupts_on();
    const u64 begin = fenced_tsc();
    trigger();
    for (unsigned i = 0; i < patience && bench.interrupts.interrupts == before; ++i) pause();
    interrupts_off();
    return bench.interrupts.interrupts == before ? lost : bench.interrupts.last_tsc - begin;
}

// From the write of the interrupt command register to the first instruction of the handler.
u64 measure_self_ipi(Bench& bench)
{
    return until_interrupt(bench, [&] { bench.interrupts.apic.send_self(); });
}

// A store to memory that nobody has touched. The host may back it with 2 MiB pages, so the next fresh page is 2 MiB
// away, unless the command line says small-pages: that the host will not. With little memory there is no choice.
const char* prepare_ept_fault(Bench& bench)
{
    constexpr u64 small = 4096, large = 2u << 20;
    constexpr u64 pages = repetitions + warm_ups;
    bench.fresh_page = (bench.memory.begin + large - 1) & ~(large - 1);
    const Range usable{bench.fresh_page, bench.memory.end};
    bench.page_stride = usable.size() >= pages * large && !bench.small_pages ? large : small;
    return usable.size() >= pages * small ? nullptr : "too little memory";
}

u64 measure_ept_fault(Bench& bench)
{
    const u64 page = bench.fresh_page;
    bench.fresh_page += bench.page_stride;
    return timed([&] { store32(page, 1); });
}

// From the deadline to the first instruction of the handler, the CPU halted in between.
const char* prepare_hlt_wake(Bench& bench)
{
    const LocalApic& apic = bench.interrupts.apic;
    if (!apic.has_deadline()) return "no TSC-deadline timer";
    // A timer that never fires would leave the CPU halted for good.
    if (until_interrupt(bench, [&] { apic.arm_timer(rdtsc() + 1); }) == lost) return "the timer does not fire";
    // Long enough that arming and HLT, whose exits are slow when nested, are over before the deadline.
    bench.idle_time = 100'000 + 20 * bench.timer_cost;
    return nullptr;
}

u64 measure_hlt_wake(Bench& bench)
{
    const u32 before = bench.interrupts.interrupts;
    const u64 deadline = rdtsc() + bench.idle_time;
    bench.interrupts.apic.arm_timer(deadline);
    // Something else may end HLT; the TSC then tells that the deadline is still to come.
    while (bench.interrupts.interrupts == before && rdtsc() < deadline + 100 * bench.idle_time) wait_for_interrupt();
    if (bench.interrupts.interrupts == before) return lost;
    const u64 woken = bench.interrupts.last_tsc;
    return woken > deadline ? woken - deadline : 0;
}

struct Measurement {
    const char* name;
    u64 (*once)(Bench&);
    const char* (*prepare)(Bench&) = nullptr; // a reason to skip it, or null
    void (*finish)(Bench&) = nullptr;
};

constexpr Measurement measurements[] = {
    {"hypercall", hypercall, prepare_hypercall},
    {"cpuid", measure_cpuid},
    {"rdmsr", measure_rdmsr, prepare_msr},
    {"wrmsr", measure_wrmsr, prepare_wrmsr},
    {"in", measure_in},
    {"out", measure_out},
    {"notify", measure_notify},
    {"timer", measure_timer, nullptr, stop_timer},
    {"self_ipi", measure_self_ipi},
    {"ept_fault", measure_ept_fault, prepare_ept_fault},
    {"hlt_wake", measure_hlt_wake, prepare_hlt_wake, stop_timer},
};

u64 median(u64 (&samples)[repetitions])
{
    for (unsigned i = 1; i < repetitions; ++i) {
        const u64 value = samples[i];
        unsigned j = i;
        for (; j && samples[j - 1] > value; --j) samples[j] = samples[j - 1];
        samples[j] = value;
    }
    return samples[repetitions / 2];
}

template <typename F>
u64 median_of(F once)
{
    u64 samples[repetitions];
    for (unsigned i = 0; i < warm_ups; ++i)
        if (once() == lost) return lost;
    for (u64& sample : samples)
        if ((sample = once()) == lost) return lost;
    return median(samples);
}

void run(const Measurement& row, Bench& bench, u64 overhead, Console& console)
{
    console.text("exitbench ");
    console.text(row.name);
    console.text(" ");
    const char* reason = row.prepare ? row.prepare(bench) : nullptr;
    u64 cycles = 0;
    if (!reason) {
        cycles = median_of([&] { return row.once(bench); });
        if (row.finish) row.finish(bench);
        if (cycles == lost) reason = "the interrupt did not come";
    }
    bench.interrupts.expected_length = 0;
    if (reason) {
        console.text("skipped ");
        console.text(reason);
    } else {
        if (row.once == measure_timer) bench.timer_cost = cycles;
        console.number(cycles > overhead ? cycles - overhead : 0);
    }
    console.end_line();
}

} // namespace

extern "C" void main(u32 loader_magic, u32 loader_info)
{
    Console console;
    start_interrupts();
    Bench bench{interrupt_state(), free_memory(loader_magic, loader_info),
                is_asked_for("small-pages", loader_magic, loader_info)};
    const u64 overhead = median_of([] { return timed([] {}); }); // what the time-taking itself costs
    for (const Measurement& row : measurements) run(row, bench, overhead, console);

    console.text("exitbench-note ");
    console.text(bench.interrupts.apic.is_x2apic() ? "x2APIC" : "xAPIC");
    console.text(bench.interrupts.apic.has_deadline() ? ", TSC-deadline timer" : ", timer by initial count");
    console.text(bench.page_stride > 4096 ? ", fresh pages 2 MiB apart" : ", fresh pages 4 KiB apart");
    if (bench.hypercall_faults) console.text(", hypercall is a #UD and its handler");
    console.end_line();
    power_off(console);
}
