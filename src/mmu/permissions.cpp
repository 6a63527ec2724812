// SPDX-License-Identifier: Apache-2.0
// The table of rights for a setting of CR0.WP, SMEP, SMAP and the protection-key registers.
#include "mmu/permissions.h"

namespace droste {
namespace {

u8 rights_of(const PagingControls& c, bool user, bool writable, bool execute_disable) {
    u8 r = 0;
    if (user) {
        r |= right::user_read;
        if (writable) r |= right::user_write;
        if (!execute_disable) r |= right::user_fetch;
    }
    const bool supervisor_may_write = writable || !c.wp;
    r |= right::supervisor_ac_read;
    if (supervisor_may_write) r |= right::supervisor_ac_write;
    if (!(user && c.smap)) {
        r |= right::supervisor_read;
        if (supervisor_may_write) r |= right::supervisor_write;
    }
    if (!execute_disable && !(user && c.smep)) r |= right::supervisor_fetch;
    return r;
}

}  // namespace

Permissions::Permissions(const PagingControls& c) {
    if (c.mode == PagingMode::none) {
        table_.fill(0xFF);
        return;
    }
    for (u8 i = 0; i < page_attribute::combinations; ++i)
        table_[i] = rights_of(c, i & page_attribute::user, i & page_attribute::writable,
                              i & page_attribute::execute_disable);
    if (c.mode == PagingMode::level4 || c.mode == PagingMode::level5) {
        pke_ = c.pke;
        pks_ = c.pks;
        keys_ = pke_ || pks_;
        pkru_ = c.pkru;
        pkrs_ = c.pkrs;
        wp_ = c.wp;
    }
}

bool Permissions::shadow_denied_by_key(u8 attributes, u8 key, u16 access) const {
    if (!keys_) return false;
    const u8 denied = denied_by_key(attributes, key);
    if (attributes & page_attribute::user)
        return denied & (access & shadow_right::write ? right::user_write : right::user_read);
    return denied & (access & shadow_right::write ? right::supervisor_write : right::supervisor_read);
}

bool Permissions::allows_shadow(u8 attributes, u8 key, u16 access) const {
    if (!(attributes & page_attribute::shadow_stack)) return false;
    if (bool(attributes & page_attribute::user) != bool(access & shadow_right::user)) return false;
    return !shadow_denied_by_key(attributes, key, access);
}

u8 Permissions::denied_by_key(u8 attributes, u8 key) const {
    const bool user_page = attributes & page_attribute::user;
    if (!(user_page ? pke_ : pks_)) return 0;
    const u32 two = (user_page ? pkru_ : pkrs_) >> (2 * key);
    const bool access_disable = two & 1, write_disable = two & 2;
    if (access_disable) return right::reads | right::writes;
    if (!write_disable) return 0;
    return static_cast<u8>(right::user_write | (wp_ ? right::supervisor_writes : 0));
}

}  // namespace droste
