// SPDX-License-Identifier: Apache-2.0
// Multiboot 1: ELF32 kernels and kernels with address fields (Multiboot Specification 0.6.96).
#include <fmt/format.h>

#include <algorithm>

#include "machine/board_map.h"
#include "machine/loader/boot_area.h"
#include "machine/loader/elf.h"
#include "machine/loader/loader.h"

namespace droste {

namespace {

constexpr u32 header_magic = 0x1BAD'B002, loader_magic = 0x2BAD'B002;
constexpr u64 search_size = 8192;
constexpr u32 wants_alignment = 1, wants_memory = 2, wants_video = 4, has_addresses = 1u << 16;
constexpr u32 must_understand = 0xFFFF;
constexpr u32 info_memory = 1, info_command_line = 1 << 2, info_modules = 1 << 3, info_map = 1 << 6,
              info_loader_name = 1 << 9;
constexpr u64 info_size = 116, module_entry_size = 16, map_entry_size = 24;

struct Header {
    u64 at;
    u32 flags;
};

std::optional<Header> find_header(Bytes image) {
    for (u64 at = 0; at + 12 <= std::min<u64>(image.size(), search_size); at += 4) {
        const u32 magic = *read_at<u32>(image, at), flags = *read_at<u32>(image, at + 4),
                  checksum = *read_at<u32>(image, at + 8);
        if (magic == header_magic && magic + flags + checksum == 0)
            return Header{at, flags};
    }
    return std::nullopt;
}

struct Loaded {
    u64 entry;
    u64 end;
    u64 shift = 0;  ///< of the boot area
};

/// How many bytes above its usual place the boot area is out of the kernel's way.
Result<u64> boot_area_shift(const Image& image, std::span<const std::pair<u64, u64>> taken) {
    for (const u64 shift : {u64(0), boot_area::upper}) {
        const u64 first = boot_area::first + shift, end = boot_area::end + shift;
        if (std::none_of(taken.begin(), taken.end(),
                         [&](const auto& range) { return range.first < end && first < range.second; }))
            return shift;
    }
    return Error{fmt::format("{}: the kernel takes both places that the loader has for what it tells it, {:#x} to "
                             "{:#x} and {:#x} to {:#x}; link it at 1 MiB or above",
                             image.name, boot_area::first, boot_area::end, boot_area::first + boot_area::upper,
                             boot_area::end + boot_area::upper)};
}

/// Loads by the address fields of the header (the "a.out kludge").
Result<Loaded> load_by_addresses(const Image& image, const Header& h, GuestMemory& memory) {
    const Bytes b = image.bytes;
    const auto refuse = [&](std::string_view why) -> Error {
        return {fmt::format("{}: its multiboot header {}; rebuild the kernel", image.name, why)};
    };
    if (!part_of(b, h.at, 32))
        return refuse("lies at the end of the file and is incomplete");
    const auto field = [&](u64 offset) -> u64 { return *read_at<u32>(b, h.at + offset); };
    const u64 header_addr = field(12), load_addr = field(16), load_end = field(20), bss_end = field(24),
              entry = field(28);
    if (load_addr > header_addr || header_addr - load_addr > h.at)
        return refuse("names a load address that is not within the file");
    const u64 from = h.at - (header_addr - load_addr);
    if (load_end != 0 && load_end < load_addr)
        return refuse("ends before it begins");
    const u64 size = load_end == 0 ? b.size() - from : load_end - load_addr;
    const auto part = part_of(b, from, size);
    if (!part)
        return refuse("asks for more bytes than the file has");
    const u64 end = std::max(load_addr + size, bss_end);
    if (!is_ram(memory_map(memory.size()), load_addr, end - load_addr))
        return Error{
            fmt::format("{}: the kernel wants {:#x} to {:#x}, which is not free RAM; raise memory.size or "
                        "link it at 1 MiB",
                        image.name, load_addr, end)};
    if (entry < load_addr || entry >= end)
        return refuse("names an entry point outside the kernel");
    const std::pair<u64, u64> taken{load_addr, end};
    Result<u64> shift = boot_area_shift(image, {&taken, 1});
    if (!shift)
        return shift.error();
    memory.write(load_addr, *part);
    put_zeros(memory, load_addr + size, end - load_addr - size);
    return Loaded{entry, end, *shift};
}

Result<Loaded> load_kernel_image(const Image& image, const Header& h, GuestMemory& memory) {
    if ((h.flags & has_addresses) != 0)
        return load_by_addresses(image, h, memory);
    Result<Elf> elf = parse_elf(image.bytes, image.name);
    if (!elf)
        return elf.error();
    Result<u64> end = load_elf(*elf, image.bytes, image.name, memory, u64(0));
    if (!end)
        return end.error();
    std::vector<std::pair<u64, u64>> taken;
    for (const ElfSegment& s : elf->segments)
        if (s.type == 1)
            taken.emplace_back(s.physical, s.physical + s.memory_size);
    Result<u64> shift = boot_area_shift(image, taken);
    if (!shift)
        return shift.error();
    // An ELF entry point is an address of the kernel's own; for a kernel linked high it is the virtual one.
    u64 entry = elf->entry;
    for (const ElfSegment& s : elf->segments)
        if (s.type == 1 && entry - s.virtual_address < s.memory_size) {
            entry = s.physical + (entry - s.virtual_address);
            break;
        }
    if (entry >= board::four_gib || !is_ram(memory_map(memory.size()), entry, 1))
        return Error{fmt::format("{}: its entry point {:#x} is not RAM below 4 GiB; rebuild the kernel",
                                 image.name, entry)};
    return Loaded{entry, *end, *shift};
}

/// As boot loaders do, the first word of the command line is the file's name (without its folder, so that the
/// guest's run does not depend on where the file lies).
std::string command_line_of(const BootRequest& request) {
    const std::string& path = request.kernel.name;
    const std::string name = path.substr(path.rfind('/') + 1);
    return request.command_line.empty() ? name : name + " " + request.command_line;
}

}  // namespace

bool has_multiboot_header(Bytes image) {
    return find_header(image).has_value();
}

Result<EntryState> load_multiboot(const BootRequest& request, GuestMemory& memory) {
    const Image& image = request.kernel;
    const auto header = find_header(image.bytes);
    if (!header)
        return Error{
            fmt::format("{}: there is no multiboot header in its first 8192 bytes; rebuild the kernel or "
                        "choose another boot.protocol",
                        image.name)};
    if ((header->flags & must_understand & ~(wants_alignment | wants_memory)) != 0)
        return Error{
            fmt::format("{}: its multiboot header asks for features {:#x}{}, which are not offered; rebuild "
                        "the kernel without them",
                        image.name, header->flags & must_understand,
                        (header->flags & wants_video) != 0 ? " (a video mode)" : "")};
    Result<Loaded> loaded = load_kernel_image(image, *header, memory);
    if (!loaded)
        return loaded.error();
    Result<std::vector<LaidModule>> modules = lay_modules(request, memory, loaded->end);
    if (!modules)
        return modules.error();

    const std::string command_line = command_line_of(request);
    if (command_line.size() >= boot_area::command_line_room)
        return Error{
            fmt::format("boot.append: the command line has {} characters; at most {} fit, shorten it",
                        command_line.size(), boot_area::command_line_room - 1)};
    const u64 text_at = boot_area::command_line + loaded->shift;
    put_text(memory, text_at, command_line);

    const std::vector<MemoryRange> map = memory_map(memory.size());
    const u64 module_list = boot_area::lists + loaded->shift, map_list = module_list + modules->size() * module_entry_size;
    const u64 loader_name = map_list + map.size() * map_entry_size;
    put_text(memory, loader_name, "Droste");
    u64 text = loader_name + 8;
    for (std::size_t i = 0; i < modules->size(); ++i) {
        const u64 at = module_list + i * module_entry_size;
        const std::string& line = request.modules[i].command_line;
        if (text + line.size() + 1 > module_list + boot_area::lists_room)
            return Error{"boot.modules: the modules' arguments are too long in all; shorten them"};
        const LaidModule& m = (*modules)[i];
        put32(memory, at, static_cast<u32>(m.first));
        put32(memory, at + 4, static_cast<u32>(m.first + m.size));
        put32(memory, at + 8, static_cast<u32>(text));
        put32(memory, at + 12, 0);
        put_text(memory, text, line);
        text += line.size() + 1;
    }
    for (std::size_t i = 0; i < map.size(); ++i) {
        const u64 at = map_list + i * map_entry_size;
        put32(memory, at, map_entry_size - 4);  // the size field does not count itself
        put64(memory, at + 4, map[i].first);
        put64(memory, at + 12, map[i].size);
        put32(memory, at + 20, static_cast<u32>(map[i].kind));
    }

    const u64 p = boot_area::zero_page + loaded->shift;
    put_zeros(memory, p, info_size);
    put32(memory, p, info_memory | info_command_line | info_modules | info_map | info_loader_name);
    put32(memory, p + 4, static_cast<u32>(board::ebda / 1024));
    put32(memory, p + 8, static_cast<u32>((low_ram_end(memory.size()) - board::high_memory) / 1024));
    put32(memory, p + 16, static_cast<u32>(text_at));
    put32(memory, p + 20, static_cast<u32>(modules->size()));
    put32(memory, p + 24, static_cast<u32>(module_list));
    put32(memory, p + 44, static_cast<u32>(map.size() * map_entry_size));
    put32(memory, p + 48, static_cast<u32>(map_list));
    put32(memory, p + 64, static_cast<u32>(loader_name));

    EntryState state = enter_flat32(memory, loaded->entry, loaded->shift);
    state.rax = loader_magic;
    state.rbx = p;
    return state;
}

}  // namespace droste
