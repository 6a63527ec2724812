// SPDX-License-Identifier: Apache-2.0
// The second-level TLB: 4-way, tagged by page number and address space, replaced first in, first out.
#pragma once
#include <array>

#include "base/types.h"
#include "mmu/address_spaces.h"

namespace droste {

/// A translation of one 4-KByte page: everything that the walks found out about it.
struct CachedTranslation {
    u64 machine_page = 0;
    u64 guest_page = 0;
    u8 attributes = 0;  ///< page_attribute
    u8 key = 0;
    u8 ept_rights = 7;   ///< read, write, execute
    u8 shadow_rights = 3;  ///< what EPT leaves to supervisor shadow-stack accesses: read, write
    u8 page_shift = 12;  ///< size of the linear page that it is a piece of
    u8 contexts = 0;     ///< first-level contexts that may hold it, one bit each
    bool dirty = false;  ///< guest's and EPT's dirty flags are both set, or not needed
    bool global = false;
};

/// The first level is a subset of this one: who removes an entry here calls the owner back, so that the first
/// level's size, classes and suppressed tags can never be seen by a guest.
class L2Tlb {
public:
    static constexpr unsigned ways = 4, sets = 1024, size = ways * sets;

    /// Tag of a page in an address space. 45 bits of page number: linear addresses are canonical.
    static u64 tag(u64 linear, u32 space_tag) {
        return ((linear >> 12) & vpn_mask) | (u64(space_tag) << vpn_bits);
    }
    /// Page address in a tag.
    static u64 page_of(u64 tag) { return sign_extend((tag & vpn_mask) << 12, vpn_bits + 12); }
    static u32 space_of(u64 tag) { return static_cast<u32>(tag >> vpn_bits); }
    /// Realms start at different sets, so that kernels of different levels at equal addresses do not collide.
    static unsigned set_of(u64 linear, unsigned realm) {
        return static_cast<unsigned>((linear >> 12) + u64(realm) * 0x9E5) & (sets - 1);
    }

    CachedTranslation* find(u64 linear, unsigned realm, u32 space_tag, u32 global_tag) {
        const unsigned first = set_of(linear, realm) * ways;
        const u64 a = tag(linear, space_tag), b = tag(linear, global_tag);
        for (unsigned i = first; i < first + ways; ++i)
            if (tags_[i] == a || tags_[i] == b) return &entries_[i];
        return nullptr;
    }
    /// Inserts; `removed(page, entry)` is called for the entry that makes room.
    template <class Removed> CachedTranslation* insert(u64 linear, unsigned realm, u32 space_tag,
                                                       const CachedTranslation& e, Removed&& removed) {
        const unsigned set = set_of(linear, realm), first = set * ways;
        unsigned i = first;
        while (i < first + ways && tags_[i] != 0) ++i;
        if (i == first + ways) {
            i = first + next_way_[set];
            next_way_[set] = static_cast<u8>((next_way_[set] + 1) % ways);
            drop(i, removed);
        }
        tags_[i] = tag(linear, space_tag);
        entries_[i] = e;
        count_large(i, 1);
        return &entries_[i];
    }
    /// Removes what is cached for one 4-KByte page of a space and its realm's global translations.
    template <class Removed>
    void remove_exact(u64 linear, unsigned realm, u32 space_tag, u32 global_tag, Removed&& removed) {
        const unsigned first = set_of(linear, realm) * ways;
        const u64 a = tag(linear, space_tag), b = tag(linear, global_tag);
        for (unsigned i = first; i < first + ways; ++i)
            if (tags_[i] == a || tags_[i] == b) drop(i, removed);
    }
    /// Removes the pieces of the page at `linear` whose space's number satisfies `matches`. Pages larger than
    /// 4 KBytes go as a whole (SDM "Operations that Invalidate TLBs and Paging-Structure Caches").
    template <class Matches, class Removed>
    void remove_page(u64 linear, unsigned realm, Matches&& matches, Removed&& removed) {
        const unsigned first = set_of(linear, realm) * ways;
        for (unsigned i = first; i < first + ways; ++i)
            if (tags_[i] != 0 && (tags_[i] & vpn_mask) == ((linear >> 12) & vpn_mask) &&
                matches(space_of(tags_[i])))
                drop(i, removed);
        if (!large_near(linear)) return;
        for (unsigned i = 0; i < size; ++i) {
            if (tags_[i] == 0 || entries_[i].page_shift == 12) continue;
            const unsigned shift = entries_[i].page_shift;
            if (((page_of(tags_[i]) ^ linear) >> shift) == 0 && matches(space_of(tags_[i]))) drop(i, removed);
        }
    }
    void clear();

private:
    static constexpr unsigned vpn_bits = 45;
    static constexpr u64 vpn_mask = (1ull << vpn_bits) - 1;
    static constexpr unsigned large_counters = 4096;

    template <class Removed> void drop(unsigned i, Removed&& removed) {
        const u64 t = tags_[i];
        count_large(i, -1);
        tags_[i] = 0;
        removed(page_of(t), entries_[i]);
    }
    /// Counts entries that are pieces of large pages by a hash of the page, so that INVLPG of a 4-KByte page
    /// seldom has to look at all entries.
    static unsigned large_hash(u64 linear, unsigned shift) {
        const u64 n = (linear & ((vpn_mask << 12) | 0xFFF)) >> shift;
        return static_cast<unsigned>((n * 0x9E3779B97F4A7C15ull) >> 40) % large_counters;
    }
    void count_large(unsigned i, int by) {
        const unsigned shift = entries_[i].page_shift;
        if (shift == 12) return;
        u16& n = large_[large_hash(page_of(tags_[i]), shift)];
        n = static_cast<u16>(n + by);
    }
    bool large_near(u64 linear) const {
        return large_[large_hash(linear, 21)] != 0 || large_[large_hash(linear, 22)] != 0 ||
               large_[large_hash(linear, 30)] != 0;
    }

    alignas(64) std::array<u64, size> tags_{};  // 0: empty
    std::array<CachedTranslation, size> entries_{};
    std::array<u8, sets> next_way_{};
    std::array<u16, large_counters> large_{};
};

inline void L2Tlb::clear() {
    tags_.fill(0);
    next_way_.fill(0);
    large_.fill(0);
}

}  // namespace droste
