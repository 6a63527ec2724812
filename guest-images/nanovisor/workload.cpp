// SPDX-License-Identifier: Apache-2.0
// One function a kind of exit; RDTSC before and after, the median of all.
#include "workload.h"

#include "console.h"
#include "own_controls.h"

namespace nano {

namespace {

constexpr unsigned most = 512;
u64 samples[most];

// Ends at R15, where the hypervisor goes on after the exception that `instruction` causes.
#define NANO_FAULT(instruction) asm volatile("lea 1f(%%rip), %%r15\n" instruction "\n1:" : : "a"(0x8000000000000000), "d"(1ull << 40) : "r15", "memory")

void cause(unsigned kind, unsigned i, u64 fresh)
{
    switch (kind) {
    case 0: asm volatile("vmcall" : : "a"(0) : "memory"); return;
    case 1: cpuid(0); return;
    case 2: rdmsr(msr::feature_control); return;
    case 3: wrmsr(msr::bios_signature, 0); return;
    case 4: out8(test_port, 0); return;
    case 5: in8(test_port); return;
    case 6: asm volatile("hlt"); return;
    case 7: write_cr4(read_cr4() ^ cr4_vmxe); return;
    case 8: NANO_FAULT("ud2"); return;
    case 9: NANO_FAULT("mov (%%rax), %%rax"); return;  // not canonical
    case 10: NANO_FAULT("mov (%%rdx), %%rax"); return; // not mapped
    default: at<volatile u8>(fresh + i * page_size) = 1; return;
    }
}

u64 median(unsigned n)
{
    for (unsigned i = 1; i < n; ++i)
        for (unsigned k = i; k > 0 && samples[k - 1] > samples[k]; --k) {
            const u64 t = samples[k];
            samples[k] = samples[k - 1];
            samples[k - 1] = t;
        }
    return samples[n / 2];
}

} // namespace

void run_workload(const Options& o, u64 fresh)
{
    const unsigned n = o.iterations == 0 ? 1 : o.iterations > most ? most : o.iterations;
    for (unsigned kind = 0; kind < workload_count; ++kind) {
        if (!(o.workload >> kind & 1) || (o.level == 0 && workloads[kind].needs_hypervisor)) continue;
        if (o.level != o.depth && workloads[kind].needs_hypervisor && kind >= 8) continue; // intercepted for the deepest alone
        cause(kind, 0, fresh); // what happens only once
        for (unsigned i = 0; i < n; ++i) {
            const u64 before = rdtsc();
            cause(kind, i + 1 < most ? i + 1 : i, fresh);
            samples[i] = rdtsc() - before;
        }
        number(o.level);
        put(' ');
        text(workloads[kind].name);
        put(' ');
        number(n);
        put(' ');
        number(median(n));
        end_line();
    }
}

} // namespace nano
