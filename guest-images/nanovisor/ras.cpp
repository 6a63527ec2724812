// SPDX-License-Identifier: Apache-2.0
// Corrected memory errors: the page is blocked, copied to a sequestered one, and mapped there. Uncorrected ones are the guest's.
// The memory controller is src/devices/test_device/memory_errors.h; its interrupt comes as an NMI by the I/O APIC.
#include "ras.h"

#include "console.h"

extern "C" nano::u64 nmi_count;

namespace nano {

namespace {

constexpr u16 first_frame = 0x2040, frame_count = 0x2044, interval = 0x2048, status = 0x204c;
constexpr u32 waiting = 1u << 31, uncorrected = 1u << 30, frame_of_status = uncorrected - 1;
constexpr unsigned line = 20, pages = large_page / page_size;
constexpr u32 periods = 150'000;
constexpr u64 mapped = 7 | 6u << 3; // RWX, write-back

u32 in32(u16 port)
{
    u32 value;
    asm volatile("inl %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

void set_redirection(u32 low)
{
    constexpr u64 io_apic = 0xfec00000, window = io_apic + 0x10;
    at<volatile u32>(io_apic) = 0x10 + 2 * line + 1; // destination: APIC ID 0
    at<volatile u32>(window) = 0;
    at<volatile u32>(io_apic) = 0x10 + 2 * line;
    at<volatile u32>(window) = low;
}

u64 spare;          // the next sequestered page
u64 checked_first;  // the pages that are watched: as much as the deepest guest's workload uses
bool moved_from[pages];
unsigned corrected, moved, unused, forwarded;

// Block, copy, map elsewhere. Translations that were derived for nested guests go with each change.
void move_page(Monitor& m, u64 page)
{
    const u64 guest = page - m.guest_offset, to = spare;
    spare += page_size;
    map(m.own_ept, guest, page, page_size, 0, true);
    drop_contexts(m, 1, no_address);
    invept(1, ept_pointer(m.own_ept));
    copy(to, page, page_size);
    map(m.own_ept, guest, to, page_size, mapped, true);
    invept(1, ept_pointer(m.own_ept));
    moved_from[(page - checked_first) / page_size] = true;
    ++moved;
}

// Into the guest that runs next; false while another event waits for its entry.
bool inject_nmi(Monitor& m)
{
    Context& c = *m.level[m.running].context;
    load(m, address_of(*c.region));
    if (vmread(field::entry_event) & bit(31)) return false;
    set(c, slot(field::entry_event), bit(31) | 2u << 8 | 2);
    return true;
}

} // namespace

void start_ras(Monitor& m)
{
    if (m.options.linux_guest || m.options.depth == 0) panic("scenario=ras is for a guest that checks its memory");
    if (!m.real.has(control::nmi_exiting)) panic("the processor cannot exit on NMIs");
    spare = (m.memory_size & ~(large_page - 1)) - large_page;
    m.memory_size = spare; // its guests never see what lies above
}

void watch_memory(Monitor& m)
{
    checked_first = m.guest_offset + m.guest_size - large_page;
    m.linear_end = m.guest_size - large_page;
    constexpr u32 by_nmi = 4u << 8; // delivery mode, edge-triggered, not masked
    set_redirection(by_nmi);
    out32(first_frame, u32(checked_first / page_size));
    out32(frame_count, pages);
    out32(interval, periods);
    if (in32(interval) != periods) panic("this machine reports no memory errors; give it machine.test_device=true");
}

void handle_nmis(Monitor& m)
{
    if (m.options.level == 0) {
        if (in32(status) & waiting) handle_memory_error(m);
    } else if (nmi_count != m.nmis_seen && inject_nmi(m)) ++m.nmis_seen; // what it heard is its guest's
}

void handle_memory_error(Monitor& m)
{
    const u32 now = in32(status);
    if (!(now & waiting)) return;
    const u64 page = u64(now & frame_of_status) * page_size;
    const u64 index = (page - checked_first) / page_size;
    if (index >= pages || moved_from[index]) ++unused; // nobody's any more
    else if (now & uncorrected) {
        // What the page held is lost: whoever runs has to hear of it.
        if (!inject_nmi(m)) return; // the error waits
        ++forwarded;
    } else {
        ++corrected;
        // Memory that no guest has used yet is mapped elsewhere when it is used: nothing is to be moved.
        if (to_own(m, 1, page - m.guest_offset) == no_address) ++unused;
        else move_page(m, page);
    }
    out32(status, 0);
}

void report_ras(const Monitor& m)
{
    text("ras level ");
    number(m.options.level);
    text(" corrected ");
    number(corrected);
    text(" moved ");
    number(moved);
    text(" forwarded ");
    number(forwarded);
    text(" unused ");
    number(unused);
    end_line();
}

void check_memory(u64 fresh, unsigned level, unsigned rounds)
{
    constexpr u64 words = large_page / 8;
    const auto pattern = [](u64 i, u64 round) { return (i + 1) * 0x9e3779b97f4a7c15 + round; };
    hypercall(watch_call);
    for (u64 i = 0; i < words; ++i) at<volatile u64>(fresh + 8 * i) = pattern(i, 0);
    u64 lost = 0;
    for (u64 round = 0; round < rounds; ++round)
        for (u64 i = 0; i < words; ++i) {
            volatile u64& word = at<volatile u64>(fresh + 8 * i);
            if (word != pattern(i, round)) ++lost;
            word = pattern(i, round + 1);
        }
    text("ras level ");
    number(level);
    text(" checked ");
    number(rounds * words * 8);
    text(" lost ");
    number(lost * 8);
    text(" heard ");
    number(nmi_count);
    end_line();
    hypercall(report_call);
}

} // namespace nano
