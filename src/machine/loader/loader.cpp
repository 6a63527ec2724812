// SPDX-License-Identifier: Apache-2.0
// Recognising images, reading files, laying modules.
#include "machine/loader/loader.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "machine/loader/elf.h"

namespace droste {

Result<BootProtocol> recognise(const Image& kernel) {
    const Bytes b = kernel.bytes;
    if (read_at<u32>(b, 0x202) == 0x5372'6448)
        return BootProtocol::linux64;
    if (is_elf(b)) {
        Result<Elf> elf = parse_elf(b, kernel.name);
        if (!elf)
            return elf.error();
        if (pvh_entry(*elf, b))
            return BootProtocol::pvh;
    }
    if (has_multiboot_header(b))
        return BootProtocol::multiboot;
    if (is_elf(b))
        return Error{
            fmt::format("{}: the ELF file has neither a PVH note nor a multiboot header; build the kernel "
                        "with CONFIG_PVH or use its bzImage",
                        kernel.name)};
    return Error{
        fmt::format("{}: this is no kernel image of a known kind; name a Linux bzImage, an ELF file with a "
                    "PVH note, or a multiboot kernel",
                    kernel.name)};
}

Result<EntryState> load_kernel(const BootRequest& request, GuestMemory& memory) {
    BootProtocol protocol = request.protocol;
    if (protocol == BootProtocol::automatic) {
        Result<BootProtocol> found = recognise(request.kernel);
        if (!found)
            return found.error();
        protocol = *found;
    }
    switch (protocol) {
    case BootProtocol::linux64:
        return load_linux(request, memory);
    case BootProtocol::pvh:
        return load_pvh(request, memory);
    case BootProtocol::multiboot:
        return load_multiboot(request, memory);
    case BootProtocol::automatic:
        break;
    }
    ASSERT(!"a protocol was chosen");
}

Result<std::vector<LaidModule>> lay_modules(const BootRequest& request, GuestMemory& memory, u64 above) {
    constexpr u64 page = 0x1000, most = 64;
    if (request.modules.size() > most)
        return Error{fmt::format("boot.modules: {} modules are too many; at most {} are taken",
                                 request.modules.size(), most)};
    std::vector<LaidModule> laid;
    // Modules start at 1 MiB or above, also for a kernel that lies lower.
    u64 at = std::max<u64>((above + page - 1) & ~(page - 1), 0x10'0000);
    const std::vector<MemoryRange> map = memory_map(memory.size());
    for (const BootModule& m : request.modules) {
        const u64 size = m.image.bytes.size();
        if (!is_ram(map, at, size) || at + size > low_ram_end(memory.size()))
            return Error{
                fmt::format("{}: the module's {} MiB do not fit into RAM at {:#x}; raise memory.size",
                            m.image.name, (size >> 20) + 1, at)};
        memory.write(at, m.image.bytes);
        laid.push_back({at, size});
        at = (at + size + page - 1) & ~(page - 1);
    }
    return laid;
}

Result<Image> read_image(const std::string& path, std::string_view key) {
    constexpr u64 most = 4ull << 30;
    const auto refuse = [&](std::string_view why) -> Error {
        return {fmt::format("{}: {}: {}", key, path, why)};
    };
    std::error_code problem;
    const auto status = std::filesystem::status(path, problem);
    if (!std::filesystem::exists(status))
        return refuse("there is no such file; check the path, or build the images first");
    if (!std::filesystem::is_regular_file(status))
        return refuse("this is not a regular file; name an image");
    const u64 size = std::filesystem::file_size(path, problem);
    if (problem || size > most)
        return refuse("the file is larger than 4 GiB; name an image");
    if (size == 0)
        return refuse("the file is empty; build or fetch it again");
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
    if (!file)
        return refuse(fmt::format("cannot be opened ({}); check its permissions", std::strerror(errno)));
    Image image{path, std::vector<u8>(size)};
    if (std::fread(image.bytes.data(), 1, size, file.get()) != size)
        return refuse("cannot be read to its end; check the disk");
    return image;
}

}  // namespace droste
