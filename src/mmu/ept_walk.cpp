// SPDX-License-Identifier: Apache-2.0
// The walk of the EPT paging structures, with its accessed and dirty flags and page-modification logging.
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

}  // namespace

bool ept_walk(const WalkParts& parts, u64 guest_physical, u8 access, EptMapping& out, WalkFault& fault) {
    const PagingControls& c = parts.controls;
    const TableEpt format(c);
    // SDM "EPT Translation Mechanism": addresses wider than the walk cause EPT violations.
    if (guest_physical >> (12 + 9 * format.levels) != 0)
        return fail(fault, WalkFault::Kind::ept_violation, guest_physical, access);
    WalkPath path;
    const auto in_place = [](u64 at, u64& machine) {
        machine = at;
        return true;
    };
    const WalkEnd end = descend(format, c.eptp & address_field, guest_physical, parts.memory, in_place, path);
    if (parts.effects == WalkEffects::architectural) parts.counters.ept_references += path.depth;
    if (end == WalkEnd::malformed)
        return fail(fault, WalkFault::Kind::ept_misconfiguration, guest_physical, 0);
    const u8 rights = static_cast<u8>(path.all & ept_entry::rights);
    if (end == WalkEnd::not_present || (access & ~rights) != 0)
        return fail(fault, WalkFault::Kind::ept_violation, guest_physical,
                    access | (u64(rights) << ept_qualification::permissions_shift));
    if (c.eptp & eptp_accessed_dirty) {
        if (parts.effects == WalkEffects::architectural &&
            !set_flags(parts, path, guest_physical, access & ept_entry::write))
            return fail(fault, WalkFault::Kind::pml_full, guest_physical, 0);
        out.dirty = path.leaf().entry & ept_entry::dirty;
    } else {
        out.dirty = true;
    }
    out.machine_page = path.piece(guest_physical);
    out.rights = rights;
    return true;
}

}  // namespace droste
