// SPDX-License-Identifier: Apache-2.0
// Translation: second level, walks, and the filling of both levels.
#include "mmu/tlb.h"

#include "base/assert.h"
#include "mmu/ept_chain.h"
#include "mmu/table_walk.h"
#include "mmu/tlb_caches.h"

namespace droste {
namespace {

// Rights by first-level class.
constexpr std::array<u8, L1Context::data_classes> read_right = {right::user_read, right::supervisor_read,
                                                                right::supervisor_ac_read};
constexpr std::array<u8, L1Context::data_classes> write_right = {right::user_write, right::supervisor_write,
                                                                 right::supervisor_ac_write};

unsigned class_of(u8 needed) {
    if (needed & right::user_data) return static_cast<unsigned>(DataClass::user);
    if (needed & (right::supervisor_read | right::supervisor_write))
        return static_cast<unsigned>(DataClass::supervisor);
    return static_cast<unsigned>(DataClass::supervisor_ac);
}

u8 ept_access(Access access) {
    switch (access) {
    case Access::read: return ept_right::read;
    case Access::write: return ept_right::write;
    case Access::execute: return ept_right::execute;
    }
    return ept_right::read;
}

/// Read, write and execute of a linear page: whose execution from a user-mode address is a right of its own.
u8 linear_rights(u8 ept_rights, bool user_linear) {
    const u8 fetch = user_linear ? ept_right::user_execute : ept_right::execute;
    return static_cast<u8>((ept_rights & (ept_right::read | ept_right::write)) |
                           (ept_rights & fetch ? ept_right::execute : 0));
}

/// SDM "Exit Qualification for EPT Violations": the bits that tell of the linear address.
u64 linear_bits(const PagingControls& c, const LinearMapping& m) {
    u64 q = ept_qualification::linear_valid | ept_qualification::of_linear;
    if (!c.ept_advanced_exit_info) return q;
    if (m.attributes & page_attribute::user) q |= ept_qualification::user_linear;
    if (m.attributes & page_attribute::writable) q |= ept_qualification::writable_linear;
    if (m.attributes & page_attribute::execute_disable) q |= ept_qualification::execute_disable_linear;
    return q;
}

}  // namespace

L1Key L1Key::of(const PagingControls& c) {
    L1Key k;
    const bool paging = c.mode != PagingMode::none;
    const bool long_paging = c.mode == PagingMode::level4 || c.mode == PagingMode::level5;
    k.eptp = c.ept ? c.eptp : 0;
    k.apic_access_page = c.apic_access_page;
    k.vpid = c.vpid;
    k.pcid = c.pcid;
    if (long_paging && c.pke) k.pkru = c.pkru;
    if (long_paging && c.pks) k.pkrs = c.pkrs;
    k.flags = static_cast<u16>(static_cast<unsigned>(c.mode) | (c.ept << 3) | (c.guest.variant() << 9));
    k.hlatp = c.guest.hlatp;
    k.sppt = c.guest.sppt;
    k.beneath = c.beneath;
    if (paging) k.flags |= static_cast<u16>((c.wp << 4) | (c.smep << 5) | (c.smap << 6));
    if (long_paging) k.flags |= static_cast<u16>((c.pke << 7) | (c.pks << 8) | (c.lass << 15));
    return k;
}

Mmu::Mmu(PhysicalMemory& memory) : memory_(memory), caches_(std::make_unique<Caches>(memory)) {
    caches_->select(controls_);
    point_at_context();
}

Mmu::~Mmu() = default;

void Mmu::point_at_context() {
    L1Context& c = caches_->now();
    for (unsigned i = 0; i < L1Context::data_classes; ++i) data_[i] = &c.data[i];
    data_[static_cast<unsigned>(DataClass::none)] = &caches_->none;
    for (unsigned i = 0; i < 2; ++i) fetch_[i] = &c.fetch[i];
}

void Mmu::set_controls(const PagingControls& controls) {
    controls_ = controls;
    if (caches_->now().key == L1Key::of(controls)) return;
    caches_->select(controls);
    point_at_context();
}

void Mmu::Caches::select(const PagingControls& c) {
    const L1Key key = L1Key::of(c);
    if (c.ept) ept_id = number_of(c.eptp, c.guest.variant(), c.beneath);
    ++uses;
    unsigned victim = 0;
    for (unsigned i = 0; i < context_count; ++i) {
        L1Context& x = context[i];
        if (x.used && x.key == key) {
            x.last_use = uses;
            current = i;
            const unsigned space = spaces.select(c);
            ASSERT(space == x.space);
            return;
        }
        if (x.last_use < context[victim].last_use) victim = i;
    }
    L1Context& x = context[victim];
    x.clear();
    x.used = true;
    x.key = key;
    x.last_use = uses;
    x.permissions = Permissions(c);
    x.space = spaces.select(c);
    current = victim;
    settle();
}

void Mmu::Caches::settle() {
    if (!spaces.take_overflow()) return;
    l2.clear();
    for (L1Context& x : context) x.clear();
}

u32 Mmu::Caches::fresh_ept_id() {
    if (next_ept_id >= (1u << 24)) {
        next_ept_id = 1;
        tables.clear();
        for (EptId& e : ept_ids) e.id = next_ept_id++;
    }
    return next_ept_id++;
}

u32 Mmu::Caches::number_of(u64 eptp, u8 variant, u32 beneath) {
    ++uses;
    EptId* victim = &ept_ids[0];
    for (EptId& e : ept_ids) {
        if (e.id != 0 && e.eptp == eptp && e.variant == variant && e.beneath == beneath) {
            e.last_use = uses;
            return e.id;
        }
        if (e.last_use < victim->last_use) victim = &e;
    }
    const u32 id = fresh_ept_id();
    *victim = {eptp, variant, beneath, id, uses};
    return id;
}

bool Mmu::translate_data(Linear a, Access access, Privilege p, Intent intent, Translation& out,
                         WalkFault& fault) {
    const bool write = access == Access::write;
    u8 needed;
    if (p == Privilege::user) needed = write ? right::user_write : right::user_read;
    else if (intent == Intent::explicit_access && controls_.ac)
        needed = write ? right::supervisor_ac_write : right::supervisor_ac_read;
    else needed = write ? right::supervisor_write : right::supervisor_read;
    return translate(a.value, needed, access, out, fault);
}

bool Mmu::translate_fetch(Linear a, Privilege p, Translation& out, WalkFault& fault) {
    const u8 needed = p == Privilege::user ? right::user_fetch : right::supervisor_fetch;
    return translate(a.value, needed, Access::execute, out, fault);
}

bool Mmu::translate_shadow_stack(Linear a, u16 needed, Translation& out, WalkFault& fault) {
    return translate(a.value, needed, needed & shadow_right::write ? Access::write : Access::read, out, fault);
}

bool Mmu::translate(u64 linear, u16 needed, Access access, Translation& out, WalkFault& fault) {
    const PagingControls& c = controls_;
    Caches& k = *caches_;
    if (c.mode == PagingMode::level4 || c.mode == PagingMode::level5) {
        if (sign_extend(linear, c.mode == PagingMode::level4 ? 48 : 57) != linear) {
            fault = WalkFault{};
            fault.kind = WalkFault::Kind::non_canonical;
            fault.linear = Linear(linear);
            return false;
        }
    } else {
        linear &= 0xFFFF'FFFF;
    }
    const u64 page = linear & ~0xFFFull;
    L1Context& context = k.now();
    const AddressSpaces::Space& space = k.spaces.space(context.space);
    const u32 global_tag = k.spaces.realm(space.realm).global_tag;

    CachedTranslation unpaged;  // without paging and EPT nothing is cached but in the first level
    CachedTranslation* e;
    bool sub_page = false;  // never cached as writable: each write asks again
    if (c.mode == PagingMode::none && !c.ept) {
        unpaged.machine_page = unpaged.guest_page = page;
        unpaged.dirty = true;
        e = &unpaged;
    } else {
        e = k.l2.find(linear, space.realm, space.tag, global_tag);
        if (e == nullptr || !k.allows(*e, needed)) {
            // SDM "Operations that Invalidate TLBs and Paging-Structure Caches": a page fault or EPT
            // violation removes what is cached for its address; a walk that succeeds replaces it.
            if (e != nullptr) k.l2.remove_exact(linear, space.realm, space.tag, global_tag, k.follow());
            const WalkParts parts{memory_,  c,        context.permissions,       dirty_log_, counters,
                                  k.tables, k.ept_id, WalkEffects::architectural};
            LinearMapping m;
            if (!linear_walk(parts, linear, needed, m, fault)) return false;
            EptMapping second{.machine_page = m.guest_page, .rights = ept_right::all};
            const bool user_linear = m.attributes & page_attribute::user;
            if (c.ept && !ept_walk(parts, m.guest_page | (linear & 0xFFF),
                                   {.kind = ept_access(access),
                                    .user_linear = user_linear,
                                    .paging_verified = m.paging_verified,
                                    .shadow_stack = (needed & shadow_right::any) != 0,
                                    .supervisor_shadow_stack = (needed & shadow_right::any) != 0 &&
                                                               (needed & shadow_right::user) == 0},
                                   second, fault)) {
                fault.linear = Linear(linear);
                if (fault.kind == WalkFault::Kind::ept_violation) fault.qualification |= linear_bits(c, m);
                return false;
            }
            CachedTranslation t;
            t.machine_page = second.machine_page;
            t.guest_page = m.guest_page;
            t.attributes = m.attributes;
            t.key = m.key;
            t.ept_rights = linear_rights(second.rights, user_linear);
            t.shadow_rights = (second.rights >> ept_right::shadow_shift) & 3;
            t.page_shift = m.page_shift;
            t.dirty = m.dirty && second.dirty;
            t.global = m.global;
            sub_page = second.sub_page;
            e = k.l2.insert(linear, space.realm, m.global ? global_tag : space.tag, t, k.follow());
        }
    }

    u8* const host = memory_.host(e->machine_page);
    out.host = host;
    out.machine_page = e->machine_page;
    out.guest_page = GuestPhys(e->guest_page);
    out.apic_access = e->machine_page == c.apic_access_page;
    out.sub_page = sub_page;
    if (host == nullptr || out.apic_access || (needed & shadow_right::any)) return true;
    if (access == Access::execute) {
        context.fill_fetch(needed & right::user_fetch ? Privilege::user : Privilege::supervisor, page, host,
                           e->machine_page, !e->global);
    } else {
        const unsigned cls = class_of(static_cast<u8>(needed));
        const u8 r = k.rights(*e);
        const bool writable = (r & write_right[cls]) && !memory_.has_code(e->machine_page);
        if (writable) k.note_write_tag(e->machine_page);
        context.fill_data(cls, page, host, r & read_right[cls], writable, !e->global);
    }
    e->contexts |= static_cast<u8>(1u << k.current);
    return true;
}

bool Mmu::translate_guest_physical(GuestPhys a, Access access, u64& machine, WalkFault& fault) {
    machine = a.value;
    if (!controls_.ept) return true;
    Caches& k = *caches_;
    const WalkParts parts{memory_,  controls_, k.now().permissions,       dirty_log_, counters,
                          k.tables, k.ept_id,  WalkEffects::architectural};
    EptMapping m;
    if (!ept_walk(parts, a.value, {.kind = ept_access(access)}, m, fault)) return false;
    // Such an access is never virtualized (SDM "Guest-Physical Accesses to the APIC-Access Page").
    if (m.machine_page == controls_.apic_access_page) {
        fault = WalkFault{};
        fault.kind = WalkFault::Kind::apic_access;
        fault.guest_phys = a;
        return false;
    }
    machine = m.machine_page | (a.value & 0xFFF);
    return true;
}

u32 Mmu::number_chain(EptChain& chain) {
    Caches& k = *caches_;
    if (k.chains.full()) {
        // Nobody could tell any more what the old numbers stand for.
        k.chains.clear();
        k.clear_everything();
        k.spaces.forget_all();
        for (L1Context& x : k.context) x.used = false;
        k.select(controls_);
        point_at_context();
    }
    u32 beneath = 0;
    for (unsigned i = 0; i < chain.depth; ++i) {
        EptLayer& l = chain.layer[i];
        l.beneath = beneath;
        l.tables = k.number_of(l.ept ? l.eptp : 0, l.guest.variant(), beneath);
        beneath = k.chains.number_of({.beneath = beneath,
                                      .ept = l.ept,
                                      .variant = l.guest.variant(),
                                      .vpid = l.vpid,
                                      .eptp = l.ept ? l.eptp : 0});
    }
    return beneath;
}

bool Mmu::translate_structure(const EptChain& chain, unsigned layers, u64 address, Access access, u64& machine,
                              WalkFault& fault) {
    Caches& k = *caches_;
    const WalkParts parts{memory_,  controls_, k.now().permissions,       dirty_log_, counters,
                          k.tables, k.ept_id,  WalkEffects::architectural};
    return structure_walk(parts, chain, layers, address, access, machine, fault);
}

bool Mmu::peek(Linear a, u64& machine) const {
    Caches& k = *caches_;
    WalkCounters unused;
    const WalkParts parts{memory_,  controls_, k.now().permissions, nullptr, unused,
                          k.tables, k.ept_id,  WalkEffects::none};
    LinearMapping m;
    WalkFault fault;
    if (!linear_walk(parts, a.value, 0, m, fault)) return false;
    u64 page = m.guest_page;
    if (controls_.ept) {
        EptMapping second;
        if (!ept_walk(parts, page, {}, second, fault)) return false;
        page = second.machine_page;
    }
    machine = page | (a.value & 0xFFF);
    return true;
}

}  // namespace droste
