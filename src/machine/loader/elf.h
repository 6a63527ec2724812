// SPDX-License-Identifier: Apache-2.0
// Elf: the few parts of an ELF32 or ELF64 executable that a loader needs, checked.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "machine/loader/bytes.h"
#include "machine/loader/guest_memory.h"

namespace droste {

struct ElfSegment {
    u32 type;
    u64 offset;
    u64 file_size;
    u64 physical;
    u64 virtual_address;
    u64 memory_size;
};

struct Elf {
    bool is64 = false;
    u64 entry = 0;
    std::vector<ElfSegment> segments;
};

bool is_elf(Bytes image);
/// Parses and checks the headers; every segment's file part lies within the image.
Result<Elf> parse_elf(Bytes image, std::string_view name);
/// Writes the loadable segments to their physical addresses; returns the end of the highest.
/// Refuses segments outside RAM, below `lowest` (else the end of the boot area), or over each other.
Result<u64> load_elf(const Elf& elf, Bytes image, std::string_view name, GuestMemory& memory,
                     std::optional<u64> lowest = std::nullopt);
/// The physical entry point of the note XEN_ELFNOTE_PHYS32_ENTRY.
std::optional<u32> pvh_entry(const Elf& elf, Bytes image);

}  // namespace droste
