// SPDX-License-Identifier: Apache-2.0
// devices: the test devices, interrupt lines, firmware configuration, the ACPI tables and the PM timer.
#include "kernel.h"

namespace kernel {

namespace {

void echo_ports()
{
    out8(0xe0, 0xff);
    check_equal(in8(0xe0), 0xff, "echo of a byte");
    out16(0xe0, 0xabcd);
    check_equal(in16(0xe0), 0xabcd, "echo of a word");
    out32(0xe0, 0x12345678);
    check_equal(in32(0xe0), 0x12345678, "echo of a doubleword");
    out8(0xe1, 0x9a);
    check_equal(in32(0xe0), 0x12349a78, "a byte in the middle");
    out32(0xe4, 0x400000);
    check_equal(in32(0xe0), 0x12349a78, "port E4H leaves it alone");
}

void console()
{
    for (const char* c = "printed at port F1H\n"; *c; ++c) out8(0xf1, static_cast<u8>(*c));
}

void memory_region()
{
    constexpr u64 region = 0xff000000;
    store<u32>(region, 0xdeadbeef);
    store<u8>(region + 0xffff, 0x5a);
    check_equal(load<u32>(region), 0xdeadbeef, "memory region, first doubleword");
    check_equal(load<u16>(region + 2), 0xdead, "memory region, a word");
    check_equal(load<u8>(region + 0xffff), 0x5a, "memory region, last byte");
}

// An edge on ISA interrupt 5, routed by the I/O APIC to a vector.
void interrupt_lines()
{
    constexpr u8 vector = 0x40;
    constexpr u64 io_apic = 0xfec00000, local_apic = 0xfee00000;
    handle_interrupt(vector);
    for (const int port : {0x21, 0xa1}) out8(static_cast<u16>(port), 0xff);
    store<u32>(local_apic + 0xf0, 0x1ff);
    const auto set = [](u32 index, u32 v) {
        store<u32>(io_apic, index);
        store<u32>(io_apic + 0x10, v);
    };
    set(0x10 + 2 * 5 + 1, load<u32>(local_apic + 0x20));
    set(0x10 + 2 * 5, vector);
    asm volatile("sti");
    check_equal(interrupts_seen(), 0, "no interrupt before the edge");
    out8(0x2005, 1);
    asm volatile("nop");
    check_equal(interrupts_seen(), 1, "interrupt line 5 rises");
    out8(0x2005, 0);
    out8(0x2005, 1);
    out8(0x2005, 0);
    asm volatile("nop; cli");
    check_equal(interrupts_seen(), 2, "interrupt line 5 rises again");
}

void firmware()
{
    check(firmware_item(5, 2) >= 1, "fw_cfg tells the number of processors");
    check(firmware_item(3, 8) >= (16u << 20), "fw_cfg tells the size of memory");
    check_equal(firmware_item(0x11, 8), 0, "fw_cfg key 11H reads as zeros");
}

constexpr u32 signature(const char* s)
{
    return u32(u8(s[0])) | u32(u8(s[1])) << 8 | u32(u8(s[2])) << 16 | u32(u8(s[3])) << 24;
}

u64 find_table(u32 wanted)
{
    u64 pointer = 0;
    for (u64 at = 0xe0000; at < 0x100000 && pointer == 0; at += 16)
        if (load<u32>(at) == signature("RSD ") && load<u32>(at + 4) == signature("PTR ")) pointer = at;
    if (pointer == 0) return 0;
    const u64 list = load<u32>(pointer + 16);
    if (load<u32>(list) != signature("RSDT")) return 0;
    for (u64 at = list + 36; at < list + load<u32>(list + 4); at += 4)
        if (load<u32>(load<u32>(at)) == wanted) return load<u32>(at);
    return 0;
}

void acpi()
{
    const u64 fadt = find_table(signature("FACP"));
    if (!check(fadt != 0, "the FADT is in the RSDT")) return;
    check_equal(load<u32>(load<u32>(fadt + 36)), signature("FACS"), "the FADT points to the FACS");
    check(find_table(signature("APIC")) != 0, "the MADT is in the RSDT");
    const u16 timer = static_cast<u16>(load<u32>(fadt + 76));
    // 3.579545 MHz against a TSC of 2 GHz: 1 ms is 2,000,000 periods of the one, 3579 of the other.
    const u32 before = in32(timer);
    const u64 start = rdtsc();
    while (rdtsc() - start < 2'000'000) pause();
    const u32 ticks = in32(timer) - before;
    check(ticks >= 3500 && ticks <= 3660, "the PM timer counts at its rate");
}

void pci_function()
{
    const auto config = [](u32 at) {
        out32(0xcf8, 0x80000000 | at);
        return in32(0xcfc);
    };
    for (u32 slot = 0; slot < 32; ++slot) {
        if (config(slot << 11) != 0x00051b36) continue;
        check((config(slot << 11 | 4) & 3) == 3, "the PCI test function decodes ports and memory");
        const u64 memory = config(slot << 11 | 0x10) & ~15u;
        const u16 ports = static_cast<u16>(config(slot << 11 | 0x14) & ~3u);
        store<u8>(memory, 0);
        for (int i = 0; i < 16; ++i) store<u8>(memory + load<u32>(memory + 4), load<u8>(memory + 8));
        check_equal(load<u32>(memory + 12), 16, "writes to its memory count");
        out8(ports, 0);
        const u16 offset = static_cast<u16>(in32(ports + 4));
        const u8 data = in8(ports + 8);
        for (int i = 0; i < 16; ++i) out8(ports + offset, data);
        check_equal(in32(ports + 12), 16, "writes to its ports count");
        return;
    }
    check(false, "there is a PCI test function");
}

struct Part {
    const char* name;
    void (*run)();
};
constexpr Part parts[] = {{"echo", echo_ports}, {"console", console}, {"memory", memory_region},
                          {"interrupts", interrupt_lines}, {"firmware", firmware}, {"acpi", acpi},
                          {"pci", pci_function}};

} // namespace

// All parts, or the one that the first argument names.
void main()
{
    for (const Part& part : parts)
        if (!*arguments() || argument_is(part.name)) part.run();
}

} // namespace kernel
