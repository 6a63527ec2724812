// SPDX-License-Identifier: Apache-2.0
// Loaders: what lies where, how the kernel is entered, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine/loader_fixture.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr u64 MiB = 1u << 20;

std::string problem_of(const BootRequest& request, u64 ram = 64 * MiB) {
    TestMemory memory(ram);
    const Result<EntryState> r = load_kernel(request, memory);
    return r ? "" : r.error().text;
}

TEST(MemoryMap, RamIsAllThereAndHolesAreNot) {
    for (const u64 ram : {64 * MiB, 3072 * MiB, 8192 * MiB}) {
        u64 sum = 0, end = 0;
        for (const MemoryRange& r : memory_map(ram)) {
            EXPECT_GE(r.first, end);
            end = r.first + r.size;
            if (r.kind == MemoryKind::ram)
                sum += r.size;
        }
        EXPECT_EQ(sum, ram - (0x10'0000 - 0x9'FC00));
        const auto map = memory_map(ram);
        EXPECT_FALSE(is_ram(map, 0xE000'0000, 1));
        EXPECT_FALSE(is_ram(map, 0x9'FC00, 1));
        EXPECT_EQ(is_ram(map, 0x1'0000'0000, 1), ram > 3072 * MiB);
        EXPECT_FALSE(is_ram(map, ~0ull - 4, 100));
    }
}

TEST(Bzimage, EntersByThe64BitProtocol) {
    TestMemory memory(64 * MiB);
    BootRequest request = request_of(make_bzimage());
    request.modules.push_back({{"initrd", std::vector<u8>(5000, 0x5A)}, ""});
    const Result<EntryState> e = load_kernel(request, memory);
    ASSERT_TRUE(e) << e.error().text;
    EXPECT_EQ(e->mode, EntryState::Mode::long64);
    EXPECT_EQ(e->rip, 0x100'0200u);
    EXPECT_EQ(memory.at<u8>(0x100'0000), 0xCC);
    const u64 p = e->rsi;
    EXPECT_EQ(memory.at<u32>(p + 0x202), 0x5372'6448u);
    EXPECT_EQ(memory.at<u8>(p + 0x210), 0xFF);
    EXPECT_EQ(memory.at<u64>(p + 0x070), 0xE'0000u);
    EXPECT_EQ(memory.at<u64>(p + 0x250), 0u);  // setup_data of the file must not survive
    EXPECT_EQ(memory.text(memory.at<u32>(p + 0x228)), "console=ttyS0 quiet");
    const u32 initrd = memory.at<u32>(p + 0x218);
    EXPECT_EQ(memory.at<u32>(p + 0x21C), 5000u);
    EXPECT_EQ(initrd, 64 * MiB - 8192);
    EXPECT_EQ(memory.at<u8>(initrd + 4999), 0x5A);
    EXPECT_EQ(memory.at<u8>(p + 0x1E8), memory_map(64 * MiB).size());
    EXPECT_EQ(memory.at<u64>(p + 0x2D0 + 8), 0x9'FC00u);
    // Segments and paging as the protocol asks: 0x10 code, 0x18 data, identity map.
    EXPECT_EQ(e->code_selector, 0x10);
    EXPECT_EQ(e->data_selector, 0x18);
    EXPECT_EQ(memory.at<u64>(e->gdt_base + 0x10), 0x00AF'9B00'0000'FFFFu);
    EXPECT_EQ(memory.at<u64>(e->gdt_base + 0x18), 0x00CF'9300'0000'FFFFu);
    for (const u64 a : {u64(0), 0x100'0200ul, p, 0xFFFF'FFFFul}) {
        const u64 pml4e = memory.at<u64>(e->cr3), pdpte = memory.at<u64>((pml4e & ~0xFFFull) + (a >> 30) * 8);
        const u64 pde = memory.at<u64>((pdpte & ~0xFFFull) + (a >> 21 & 511) * 8);
        EXPECT_EQ(pde & 0x83, 0x83u);
        EXPECT_EQ((pde & ~0x1F'FFFFull) | (a & 0x1F'FFFF), a);
    }
}

TEST(Bzimage, InitrdStaysClearOfTheKernelAndItsLimit) {
    TestMemory memory(64 * MiB);
    BootRequest request = request_of(make_bzimage());
    poke<u32>(request.kernel.bytes, 0x22C, 0x0110'2000);  // initrd_addr_max within the kernel's room
    request.modules.push_back({{"initrd", std::vector<u8>(5000, 0x5A)}, ""});
    const Result<EntryState> e = load_kernel(request, memory);
    ASSERT_TRUE(e) << e.error().text;
    const u32 at = memory.at<u32>(e->rsi + 0x218);
    EXPECT_LE(at + 5000, 0x0110'2001u);
    EXPECT_TRUE(at + 5000 <= 0x100'0000 || at >= 0x110'0000) << at;
}

TEST(Bzimage, HostUnpackingLoadsTheKernelWithin) {
    for (const auto& pack : {pack_lz4, pack_xz}) {
        TestMemory memory(64 * MiB);
        BootRequest request = request_of(make_bzimage(pack(make_vmlinux())));
        request.decompress = Decompress::host;
        const Result<EntryState> e = load_kernel(request, memory);
        ASSERT_TRUE(e) << e.error().text;
        EXPECT_EQ(e->rip, 0x100'0000u);
        EXPECT_EQ(memory.at<u8>(0x100'0001), 7);
        EXPECT_EQ(memory.at<u8>(0x100'3FFF), 0);
        EXPECT_EQ(memory.at<u32>(e->rsi + 0x202), 0x5372'6448u);
    }
}

TEST(Bzimage, RefusesWithNameAndRemedy) {
    const auto with = [](u64 at, auto value) {
        BootRequest r = request_of(make_bzimage());
        poke(r.kernel.bytes, at, value);
        return r;
    };
    EXPECT_THAT(problem_of(with(0x206, u16(0x20B))),
                AllOf(HasSubstr("images/kernel"), HasSubstr("older than 2.12")));
    EXPECT_THAT(problem_of(with(0x236, u16(0))), HasSubstr("XLF_KERNEL_64"));
    EXPECT_THAT(problem_of(with(0x211, u8(0))), HasSubstr("use a bzImage"));
    EXPECT_THAT(problem_of(with(0x201, u8(0))), HasSubstr("impossible length"));
    EXPECT_THAT(problem_of(with(0x1F1, u8(200))), HasSubstr("ends before the kernel's code"));
    EXPECT_THAT(problem_of(with(0x260, u32(0x7000'0000))), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(with(0x1F4, u32(0x500'0000))),
                AllOf(HasSubstr("images/kernel"), HasSubstr("before the kernel's code does")));
    // A relocatable kernel below its preferred address moves itself there.
    EXPECT_THAT(problem_of(with(0x258, 64 * MiB - 0x8'0000)), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(with(0x258, ~u64(0))), HasSubstr("raise memory.size"));
    BootRequest request = with(0x234, u8(0));
    poke<u64>(request.kernel.bytes, 0x258, ~0ull - 100);
    EXPECT_THAT(problem_of(request), HasSubstr("raise memory.size"));
    request = request_of(make_bzimage());
    request.command_line.assign(2048, 'x');
    EXPECT_THAT(problem_of(request), HasSubstr("shorten it"));
    request = request_of(make_bzimage());
    request.modules.push_back({{"big.img", std::vector<u8>(60 * MiB)}, ""});
    EXPECT_THAT(problem_of(request), AllOf(HasSubstr("big.img"), HasSubstr("raise memory.size")));
    request = request_of(make_bzimage());
    request.modules.resize(2);
    EXPECT_THAT(problem_of(request), HasSubstr("boot.initrd"));
    request = request_of(make_bzimage({0xFD, '7', 'z', 'X', 'Z', 0, 1, 2}));
    request.decompress = Decompress::host;
    EXPECT_THAT(problem_of(request), HasSubstr("boot.decompress = \"guest\""));
    request.kernel.bytes = make_bzimage({'B', 'Z', 'h', '9'});
    EXPECT_THAT(problem_of(request), HasSubstr("bzip2"));
}

TEST(Pvh, EntersFlatWithStartInfo) {
    TestMemory memory(64 * MiB);
    BootRequest request = request_of(make_pvh());
    request.modules.push_back({{"m0", std::vector<u8>(100, 1)}, "args zero"});
    request.modules.push_back({{"m1", std::vector<u8>(5000, 2)}, ""});
    const Result<EntryState> e = load_kernel(request, memory);
    ASSERT_TRUE(e) << e.error().text;
    EXPECT_EQ(e->mode, EntryState::Mode::flat32);
    EXPECT_EQ(e->rip, 0x100'0100u);
    EXPECT_EQ(e->cr0 & 0x8000'0001, 1u);
    const u64 p = e->rbx;
    EXPECT_EQ(memory.at<u32>(p), 0x336E'C578u);
    EXPECT_EQ(memory.at<u32>(p + 4), 1u);
    EXPECT_EQ(memory.at<u32>(p + 12), 2u);
    const u64 modules = memory.at<u64>(p + 16);
    EXPECT_EQ(memory.at<u64>(modules) % 4096, 0u);
    EXPECT_GE(memory.at<u64>(modules), 0x100'2000u);
    EXPECT_EQ(memory.at<u64>(modules + 8), 100u);
    EXPECT_EQ(memory.text(memory.at<u64>(modules + 16)), "args zero");
    EXPECT_EQ(memory.at<u8>(memory.at<u64>(modules + 32) + 4999), 2);
    EXPECT_EQ(memory.text(memory.at<u64>(p + 24)), "console=ttyS0 quiet");
    EXPECT_EQ(memory.at<u64>(p + 32), 0xE'0000u);
    EXPECT_EQ(memory.at<u32>(p + 48), memory_map(64 * MiB).size());
    EXPECT_EQ(memory.at<u32>(memory.at<u64>(p + 40) + 16), 1u);
}

TEST(Multiboot, ElfKernelGetsItsInformation) {
    TestMemory memory(64 * MiB);
    BootRequest request = request_of(make_multiboot_elf(3), "/a/folder/vmx.flat");
    request.command_line = "one two";
    request.modules.push_back({{"env", {'A', '=', '1', '\n'}}, "env"});
    const Result<EntryState> e = load_kernel(request, memory);
    ASSERT_TRUE(e) << e.error().text;
    EXPECT_EQ(e->mode, EntryState::Mode::flat32);
    EXPECT_EQ(e->rip, 0x40'0020u);
    EXPECT_EQ(e->rax, 0x2BAD'B002u);
    const u64 p = e->rbx;
    EXPECT_EQ(memory.at<u32>(p) & 0x4D, 0x4Du);
    EXPECT_EQ(memory.at<u32>(p + 8), 63 * 1024u);
    EXPECT_EQ(memory.text(memory.at<u32>(p + 16)), "vmx.flat one two");
    EXPECT_EQ(memory.at<u32>(p + 20), 1u);
    const u32 mods = memory.at<u32>(p + 24), start = memory.at<u32>(mods);
    EXPECT_EQ(start % 4096, 0u);
    EXPECT_GE(start, 0x40'1800u);
    EXPECT_EQ(memory.at<u32>(mods + 4) - start, 4u);
    EXPECT_EQ(memory.at<u8>(start), 'A');
    const u32 mmap = memory.at<u32>(p + 48);
    EXPECT_EQ(memory.at<u32>(p + 44), 24 * memory_map(64 * MiB).size());
    EXPECT_EQ(memory.at<u32>(mmap), 20u);
    EXPECT_EQ(memory.at<u32>(mmap + 20), 1u);
}

TEST(Multiboot, AddressFields) {
    TestMemory memory(64 * MiB);
    const Result<EntryState> e = load_kernel(request_of(make_multiboot_flat()), memory);
    ASSERT_TRUE(e) << e.error().text;
    EXPECT_EQ(e->rip, 0x20'0080u);
    EXPECT_EQ(memory.at<u32>(0x20'0040), 0x1BAD'B002u);
    EXPECT_EQ(memory.at<u8>(0x20'02FF), 0x90);
    EXPECT_EQ(memory.at<u8>(0x20'0300), 0);
}

// Kernels for real-address mode are linked in the first 64 KiB: the loader's own data make room.
TEST(Multiboot, KernelInLowMemoryGetsItsInformationAboveIt) {
    TestMemory memory(64 * MiB);
    std::vector<u8> code(0x200, 0x90);
    poke<u32>(code, 0, 0x1BAD'B002), poke<u32>(code, 4, 0), poke<u32>(code, 8, 0 - 0x1BAD'B002);
    const auto kernel = [&](u64 at, u64 size) {
        return make_elf32(static_cast<u32>(at) + 0x20,
                          {{.physical = at, .bytes = code, .memory_size = size, .virtual_address = at}});
    };
    BootRequest request = request_of(kernel(0x4000, 0x1'2000), "realmode.flat");
    request.modules.push_back({{"env", {'A'}}, "env"});
    const Result<EntryState> e = load_kernel(request, memory);
    ASSERT_TRUE(e) << e.error().text;
    EXPECT_EQ(e->rip, 0x4020u);
    EXPECT_EQ(memory.at<u32>(0x4000), 0x1BAD'B002u);
    const auto beyond = [](u64 at) { return at >= 0x1'6000 && at < 0x9'FC00; };
    const u32 p = static_cast<u32>(e->rbx);
    EXPECT_TRUE(beyond(p) && beyond(memory.at<u32>(p + 16)) && beyond(memory.at<u32>(p + 24)) &&
                beyond(memory.at<u32>(p + 48)) && beyond(e->gdt_base) && beyond(e->task_base));
    EXPECT_EQ(memory.text(memory.at<u32>(p + 16)), "realmode.flat console=ttyS0 quiet");
    EXPECT_EQ(memory.at<u64>(e->gdt_base + 0x20) >> 16 & 0xFF'FFFF, e->task_base);
    EXPECT_THAT(problem_of(request_of(kernel(0x4000, 0x7'0000))), HasSubstr("link it at 1 MiB or above"));
}

TEST(Multiboot, Refusals) {
    EXPECT_THAT(problem_of(request_of(make_multiboot_elf(4))), HasSubstr("a video mode"));
    const auto flat = [](u64 offset, u32 value) {
        BootRequest r = request_of(make_multiboot_flat());
        poke(r.kernel.bytes, 0x40 + offset, value);
        return r;
    };
    EXPECT_THAT(problem_of(flat(16, 0x30'0000)), HasSubstr("not within the file"));
    EXPECT_THAT(problem_of(flat(20, 0xFFFF'0000)), HasSubstr("more bytes than the file has"));
    EXPECT_THAT(problem_of(flat(20, 1)), HasSubstr("ends before it begins"));
    EXPECT_THAT(problem_of(flat(24, 0xFFFF'FFFF)), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(flat(28, 0)), HasSubstr("entry point outside"));
}

TEST(Elf, RefusesTricksWithNameAndRemedy) {
    const auto with = [](u64 at, auto value) {
        BootRequest r = request_of(make_pvh());
        poke(r.kernel.bytes, at, value);
        return r;
    };
    EXPECT_THAT(problem_of(with(4, u8(9))), AllOf(HasSubstr("images/kernel"), HasSubstr("ELF class")));
    EXPECT_THAT(problem_of(with(5, u8(2))), HasSubstr("little-endian"));
    EXPECT_THAT(problem_of(with(16, u16(1))), HasSubstr("not an executable"));
    EXPECT_THAT(problem_of(with(18, u16(183))), HasSubstr("machine 183"));
    EXPECT_THAT(problem_of(with(32, ~u64(0) - 8)), HasSubstr("outside the file"));
    EXPECT_THAT(problem_of(with(54, u16(57))), HasSubstr("57 bytes each"));
    EXPECT_THAT(problem_of(with(56, u16(0xFFFF))), HasSubstr("65535 program headers"));
    EXPECT_THAT(problem_of(with(56, u16(0))), HasSubstr("no program headers"));
    EXPECT_THAT(problem_of(with(64 + 8, ~u64(0))), HasSubstr("lies outside the file"));
    EXPECT_THAT(problem_of(with(64 + 32, u64(0x1000))), HasSubstr("lies outside the file"));
    EXPECT_THAT(problem_of(with(64 + 40, u64(1))), HasSubstr("larger in the file"));
    EXPECT_THAT(problem_of(with(64 + 40, ~u64(0))), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(with(64 + 24, ~u64(0) - 0x1000)), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(with(64 + 24, u64(0x9'F000))), HasSubstr("raise memory.size"));
    EXPECT_THAT(problem_of(with(64 + 24, u64(0x2000))), HasSubstr("loader's own area"));
    BootRequest two = request_of(
        make_elf64(0x100'0000, {{.physical = 0x100'0000, .bytes = std::vector<u8>(32), .memory_size = 0x2000},
                                {.physical = 0x100'1FFF, .bytes = std::vector<u8>(32)},
                                {.type = 4, .bytes = pvh_note(0x100'0000)}}));
    EXPECT_THAT(problem_of(two), HasSubstr("overlap"));
    EXPECT_THAT(problem_of(request_of(make_vmlinux())),
                HasSubstr("neither a PVH note nor a multiboot header"));
    EXPECT_THAT(problem_of(request_of(std::vector<u8>(100, 'x'))),
                HasSubstr("no kernel image of a known kind"));
    BootRequest forced = request_of(make_bzimage());
    forced.protocol = BootProtocol::pvh;
    EXPECT_THAT(problem_of(forced), HasSubstr("not an ELF file"));
}

TEST(ReadImage, SaysWhichOptionNamedTheFile) {
    EXPECT_THAT(read_image("/nowhere", "boot.kernel").error().text,
                AllOf(HasSubstr("boot.kernel"), HasSubstr("/nowhere")));
    EXPECT_FALSE(read_image("/tmp", "boot.kernel"));
    EXPECT_FALSE(read_image("/dev/null", "boot.kernel"));
}

}  // namespace
}  // namespace droste
