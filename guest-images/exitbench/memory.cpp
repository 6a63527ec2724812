// SPDX-License-Identifier: Apache-2.0
// Reads the memory map and the command line of PVH's hvm_start_info and of multiboot 1.
#include "memory.h"

extern "C" const char image_end[];

namespace exitbench {

namespace {

constexpr u32 multiboot_loader = 0x2badb002;
constexpr u32 pvh_magic = 0x336ec578;
constexpr u32 ram = 1; // the type's number in both maps, as in E820

struct HvmStartInfo { // Xen's public/arch-x86/hvm/start_info.h, version 1
    u32 magic, version, flags, nr_modules;
    u64 modlist, cmdline, rsdp, memmap;
    u32 memmap_entries, reserved;
};

struct HvmMemmapEntry {
    u64 address, size;
    u32 type, reserved;
};

struct [[gnu::packed]] MultibootMmapEntry { // `size` does not count itself
    u32 size;
    u64 address, length;
    u32 type;
};

struct MultibootInfo {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
};
constexpr u32 memory_is_valid = 1u << 0, cmdline_is_valid = 1u << 2, mmap_is_valid = 1u << 6;

// Loaders leave their tables near the image and below 1 MiB; 16 MiB is beyond all of them.
constexpr u64 lowest = 16u << 20, highest = 3ull << 30;

void consider(Range& best, u64 begin, u64 end)
{
    const u64 image = (reinterpret_cast<u64>(image_end) + 0x1fffff) & ~0x1fffffull;
    if (begin < lowest) begin = lowest;
    if (begin < image) begin = image;
    if (end > highest) end = highest;
    const Range range{begin, end};
    if (range.size() > best.size()) best = range;
}

// The PVH structure knows itself; EAX does not tell, since qboot enters both kinds with multiboot's number in it.
const HvmStartInfo* pvh(u64 loader_info)
{
    const auto* info = reinterpret_cast<const HvmStartInfo*>(loader_info);
    return info->magic == pvh_magic ? info : nullptr;
}

const MultibootInfo* multiboot(u32 loader_magic, u64 loader_info)
{
    return loader_magic == multiboot_loader && !pvh(loader_info)
               ? reinterpret_cast<const MultibootInfo*>(loader_info) : nullptr;
}

} // namespace

Range free_memory(u32 loader_magic, u64 loader_info)
{
    Range best;
    if (const HvmStartInfo* start = pvh(loader_info); start && start->version >= 1) {
        const auto* entries = reinterpret_cast<const HvmMemmapEntry*>(start->memmap);
        for (u32 i = 0; i < start->memmap_entries; ++i)
            if (entries[i].type == ram) consider(best, entries[i].address, entries[i].address + entries[i].size);
    } else if (const MultibootInfo* found = multiboot(loader_magic, loader_info)) {
        const MultibootInfo& info = *found;
        if (info.flags & mmap_is_valid) {
            for (u64 at = info.mmap_addr; at < u64(info.mmap_addr) + info.mmap_length;) {
                const auto& entry = *reinterpret_cast<const MultibootMmapEntry*>(at);
                if (entry.type == ram) consider(best, entry.address, entry.address + entry.length);
                at += entry.size + sizeof entry.size;
            }
        } else if (info.flags & memory_is_valid) {
            consider(best, 1u << 20, (1u << 20) + u64(info.mem_upper) * 1024);
        }
    }
    return best;
}

bool is_asked_for(const char* text, u32 loader_magic, u64 loader_info)
{
    const char* line = "";
    if (const HvmStartInfo* start = pvh(loader_info)) {
        if (start->cmdline) line = reinterpret_cast<const char*>(start->cmdline);
    } else if (const MultibootInfo* info = multiboot(loader_magic, loader_info)) {
        if (info->flags & cmdline_is_valid) line = reinterpret_cast<const char*>(u64(info->cmdline));
    }
    for (; *line; ++line) {
        unsigned same = 0;
        while (text[same] && line[same] == text[same]) ++same;
        if (!text[same]) return true;
    }
    return false;
}

} // namespace exitbench
