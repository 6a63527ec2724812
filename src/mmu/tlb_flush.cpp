// SPDX-License-Identifier: Apache-2.0
// Invalidation: SDM "Caching Translation Information", "INVPCID", "INVVPID" and "INVEPT", each removing what
// it must.
#include "mmu/table_walk.h"
#include "mmu/tlb.h"
#include "mmu/tlb_caches.h"

namespace droste {
namespace {

/// SDM "EP4TA": bits 51:12 of the EPTP tell translations apart.
bool same_table(u64 eptp, u64 other) { return ((eptp ^ other) & address_field) == 0; }

/// What the running level's own instructions invalidate: its VPID, on the chain that it runs on.
bool own_realm(const AddressSpaces::Realm& r, const PagingControls& c) {
    return r.vpid == c.vpid && r.beneath == c.beneath;
}

template <class Pred, class F> void each_space(const AddressSpaces& spaces, Pred&& pred, F&& f) {
    for (unsigned i = 0; i < AddressSpaces::space_count; ++i)
        if (spaces.space(i).used && pred(spaces.space(i), spaces.realm_of(i))) f(i);
}

template <class Pred, class F> void each_realm(const AddressSpaces& spaces, Pred&& pred, F&& f) {
    for (unsigned i = 0; i < AddressSpaces::realm_count; ++i)
        if (spaces.realm(i).used && pred(spaces.realm(i))) f(i);
}

}  // namespace

void Mmu::Caches::renew_space(unsigned i) {
    spaces.renew_space(i);
    for (L1Context& x : context)
        if (x.used && x.space == i) x.clear_local();
}

void Mmu::Caches::renew_realm(unsigned i) {
    spaces.renew_globals(i);
    for (unsigned s = 0; s < AddressSpaces::space_count; ++s)
        if (spaces.space(s).used && spaces.space(s).realm == i) spaces.renew_space(s);
    for (L1Context& x : context)
        if (x.used && spaces.space(x.space).realm == i) x.clear();
}

void Mmu::Caches::clear_everything() {
    l2.clear();
    tables.clear();
    for (L1Context& x : context) x.clear();
}

void Mmu::flush_all() { caches_->clear_everything(); }

// What the running level does to its own translations: its guests' are tagged by other VPIDs.
void Mmu::flush_current(bool keep_global) {
    if (keep_global) {
        flush_pcid(controls_.pcid);
        return;
    }
    Caches& k = *caches_;
    each_realm(
        k.spaces, [&](const auto& r) { return own_realm(r, controls_); }, [&](unsigned i) { k.renew_realm(i); });
    k.settle();
}

void Mmu::flush_all_but_global() {
    Caches& k = *caches_;
    each_space(
        k.spaces, [&](const auto&, const auto& r) { return own_realm(r, controls_); },
        [&](unsigned i) { k.renew_space(i); });
    k.settle();
}

void Mmu::flush_pcid(u16 pcid) {
    Caches& k = *caches_;
    each_space(
        k.spaces, [&](const auto& s, const auto& r) { return own_realm(r, controls_) && s.pcid == pcid; },
        [&](unsigned i) { k.renew_space(i); });
    k.settle();
}

// Whether a removal of one page also takes global translations, and those of which PCID.
template <class Realms>
void Mmu::Caches::remove_page(u64 linear, Realms&& realms, std::optional<u16> pcid, bool globals) {
    each_realm(spaces, realms, [&](unsigned realm) {
        const auto matches = [&](u32 tag) {
            if (tag == spaces.realm(realm).global_tag) return globals;
            for (unsigned i = 0; i < AddressSpaces::space_count; ++i) {
                const AddressSpaces::Space& s = spaces.space(i);
                if (s.used && s.realm == realm && s.tag == tag) return !pcid || s.pcid == *pcid;
            }
            return false;
        };
        l2.remove_page(linear, realm, matches, follow());
    });
}

void Mmu::invlpg(Linear a) {
    caches_->remove_page(
        a.value, [&](const auto& r) { return own_realm(r, controls_); }, controls_.pcid, true);
}

void Mmu::invpcid_address(u16 pcid, Linear a) {
    caches_->remove_page(
        a.value, [&](const auto& r) { return own_realm(r, controls_); }, pcid, false);
}

void Mmu::invvpid_address(u16 vpid, Linear a, u32 beneath) {
    // Of guests of its guests, an address says nothing: those of deeper chains go as a whole.
    Caches& k = *caches_;
    const auto named = [&](const auto& r) { return r.vpid == vpid && r.beneath == beneath; };
    k.remove_page(a.value, named, std::nullopt, true);
    each_realm(
        k.spaces, [&](const auto& r) { return !named(r) && k.any_layer(r, named); },
        [&](unsigned i) { k.renew_realm(i); });
    k.settle();
}

void Mmu::invvpid_single(u16 vpid, bool keep_global, u32 beneath) {
    Caches& k = *caches_;
    const auto named = [&](const auto& layer) { return layer.vpid == vpid && layer.beneath == beneath; };
    if (keep_global)
        each_space(
            k.spaces, [&](const auto&, const auto& r) { return k.any_layer(r, named); },
            [&](unsigned i) { k.renew_space(i); });
    else
        each_realm(
            k.spaces, [&](const auto& r) { return k.any_layer(r, named); }, [&](unsigned i) { k.renew_realm(i); });
    k.settle();
}

void Mmu::invvpid_all(u32 beneath) {
    Caches& k = *caches_;
    const auto named = [&](const auto& layer) { return layer.vpid != 0 && layer.beneath == beneath; };
    each_realm(
        k.spaces, [&](const auto& r) { return k.any_layer(r, named); }, [&](unsigned i) { k.renew_realm(i); });
    k.settle();
}

template <class Named> void Mmu::Caches::invept(Named&& named) {
    each_realm(
        spaces, [&](const auto& r) { return any_layer(r, named); }, [&](unsigned i) { renew_realm(i); });
    for (EptId& e : ept_ids)
        if (e.id != 0 && any_layer(e.beneath, true, 0, e.eptp, named)) {
            const bool present = e.id == ept_id;
            e.id = fresh_ept_id();
            if (present) ept_id = e.id;
        }
    settle();
}

void Mmu::invept_single(u64 eptp, u32 beneath) {
    caches_->invept([&](const auto& layer) {
        return layer.ept && same_table(layer.eptp, eptp) && layer.beneath == beneath;
    });
}

void Mmu::invept_all(u32 beneath) {
    caches_->invept([&](const auto& layer) { return layer.ept && layer.beneath == beneath; });
}

void Mmu::drop_write_tags(u64 machine_page) {
    Caches& k = *caches_;
    const u64 page = machine_page & ~0xFFFull;
    const u8* host = memory_.host(page);
    if (host == nullptr || !k.take_write_tag(page)) return;
    for (L1Context& x : k.context)
        if (x.used) x.drop_write_tags(host);
}

void Mmu::forget_code_targets() {
    for (L1Context& x : caches_->context)
        for (FetchTlb& f : x.fetch)
            for (auto& t : f.targets)
                if (t != nullptr) t->forget_all();
}

}  // namespace droste
