// SPDX-License-Identifier: Apache-2.0
// The two page walks: linear to guest-physical addresses, and guest-physical to machine-physical ones.
#pragma once
#include <array>

#include "mmu/paging.h"
#include "mmu/permissions.h"
#include "mmu/physical_memory.h"

namespace droste {

struct WalkCounters;

/// Bits of the exit qualification for EPT violations.
namespace ept_qualification {
inline constexpr u64 read = 1, write = 2, fetch = 4, linear_valid = 0x80, of_linear = 0x100,
                     user_linear = 0x200, writable_linear = 0x400, execute_disable_linear = 0x800,
                     shadow_stack = 0x2000, supervisor_shadow_stack_page = 0x4000,
                     paging_verification = 0x8000;
inline constexpr u64 spp_miss = 0x800;  ///< of exits by SPP-related events
inline constexpr unsigned permissions_shift = 3;  ///< read, write, execute, and user execute
}  // namespace ept_qualification

/// Rights of a guest-physical page: bits 2:0 of the entries; execution from user-mode linear addresses, which is
/// the same as execution without mode-based execute control; paging writes where other writes are forbidden;
/// supervisor shadow-stack accesses, which EPTP bit 7 takes from the rights to read and to write.
namespace ept_right {
inline constexpr u8 read = 1, write = 2, execute = 4, user_execute = 8, paging_write = 16;
inline constexpr unsigned shadow_shift = 5;
inline constexpr u8 shadow_read = read << shadow_shift, shadow_write = write << shadow_shift;
inline constexpr u8 all = read | write | execute | user_execute | shadow_read | shadow_write;
}

/// What an access by guest-physical address is.
struct EptAccess {
    u8 kind = 0;                  ///< ept_right::read, write, execute: also bits 2:0 of the qualification
    bool user_linear = true;      ///< from a user-mode linear address (fetches)
    bool paging_structure = false;  ///< of the guest's: may be a paging write
    bool paging_verified = true;  ///< every guest paging structure used so far permits paging writes
    bool shadow_stack = false, supervisor_shadow_stack = false;
};

/// A guest-physical page under EPT.
struct EptMapping {
    u64 machine_page = 0;
    u8 rights = 0;              ///< ept_right, ANDed over the levels
    bool dirty = true;          ///< a write needs no dirty flag to be set
    bool paging_write = false;  ///< the entry that maps it has the paging-write access bit (it may not suffice)
    bool sub_page = false;      ///< the write is permitted for its 128-byte sub-page alone
};

/// Where a guest's paging structures lie: the translations that walks use most. Guest-physical mappings: only
/// INVEPT and a new EPTP forget them (SDM "Information That May Be Cached").
class GuestPhysCache {
public:
    /// `layer`: 0 for the running guest's own structures, else 1 + the layer of a chain whose guest's structures these
    /// are. Hypervisors that are alike keep them at like addresses, which would all fall into one slot.
    bool find(u32 ept_id, u64 page, u8 access, u64& machine_page, bool& paging_write, unsigned layer = 0) const {
        const Entry& e = entry_[slot(page, layer)];
        if (e.tag != tag(ept_id, page) || (access & ~e.usable) != 0) return false;
        machine_page = e.machine_page;
        paging_write = e.paging_write;
        return true;
    }
    void insert(u32 ept_id, u64 page, const EptMapping& m, unsigned layer = 0) {
        u8 usable = static_cast<u8>(m.rights | (m.rights & ept_right::paging_write ? ept_right::write : 0));
        if (!m.dirty) usable &= static_cast<u8>(~ept_right::write);
        entry_[slot(page, layer)] = {tag(ept_id, page), m.machine_page, usable, m.paging_write};
    }
    void clear() { entry_.fill(Entry{}); }

private:
    struct Entry {
        u64 tag = ~0ull;
        u64 machine_page = 0;
        u8 usable = 0;  ///< rights that need no flag to be set
        bool paging_write = false;
    };
    static constexpr unsigned size = 512;
    static unsigned slot(u64 page, unsigned layer) { return ((page >> 12) + 151 * layer) & (size - 1); }
    static u64 tag(u32 ept_id, u64 page) { return (page >> 12) | (u64(ept_id) << 40); }
    std::array<Entry, size> entry_{};
};

enum class WalkEffects : u8 {
    architectural,  ///< sets accessed and dirty flags, logs, counts
    none,           ///< looks only
};

/// What a walk needs beside the address.
struct WalkParts {
    PhysicalMemory& memory;
    const PagingControls& controls;
    const Permissions& permissions;
    DirtyLog* dirty_log;
    WalkCounters& counters;
    GuestPhysCache& tables;
    u32 ept_id;
    WalkEffects effects;
};

/// Translates a guest-physical address. On failure `fault` lacks the linear address and the qualification's
/// bits that tell of it.
bool ept_walk(const WalkParts& parts, u64 guest_physical, const EptAccess& access, EptMapping& out,
              WalkFault& fault);

/// Translates an address of the hypervisor above the first `layers` layers of `chain`.
bool structure_walk(const WalkParts& parts, const EptChain& chain, unsigned layers, u64 address, Access access,
                    u64& machine, WalkFault& fault);

/// A linear page, as the guest's own paging structures give it.
struct LinearMapping {
    u64 guest_page = 0;
    u8 attributes = 0;  ///< page_attribute
    u8 key = 0;
    u8 page_shift = 12;  ///< size of the page that maps it
    bool global = false;
    bool dirty = true;  ///< a write needs no dirty flag to be set
    bool paging_verified = true;  ///< EPT permits paging writes to every paging structure that was used
};

/// Translates a linear address and sets accessed and dirty flags. `needed`: the right that the access takes (right, or
/// shadow_right for shadow-stack accesses).
bool linear_walk(const WalkParts& parts, u64 linear, u16 needed, LinearMapping& out, WalkFault& fault);

}  // namespace droste
