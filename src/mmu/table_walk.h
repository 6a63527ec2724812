// SPDX-License-Identifier: Apache-2.0
// The descent through paging structures, written once for every format of table.
//
//   address  | index 5 | index 4 | index 3 | index 2 | index 1 | offset |
//                 |         |         |         |         |
//   root -> [table 5]-->[table 4]-->[table 3]-->[table 2]-->[table 1]--> 4-KByte page
//                                       |           |
//                                   1-GByte page  2- or 4-MByte page       (entries with the page-size bit)
//
// A Format says how wide entries and indices are, which entries map a page, and which are malformed. At each
// level the entry's address goes through `locate`: EPT for the tables of a guest, the identity for EPT's own
// tables.
#pragma once
#include <algorithm>
#include <array>

#include "base/types.h"
#include "mmu/paging.h"
#include "mmu/physical_memory.h"

namespace droste {

inline constexpr unsigned most_levels = 5;
inline constexpr u64 address_field = 0x000F'FFFF'FFFF'F000;  ///< bits 51:12 of an entry

/// Bits 51:MAXPHYADDR, which must be 0 in entries of 64 bits.
constexpr u64 beyond_physical(unsigned maxphyaddr) { return (~0ull << maxphyaddr) & 0x000F'FFFF'FFFF'FFFF; }

/// Bits of the entries of linear-address translation.
namespace page_entry {
inline constexpr u64 present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40, page_size = 0x80,
                     global = 0x100, execute_disable = 1ull << 63;
constexpr u8 key(u64 entry) { return static_cast<u8>(bits(entry, 62, 59)); }
}  // namespace page_entry

/// Bits of EPT entries.
namespace ept_entry {
inline constexpr u64 read = 1, write = 2, execute = 4, rights = 7, page_size = 0x80, accessed = 0x100,
                     dirty = 0x200, user_execute = 0x400, verify_paging = 1ull << 57,
                     paging_write = 1ull << 58, supervisor_shadow_stack = 1ull << 60,
                     sub_page_write = 1ull << 61, suppress_ve = 1ull << 63;
constexpr unsigned memory_type(u64 entry) { return static_cast<unsigned>(bits(entry, 5, 3)); }
}  // namespace ept_entry

/// SDM "32-Bit Paging": 4-byte entries, 4-MByte pages with CR4.PSE.
struct Table32 {
    using Entry = u32;
    static constexpr unsigned index_bits = 10;
    unsigned levels = 2;
    bool pse;
    unsigned maxphyaddr;
    explicit Table32(const PagingControls& c)
        : pse(c.pse), maxphyaddr(std::min<unsigned>(c.maxphyaddr, 40)) {}
    static bool present(u64 entry) { return entry & page_entry::present; }
    bool maps_page(unsigned level, u64 entry) const {
        return level == 2 && pse && (entry & page_entry::page_size);
    }
    /// PSE-36: bits 20:13 of a PDE that maps a page are bits 39:32 of the address, as far as MAXPHYADDR goes.
    bool malformed(unsigned level, bool leaf, u64 entry) const {
        return level == 2 && leaf && (bits(entry, 21, 13) >> (maxphyaddr - 32)) != 0;
    }
    static u64 table(u64 entry) { return entry & 0xFFFF'F000; }
    static u64 page(unsigned level, u64 entry) {
        return level == 1 ? table(entry) : (entry & 0xFFC0'0000) | (bits(entry, 20, 13) << 32);
    }
};

/// SDM "PAE Paging", below the PDPTE registers.
struct TablePae {
    using Entry = u64;
    static constexpr unsigned index_bits = 9;
    unsigned levels = 2;
    u64 reserved;
    explicit TablePae(const PagingControls& c)
        : reserved((~0ull << c.maxphyaddr & ~page_entry::execute_disable) |
                   (c.nxe ? 0 : page_entry::execute_disable)) {}
    static bool present(u64 entry) { return entry & page_entry::present; }
    static bool maps_page(unsigned level, u64 entry) { return level == 2 && (entry & page_entry::page_size); }
    bool malformed(unsigned level, bool leaf, u64 entry) const {
        return (entry & reserved) || (level == 2 && leaf && bits(entry, 20, 13) != 0);
    }
    static u64 table(u64 entry) { return entry & address_field; }
    static u64 page(unsigned level, u64 entry) {
        return level == 1 ? table(entry) : entry & 0x000F'FFFF'FFE0'0000;
    }
};

/// SDM "4-Level Paging and 5-Level Paging".
struct TableLong {
    using Entry = u64;
    static constexpr unsigned index_bits = 9;
    unsigned levels;
    bool page1gb;
    u64 reserved;
    explicit TableLong(const PagingControls& c)
        : levels(c.mode == PagingMode::level5 ? 5 : 4), page1gb(c.page1gb),
          reserved(beyond_physical(c.maxphyaddr) | (c.nxe ? 0 : page_entry::execute_disable)) {}
    static bool present(u64 entry) { return entry & page_entry::present; }
    bool maps_page(unsigned level, u64 entry) const {
        return (entry & page_entry::page_size) && (level == 2 || (level == 3 && page1gb));
    }
    bool malformed(unsigned level, bool leaf, u64 entry) const {
        if (entry & reserved) return true;
        if (level == 1) return false;  // bit 7 is PAT there
        if (!leaf) return entry & page_entry::page_size;
        return bits(entry, level == 2 ? 20 : 29, 13) != 0;
    }
    static u64 table(u64 entry) { return entry & address_field; }
    static u64 page(unsigned level, u64 entry) { return table(entry) & (~0ull << (3 + 9 * level)); }
};

/// SDM "HLAT Paging": the same, but an entry can hand the whole translation to ordinary paging.
struct TableHlat : TableLong {
    using TableLong::TableLong;
    static bool restarts(u64 entry) { return bit(entry, 11); }
};

/// SDM "The Extended Page Table Mechanism (EPT)"; malformed entries are EPT misconfigurations.
struct TableEpt {
    using Entry = u64;
    static constexpr unsigned index_bits = 9;
    unsigned levels;
    bool execute_only, page1gb, paging_write;
    u64 executes;  ///< bits that permit fetches: with mode-based execute control there is one more
    u64 reserved;
    TableEpt(const PagingControls& c, u64 eptp, const GuestPagingControls& guest)
        : levels(bits(eptp, 5, 3) == 4 ? 5 : 4), execute_only(c.ept_execute_only), page1gb(c.ept_1gb),
          paging_write(guest.paging_write),
          executes(ept_entry::execute | (guest.mode_based_execute ? ept_entry::user_execute : 0)),
          reserved(beyond_physical(c.maxphyaddr)) {}
    bool present(u64 entry) const { return entry & (ept_entry::read | ept_entry::write | executes); }
    bool maps_page(unsigned level, u64 entry) const {
        return (entry & ept_entry::page_size) && (level == 2 || (level == 3 && page1gb));
    }
    bool malformed(unsigned level, bool leaf, u64 entry) const {
        // SDM "EPT Misconfigurations", in its order.
        if (!(entry & ept_entry::read)) {
            if (entry & ept_entry::write) return true;
            if ((entry & executes) && !execute_only) return true;
            if (leaf && paging_write && (entry & ept_entry::paging_write)) return true;
        }
        if (entry & reserved) return true;
        if (!leaf) return bits(entry, 7, 3) != 0;
        constexpr u8 memory_types = 0b0111'0011;  // UC, WC, WT, WP, WB
        if (!bit(memory_types, ept_entry::memory_type(entry))) return true;
        return level > 1 && bits(entry, level == 2 ? 20 : 29, 12) != 0;
    }
    static u64 table(u64 entry) { return entry & address_field; }
    static u64 page(unsigned level, u64 entry) { return table(entry) & (~0ull << (3 + 9 * level)); }
};

enum class WalkEnd : u8 {
    mapped,
    not_present,
    malformed,
    unreachable,  ///< `locate` refused: a paging structure cannot be read
    restart,      ///< HLAT paging asks for ordinary paging
};

/// What a descent read on its way.
struct WalkPath {
    struct Step {
        u64 at;       ///< address of the entry in the space of the table that was walked
        u64 machine;  ///< where it lies in machine-physical memory
        u64 entry;
    };
    std::array<Step, most_levels> step;
    unsigned depth = 0;  ///< entries read
    u64 all = ~0ull;     ///< AND of the entries: what every level permits
    u64 any = 0;         ///< OR of the entries: what some level forbids
    u8 page_shift = 0;   ///< of the page found, or that the restarting entry controls
    u64 page = 0;        ///< address of the whole page found
    const Step& leaf() const { return step[depth - 1]; }
    /// Address of the 4-KByte piece of the page that holds `a`.
    u64 piece(u64 a) const { return page | (a & ((1ull << page_shift) - 1) & ~0xFFFull); }
};

template <class Entry> u64 read_entry(const PhysicalMemory& memory, u64 machine) {
    if constexpr (sizeof(Entry) == 4) return memory.read32(machine);
    else return memory.read64(machine);
}
template <class Entry> void write_entry(PhysicalMemory& memory, u64 machine, u64 entry) {
    if constexpr (sizeof(Entry) == 4) memory.write32(machine, static_cast<u32>(entry));
    else memory.write64(machine, entry);
}

/// Walks from the table at `root`. `locate(at, machine)` translates an entry's address, or refuses.
template <class Format, class Locate> WalkEnd descend(const Format& format, u64 root, u64 address,
                                                      const PhysicalMemory& memory, Locate&& locate,
                                                      WalkPath& path) {
    using Entry = typename Format::Entry;
    static_assert(sizeof(Entry) << Format::index_bits == 4096, "a table is one page");
    u64 table = root;
    for (unsigned level = format.levels;; --level) {
        const unsigned shift = 12 + Format::index_bits * (level - 1);
        const u64 index = (address >> shift) & ((1u << Format::index_bits) - 1);
        WalkPath::Step& step = path.step[path.depth];
        step.at = table + index * sizeof(Entry);
        if (!locate(step.at, step.machine)) return WalkEnd::unreachable;
        const u64 entry = step.entry = read_entry<Entry>(memory, step.machine);
        ++path.depth;
        path.all &= entry;
        path.any |= entry;
        if (!format.present(entry)) return WalkEnd::not_present;
        const bool leaf = level == 1 || format.maps_page(level, entry);
        if (format.malformed(level, leaf, entry)) return WalkEnd::malformed;
        path.page_shift = static_cast<u8>(shift);
        if constexpr (requires { Format::restarts(entry); })
            if (Format::restarts(entry)) return WalkEnd::restart;
        if (leaf) {
            path.page = Format::page(level, entry);
            return WalkEnd::mapped;
        }
        table = Format::table(entry);
    }
}

}  // namespace droste
