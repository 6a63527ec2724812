// SPDX-License-Identifier: Apache-2.0
// Allotment of the numbers of address spaces; least recently used ones make room.
#include "mmu/address_spaces.h"

namespace droste {
namespace {

/// An unused row, or else the one unused for longest.
template <class Rows> unsigned victim(const Rows& rows) {
    unsigned best = 0;
    for (unsigned i = 0; i < rows.size(); ++i) {
        if (!rows[i].used) return i;
        if (rows[i].last_use < rows[best].last_use) best = i;
    }
    return best;
}

}  // namespace

u32 AddressSpaces::fresh() {
    if (next_ >= (1u << tag_bits)) {
        // All numbers were used: start again. Rows in use get new ones, and the caller clears what is cached.
        next_ = 1;
        overflow_ = true;
        for (Realm& r : realm_)
            if (r.used) r.global_tag = next_++;
        for (Space& s : space_)
            if (s.used) s.tag = next_++;
    }
    return next_++;
}

unsigned AddressSpaces::select_realm(const PagingControls& c) {
    const u64 eptp = c.ept ? c.eptp : 0;
    for (unsigned i = 0; i < realm_count; ++i) {
        Realm& r = realm_[i];
        if (r.used && r.vpid == c.vpid && r.ept == c.ept && r.eptp == eptp && r.mode == c.mode &&
            r.variant == c.guest.variant() && r.beneath == c.beneath)
            return i;
    }
    const unsigned i = victim(realm_);
    for (Space& s : space_)
        if (s.used && s.realm == i) s = Space{};
    realm_[i] = Realm{.used = true,
                      .ept = c.ept,
                      .mode = c.mode,
                      .variant = c.guest.variant(),
                      .vpid = c.vpid,
                      .eptp = eptp,
                      .beneath = c.beneath};
    realm_[i].global_tag = fresh();
    return i;
}

unsigned AddressSpaces::select(const PagingControls& c) {
    const unsigned realm = select_realm(c);
    realm_[realm].last_use = ++uses_;
    for (unsigned i = 0; i < space_count; ++i) {
        Space& s = space_[i];
        if (s.used && s.realm == realm && s.pcid == c.pcid) {
            s.last_use = uses_;
            return i;
        }
    }
    const unsigned i = victim(space_);
    space_[i] = Space{true, static_cast<u8>(realm), c.pcid, no_tag, uses_};
    space_[i].tag = fresh();
    return i;
}

void AddressSpaces::forget_all() {
    realm_.fill(Realm{});
    space_.fill(Space{});
}

}  // namespace droste
