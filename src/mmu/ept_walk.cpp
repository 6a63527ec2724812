// SPDX-License-Identifier: Apache-2.0
// The walk of the EPT paging structures, with its accessed and dirty flags and page-modification logging.
#include "mmu/sub_page_permissions.h"
#include "mmu/table_walk.h"
#include "mmu/tlb.h"
#include "mmu/walks.h"

namespace droste {
namespace {

constexpr u64 eptp_accessed_dirty = 0x40;

bool fail(WalkFault& fault, WalkFault::Kind kind, u64 guest_physical, u64 qualification) {
    fault = WalkFault{};
    fault.kind = kind;
    fault.guest_phys = GuestPhys(guest_physical);
    fault.qualification = qualification;
    return false;
}

/// SDM "Accessed and Dirty Flags for EPT" and "Page-Modification Logging". False: the log is full, nothing
/// changed.
bool set_flags(const WalkParts& parts, WalkPath& path, u64 guest_physical, bool write) {
    bool needed = false;
    for (unsigned i = 0; i < path.depth; ++i) needed |= !(path.step[i].entry & ept_entry::accessed);
    const bool set_dirty = write && !(path.leaf().entry & ept_entry::dirty);
    if (!needed && !set_dirty) return true;
    if (parts.dirty_log != nullptr && parts.dirty_log->full()) return false;
    for (unsigned i = 0; i < path.depth; ++i) {
        WalkPath::Step& s = path.step[i];
        const bool leaf = i + 1 == path.depth;
        const u64 entry = s.entry | ept_entry::accessed | (leaf && set_dirty ? ept_entry::dirty : 0);
        if (entry != s.entry) write_entry<u64>(parts.memory, s.machine, entry);
        s.entry = entry;
    }
    if (set_dirty && parts.dirty_log != nullptr) parts.dirty_log->log(GuestPhys(guest_physical & ~0xFFFull));
    return true;
}

/// The rights that all entries of a translation give.
u8 rights_of(const PagingControls& c, u64 all) {
    const u64 user = c.guest.mode_based_execute ? ept_entry::user_execute : ept_entry::execute;
    return static_cast<u8>((all & ept_entry::rights) | (all & user ? ept_right::user_execute : 0));
}

/// The right that an access takes.
u8 needed(const EptAccess& a) {
    const bool user_fetch = (a.kind & ept_right::execute) && a.user_linear;
    return user_fetch ? static_cast<u8>((a.kind & ~ept_right::execute) | ept_right::user_execute) : a.kind;
}

/// SDM Table "Exit Qualification for EPT Violations", bits 6:3. Bit 6 is that of mode-based execute control.
u64 permissions(const PagingControls& c, u64 all) {
    u64 rights = all & ept_entry::rights;
    if (c.guest.mode_based_execute && (all & ept_entry::user_execute)) rights |= ept_right::user_execute;
    return rights << ept_qualification::permissions_shift;
}

/// Whether each entry that refers to another table has `bits`.
bool above(const WalkPath& path, u64 bits) {
    for (unsigned i = 0; i + 1 < path.depth; ++i)
        if ((path.step[i].entry & bits) != bits) return false;
    return true;
}

}  // namespace

bool ept_walk(const WalkParts& parts, u64 guest_physical, const EptAccess& access, EptMapping& out,
              WalkFault& fault) {
    const PagingControls& c = parts.controls;
    const TableEpt format(c);
    // SDM "EPT Translation Mechanism": addresses wider than the walk cause EPT violations. No entry decides
    // whether they are convertible.
    if (guest_physical >> (12 + 9 * format.levels) != 0)
        return fail(fault, WalkFault::Kind::ept_violation, guest_physical, access.kind);
    WalkPath path;
    const auto in_place = [](u64 at, u64& machine) {
        machine = at;
        return true;
    };
    const WalkEnd end = descend(format, c.eptp & address_field, guest_physical, parts.memory, in_place, path);
    if (parts.effects == WalkEffects::architectural) parts.counters.ept_references += path.depth;
    if (end == WalkEnd::malformed)
        return fail(fault, WalkFault::Kind::ept_misconfiguration, guest_physical, 0);
    const bool mapped = end == WalkEnd::mapped;
    const u64 leaf = path.leaf().entry;
    out.rights = rights_of(c, path.all);
    out.paging_write = mapped && c.guest.paging_write && (leaf & ept_entry::paging_write);
    out.sub_page = false;
    // SDM "EPT Violations": entries that refer to other tables must permit writes all the same.
    if (out.paging_write && above(path, ept_entry::write)) out.rights |= ept_right::paging_write;

    u64 more = 0;  // of the qualification
    u8 missing = static_cast<u8>(needed(access) & ~out.rights);
    if (mapped && missing == ept_right::write) {
        if (access.paging_structure) {
            if (out.rights & ept_right::paging_write) missing = 0;
        } else if (c.guest.sub_page_write && path.page_shift == 12 && (leaf & ept_entry::sub_page_write)) {
            switch (sub_page_permission(c, guest_physical, parts.memory)) {
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
    if (c.guest.verify_paging && c.guest.paging_write && mapped && missing == 0 &&
        (leaf & ept_entry::verify_paging) && !access.paging_verified) {
        missing = ept_right::read;
        more = ept_qualification::paging_verification;
    }
    if (!mapped || missing != 0) {
        fail(fault, WalkFault::Kind::ept_violation, guest_physical, access.kind | permissions(c, path.all) | more);
        fault.convertible = !(leaf & ept_entry::suppress_ve);
        return false;
    }
    if (c.eptp & eptp_accessed_dirty) {
        if (parts.effects == WalkEffects::architectural &&
            !set_flags(parts, path, guest_physical, access.kind & ept_right::write))
            return fail(fault, WalkFault::Kind::pml_full, guest_physical, 0);
        out.dirty = path.leaf().entry & ept_entry::dirty;
    } else {
        out.dirty = true;
    }
    out.machine_page = path.piece(guest_physical);
    return true;
}

}  // namespace droste
