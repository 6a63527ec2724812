// SPDX-License-Identifier: Apache-2.0
// GuestMemory: the RAM that a loader fills, and the map of it that kernels are told.
#pragma once
#include <span>
#include <vector>

#include "base/types.h"

namespace droste {

class GuestMemory {
public:
    virtual ~GuestMemory() = default;
    /// Bytes of RAM in all (below the hole and above 4 GiB together).
    virtual u64 size() const = 0;
    /// The range must be RAM of the memory map.
    virtual void write(u64 address, std::span<const u8> bytes) = 0;
    virtual void read(u64 address, std::span<u8> bytes) const = 0;
};

/// The kinds of the BIOS call INT 15h, E820h; PVH and multiboot use the same numbers.
enum class MemoryKind : u32 { ram = 1, reserved = 2, acpi = 3, nvs = 4 };

struct MemoryRange {
    u64 first;
    u64 size;
    MemoryKind kind;
};

/// What is where in a machine with `ram` bytes: sorted and disjoint.
std::vector<MemoryRange> memory_map(u64 ram);
/// The end of RAM below the hole.
u64 low_ram_end(u64 ram);
/// Whether [first, first + size) lies within one range of RAM, and above the first page.
bool is_ram(std::span<const MemoryRange> map, u64 first, u64 size);

}  // namespace droste
