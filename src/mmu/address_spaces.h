// SPDX-License-Identifier: Apache-2.0
// Who a cached translation belongs to: VPID, PCID and EPTP, folded into small numbers that are never used
// twice.
#pragma once
#include <array>

#include "base/types.h"
#include "mmu/paging.h"

namespace droste {

/// Translations carry the number of their space, or their realm's when they are global. Giving a space a new
/// number forgets all its translations at once. A realm is {chain beneath, VPID, EPTP, paging mode and controls}; a
/// space is a PCID within one.
class AddressSpaces {
public:
    static constexpr unsigned realm_count = 16, space_count = 64;
    static constexpr unsigned tag_bits = 19;
    static constexpr u32 no_tag = 0;

    struct Realm {
        bool used = false, ept = false;
        PagingMode mode{};
        u8 variant = 0;  ///< GuestPagingControls::variant
        u16 vpid = 0;
        u64 eptp = 0;
        u32 beneath = 0;  ///< number of the chain (EptChain) under the EPTP
        u32 global_tag = no_tag;
        u64 last_use = 0;
    };
    struct Space {
        bool used = false;
        u8 realm = 0;
        u16 pcid = 0;
        u32 tag = no_tag;
        u64 last_use = 0;
    };

    /// The space of these controls, made when it is new (then the least recently used one may go).
    unsigned select(const PagingControls& c);
    const Space& space(unsigned i) const { return space_[i]; }
    const Realm& realm(unsigned i) const { return realm_[i]; }
    const Realm& realm_of(unsigned space_index) const { return realm_[space_[space_index].realm]; }

    /// Forgets a space's translations (not the global ones), or a realm's global ones.
    void renew_space(unsigned i) { space_[i].tag = fresh(); }
    void renew_globals(unsigned realm_index) { realm_[realm_index].global_tag = fresh(); }
    /// True once after the numbers ran out: every cached translation must go now.
    bool take_overflow() {
        const bool o = overflow_;
        overflow_ = false;
        return o;
    }
    void forget_all();

private:
    u32 fresh();
    unsigned select_realm(const PagingControls& c);
    std::array<Realm, realm_count> realm_{};
    std::array<Space, space_count> space_{};
    u32 next_ = 1;
    u64 uses_ = 0;
    bool overflow_ = false;
};

}  // namespace droste
