// SPDX-License-Identifier: Apache-2.0
// Linux bzImage by the 64-bit boot protocol (Linux Documentation, "The Linux/x86 Boot Protocol").
#include <fmt/format.h>

#include <algorithm>

#include "machine/loader/boot_area.h"
#include "machine/loader/decompress.h"
#include "machine/loader/elf.h"
#include "machine/loader/loader.h"

namespace droste {

namespace {

/// Offsets within the setup header and, equally, within boot_params.
enum Field : u64 {
    acpi_rsdp_addr = 0x070,
    ext_ramdisk_image = 0x0C0,
    e820_entries = 0x1E8,
    setup_sects = 0x1F1,
    syssize = 0x1F4,
    boot_flag = 0x1FE,
    jump = 0x200,
    header = 0x202,
    version = 0x206,
    type_of_loader = 0x210,
    loadflags = 0x211,
    ramdisk_image = 0x218,
    ramdisk_size = 0x21C,
    cmd_line_ptr = 0x228,
    initrd_addr_max = 0x22C,
    kernel_alignment = 0x230,
    relocatable_kernel = 0x234,
    xloadflags = 0x236,
    cmdline_size = 0x238,
    payload_offset = 0x248,
    payload_length = 0x24C,
    setup_data = 0x250,
    pref_address = 0x258,
    init_size = 0x260,
    e820_table = 0x2D0,
};
constexpr u32 magic_hdrs = 0x5372'6448;
constexpr u16 oldest_version = 0x020C;  // the first with xloadflags
constexpr u16 xlf_kernel_64 = 1;
constexpr u8 loader_undefined = 0xFF;
constexpr u8 flag_loaded_high = 1, flag_keep_segments = 0x40;
constexpr u64 entry64_offset = 0x200;
constexpr u64 page = 0x1000;

/// What the setup header says, checked.
struct Kernel {
    Bytes header;        ///< 0x1F1 to its end, as it goes into boot_params
    Bytes code;          ///< the protected-mode part
    u64 load = 0;        ///< where the code goes
    u64 room = 0;        ///< bytes from `load` that the kernel uses before it reads the memory map
    u64 initrd_max = 0;  ///< last address that the initial RAM disk may touch
    u64 command_line_max = 0;
    u64 payload_at = 0, payload_size = 0;
};

/// A place for `room` bytes: the preferred one, or for a relocatable kernel the highest aligned one above it
/// that fits. Below the preferred address it would move itself there before it runs (boot protocol,
/// "pref_address"), so that memory must be RAM in any case.
Result<u64> choose_load_address(const Image& image, const GuestMemory& memory, u64 room) {
    const Bytes b = image.bytes;
    const u64 preferred = *read_at<u64>(b, pref_address), end = low_ram_end(memory.size());
    const std::vector<MemoryRange> map = memory_map(memory.size());
    if (preferred >= 0x10'0000 && is_ram(map, preferred, room) && preferred + room <= end)
        return preferred;
    const u64 alignment = *read_at<u32>(b, kernel_alignment);
    const bool aligned = alignment >= page && (alignment & (alignment - 1)) == 0;
    if (*read_at<u8>(b, relocatable_kernel) != 0 && aligned && room < end) {
        const u64 low = (end - room) & ~(alignment - 1);
        if (low >= std::max<u64>(preferred, 0x10'0000) && is_ram(map, low, room))
            return low;
    }
    return Error{fmt::format("{}: the kernel needs {} MiB at {:#x}, which is not RAM; raise memory.size",
                             image.name, (room >> 20) + 1, preferred)};
}

Result<Kernel> parse(const Image& image, const GuestMemory& memory) {
    const Bytes b = image.bytes;
    const auto refuse = [&](std::string_view why) -> Error {
        return {fmt::format("{}: {}", image.name, why)};
    };
    if (b.size() < e820_table)
        return refuse("the file ends within the setup header; fetch it again");
    if (read_at<u32>(b, header) != magic_hdrs || read_at<u16>(b, boot_flag) != 0xAA55)
        return refuse(
            "this is not a Linux bzImage (no \"HdrS\"); name a bzImage, a vmlinux or a multiboot kernel");
    if (*read_at<u16>(b, version) < oldest_version)
        return refuse(
            fmt::format("boot protocol {}.{:02} is older than 2.12, so there is no 64-bit entry; use Linux "
                        "3.8 or newer",
                        *read_at<u16>(b, version) >> 8, *read_at<u16>(b, version) & 0xFF));
    if ((*read_at<u16>(b, xloadflags) & xlf_kernel_64) == 0)
        return refuse("the kernel has no 64-bit entry (XLF_KERNEL_64 is clear); use an x86-64 kernel");
    if ((*read_at<u8>(b, loadflags) & flag_loaded_high) == 0)
        return refuse("the kernel is a zImage, loaded low; use a bzImage");
    Kernel k;
    const u64 header_end = jump + 2 + *read_at<u8>(b, jump + 1);
    if (header_end <= init_size + 3 || header_end > e820_table)
        return refuse("the setup header has an impossible length; fetch the file again");
    k.header = b.subspan(setup_sects, header_end - setup_sects);
    const u64 sectors = *read_at<u8>(b, setup_sects) == 0 ? 4 : *read_at<u8>(b, setup_sects);
    const u64 code_at = (sectors + 1) * 512;
    if (code_at >= b.size() || b.size() - code_at <= entry64_offset)
        return refuse("the file ends before the kernel's code; fetch it again");
    constexpr u64 paragraph = 16;
    const u64 code_size = *read_at<u32>(b, syssize) * paragraph;
    if (b.size() - code_at < code_size)
        return refuse(fmt::format("the file ends {} bytes before the kernel's code does; fetch it again",
                                  code_size - (b.size() - code_at)));
    k.code = b.subspan(code_at);
    k.room = std::max<u64>(*read_at<u32>(b, init_size), (k.code.size() + page - 1) & ~(page - 1));
    k.initrd_max = *read_at<u32>(b, initrd_addr_max);
    k.command_line_max = *read_at<u32>(b, cmdline_size);
    k.payload_at = *read_at<u32>(b, payload_offset);
    k.payload_size = *read_at<u32>(b, payload_length);
    Result<u64> load = choose_load_address(image, memory, k.room);
    if (!load)
        return load.error();
    k.load = *load;
    return k;
}

/// The initial RAM disk: as high as the kernel allows, clear of the kernel's room.
Result<u64> lay_initrd(const Image& initrd, const Image& image, const Kernel& k, GuestMemory& memory) {
    const u64 size = initrd.bytes.size();
    const u64 top = std::min(low_ram_end(memory.size()), k.initrd_max + 1);
    const u64 kernel_end = k.load + k.room;
    if (size <= top) {
        u64 at = (top - size) & ~(page - 1);
        const bool over_kernel = at < kernel_end && at + size > k.load;
        if (over_kernel)
            at = size <= k.load ? (k.load - size) & ~(page - 1) : 0;
        if (at >= 0x10'0000 && is_ram(memory_map(memory.size()), at, size)) {
            memory.write(at, initrd.bytes);
            return at;
        }
    }
    return Error{
        fmt::format("{}: {} MiB of initial RAM disk do not fit between the kernel {}, which takes {:#x} to "
                    "{:#x}, and {:#x}; raise memory.size",
                    initrd.name, (size >> 20) + 1, image.name, k.load, kernel_end, top)};
}

void lay_boot_params(const BootRequest& request, const Kernel& k, u64 initrd_at, GuestMemory& memory) {
    const u64 p = boot_area::zero_page;
    put_zeros(memory, p, page);
    memory.write(p + setup_sects, k.header);
    const auto put8 = [&](u64 offset, u8 value) { memory.write(p + offset, Bytes(&value, 1)); };
    put8(type_of_loader, loader_undefined);
    put8(loadflags,
         static_cast<u8>((k.header[loadflags - setup_sects] | flag_loaded_high) & ~flag_keep_segments));
    put64(memory, p + setup_data, 0);
    put32(memory, p + cmd_line_ptr, boot_area::command_line);
    put_text(memory, boot_area::command_line, request.command_line);
    put64(memory, p + acpi_rsdp_addr, request.rsdp);
    if (!request.modules.empty()) {
        put32(memory, p + ramdisk_image, static_cast<u32>(initrd_at));
        put32(memory, p + ramdisk_size, static_cast<u32>(request.modules[0].image.bytes.size()));
    }
    u8 entries = 0;
    for (const MemoryRange& r : memory_map(memory.size())) {
        const u64 at = p + e820_table + 20u * entries++;
        put64(memory, at, r.first);
        put64(memory, at + 8, r.size);
        put32(memory, at + 16, static_cast<u32>(r.kind));
    }
    put8(e820_entries, entries);
}

/// Unpacks the payload on the host and loads the vmlinux within, where the kernel's own code would have put
/// it. The entry point is the same too: startup_64 in physical addresses, with RSI at the zero page.
Result<u64> load_unpacked(const Image& image, const Kernel& k, GuestMemory& memory) {
    const auto payload = part_of(k.code, k.payload_at, k.payload_size);
    if (!payload || k.payload_size == 0)
        return Error{
            fmt::format("{}: the kernel's packed payload lies outside the file; fetch it again", image.name)};
    Result<std::vector<u8>> vmlinux = decompress(*payload, image.name);
    if (!vmlinux)
        return vmlinux.error();
    const std::string name = image.name + " (unpacked)";
    Result<Elf> elf = parse_elf(*vmlinux, name);
    if (!elf)
        return elf.error();
    if (!elf->is64)
        return Error{fmt::format("{}: the kernel within is not 64-bit; use an x86-64 kernel", name)};
    for (const ElfSegment& s : elf->segments)
        if (s.type == 1 && s.memory_size != 0 &&
            (s.physical < k.load || s.physical + s.memory_size > k.load + k.room))
            return Error{fmt::format("{}: the kernel within leaves the room that its header claims; set "
                                     "boot.decompress = \"guest\"",
                                     name)};
    Result<u64> end = load_elf(*elf, *vmlinux, name, memory);
    if (!end)
        return end.error();
    if (elf->entry < k.load || elf->entry >= *end)
        return Error{
            fmt::format("{}: its entry point {:#x} lies outside the kernel; set boot.decompress = \"guest\"",
                        name, elf->entry)};
    return elf->entry;
}

}  // namespace

Result<EntryState> load_linux(const BootRequest& request, GuestMemory& memory) {
    Result<Kernel> kernel = parse(request.kernel, memory);
    if (!kernel)
        return kernel.error();
    const Kernel& k = *kernel;
    const u64 command_line_max = std::min<u64>(k.command_line_max, boot_area::command_line_room - 1);
    if (request.command_line.size() > command_line_max)
        return Error{
            fmt::format("boot.append: the command line has {} characters, but {} takes {}; shorten it",
                        request.command_line.size(), request.kernel.name, command_line_max)};
    if (request.modules.size() > 1)
        return Error{
            fmt::format("boot.modules: {} is a bzImage, which takes one initial RAM disk and no further "
                        "modules; name it in boot.initrd",
                        request.kernel.name)};
    u64 entry = k.load + entry64_offset;
    if (request.decompress == Decompress::host) {
        Result<u64> unpacked = load_unpacked(request.kernel, k, memory);
        if (!unpacked)
            return unpacked.error();
        entry = *unpacked;
    } else {
        memory.write(k.load, k.code);
    }
    u64 initrd_at = 0;
    if (!request.modules.empty()) {
        Result<u64> at = lay_initrd(request.modules[0].image, request.kernel, k, memory);
        if (!at)
            return at.error();
        initrd_at = *at;
    }
    EntryState state = enter_long64(memory, entry);
    lay_boot_params(request, k, initrd_at, memory);
    state.rsi = boot_area::zero_page;
    return state;
}

}  // namespace droste
