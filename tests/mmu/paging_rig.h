// SPDX-License-Identifier: Apache-2.0
// What the tests of the MMU share: memory, an Mmu, and a builder of paging structures in every format.
#pragma once
#include <gtest/gtest.h>

#include "mmu/physical_memory.h"
#include "mmu/tlb.h"

namespace droste::test {

enum class Format { bits32, pae, level4, level5, ept4, ept5 };

constexpr u64 p = 1, w = 2, u = 4, a = 0x20, d = 0x40, ps = 0x80, g = 0x100, xd = 1ull << 63;
constexpr u64 ept_r = 1, ept_w = 2, ept_x = 4, ept_rwx = 7, ept_wb = 6 << 3, ept_a = 0x100, ept_d = 0x200;
constexpr u64 eptp_wb4 = 6 | (3 << 3), eptp_wb5 = 6 | (4 << 3), eptp_ad = 0x40;

/// Hands out frames of memory.
struct Frames {
    u64 next;
    u64 take() {
        const u64 f = next;
        next += 0x1000;
        return f;
    }
};

/// Paging structures under construction. Addresses in entries lie `offset` below machine addresses (a guest's
/// tables under an EPT that adds `offset`).
class Tables {
public:
    Tables(PhysicalMemory& memory, Frames& frames, Format format, u64 offset = 0)
        : memory_(memory), frames_(frames), format_(format), offset_(offset) {
        root = frames.take() - offset;
        if (format == Format::pae)
            for (unsigned i = 0; i < 4; ++i) pdpte[i] = (frames.take() - offset) | p;
    }
    unsigned levels() const {
        switch (format_) {
        case Format::bits32:
        case Format::pae: return 2;
        case Format::level4:
        case Format::ept4: return 4;
        case Format::level5:
        case Format::ept5: return 5;
        }
        return 0;
    }
    bool ept() const { return format_ == Format::ept4 || format_ == Format::ept5; }
    unsigned entry_size() const { return format_ == Format::bits32 ? 4 : 8; }
    unsigned shift(unsigned level) const { return 12 + (format_ == Format::bits32 ? 10 : 9) * (level - 1); }
    /// Machine address of the entry for `address` at `level`; tables above it are made with `upper` bits.
    u64 slot(u64 address, unsigned level) {
        u64 table = format_ == Format::pae ? pdpte[(address >> 30) & 3] & ~0xFFFull : root;
        for (unsigned at = levels();; --at) {
            const u64 index = (address >> shift(at)) & (4096 / entry_size() - 1);
            const u64 entry = table + offset_ + index * entry_size();
            if (at == level) return entry;
            if (!(get(entry) & (ept() ? 7 : 1))) put(entry, (frames_.take() - offset_) | upper);
            table = get(entry) & 0x000F'FFFF'FFFF'F000;
        }
    }
    u64 get(u64 entry) const { return entry_size() == 4 ? memory_.read32(entry) : memory_.read64(entry); }
    void put(u64 entry, u64 value) {
        if (entry_size() == 4) memory_.write32(entry, static_cast<u32>(value));
        else memory_.write64(entry, value);
    }
    u64 map(u64 address, u64 value, unsigned level = 1) {
        const u64 s = slot(address, level);
        put(s, value);
        return s;
    }
    u64 root = 0;
    std::array<u64, 4> pdpte{};
    u64 upper = 7;

private:
    PhysicalMemory& memory_;
    Frames& frames_;
    Format format_;
    u64 offset_;
};

struct Rig {
    static constexpr u64 ram = 96ull << 20;
    MemoryBus bus;
    PhysicalMemory memory{ram, bus};
    Mmu mmu{memory};
    Frames frames{0x100'0000};  // from 16 MiB
    PagingControls c;
    Translation t;
    WalkFault f;

    /// Controls for these tables, everything permissive.
    void use(const Tables& tables, PagingMode mode) {
        c.mode = mode;
        c.cr3 = tables.root;
        c.pdpte = tables.pdpte;
        c.nxe = mode != PagingMode::bits32;
        c.pse = c.page1gb = c.pge = true;
        apply();
    }
    void apply() {
        mmu.set_controls(c);
        mmu.set_ac(c.ac);
    }
    bool data(u64 linear, Access access, Privilege who = Privilege::supervisor,
              Intent intent = Intent::explicit_access) {
        f = {};
        return mmu.translate_data(Linear(linear), access, who, intent, t, f);
    }
    bool read(u64 linear) { return data(linear, Access::read); }
    bool write(u64 linear) { return data(linear, Access::write); }
    bool fetch(u64 linear, Privilege who = Privilege::supervisor) {
        f = {};
        return mmu.translate_fetch(Linear(linear), who, t, f);
    }
    /// The first level answers for one byte.
    bool l1_read(DataClass cls, u64 linear) {
        return mmu.data(cls).read_tag[TlbClass::slot(linear)] + (linear >> 12) == 0;
    }
    bool l1_write(DataClass cls, u64 linear) {
        return mmu.data(cls).write_tag[TlbClass::slot(linear)] + (linear >> 12) == 0;
    }
    bool l1_fetch(Privilege who, u64 linear) {
        return mmu.fetch(who).entry[FetchTlb::slot(linear)].tag + (linear >> 12) == 0;
    }
};

}  // namespace droste::test
