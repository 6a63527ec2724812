// SPDX-License-Identifier: Apache-2.0
// Access rights: from what the paging structures permit to what each kind of access may do.
#pragma once
#include <array>

#include "base/types.h"
#include "mmu/paging.h"

namespace droste {

/// One bit for each kind of access, so that a page's rights are one byte.
/// `supervisor` is without, `supervisor_ac` with the override of SMAP by EFLAGS.AC.
namespace right {
inline constexpr u8 user_read = 1, user_write = 2, user_fetch = 4, supervisor_read = 8, supervisor_write = 16,
                    supervisor_fetch = 32, supervisor_ac_read = 64, supervisor_ac_write = 128;
inline constexpr u8 reads = user_read | supervisor_read | supervisor_ac_read;
inline constexpr u8 writes = user_write | supervisor_write | supervisor_ac_write;
inline constexpr u8 fetches = user_fetch | supervisor_fetch;
inline constexpr u8 user_data = user_read | user_write;
inline constexpr u8 supervisor_writes = supervisor_write | supervisor_ac_write;
}  // namespace right

/// Shadow-stack accesses, beyond the byte of rights: what a walk is asked for (SDM "Shadow-Stack Accesses").
namespace shadow_right {
inline constexpr u16 read = 0x100, write = 0x200, user = 0x400;
inline constexpr u16 any = read | write;
}  // namespace shadow_right

/// What the entries of a translation permit together, 4 bits: an index. `shadow_stack`: the last entry is dirty and
/// not writable, all others are writable.
namespace page_attribute {
inline constexpr u8 user = 1, writable = 2, execute_disable = 4, shadow_stack = 8;
inline constexpr unsigned combinations = 16;
}  // namespace page_attribute

/// Rights that EPT leaves, by its three permission bits (read, write, execute).
inline constexpr std::array<u8, 8> ept_rights = [] {
    std::array<u8, 8> r{};
    for (unsigned i = 0; i < 8; ++i)
        r[i] = static_cast<u8>((i & 1 ? right::reads : 0) | (i & 2 ? right::writes : 0) |
                               (i & 4 ? right::fetches : 0));
    return r;
}();

/// SDM "Access Rights" and "Protection Keys" under one setting of the control registers.
class Permissions {
public:
    Permissions() = default;
    explicit Permissions(const PagingControls& c);
    /// Rights of a page with these attributes and this protection key.
    u8 of(u8 attributes, u8 key) const {
        const u8 r = table_[attributes];
        return keys_ ? static_cast<u8>(r & ~denied_by_key(attributes, key)) : r;
    }
    /// Kinds of access that the protection key alone forbids (they set the PK bit of the error code).
    u8 denied_by_key(u8 attributes, u8 key) const;
    /// A shadow-stack access (shadow_right) that the page's key forbids.
    bool shadow_denied_by_key(u8 attributes, u8 key, u16 access) const;
    /// A shadow-stack access is allowed: to a shadow-stack page of its own privilege.
    bool allows_shadow(u8 attributes, u8 key, u16 access) const;

private:
    std::array<u8, page_attribute::combinations> table_{};
    bool keys_ = false, pke_ = false, pks_ = false, wp_ = false;
    u32 pkru_ = 0, pkrs_ = 0;
};

}  // namespace droste
