// SPDX-License-Identifier: Apache-2.0
// What stands behind Mmu: first-level contexts, the second level, and the numbers that tag them.
#pragma once
#include <array>
#include <bit>
#include <optional>
#include <vector>

#include "mmu/address_spaces.h"
#include "mmu/chain_numbers.h"
#include "mmu/l1_context.h"
#include "mmu/l2_tlb.h"
#include "mmu/tlb.h"
#include "mmu/walks.h"

namespace droste {

struct Mmu::Caches {
    static constexpr unsigned context_count = 8;
    static_assert(context_count <= 8 * sizeof(CachedTranslation::contexts));
    /// A context in use belongs to one of the spaces used last, so its row is never the one that makes room.
    static_assert(context_count < AddressSpaces::realm_count && context_count < AddressSpaces::space_count);

    explicit Caches(PhysicalMemory& m) : memory(m), write_tagged(m.ram_bytes() / 4096 / 64 + 1) {
        none.read_tag.fill(TlbClass::no_tag);
        none.write_tag.fill(TlbClass::no_tag);
        none.addend.fill(0);
    }

    PhysicalMemory& memory;
    TlbClass none;  ///< always misses
    std::array<L1Context, context_count> context;
    unsigned current = 0;  ///< context in use
    u64 uses = 0;
    L2Tlb l2;
    AddressSpaces spaces;
    GuestPhysCache tables;
    std::vector<u64> write_tagged;  ///< by frame: some first-level table may hold a write tag

    /// Numbers of EPTPs and controls for `tables`.
    struct EptId {
        u64 eptp = ~0ull;
        u8 variant = 0;  ///< GuestPagingControls::variant
        u32 beneath = 0;  ///< number of the chain under it
        u32 id = 0;
        u64 last_use = 0;
    };
    std::array<EptId, 32> ept_ids;
    u32 next_ept_id = 1;
    u32 ept_id = 0;  ///< of the present EPTP

    // ---- selection (tlb.cpp)
    void select(const PagingControls& c);
    u32 number_of(u64 eptp, u8 variant, u32 beneath);
    u32 fresh_ept_id();
    L1Context& now() { return context[current]; }
    /// After new numbers were given out: starts afresh when they have run out.
    void settle();

    // ---- removal: the first level follows
    void removed(u64 page, const CachedTranslation& e) {
        for (unsigned m = e.contexts; m != 0; m &= m - 1) context[std::countr_zero(m)].clear_page(page);
    }
    auto follow() {
        return [this](u64 page, const CachedTranslation& e) { removed(page, e); };
    }
    void renew_space(unsigned i);
    void renew_realm(unsigned i);  ///< its spaces and its global translations
    void clear_everything();
    /// One page: of one PCID or all, with or without the global translations.
    template <class Realms>
    void remove_page(u64 linear, Realms&& realms, std::optional<u16> pcid, bool globals);

    /// Forgets what any layer `named` took part in.
    template <class Named> void invept(Named&& named);

    // ---- chains (chain_numbers.h)
    ChainNumbers chains;
    /// Some layer of what translates on the chain `beneath` and then (vpid, eptp) satisfies `pred`.
    template <class Pred> bool any_layer(u32 beneath, bool ept, u16 vpid, u64 eptp, Pred&& pred) const {
        if (pred(ChainNumbers::Row{.beneath = beneath, .ept = ept, .vpid = vpid, .eptp = eptp})) return true;
        return chains.any(beneath, pred);
    }
    template <class Pred> bool any_layer(const AddressSpaces::Realm& r, Pred&& pred) const {
        return any_layer(r.beneath, r.ept, r.vpid, r.eptp, pred);
    }

    // ---- use
    u8 rights(const CachedTranslation& e) const {
        u8 r = context[current].permissions.of(e.attributes, e.key) & ept_rights[e.ept_rights];
        if (!e.dirty) r &= static_cast<u8>(~right::writes);
        return r;
    }
    /// The access that `needed` (right or shadow_right) stands for may use this translation as it is.
    bool allows(const CachedTranslation& e, u16 needed) const {
        if (!(needed & shadow_right::any)) [[likely]] return rights(e) & needed;
        const bool write = needed & shadow_right::write;
        const u8 by_ept = needed & shadow_right::user ? e.ept_rights : e.shadow_rights;
        return context[current].permissions.allows_shadow(e.attributes, e.key, needed) &&
               (by_ept & (write ? 2 : 1)) && (!write || e.dirty);
    }
    void note_write_tag(u64 machine_page) {
        const u64 f = memory.frame_index(machine_page);
        write_tagged[f / 64] |= 1ull << (f % 64);
    }
    bool take_write_tag(u64 machine_page) {
        const u64 f = memory.frame_index(machine_page);
        u64& word = write_tagged[f / 64];
        const bool was = bit(word, f % 64);
        word &= ~(1ull << (f % 64));
        return was;
    }
};

}  // namespace droste
