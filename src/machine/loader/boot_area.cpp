// SPDX-License-Identifier: Apache-2.0
// Descriptor and page tables for kernel entry.
#include "machine/loader/boot_area.h"

#include <array>
#include <cstring>
#include <vector>

namespace droste {

namespace {

constexpr u64 descriptor(u64 access_and_flags, u64 limit_pages) {
    // SDM "Segment Descriptors": access byte in bits 47:40, flags (G, D/B, L, AVL) in bits 55:52; base 0.
    return ((access_and_flags & 0xFF) << 40) | ((access_and_flags >> 8 & 0xF) << 52) |
           (limit_pages & 0xFFFF) | ((limit_pages >> 16 & 0xF) << 48);
}
constexpr u64 code64 = descriptor(0xA9B, 0xFFFFF), code32 = descriptor(0xC9B, 0xFFFFF),
              data32 = descriptor(0xC93, 0xFFFFF);

constexpr u32 task_limit = 0x67;

/// GDT as the 64-bit Linux boot protocol asks for: code 0x10, data 0x18; the TSS stands at 0x20.
void lay_gdt(GuestMemory& memory, EntryState& state, u64 code, u64 shift = 0) {
    const u64 gdt_at = boot_area::gdt + shift, tss_at = boot_area::tss + shift;
    const std::array<u64, 6> gdt = {
        0,
        0,
        code,
        data32,
        // SDM "TSS Descriptor": type 11, busy; byte granular.
        (tss_at & 0xFFFFFF) << 16 | u64(0x8B) << 40 | task_limit,
        0,
    };
    for (std::size_t i = 0; i < gdt.size(); ++i)
        put64(memory, gdt_at + 8 * i, gdt[i]);
    put_zeros(memory, tss_at, task_limit + 1);
    state.gdt_base = gdt_at;
    state.gdt_limit = sizeof gdt - 1;
    state.code_selector = 0x10;
    state.data_selector = 0x18;
    state.task_selector = 0x20;
    state.task_base = tss_at;
    state.task_limit = task_limit;
}

}  // namespace

EntryState enter_long64(GuestMemory& memory, u64 rip) {
    EntryState state{.mode = EntryState::Mode::long64, .rip = rip};
    lay_gdt(memory, state, code64);
    constexpr u64 present_write = 3, large = 0x80;
    constexpr u64 pml4 = boot_area::page_tables, pdpt = pml4 + 0x1000, directories = pml4 + 0x2000;
    put_zeros(memory, pml4, 6 * 0x1000);
    put64(memory, pml4, pdpt | present_write);
    for (u64 gib = 0; gib < 4; ++gib) {
        put64(memory, pdpt + 8 * gib, (directories + 0x1000 * gib) | present_write);
        for (u64 i = 0; i < 512; ++i)
            put64(memory, directories + 0x1000 * gib + 8 * i,
                  (gib << 30) | (i << 21) | large | present_write);
    }
    state.cr0 = 0x8000'0011;  // PG, ET, PE
    state.cr3 = pml4;
    state.cr4 = 0x20;    // PAE
    state.efer = 0x500;  // LMA, LME
    return state;
}

EntryState enter_flat32(GuestMemory& memory, u64 rip, u64 shift) {
    EntryState state{.mode = EntryState::Mode::flat32, .rip = rip};
    lay_gdt(memory, state, code32, shift);
    state.cr0 = 0x11;  // ET, PE
    return state;
}

namespace {
template <class T> void put(GuestMemory& memory, u64 address, T value) {
    u8 bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    memory.write(address, bytes);
}
}  // namespace

void put16(GuestMemory& memory, u64 address, u16 value) {
    put(memory, address, value);
}
void put32(GuestMemory& memory, u64 address, u32 value) {
    put(memory, address, value);
}
void put64(GuestMemory& memory, u64 address, u64 value) {
    put(memory, address, value);
}

void put_text(GuestMemory& memory, u64 address, std::string_view text) {
    std::vector<u8> bytes(text.begin(), text.end());
    bytes.push_back(0);
    memory.write(address, bytes);
}

void put_zeros(GuestMemory& memory, u64 address, u64 size) {
    static constexpr std::array<u8, 4096> zeros{};
    for (u64 at = 0; at < size; at += zeros.size())
        memory.write(address + at, std::span(zeros).first(std::min<u64>(zeros.size(), size - at)));
}

}  // namespace droste
