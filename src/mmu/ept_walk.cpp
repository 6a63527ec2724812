// SPDX-License-Identifier: Apache-2.0
// The walk of the EPT paging structures, with its accessed and dirty flags and page-modification logging.
#include "mmu/ept_chain.h"
#include "mmu/sub_page_permissions.h"
#include "mmu/table_walk.h"
#include "mmu/tlb.h"
#include "mmu/walks.h"

namespace droste {
namespace {

constexpr u64 eptp_accessed_dirty = 0x40, eptp_supervisor_shadow_stack = 0x80;

bool fail(WalkFault& fault, WalkFault::Kind kind, u64 guest_physical, u64 qualification) {
    fault = WalkFault{};
    fault.kind = kind;
    fault.guest_phys = GuestPhys(guest_physical);
    fault.qualification = qualification;
    return false;
}

/// One EPT: its pointer and controls, and how the addresses in it are reached.
struct OneEpt {
    u64 eptp;
    const GuestPagingControls& guest;
    DirtyLog* log;
    u8 layer;  ///< in the chain
};

/// SDM "Accessed and Dirty Flags for EPT" and "Page-Modification Logging". False: the log is full, nothing
/// changed; or `locate` refused, and `fault` tells.
template <class Locate>
bool set_flags(const WalkParts& parts, const OneEpt& ept, WalkPath& path, u64 guest_physical, bool write,
               Locate&& locate, WalkFault& fault) {
    bool needed = false;
    for (unsigned i = 0; i < path.depth; ++i) needed |= !(path.step[i].entry & ept_entry::accessed);
    const bool set_dirty = write && !(path.leaf().entry & ept_entry::dirty);
    if (!needed && !set_dirty) return true;
    if (ept.log != nullptr && ept.log->full())
        return fail(fault, WalkFault::Kind::pml_full, guest_physical, 0);
    for (unsigned i = 0; i < path.depth; ++i) {
        WalkPath::Step& s = path.step[i];
        const bool leaf = i + 1 == path.depth;
        const u64 entry = s.entry | ept_entry::accessed | (leaf && set_dirty ? ept_entry::dirty : 0);
        if (entry == s.entry) continue;
        if (!locate(s.at, s.machine, Access::write)) return false;
        write_entry<u64>(parts.memory, s.machine, entry);
        s.entry = entry;
    }
    if (set_dirty && ept.log != nullptr) ept.log->log(GuestPhys(guest_physical & ~0xFFFull));
    return true;
}

/// The rights that all entries of a translation give.
u8 rights_of(const GuestPagingControls& guest, u64 all) {
    const u64 user = guest.mode_based_execute ? ept_entry::user_execute : ept_entry::execute;
    return static_cast<u8>((all & ept_entry::rights) | (all & user ? ept_right::user_execute : 0));
}

/// The right that an access takes.
u8 needed(u64 eptp, const EptAccess& a) {
    if (a.supervisor_shadow_stack && (eptp & eptp_supervisor_shadow_stack))
        return a.kind & ept_right::write ? ept_right::shadow_write : ept_right::shadow_read;
    const bool user_fetch = (a.kind & ept_right::execute) && a.user_linear;
    return user_fetch ? static_cast<u8>((a.kind & ~ept_right::execute) | ept_right::user_execute) : a.kind;
}

/// SDM Table "Exit Qualification for EPT Violations", bits 6:3. Bit 6 is that of mode-based execute control.
u64 permissions(const GuestPagingControls& guest, u64 all) {
    u64 rights = all & ept_entry::rights;
    if (guest.mode_based_execute && (all & ept_entry::user_execute)) rights |= ept_right::user_execute;
    return rights << ept_qualification::permissions_shift;
}

/// Whether each entry that refers to another table has `bits`.
bool above(const WalkPath& path, u64 bits) {
    for (unsigned i = 0; i + 1 < path.depth; ++i)
        if ((path.step[i].entry & bits) != bits) return false;
    return true;
}

/// Walks one EPT. `locate(at, machine, access)` translates the address of an entry, or refuses.
template <class Locate>
bool walk_one(const WalkParts& parts, const OneEpt& ept, u64 guest_physical, const EptAccess& access,
              EptMapping& out, WalkFault& fault, Locate&& locate) {
    const GuestPagingControls& guest = ept.guest;
    const TableEpt format(parts.controls, ept.eptp, guest);
    // SDM "EPT Translation Mechanism": addresses wider than the walk cause EPT violations. No entry decides
    // whether they are convertible.
    if (guest_physical >> (12 + 9 * format.levels) != 0)
        return fail(fault, WalkFault::Kind::ept_violation, guest_physical, access.kind);
    WalkPath path;
    const WalkEnd end =
        descend(format, ept.eptp & address_field, guest_physical, parts.memory,
                [&](u64 at, u64& machine) { return locate(at, machine, Access::read); }, path);
    if (parts.effects == WalkEffects::architectural) parts.counters.ept_references += path.depth;
    if (end == WalkEnd::unreachable) return false;
    if (end == WalkEnd::malformed)
        return fail(fault, WalkFault::Kind::ept_misconfiguration, guest_physical, 0);
    const bool mapped = end == WalkEnd::mapped;
    const u64 leaf = path.leaf().entry;
    out.rights = rights_of(guest, path.all);
    out.paging_write = mapped && guest.paging_write && (leaf & ept_entry::paging_write);
    out.sub_page = false;
    // SDM "EPT Violations": entries that refer to other tables must permit writes all the same.
    if (out.paging_write && above(path, ept_entry::write)) out.rights |= ept_right::paging_write;

    u64 more = access.shadow_stack ? ept_qualification::shadow_stack : 0;  // of the qualification
    if (!(ept.eptp & eptp_supervisor_shadow_stack)) {
        const u64 data = path.all & (ept_entry::read | ept_entry::write);
        out.rights |= static_cast<u8>(data << ept_right::shadow_shift);
    } else if (mapped && (leaf & ept_entry::supervisor_shadow_stack)) {
        more |= ept_qualification::supervisor_shadow_stack_page;
        // The entry that maps the page need not permit writes.
        if ((path.all & ept_entry::read) && above(path, ept_entry::write))
            out.rights |= ept_right::shadow_read | ept_right::shadow_write;
    }
    u8 missing = static_cast<u8>(needed(ept.eptp, access) & ~out.rights);
    if (mapped && missing == ept_right::write) {
        if (access.paging_structure) {
            if (out.rights & ept_right::paging_write) missing = 0;
        } else if (guest.sub_page_write && path.page_shift == 12 && (leaf & ept_entry::sub_page_write)) {
            switch (sub_page_permission(parts.controls, guest_physical, parts.memory)) {
            case SubPage::miss:
                return fail(fault, WalkFault::Kind::spp_miss, guest_physical, ept_qualification::spp_miss);
            case SubPage::misconfiguration:
                return fail(fault, WalkFault::Kind::spp_misconfiguration, guest_physical, 0);
            case SubPage::writable:
                out.sub_page = true;
                missing = 0;
                break;
            case SubPage::protected_: break;
            }
        }
    }
    if (guest.verify_paging && guest.paging_write && mapped && missing == 0 &&
        (leaf & ept_entry::verify_paging) && !access.paging_verified) {
        missing = ept_right::read;
        more |= ept_qualification::paging_verification;
    }
    if (!mapped || missing != 0) {
        fail(fault, WalkFault::Kind::ept_violation, guest_physical, access.kind | permissions(guest, path.all) | more);
        fault.convertible = !(leaf & ept_entry::suppress_ve);
        return false;
    }
    if (ept.eptp & eptp_accessed_dirty) {
        if (parts.effects == WalkEffects::architectural &&
            !set_flags(parts, ept, path, guest_physical, access.kind & ept_right::write, locate, fault))
            return false;
        out.dirty = path.leaf().entry & ept_entry::dirty;
    } else {
        out.dirty = true;
    }
    out.machine_page = path.piece(guest_physical);
    return true;
}

/// The layers of a chain from `layer` down.
bool walk_chain(const WalkParts& parts, const EptChain& chain, unsigned layer, u64 address, const EptAccess& access,
                EptMapping& out, WalkFault& fault);

/// Machine address of something that lies in the memory of the hypervisor that keeps `layer`.
bool locate_beneath(const WalkParts& parts, const EptChain& chain, unsigned layer, u64 address, Access access,
                    u64& machine, WalkFault& fault) {
    if (layer == 0) {
        machine = address;
        return true;
    }
    const unsigned through = layer - 1;
    const u8 kind = access == Access::write ? ept_right::read | ept_right::write : ept_right::read;
    const u32 id = chain.layer[through].tables;
    const u64 page = address & ~0xFFFull;
    bool paging_write;
    if (!parts.tables.find(id, page, kind, machine, paging_write, layer)) {
        EptMapping m;
        if (!walk_chain(parts, chain, through, address, {.kind = kind}, m, fault)) return false;
        if (parts.effects == WalkEffects::architectural) parts.tables.insert(id, page, m, layer);
        machine = m.machine_page;
    }
    machine |= address & 0xFFF;
    return true;
}

bool walk_chain(const WalkParts& parts, const EptChain& chain, unsigned layer, u64 address, const EptAccess& access,
                EptMapping& out, WalkFault& fault) {
    const EptLayer& l = chain.layer[layer];
    if (l.ept) {
        const OneEpt ept{l.eptp, l.guest, l.log, static_cast<u8>(layer)};
        bool beneath = false;
        const auto locate = [&](u64 at, u64& machine, Access a) {
            beneath = true;
            const bool ok = locate_beneath(parts, chain, layer, at, a, machine, fault);
            beneath = !ok;
            return ok;
        };
        if (!walk_one(parts, ept, address, access, out, fault, locate)) {
            if (!beneath) fault.layer = ept.layer;
            return false;
        }
    } else {
        out = {.machine_page = address & ~0xFFFull, .rights = ept_right::all};
    }
    if (layer == 0) return true;
    EptAccess onward = access;
    onward.paging_structure = false;
    onward.paging_verified = true;
    EptMapping lower;
    if (!walk_chain(parts, chain, layer - 1, out.machine_page | (address & 0xFFF), onward, lower, fault))
        return false;
    out.machine_page = lower.machine_page;
    out.dirty = out.dirty && lower.dirty;
    out.rights &= lower.rights | (out.rights & ept_right::paging_write);
    if (!(lower.rights & ept_right::write)) out.rights &= static_cast<u8>(~ept_right::paging_write);
    return true;
}

}  // namespace

bool ept_walk(const WalkParts& parts, u64 guest_physical, const EptAccess& access, EptMapping& out,
              WalkFault& fault) {
    const PagingControls& c = parts.controls;
    if (c.chain != nullptr) [[unlikely]]
        return walk_chain(parts, *c.chain, c.chain->depth - 1, guest_physical, access, out, fault);
    const auto in_place = [](u64 at, u64& machine, Access) {
        machine = at;
        return true;
    };
    return walk_one(parts, {c.eptp, c.guest, parts.dirty_log, 0}, guest_physical, access, out, fault, in_place);
}

bool structure_walk(const WalkParts& parts, const EptChain& chain, unsigned layers, u64 address, Access access,
                    u64& machine, WalkFault& fault) {
    return locate_beneath(parts, chain, layers, address, access, machine, fault);
}

}  // namespace droste
