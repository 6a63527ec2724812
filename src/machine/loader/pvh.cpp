// SPDX-License-Identifier: Apache-2.0
// PVH: an ELF kernel entered in 32-bit mode with hvm_start_info (Xen docs/misc/pvh,
// xen/arch-x86/hvm/start_info.h).
#include <fmt/format.h>

#include "machine/loader/boot_area.h"
#include "machine/loader/elf.h"
#include "machine/loader/loader.h"

namespace droste {

namespace {
constexpr u32 start_info_magic = 0x336E'C578, start_info_version = 1;
constexpr u64 start_info_size = 56, module_entry_size = 32, memmap_entry_size = 24;
}  // namespace

Result<EntryState> load_pvh(const BootRequest& request, GuestMemory& memory) {
    const Image& image = request.kernel;
    Result<Elf> elf = parse_elf(image.bytes, image.name);
    if (!elf)
        return elf.error();
    const auto entry = pvh_entry(*elf, image.bytes);
    if (!entry)
        return Error{
            fmt::format("{}: the ELF file has no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY); build the kernel "
                        "with CONFIG_PVH or use a bzImage",
                        image.name)};
    Result<u64> end = load_elf(*elf, image.bytes, image.name, memory);
    if (!end)
        return end.error();
    if (!is_ram(memory_map(memory.size()), *entry, 1))
        return Error{
            fmt::format("{}: its PVH entry point {:#x} is not RAM; rebuild the kernel", image.name, *entry)};
    if (request.command_line.size() >= boot_area::command_line_room)
        return Error{
            fmt::format("boot.append: the command line has {} characters; at most {} fit, shorten it",
                        request.command_line.size(), boot_area::command_line_room - 1)};
    Result<std::vector<LaidModule>> modules = lay_modules(request, memory, *end);
    if (!modules)
        return modules.error();

    // Lists: the modules, the memory map, then the modules' command lines.
    const std::vector<MemoryRange> map = memory_map(memory.size());
    const u64 module_list = boot_area::lists, map_list = module_list + modules->size() * module_entry_size;
    u64 text = map_list + map.size() * memmap_entry_size;
    for (std::size_t i = 0; i < modules->size(); ++i) {
        const u64 at = module_list + i * module_entry_size;
        const std::string& line = request.modules[i].command_line;
        if (text + line.size() + 1 > boot_area::lists + boot_area::lists_room)
            return Error{"boot.modules: the modules' arguments are too long in all; shorten them"};
        put64(memory, at, (*modules)[i].first);
        put64(memory, at + 8, (*modules)[i].size);
        put64(memory, at + 16, text);
        put64(memory, at + 24, 0);
        put_text(memory, text, line);
        text += line.size() + 1;
    }
    for (std::size_t i = 0; i < map.size(); ++i) {
        const u64 at = map_list + i * memmap_entry_size;
        put64(memory, at, map[i].first);
        put64(memory, at + 8, map[i].size);
        put64(memory, at + 16, static_cast<u32>(map[i].kind));
    }
    put_text(memory, boot_area::command_line, request.command_line);

    const u64 p = boot_area::zero_page;
    put_zeros(memory, p, start_info_size);
    put32(memory, p, start_info_magic);
    put32(memory, p + 4, start_info_version);
    put32(memory, p + 12, static_cast<u32>(modules->size()));
    put64(memory, p + 16, modules->empty() ? 0 : module_list);
    put64(memory, p + 24, boot_area::command_line);
    put64(memory, p + 32, request.rsdp);
    put64(memory, p + 40, map_list);
    put32(memory, p + 48, static_cast<u32>(map.size()));

    EntryState state = enter_flat32(memory, *entry);
    state.rbx = p;
    return state;
}

}  // namespace droste
