// SPDX-License-Identifier: Apache-2.0
// ELF headers, segments and notes.
#include "machine/loader/elf.h"

#include <fmt/format.h>

#include <algorithm>

#include "machine/loader/boot_area.h"

namespace droste {

namespace {

constexpr u32 elf_magic = 0x464C'457F;
constexpr u8 class32 = 1, class64 = 2, little_endian = 1;
constexpr u16 machine_386 = 3, machine_x86_64 = 62, type_exec = 2, type_dyn = 3;
constexpr u32 segment_load = 1, segment_note = 4;
constexpr u16 most_segments = 256;  // PN_XNUM (0xFFFF) moves the count elsewhere; no kernel needs it

Error refuse(std::string_view name, std::string_view why) {
    return {fmt::format("{}: {}; rebuild or fetch the file again", name, why)};
}

/// Offsets of fields within the headers; SysV ABI, "ELF Header" and "Program Header".
struct Layout {
    u64 header_size, entry, ph_offset, ph_entry_size, ph_count, ph_size;
};
constexpr Layout layout32{52, 24, 28, 42, 44, 32}, layout64{64, 24, 32, 54, 56, 56};

u64 word(Bytes image, u64 offset, bool is64) {
    return is64 ? read_at<u64>(image, offset).value_or(0) : read_at<u32>(image, offset).value_or(0);
}

ElfSegment segment_at(Bytes image, u64 at, bool is64) {
    const auto w32 = [&](u64 o) { return read_at<u32>(image, at + o).value_or(0); };
    const auto w64 = [&](u64 o) { return read_at<u64>(image, at + o).value_or(0); };
    if (is64)
        return {.type = w32(0),
                .offset = w64(8),
                .file_size = w64(32),
                .physical = w64(24),
                .virtual_address = w64(16),
                .memory_size = w64(40)};
    return {.type = w32(0),
            .offset = w32(4),
            .file_size = w32(16),
            .physical = w32(12),
            .virtual_address = w32(8),
            .memory_size = w32(20)};
}

}  // namespace

bool is_elf(Bytes image) {
    return read_at<u32>(image, 0) == elf_magic;
}

Result<Elf> parse_elf(Bytes image, std::string_view name) {
    if (!is_elf(image))
        return refuse(name, "this is not an ELF file");
    const u8 klass = read_at<u8>(image, 4).value_or(0);
    if (klass != class32 && klass != class64)
        return refuse(name, "the ELF class is neither 32 nor 64 bits");
    if (read_at<u8>(image, 5) != little_endian)
        return refuse(name, "the ELF file is not little-endian");
    Elf elf{.is64 = klass == class64, .entry = 0, .segments = {}};
    const Layout& l = elf.is64 ? layout64 : layout32;
    if (image.size() < l.header_size)
        return refuse(name, "the file ends within the ELF header");
    const u16 type = *read_at<u16>(image, 16), machine = *read_at<u16>(image, 18);
    if (type != type_exec && type != type_dyn)
        return Error{
            fmt::format("{}: the ELF file is not an executable (type {}); link it first", name, type)};
    if (machine != machine_386 && machine != machine_x86_64)
        return Error{
            fmt::format("{}: the ELF file is for machine {}, not for x86; build it for x86", name, machine)};
    elf.entry = word(image, l.entry, elf.is64);
    const u64 ph_offset = word(image, l.ph_offset, elf.is64);
    const u16 ph_entry = *read_at<u16>(image, l.ph_entry_size), count = *read_at<u16>(image, l.ph_count);
    if (count == 0)
        return refuse(name, "the ELF file has no program headers, so there is nothing to load");
    if (count > most_segments)
        return refuse(name, fmt::format("the ELF file claims {} program headers; at most {} are taken", count,
                                        most_segments));
    if (ph_entry != l.ph_size)
        return refuse(name, fmt::format("the ELF program headers are {} bytes each instead of {}", ph_entry,
                                        l.ph_size));
    if (!part_of(image, ph_offset, u64(count) * l.ph_size))
        return refuse(name, "the ELF program headers lie outside the file");
    for (u16 i = 0; i < count; ++i) {
        const ElfSegment s = segment_at(image, ph_offset + i * l.ph_size, elf.is64);
        if (s.type != segment_load && s.type != segment_note)
            continue;
        if (!part_of(image, s.offset, s.file_size))
            return refuse(name, fmt::format("ELF segment {} lies outside the file, which is truncated", i));
        if (s.type == segment_load && s.memory_size < s.file_size)
            return refuse(name, fmt::format("ELF segment {} is larger in the file than in memory", i));
        elf.segments.push_back(s);
    }
    return elf;
}

Result<u64> load_elf(const Elf& elf, Bytes image, std::string_view name, GuestMemory& memory,
                     std::optional<u64> lowest) {
    const std::vector<MemoryRange> map = memory_map(memory.size());
    std::vector<ElfSegment> loads;
    for (const ElfSegment& s : elf.segments)
        if (s.type == segment_load && s.memory_size != 0)
            loads.push_back(s);
    if (loads.empty())
        return refuse(name, "the ELF file has no loadable segment");
    std::sort(loads.begin(), loads.end(), [](auto& a, auto& b) { return a.physical < b.physical; });
    u64 end = 0;
    for (const ElfSegment& s : loads) {
        if (!is_ram(map, s.physical, s.memory_size))
            return Error{fmt::format("{}: its segment at {:#x}, {} bytes long, does not fit into RAM; raise "
                                     "memory.size or link the kernel lower",
                                     name, s.physical, s.memory_size)};
        if (s.physical < lowest.value_or(boot_area::end))
            return Error{
                fmt::format("{}: its segment at {:#x} lies in the loader's own area below {:#x}; link the "
                            "kernel at 1 MiB or above",
                            name, s.physical, boot_area::end)};
        if (s.physical < end)
            return refuse(name, fmt::format("two ELF segments overlap at {:#x}", s.physical));
        end = s.physical + s.memory_size;
    }
    for (const ElfSegment& s : loads) {
        memory.write(s.physical, *part_of(image, s.offset, s.file_size));
        put_zeros(memory, s.physical + s.file_size, s.memory_size - s.file_size);
    }
    return end;
}

std::optional<u32> pvh_entry(const Elf& elf, Bytes image) {
    constexpr u32 phys32_entry = 18;
    for (const ElfSegment& s : elf.segments) {
        if (s.type != segment_note)
            continue;
        const Bytes notes = *part_of(image, s.offset, s.file_size);
        // namesz, descsz, type; name and description each padded to 4 bytes.
        for (u64 at = 0; part_of(notes, at, 12);) {
            const u64 name_size = *read_at<u32>(notes, at), size = *read_at<u32>(notes, at + 4);
            const u64 name_at = at + 12, desc_at = name_at + ((name_size + 3) & ~3ull);
            const auto name = part_of(notes, name_at, name_size);
            const bool xen = name && name_size == 4 && std::memcmp(name->data(), "Xen", 4) == 0;
            if (xen && *read_at<u32>(notes, at + 8) == phys32_entry && (size == 4 || size == 8)) {
                const u64 high = size == 8 ? read_at<u32>(notes, desc_at + 4).value_or(1) : 0;
                const auto low = read_at<u32>(notes, desc_at);
                if (low && high == 0)
                    return low;
            }
            at = desc_at + ((size + 3) & ~3ull);
        }
    }
    return std::nullopt;
}

}  // namespace droste
