// SPDX-License-Identifier: Apache-2.0
// The memory map of the board.
#include <algorithm>

#include "base/assert.h"
#include "machine/board_map.h"
#include "machine/loader/guest_memory.h"

namespace droste {

u64 low_ram_end(u64 ram) {
    return std::min(ram, board::pci_hole);
}

std::vector<MemoryRange> memory_map(u64 ram) {
    ASSERT(ram >= board::high_memory + 0x1000 && ram % 0x1000 == 0);
    std::vector<MemoryRange> map = {
        {0, board::ebda, MemoryKind::ram},
        {board::ebda, board::vga_hole - board::ebda, MemoryKind::reserved},
        {board::firmware_tables, board::high_memory - board::firmware_tables, MemoryKind::reserved},
        {board::high_memory, low_ram_end(ram) - board::high_memory, MemoryKind::ram},
        {board::ecam, board::ecam_size, MemoryKind::reserved},
    };
    if (ram > board::pci_hole)
        map.push_back({board::four_gib, ram - board::pci_hole, MemoryKind::ram});
    return map;
}

bool is_ram(std::span<const MemoryRange> map, u64 first, u64 size) {
    if (first < 0x1000 || first + size < first)
        return false;
    return std::any_of(map.begin(), map.end(), [&](const MemoryRange& r) {
        return r.kind == MemoryKind::ram && first >= r.first && first + size <= r.first + r.size;
    });
}

}  // namespace droste
