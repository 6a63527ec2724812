// SPDX-License-Identifier: Apache-2.0
// Makes the guest of an instance out of the instance's own image.
#include "guest.h"

#include "console.h"
#include "own_controls.h"

extern "C" char image_start[], bss_start[], image_end[];

namespace nano {

namespace {

// Where a guest finds what a multiboot loader would tell it.
constexpr u64 information_at = 0x1000, command_line_at = 0x1100;
constexpr u64 own_size = 4u << 20; // of an instance, from address 0; its guest's memory follows

Page vmxon_page;

extern "C" char start[];

} // namespace

BootInformation read_boot_information(u32 magic, u64 address)
{
    BootInformation b{};
    if (magic == multiboot_magic) {
        const u32* words = &at<u32>(address);
        b.memory_size = (u64(words[2]) << 10) + (1u << 20);
        b.command_line = reinterpret_cast<const char*>(u64(words[4]));
        while (*b.command_line && *b.command_line != ' ') ++b.command_line; // the name of the file
        if (words[0] & 8)
            for (unsigned i = 0; i < words[5] && i < 3; ++i, ++b.modules) {
                b.module_first[i] = at<u32>(words[6] + 16 * i);
                b.module_end[i] = at<u32>(words[6] + 16 * i + 4);
            }
        return b;
    }
    // hvm_start_info of PVH
    constexpr u32 pvh_magic = 0x336ec578;
    if (at<u32>(address) != pvh_magic) panic("no loader that this program knows", magic);
    b.command_line = reinterpret_cast<const char*>(at<u64>(address + 24));
    const u64 list = at<u64>(address + 16);
    b.map = at<u64>(address + 40);
    b.map_entries = at<u32>(address + 48);
    b.rsdp = at<u64>(address + 32);
    for (unsigned i = 0; i < at<u32>(address + 12) && i < 3; ++i, ++b.modules) {
        b.module_first[i] = at<u64>(list + 32 * i);
        b.module_end[i] = b.module_first[i] + at<u64>(list + 32 * i + 8);
    }
    for (unsigned i = 0; i < b.map_entries; ++i)
        if (at<u64>(b.map + 24 * i) == 1u << 20) b.memory_size = (1u << 20) + at<u64>(b.map + 24 * i + 8);
    return b;
}

void turn_vmx_on(Monitor& m)
{
    if (!(cpuid(1).ecx & bit(5))) panic("the processor has no VMX; choose another CPU model");
    constexpr u64 locked = 1, outside_smx = 4;
    const u64 allowed = rdmsr(msr::feature_control);
    if (!(allowed & locked)) wrmsr(msr::feature_control, locked | outside_smx);
    else if (!(allowed & outside_smx)) panic("the firmware has locked VMX off");
    read_capabilities(m.real);
    m.offered = offered_capabilities(m.real, m.options.shadow);
    m.hardware_shadow = m.offered.has(control::vmcs_shadowing) && (m.offered.misc & bit(29));
    if (!m.hardware_shadow) m.offered = offered_capabilities(m.real, false);
    u64 cr4 = (read_cr4() | m.real.cr4_fixed0) & m.real.cr4_fixed1;
    if (cpuid(1).ecx & bit(26)) cr4 |= cr4_osxsave;
    write_cr0((read_cr0() | m.real.cr0_fixed0) & m.real.cr0_fixed1);
    write_cr4(cr4);
    vmxon_page.words[0] = m.real.revision;
    if (vmxon(address_of(vmxon_page)) != Outcome::succeeded) panic("VMXON fails");
    m.loaded = no_address;
    for (Level& l : m.level) l.current = l.vmxon = no_address;
    for (Tracked& t : m.tracked) t.address = no_address;
    make_own_bitmaps(m);
}

void set_protected_mode(Context& c, u64 entry)
{
    constexpr u64 code_32 = 0xc09b, data = 0xc093, busy_task = 0x8b, unusable = 0x10000, fixed_flag = 2;
    for (u8 i = 0; i < 6; ++i) {
        set(c, u8(slot(field::guest_es_selector) + i), i == 1 ? 0x08 : 0x10);
        set(c, u8(slot(field::guest_es_limit) + i), 0xffffffff);
        set(c, u8(slot(field::guest_es_access) + i), i == 1 ? code_32 : data);
    }
    set(c, slot(field::guest_ldtr_access), unusable);
    set(c, slot(field::guest_tr_access), busy_task);
    set(c, slot(field::guest_tr_limit), 0x67);
    set(c, slot(field::guest_cr0), cr0_pe | cr0_ne | 0x10);
    set(c, slot(field::cr0_shadow), cr0_pe | 0x10);
    set(c, slot(field::guest_cr4), cr4_vmxe);
    set(c, slot(field::guest_dr7), 0x400);
    set(c, slot(field::guest_rflags), fixed_flag);
    set(c, slot(field::guest_rip), entry);
    set(c, slot(field::guest_pat), rdmsr(0x277));
}

void make_nested_instance(Monitor& m)
{
    m.guest_offset = own_size;
    if (m.memory_size < own_size + (8u << 20)) panic("this level's memory is too small for a guest; give the machine more", m.memory_size);
    m.guest_size = (m.memory_size - own_size) & ~(large_page - 1);
    // The deepest guest finds its last 2 MiB unmapped: its workload measures faults there.
    const bool deepest = m.options.level + 1 == m.options.depth;
    m.lazy_end = m.guest_size;
    m.linear_end = m.lazy_first = m.guest_size - (deepest ? large_page : 0);
    for (u64 a = 0; a < m.lazy_first; a += large_page) map(m.own_ept, a, a + own_size, large_page, 7 | 6u << 3, true);

    const u64 first = reinterpret_cast<u64>(image_start), last = reinterpret_cast<u64>(bss_start);
    copy(own_size + first, first, last - first);
    char* words = &at<char>(own_size + command_line_at);
    write_options(m.options, m.options.level + 1, words);
    u32* information = &at<u32>(own_size + information_at);
    zero(address_of(*information), 120);
    information[0] = 1 | 4;
    information[2] = u32((m.guest_size - (1u << 20)) >> 10);
    information[4] = command_line_at;

    Context& c = context_for(m, 0, 0, 0);
    m.level[1].context = &c;
    m.running = 1;
    start_own(m, c);
    set_protected_mode(c, reinterpret_cast<u64>(start));
    if (deepest) set(c, slot(field::exception_bitmap), 1u << vector::undefined | 1u << vector::general_protection | 1u << vector::page_fault);
    guest_registers.gpr[0] = multiboot_magic;
    guest_registers.gpr[3] = information_at;
}

} // namespace nano
