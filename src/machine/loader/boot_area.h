// SPDX-License-Identifier: Apache-2.0
// The low memory in which a loader lays what a kernel finds at its entry: tables, parameters, command lines.
#pragma once
#include <string_view>

#include "machine/loader/entry_state.h"
#include "machine/loader/guest_memory.h"

namespace droste {

/// Addresses of the boot area; a kernel's own segments may not lie in it. For a kernel that is linked there the
/// whole area can stand `upper` bytes higher.
namespace boot_area {
inline constexpr u64 first = 0x1000;
inline constexpr u64 upper = 0x5'0000;
inline constexpr u64 gdt = 0x1000;
inline constexpr u64 tss = 0x1800;
inline constexpr u64 zero_page = 0x2000;    ///< boot_params, hvm_start_info or the multiboot info
inline constexpr u64 page_tables = 0x8000;  ///< PML4, PDPT and four page directories
inline constexpr u64 command_line = 0x1'0000;
inline constexpr u64 command_line_room = 0x1'0000;
inline constexpr u64 lists = 0x2'0000;  ///< modules, memory map and their command lines
inline constexpr u64 lists_room = 0x2'0000;
inline constexpr u64 end = 0x4'0000;
}  // namespace boot_area

/// Lays GDT, TSS and page tables that map the low 4 GiB to themselves; state for a kernel entered in 64-bit
/// mode.
EntryState enter_long64(GuestMemory& memory, u64 rip);
/// Lays GDT and TSS, `shift` bytes above their places; state for a kernel entered in 32-bit protected mode without
/// paging.
EntryState enter_flat32(GuestMemory& memory, u64 rip, u64 shift = 0);

/// Little-endian stores.
void put16(GuestMemory& memory, u64 address, u16 value);
void put32(GuestMemory& memory, u64 address, u32 value);
void put64(GuestMemory& memory, u64 address, u64 value);
/// The text and a zero byte.
void put_text(GuestMemory& memory, u64 address, std::string_view text);
void put_zeros(GuestMemory& memory, u64 address, u64 size);

}  // namespace droste
