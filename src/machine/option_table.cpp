// SPDX-License-Identifier: Apache-2.0
// The table of configuration keys of the board.
#include "machine/options.h"

namespace droste {

namespace {

constexpr u64 KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

constexpr OptionRow rows[] = {
    {.key = "stack.name",
     .type = OptionType::text,
     .default_text = "",
     .help = "Name of the stack in reports. Empty: the kernel's file name."},
    {.key = "stack.depth",
     .type = OptionType::integer,
     .default_text = "1",
     .help = "How many levels deep the stack nests: {depth} in boot.append becomes this number. Level 0 "
             "owns the machine, level n is a guest n levels deep.",
     .unit = "levels",
     .min = 1,
     .max = 32},
    {.key = "stack.cpus",
     .type = OptionType::integer,
     .default_text = "1",
     .help = "Number of virtual processors that the hypervisor of level 0 gives to level 1: what {cpus} "
             "becomes in boot.append. Level 0 itself has machine.cpus.",
     .unit = "processors",
     .min = 1,
     .max = 64},

    {.key = "cpu.model",
     .type = OptionType::choice,
     .default_text = "skylake-sp",
     .help = "The processor that CPUID and the VMX capability MSRs describe. `max` has everything that is "
             "implemented.",
     .choices = "nehalem|haswell|skylake-sp|icelake-sp|sapphire-rapids|max"},
    {.key = "cpu.features",
     .type = OptionType::text,
     .default_text = "",
     .help = "Features switched on and off against the model, for instance \"-avx2, +hypervisor\". Names "
             "are those of CPUID."},
    {.key = "machine.cpus",
     .type = OptionType::integer,
     .default_text = "1",
     .help = "Number of processors: cores of one package, with APIC IDs from 0. They run in turn, so that "
             "more of them make a run longer, not faster.",
     .unit = "processors",
     .min = 1,
     .max = 64},
    {.key = "machine.quantum",
     .type = OptionType::integer,
     .default_text = "10000",
     .help = "Longest turn of a processor. By so much the processors' clocks may differ when one sees what "
             "another did; with one processor it has no meaning. HLT, MWAIT and PAUSE end a turn early. "
             "Another quantum gives another run, equally right.",
     .unit = "periods of clock.tsc_hz",
     .min = 100,
     .max = 100'000'000},
    {.key = "engine",
     .type = OptionType::choice,
     .default_text = "interpreter",
     .help = "What executes instructions: the interpreter, or code of the host that hot blocks are translated to. Both "
             "give the same run. `auto`: jit where the host has BMI2.",
     .choices = "auto|interpreter|jit"},

    {.key = "jit.cache",
     .type = OptionType::size,
     .default_text = "64MiB",
     .help = "Memory for translated code. When it is full, everything is translated anew. Does not change the run.",
     .unit = "bytes",
     .min = 1 * MiB,
     .max = 1 * GiB},
    {.key = "jit.threshold",
     .type = OptionType::integer,
     .default_text = "2",
     .help = "How often a block is interpreted before it is translated. Does not change the run.",
     .unit = "times",
     .min = 1,
     .max = 1'000'000},

    {.key = "memory.size",
     .type = OptionType::size,
     .default_text = "1GiB",
     .help = "Size of RAM. What does not fit below the PCI hole at 3 GiB continues at 4 GiB. Host memory "
             "is taken only for pages that the guest touches.",
     .unit = "bytes",
     .min = 16 * MiB,
     .max = 64 * GiB},

    {.key = "machine.test_device",
     .type = OptionType::choice,
     .default_text = "auto",
     .help = "Devices for kernels made for testing: port 0xE0 echoes, ports 0x2000+n set interrupt line n, "
             "ports 0xF1 and 0x8900 print and power off, memory at 0xFF000000, PCI function 1B36:0005. "
             "`auto`: on a board that starts a multiboot kernel.",
     .choices = "auto|true|false"},

    {.key = "boot.kernel",
     .type = OptionType::path,
     .default_text = "",
     .help = "The image to start: a Linux bzImage, an ELF file with a PVH note (vmlinux), or a multiboot "
             "kernel."},
    {.key = "boot.initrd",
     .type = OptionType::path,
     .default_text = "",
     .help = "Initial RAM disk; for PVH and multiboot kernels it is the first module."},
    {.key = "boot.append",
     .type = OptionType::text,
     .default_text = "",
     .help = "Kernel command line. {depth} becomes stack.depth, {cpus} stack.cpus."},
    {.key = "boot.modules",
     .type = OptionType::paths,
     .default_text = "",
     .help = "Further modules for PVH and multiboot kernels, each a file name with optional arguments "
             "after a blank."},
    {.key = "boot.protocol",
     .type = OptionType::choice,
     .default_text = "auto",
     .help = "How the kernel is entered. `auto`: a bzImage by the 64-bit Linux protocol, an ELF file by "
             "its PVH note, else by its multiboot header.",
     .choices = "auto|linux|pvh|multiboot"},
    {.key = "boot.decompress",
     .type = OptionType::choice,
     .default_text = "guest",
     .help = "Who unpacks a bzImage. `guest`: the image's own code, as on hardware. `host`: the loader, "
             "which saves the guest about 10^9 instructions and leaves the kernel where it was linked (no "
             "KASLR).",
     .choices = "guest|host"},

    {.key = "timing.model",
     .type = OptionType::choice,
     .default_text = "none",
     .help = "What a cycle is. `none`: one per retired instruction. `table`: further costs of VM entries, "
             "exits, VMREADs and the like, from timing.table.",
     .choices = "none|table"},
    {.key = "timing.table",
     .type = OptionType::name_or_file,
     .default_text = "skylake-sp",
     .help = "Which costs timing.model = \"table\" uses: haswell, skylake-sp, sapphire-rapids "
             "(configs/timing), or a .toml file of your own."},
    {.key = "timing.clock",
     .type = OptionType::choice,
     .default_text = "ticks",
     .help = "What the guest's clocks follow. `ticks`: retired instructions, the model only observes. "
             "`cycles`: the modelled cycles.",
     .choices = "ticks|cycles"},
    {.key = "clock.tsc_hz",
     .type = OptionType::integer,
     .default_text = "2000000000",
     .help = "Rate of the time-stamp counter; the master clock that all other clocks are exact ratios of. "
             "A lower rate makes every wait of the guest cheaper.",
     .unit = "Hz",
     .min = 100'000'000,
     .max = 10'000'000'000},
    {.key = "clock.bus_hz",
     .type = OptionType::integer,
     .default_text = "1000000000",
     .help = "Rate of the crystal (CPUID leaf 15H) and of the local APIC timer.",
     .unit = "Hz",
     .min = 1'000'000,
     .max = 10'000'000'000},

    {.key = "vmx.feature_control",
     .type = OptionType::choice,
     .default_text = "unlocked",
     .help = "IA32_FEATURE_CONTROL at reset. `unlocked`: 0, the first kernel sets it. `locked`: 5, as "
             "firmware leaves it.",
     .choices = "unlocked|locked"},
    {.key = "vmx.capabilities",
     .type = OptionType::text,
     .default_text = "",
     .help = "VMX capabilities switched on and off against the model, for instance \"-vmcs_shadowing, "
             "-enable_ept\". What depends on a removed one goes with it. The same as the keys vmx.NAME, which "
             "come after it."},
    {.key = "vmx.preemption_timer_rate",
     .type = OptionType::integer,
     .default_text = "model",
     .help = "The VMX-preemption timer counts down when this bit of the TSC changes; IA32_VMX_MISC[4:0]. "
             "`model`: as the real part.",
     .unit = "bit",
     .max = 31,
     .of_model = true},
    {.key = "vmx.cr3_targets",
     .type = OptionType::integer,
     .default_text = "4",
     .help = "Number of CR3-target values; IA32_VMX_MISC[24:16].",
     .unit = "values",
     .max = 4},
    {.key = "vmx.hlat_prefix_size",
     .type = OptionType::integer,
     .default_text = "1",
     .help = "Largest HLAT prefix size, when hypervisor-managed linear-address translation is there; "
             "IA32_VMX_EPT_VPID_CAP[53:48].",
     .unit = "bits",
     .max = 1},

    {.key = "rdrand.seed",
     .type = OptionType::integer,
     .default_text = "1",
     .help = "Seed of RDRAND and RDSEED; the same seed gives the same run."},
    {.key = "rtc.epoch",
     .type = OptionType::integer,
     .default_text = "1767225600",
     .help = "Time of day at power-on, in seconds since 1970-01-01 UTC. The default is 2026-01-01.",
     .unit = "s",
     .max = 4'102'444'799},

    {.key = "run.timeout",
     .type = OptionType::seconds,
     .default_text = "0",
     .help = "Host time after which the run ends with status 124. 0: none.",
     .unit = "s",
     .max = 1'000'000'000},
    {.key = "run.max_ticks",
     .type = OptionType::integer,
     .default_text = "0",
     .help = "Retired instructions after which the run ends with status 124; unlike run.timeout the same "
             "on every host. 0: none.",
     .unit = "ticks"},
    {.key = "run.realtime",
     .type = OptionType::boolean,
     .default_text = "false",
     .help = "An idle guest waits for the host's clock, for work at the keyboard. The run is the same, but "
             "for the moments at which keys arrive."},
    {.key = "run.explain_entries",
     .type = OptionType::boolean,
     .default_text = "false",
     .help = "Tells of every VM entry that fails as it happens: the check, the fields, what would let it pass, and "
             "the instruction that last wrote each of them. The run is the same, only slower."},
    {.key = "run.hash_interval",
     .type = OptionType::integer,
     .default_text = "0",
     .help = "Ticks between entries of the state-hash trail in the JSON report. 0: only the final hash.",
     .unit = "ticks"},
};

}  // namespace

std::span<const OptionRow> machine_options() {
    return rows;
}

}  // namespace droste
