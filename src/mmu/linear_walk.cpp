// SPDX-License-Identifier: Apache-2.0
// The walk of a guest's paging structures, through EPT when that is on, with its faults and accessed and
// dirty flags.
//
//   CR3 --> guest entry --> guest entry --> ... --> guest page      each arrow is a guest-physical address,
//        |               |               |       |                  and with EPT each is translated by
//       EPT             EPT             EPT     EPT                  a walk of its own
#include <algorithm>

#include "mmu/table_walk.h"
#include "mmu/tlb.h"
#include "mmu/walks.h"

namespace droste {
namespace {

/// One linear walk in progress.
struct LinearWalk {
    const WalkParts& parts;
    u64 linear;
    u16 needed;
    WalkFault& fault;
    bool hlat = false;          ///< by HLAT paging
    bool paging_verified = true;  ///< so far, see LinearMapping
    u8 largest_page = 64;       ///< after a restart: the size that the restarting entry controls

    bool effective() const { return parts.effects == WalkEffects::architectural; }

    /// SDM "Page-Fault Exceptions": `extra` are the bits that depend on what the walk met.
    bool page_fault(u32 extra) const {
        const PagingControls& c = parts.controls;
        u32 code = extra;
        if (needed & (right::writes | shadow_right::write)) code |= page_fault_bits::write;
        if (needed & (right::user_data | right::user_fetch | shadow_right::user)) code |= page_fault_bits::user;
        if (needed & shadow_right::any) code |= page_fault_bits::shadow_stack;
        const bool tells_fetch = c.smep || (c.nxe && c.mode != PagingMode::bits32);
        if ((needed & right::fetches) && tells_fetch) code |= page_fault_bits::fetch;
        if (hlat && (extra == 0 || (extra & page_fault_bits::reserved))) code |= page_fault_bits::hlat;
        fault = WalkFault{};
        fault.kind = WalkFault::Kind::page_fault;
        fault.error_code = code;
        fault.linear = Linear(linear);
        return false;
    }

    /// Machine address of a guest paging-structure entry, for an access with `access` rights under EPT.
    bool entry_address(u64 at, u8 access, u64& machine) {
        u64 page;
        bool paging_write = false;
        if (!parts.tables.find(parts.ept_id, at & ~0xFFFull, access, page, paging_write)) {
            EptMapping m;
            if (!ept_walk(parts, at, {.kind = access, .paging_structure = true}, m, fault)) {
                fault.linear = Linear(linear);
                if (fault.kind == WalkFault::Kind::ept_violation)
                    fault.qualification |= ept_qualification::linear_valid;
                return false;
            }
            if (effective()) parts.tables.insert(parts.ept_id, at & ~0xFFFull, m);
            page = m.machine_page;
            paging_write = m.paging_write;
        }
        // SDM "Guest-Physical Accesses to the APIC-Access Page": never virtualized.
        if (page == parts.controls.apic_access_page) {
            fault = WalkFault{};
            fault.kind = WalkFault::Kind::apic_access;
            fault.guest_phys = GuestPhys(at);
            fault.linear = Linear(linear);
            return false;
        }
        paging_verified &= paging_write;
        machine = page | (at & 0xFFF);
        return true;
    }

    /// Sets the accessed flag in every entry used, and for a write the dirty flag in the one that maps the
    /// page. With EPT these are writes; they fault before any flag changes further down.
    template <class Entry> bool set_flags(WalkPath& path) {
        for (unsigned i = 0; i < path.depth; ++i) {
            WalkPath::Step& s = path.step[i];
            u64 entry = s.entry | page_entry::accessed;
            if (i + 1 == path.depth && (needed & right::writes)) entry |= page_entry::dirty;
            if (entry == s.entry) continue;
            if (parts.controls.ept && !entry_address(s.at, ept_entry::read | ept_entry::write, s.machine))
                return false;
            write_entry<Entry>(parts.memory, s.machine, entry);
            s.entry = entry;
        }
        return true;
    }

