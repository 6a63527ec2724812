// SPDX-License-Identifier: Apache-2.0
// The walk of the sub-page-permission table (SDM "Determining an Access's Sub-Page Write Permission").
#include "mmu/sub_page_permissions.h"

namespace droste {

SubPage sub_page_permission(const PagingControls& c, u64 guest_physical, const PhysicalMemory& memory) {
    constexpr u64 valid = 1, reserved_low = 0xFFE;
    const u64 reserved = reserved_low | (~0ull << c.maxphyaddr);
    u64 table = c.guest.sppt;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        const u64 entry = memory.read64(table + 8 * bits(guest_physical, shift + 8, shift));
        if (!(entry & valid)) return SubPage::miss;
        if (entry & reserved) return SubPage::misconfiguration;
        table = entry & ~0xFFFull;
    }
    const u64 vector = memory.read64(table + 8 * bits(guest_physical, 20, 12));
    constexpr u64 odd_bits = 0xAAAA'AAAA'AAAA'AAAA;
    if (vector & odd_bits) return SubPage::misconfiguration;
    return bit(vector, 2 * static_cast<unsigned>(bits(guest_physical, 11, 7))) ? SubPage::writable
                                                                              : SubPage::protected_;
}

}  // namespace droste
