// SPDX-License-Identifier: Apache-2.0
// Linux as the guest: all devices are its own, its memory lies where it would without a hypervisor. The 64-bit boot protocol
// ("The Linux/x86 Boot Protocol", "64-bit BOOT PROTOCOL").
#include "console.h"
#include "guest.h"
#include "own_controls.h"

extern "C" char image_end[];

namespace nano {

namespace {

// In low memory, which this program does not use.
constexpr u64 page_tables = 0x80000, zero_page = 0x90000, command_line = 0x91000, descriptors = 0x92000;
constexpr u64 own_first = 1u << 20, four_gib = 1ull << 32;

// The setup header and the zero page.
constexpr u64 setup_sectors = 0x1f1, header_magic = 0x202, loader_type = 0x210, load_flags = 0x211, ramdisk_image = 0x218,
              ramdisk_size = 0x21c, command_line_pointer = 0x228, extended_flags = 0x236, preferred_address = 0x258,
              init_size = 0x260, rsdp_address = 0x70, e820_count = 0x1e8, e820_table = 0x2d0;

void move(u64 to, u64 from, u64 bytes)
{
    if (to <= from || to >= from + bytes) return copy(to, from, bytes);
    asm volatile("std; rep movsb; cld" : : "D"(to + bytes - 1), "S"(from + bytes - 1), "c"(bytes) : "memory");
}

u64 own_end() { return (reinterpret_cast<u64>(image_end) + page_size - 1) & ~(page_size - 1); }

// The loader's map without this program's memory, and without what it cannot reach.
u8 write_memory_map(const BootInformation& boot)
{
    u8 n = 0;
    const auto add = [&](u64 first, u64 end, u32 type) {
        if (end <= first) return;
        const u64 entry = zero_page + e820_table + 20 * n++;
        at<u64>(entry) = first;
        at<u64>(entry + 8) = end - first;
        at<u32>(entry + 16) = type;
    };
    for (unsigned i = 0; i < boot.map_entries; ++i) {
        const u64 first = at<u64>(boot.map + 24 * i), end = first + at<u64>(boot.map + 24 * i + 8);
        const u32 type = at<u32>(boot.map + 24 * i + 16);
        if (type == 1 && first >= four_gib) continue;
        if (type == 1 && first <= own_first && end > own_end()) {
            add(first, own_first, 1);
            add(own_first, own_end(), 2);
            add(own_end(), end, 1);
        } else add(first, end, type);
    }
    return n;
}

void map_memory(Monitor& m)
{
    constexpr u64 ram = 7 | 6u << 3, device = 7, gib = 1u << 30;
    for (u64 a = 0; a < 2 * large_page; a += page_size)
        if (a < own_first || a >= own_end()) map(m.own_ept, a, a, page_size, ram, true);
    for (u64 a = 2 * large_page; a < four_gib; a += large_page)
        map(m.own_ept, a, a, large_page, a < m.memory_size ? ram : device, true);
    if (m.real.ept_vpid & bit(17))
        for (u64 a = four_gib; a < 512 * gib; a += gib) map(m.own_ept, a, a, gib, device, true);
}

void set_long_mode(Context& c, u64 entry)
{
    constexpr u64 code_64 = 0xa09b, data = 0xc093, present_writable = 3, large = 0x80;
    at<u64>(page_tables) = (page_tables + page_size) | present_writable;
    for (u64 i = 0; i < 4; ++i) at<u64>(page_tables + page_size + 8 * i) = (page_tables + (2 + i) * page_size) | present_writable;
    for (u64 i = 0; i < 2048; ++i) at<u64>(page_tables + 2 * page_size + 8 * i) = i * large_page | large | present_writable;
    const u64 table[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    copy(descriptors, address_of(table), sizeof table);
    set_protected_mode(c, entry);
    for (u8 i = 0; i < 6; ++i) {
        set(c, u8(slot(field::guest_es_selector) + i), i == 1 ? 0x10 : 0x18);
        set(c, u8(slot(field::guest_es_access) + i), i == 1 ? code_64 : data);
    }
    set(c, slot(field::guest_gdtr_base), descriptors);
    set(c, slot(field::guest_gdtr_limit), sizeof table - 1);
    set(c, slot(field::guest_cr0), cr0_pg | cr0_pe | cr0_ne | 0x10);
    set(c, slot(field::cr0_shadow), cr0_pg | cr0_pe | 0x10);
    set(c, slot(field::guest_cr3), page_tables);
    set(c, slot(field::guest_cr4), cr4_pae | cr4_vmxe);
    set(c, slot(field::cr4_shadow), cr4_pae);
    set(c, slot(field::guest_efer), efer_lme | efer_lma);
    set(c, slot(field::entry_controls), c.in_region[slot(field::entry_controls)] | bit(control::ia32e_guest.number));
}

} // namespace

void make_linux_guest(Monitor& m, const BootInformation& boot)
{
    if (boot.modules == 0 || boot.map_entries == 0) panic("Linux has to be the first module, by PVH", boot.modules);
    if (own_end() > 2 * large_page) panic("this program is too long to carry Linux", own_end());
    // The initial RAM disk first: it goes up, out of the way.
    u64 disk = 0, disk_size = 0;
    const u64 top = boot.memory_size < four_gib ? boot.memory_size : four_gib;
    if (boot.modules > 1) {
        disk_size = boot.module_end[1] - boot.module_first[1];
        disk = (top - disk_size) & ~(page_size - 1);
        move(disk, boot.module_first[1], disk_size);
    }
    const u64 image = boot.module_first[0], size = boot.module_end[0] - image;
    constexpr u32 magic = 0x53726448; // "HdrS"
    if (at<u32>(image + header_magic) != magic || !(at<u16>(image + extended_flags) & 1)) panic("the first module is no 64-bit bzImage");
    zero(zero_page, page_size);
    copy(zero_page + setup_sectors, image + setup_sectors, 0x200 + at<u8>(image + 0x201) + 2 - setup_sectors);
    const u64 sectors = at<u8>(image + setup_sectors) ? at<u8>(image + setup_sectors) : 4, code = (sectors + 1) * 512;
    const u64 load_at = at<u64>(image + preferred_address);
    if (load_at + at<u32>(image + init_size) > (disk ? disk : top)) panic("Linux and its RAM disk need more memory", top);
    move(load_at, image + code, size - code);

    at<u8>(zero_page + loader_type) = 0xff;
    at<u8>(zero_page + load_flags) |= 1;
    at<u32>(zero_page + ramdisk_image) = u32(disk);
    at<u32>(zero_page + ramdisk_size) = u32(disk_size);
    at<u32>(zero_page + command_line_pointer) = command_line;
    at<u64>(zero_page + rsdp_address) = boot.rsdp;
    char* words = &at<char>(command_line);
    for (const char* p = m.options.rest; *p; ++p) *words++ = *p;
    *words = 0;
    at<u8>(zero_page + e820_count) = write_memory_map(boot);

    map_memory(m);
    Context& c = context_for(m, 0, 0, 0);
    m.level[1].context = &c;
    m.running = 1;
    start_own(m, c);
    constexpr u64 entry_offset = 0x200;
    set_long_mode(c, load_at + entry_offset);
    guest_registers.gpr[6] = zero_page;
}

} // namespace nano