    static bool shadow_stack_page(const WalkPath& path) {
        const u64 last = path.leaf().entry;
        if (last & page_entry::writable || !(last & page_entry::dirty)) return false;
        for (unsigned i = 0; i + 1 < path.depth; ++i)
            if (!(path.step[i].entry & page_entry::writable)) return false;
        return true;
    }

    template <class Format> bool run(const Format& format, u64 root, LinearMapping& out) {
        const PagingControls& c = parts.controls;
        // With EPT's accessed and dirty flags, accesses to guest paging structures count as writes.
        const u8 table_access =
            effective() && bit(c.eptp, 6) ? ept_entry::read | ept_entry::write : ept_entry::read;
        const auto locate = [&](u64 at, u64& machine) {
            machine = at;
            return !c.ept || entry_address(at, table_access, machine);
        };
        paging_verified = true;
        WalkPath path;
        const WalkEnd end = descend(format, root, linear, parts.memory, locate, path);
        if (effective()) {
            ++parts.counters.walks;
            parts.counters.references += path.depth;
        }
        if (end == WalkEnd::unreachable) return false;
        if (end == WalkEnd::restart) {
            largest_page = path.page_shift;
            return false;
        }
        if (end == WalkEnd::not_present) return page_fault(0);
        if (end == WalkEnd::malformed)
            return page_fault(page_fault_bits::present | page_fault_bits::reserved);

        out.guest_page = path.piece(linear);
        out.page_shift = std::min(path.page_shift, largest_page);
        out.attributes =
            static_cast<u8>((path.all & page_entry::user ? page_attribute::user : 0) |
                            (path.all & page_entry::writable ? page_attribute::writable : 0) |
                            (path.any & page_entry::execute_disable ? page_attribute::execute_disable : 0));
        if (shadow_stack_page(path)) out.attributes |= page_attribute::shadow_stack;
        out.key = page_entry::key(path.leaf().entry);
        out.global = c.pge && (path.leaf().entry & page_entry::global);
        if (effective()) {
            const Permissions& may = parts.permissions;
            const bool shadow = needed & shadow_right::any;
            if (shadow ? !may.allows_shadow(out.attributes, out.key, needed)
                       : !(may.of(out.attributes, out.key) & needed)) {
                const bool by_key = shadow ? may.shadow_denied_by_key(out.attributes, out.key, needed)
                                           : may.denied_by_key(out.attributes, out.key) & needed;
                return page_fault(page_fault_bits::present | (by_key ? page_fault_bits::protection_key : 0));
            }
            if (!set_flags<typename Format::Entry>(path)) return false;
        }
        out.dirty = path.leaf().entry & page_entry::dirty;
        out.paging_verified = paging_verified;
        return true;
    }
};

}  // namespace

bool linear_walk(const WalkParts& parts, u64 linear, u16 needed, LinearMapping& out, WalkFault& fault) {
    const PagingControls& c = parts.controls;
    LinearWalk walk{parts, linear, needed, fault};
    switch (c.mode) {
    case PagingMode::none:
        out = LinearMapping{};
        out.guest_page = linear & ~0xFFFull;
        out.attributes = page_attribute::user | page_attribute::writable;
        return true;
    case PagingMode::bits32: return walk.run(Table32(c), c.cr3 & 0xFFFF'F000, out);
    case PagingMode::pae: {
        const u64 pdpte = c.pdpte[bits(linear, 31, 30)];
        if (!(pdpte & page_entry::present)) return walk.page_fault(0);
        return walk.run(TablePae(c), pdpte & address_field, out);
    }
    case PagingMode::level4:
    case PagingMode::level5:
        // SDM "Use of HLAT Paging": for every address, or for those with bit 63 set.
        if (c.guest.hlat && (c.guest.hlat_prefix == 0 || bit(linear, 63))) {
            walk.hlat = true;
            if (walk.run(TableHlat(c), c.guest.hlatp & address_field, out)) return true;
            if (walk.largest_page == 64) return false;
            walk.hlat = false;
        }
        return walk.run(TableLong(c), c.cr3 & address_field, out);
    }
    return false;
}

}  // namespace droste
