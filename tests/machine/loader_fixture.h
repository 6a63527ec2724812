// SPDX-License-Identifier: Apache-2.0
// Small kernel images made by hand, and a memory that refuses what is not RAM.
#pragma once
#include <lz4.h>
#include <lzma.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "machine/loader/loader.h"

namespace droste {

/// Throws on any access outside the RAM of the board, so that a loader's slip fails the test.
class TestMemory final : public GuestMemory {
public:
    explicit TestMemory(u64 size) : bytes_(size), map_(memory_map(size)) {}
    u64 size() const override { return bytes_.size(); }
    void write(u64 address, std::span<const u8> bytes) override {
        if (bytes.empty())
            return;
        check(address, bytes.size());
        std::memcpy(bytes_.data() + address, bytes.data(), bytes.size());
    }
    void read(u64 address, std::span<u8> bytes) const override {
        check(address, bytes.size());
        std::memcpy(bytes.data(), bytes_.data() + address, bytes.size());
    }
    template <class T> T at(u64 address) const {
        T v;
        read(address, std::span(reinterpret_cast<u8*>(&v), sizeof v));
        return v;
    }
    std::string text(u64 address) const {
        std::string s;
        while (const u8 c = at<u8>(address++))
            s.push_back(static_cast<char>(c));
        return s;
    }
    void clear() { std::fill(bytes_.begin(), bytes_.end(), 0); }

private:
    void check(u64 address, u64 size) const {
        if (!is_ram(map_, address, size) || address + size > bytes_.size())
            throw std::out_of_range("a loader touched what is not RAM");
    }
    std::vector<u8> bytes_;
    std::vector<MemoryRange> map_;
};

template <class T> void poke(std::vector<u8>& b, u64 at, T v) {
    if (b.size() < at + sizeof v)
        b.resize(at + sizeof v);
    std::memcpy(b.data() + at, &v, sizeof v);
}

struct TestSegment {
    u32 type = 1;
    u64 physical = 0x100'0000;
    std::vector<u8> bytes;
    u64 memory_size = 0;
    u64 virtual_address = 0;
};

inline std::vector<u8> make_elf64(u64 entry, const std::vector<TestSegment>& segments) {
    std::vector<u8> b(64 + 56 * segments.size());
    const u8 ident[16] = {0x7F, 'E', 'L', 'F', 2, 1, 1};
    std::memcpy(b.data(), ident, 16);
    poke<u16>(b, 16, 2), poke<u16>(b, 18, 62), poke<u32>(b, 20, 1), poke<u64>(b, 24, entry),
        poke<u64>(b, 32, 64);
    poke<u16>(b, 52, 64), poke<u16>(b, 54, 56), poke<u16>(b, 56, static_cast<u16>(segments.size()));
    for (std::size_t i = 0; i < segments.size(); ++i) {
        const TestSegment& s = segments[i];
        const u64 p = 64 + 56 * i;
        poke<u32>(b, p, s.type), poke<u32>(b, p + 4, 7), poke<u64>(b, p + 8, b.size());
        poke<u64>(b, p + 16, s.virtual_address), poke<u64>(b, p + 24, s.physical);
        poke<u64>(b, p + 32, s.bytes.size()),
            poke<u64>(b, p + 40, std::max<u64>(s.memory_size, s.bytes.size()));
        poke<u64>(b, p + 48, 4);
        b.insert(b.end(), s.bytes.begin(), s.bytes.end());
    }
    return b;
}

inline std::vector<u8> make_elf32(u32 entry, const std::vector<TestSegment>& segments) {
    std::vector<u8> b(52 + 32 * segments.size());
    const u8 ident[16] = {0x7F, 'E', 'L', 'F', 1, 1, 1};
    std::memcpy(b.data(), ident, 16);
    poke<u16>(b, 16, 2), poke<u16>(b, 18, 3), poke<u32>(b, 20, 1), poke<u32>(b, 24, entry),
        poke<u32>(b, 28, 52);
    poke<u16>(b, 40, 52), poke<u16>(b, 42, 32), poke<u16>(b, 44, static_cast<u16>(segments.size()));
    for (std::size_t i = 0; i < segments.size(); ++i) {
        const TestSegment& s = segments[i];
        const u64 p = 52 + 32 * i;
        poke<u32>(b, p, s.type), poke<u32>(b, p + 4, static_cast<u32>(b.size()));
        poke<u32>(b, p + 8, static_cast<u32>(s.virtual_address)),
            poke<u32>(b, p + 12, static_cast<u32>(s.physical));
        poke<u32>(b, p + 16, static_cast<u32>(s.bytes.size()));
        poke<u32>(b, p + 20, static_cast<u32>(std::max<u64>(s.memory_size, s.bytes.size())));
        b.insert(b.end(), s.bytes.begin(), s.bytes.end());
    }
    return b;
}

inline std::vector<u8> pvh_note(u32 entry) {
    std::vector<u8> n;
    // A foreign note of an odd length first: the reader must step over its padding.
    poke<u32>(n, 0, 4), poke<u32>(n, 4, 5), poke<u32>(n, 8, 3), poke<u32>(n, 12, 0x00554E47),
        poke<u64>(n, 16, 0);
    poke<u32>(n, 24, 4), poke<u32>(n, 28, 4), poke<u32>(n, 32, 18), poke<u32>(n, 36, 0x006E6558),
        poke<u32>(n, 40, entry);
    return n;
}

inline std::vector<u8> make_pvh() {
    std::vector<u8> code(0x300, 0x90);
    return make_elf64(0x100'0000, {{.physical = 0x100'0000, .bytes = code, .memory_size = 0x2000},
                                   {.type = 4, .bytes = pvh_note(0x100'0100)}});
}

inline std::vector<u8> make_multiboot_elf(u32 flags = 0) {
    std::vector<u8> code(0x200, 0x90);
    poke<u32>(code, 0, 0x1BAD'B002), poke<u32>(code, 4, flags), poke<u32>(code, 8, 0 - 0x1BAD'B002 - flags);
    return make_elf32(
        0x40'0020,
        {{.physical = 0x40'0000, .bytes = code, .memory_size = 0x1800, .virtual_address = 0x40'0000}});
}

inline std::vector<u8> make_multiboot_flat() {
    std::vector<u8> b(0x400, 0x90);
    const u32 flags = 0x1'0000, at = 0x40, load = 0x20'0000;
    poke<u32>(b, at, 0x1BAD'B002), poke<u32>(b, at + 4, flags), poke<u32>(b, at + 8, 0 - 0x1BAD'B002 - flags);
    poke<u32>(b, at + 12, load + at), poke<u32>(b, at + 16, load), poke<u32>(b, at + 20, load + 0x300);
    poke<u32>(b, at + 24, load + 0x1000), poke<u32>(b, at + 28, load + 0x80);
    return b;
}

inline std::vector<u8> pack_lz4(const std::vector<u8>& plain) {
    std::vector<u8> b;
    poke<u32>(b, 0, 0x184C'2102);
    std::vector<char> packed(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(plain.size()))));
    const int n = LZ4_compress_default(reinterpret_cast<const char*>(plain.data()), packed.data(),
                                       static_cast<int>(plain.size()), static_cast<int>(packed.size()));
    poke<u32>(b, 4, static_cast<u32>(n));
    b.insert(b.end(), packed.begin(), packed.begin() + n);
    poke<u32>(b, b.size(), static_cast<u32>(plain.size()));  // as Linux appends it
    return b;
}

inline std::vector<u8> pack_xz(const std::vector<u8>& plain) {
    std::vector<u8> b(lzma_stream_buffer_bound(plain.size()));
    std::size_t at = 0;
    if (lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, nullptr, plain.data(), plain.size(), b.data(), &at,
                                b.size()) != LZMA_OK)
        throw std::runtime_error("lzma");
    b.resize(at);
    poke<u32>(b, b.size(), static_cast<u32>(plain.size()));
    return b;
}

inline constexpr u64 bzimage_code_at = 5 * 512;

/// A bzImage of four setup sectors whose payload is `payload`.
inline std::vector<u8> make_bzimage(const std::vector<u8>& payload = {}) {
    std::vector<u8> b(bzimage_code_at + 0x400, 0xCC);
    std::memset(b.data(), 0, bzimage_code_at);
    poke<u8>(b, 0x1F1, 4), poke<u16>(b, 0x1FE, 0xAA55), poke<u16>(b, 0x200, 0x6AEB),
        poke<u32>(b, 0x202, 0x5372'6448);
    poke<u16>(b, 0x206, 0x20F), poke<u8>(b, 0x211, 1), poke<u32>(b, 0x22C, 0x7FFF'FFFF),
        poke<u32>(b, 0x230, 0x20'0000);
    poke<u8>(b, 0x234, 1), poke<u16>(b, 0x236, 0x7F), poke<u32>(b, 0x238, 2047), poke<u64>(b, 0x250, 0xBAD);
    poke<u64>(b, 0x258, 0x100'0000), poke<u32>(b, 0x260, 0x10'0000);
    poke<u32>(b, 0x248, 0x400), poke<u32>(b, 0x24C, static_cast<u32>(payload.size()));
    const std::size_t at = b.size();
    b.resize(at + payload.size() + 64);
    std::copy(payload.begin(), payload.end(), b.begin() + static_cast<std::ptrdiff_t>(at));
    return b;
}

inline std::vector<u8> make_vmlinux() {
    std::vector<u8> code(0x800);
    for (std::size_t i = 0; i < code.size(); ++i)
        code[i] = static_cast<u8>(i * 7);
    return make_elf64(0x100'0000, {{.physical = 0x100'0000, .bytes = code, .memory_size = 0x4000}});
}

inline BootRequest request_of(std::vector<u8> kernel, std::string name = "images/kernel") {
    BootRequest r;
    r.kernel = {std::move(name), std::move(kernel)};
    r.command_line = "console=ttyS0 quiet";
    r.rsdp = 0xE'0000;
    return r;
}

}  // namespace droste
