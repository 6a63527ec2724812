// SPDX-License-Identifier: Apache-2.0
// EPT tables of this hypervisor's guests, walks of the tables that guests keep, and the composition of both.
#include "console.h"
#include "monitor.h"

namespace nano {

namespace {

constexpr u64 all_rights = 7, write_back = 6u << 3, large = bit(7), address_bits = 0x000ffffffffff000;
constexpr unsigned own_pages = 160;

Page pool[ept_pool_pages];
Page own_pool[own_pages];
Page roots[ept_context_count];
Translation translations[translation_count];

struct Walk {
    Compose result = Compose::done;
    u64 address = 0; // of the byte
    u64 size = 0;    // of the page
    u64 rights = 0;
    u64 type = 0; // the leaf's memory-type bits
};

unsigned index_at(u64 address, unsigned depth) { return unsigned(address >> (12 + 9 * depth)) & 511; }

u64 fresh_page(bool permanent)
{
    if (permanent) {
        if (monitor.own_pool_used == own_pages) panic("the guest's memory needs more EPT pages", own_pages);
        return address_of(own_pool[monitor.own_pool_used++]);
    }
    if (monitor.pool_used == ept_pool_pages) return 0;
    Page& p = pool[monitor.pool_used++];
    zero(address_of(p), sizeof p);
    return address_of(p);
}

// Walks tables that software at `level` keeps (level 0: this hypervisor's own), with which it maps `address` of its guest.
Walk walk(Monitor& m, unsigned level, u64 pointer, u64 address)
{
    Walk w;
    w.rights = all_rights;
    u64 table = pointer & address_bits;
    for (unsigned depth = 3;; --depth) {
        const u64 own = level == 0 ? table : to_own(m, level, table);
        if (own == no_address) {
            w.result = Compose::missing_below;
            return w;
        }
        const u64 entry = at<u64>(own + 8 * index_at(address, depth));
        if ((entry & all_rights) == 0) {
            w.result = Compose::missing_in_guest;
            return w;
        }
        // SDM "EPT Misconfigurations": write without read; a large page of a size that there is none of.
        if ((entry & 3) == 2 || (depth == 3 && (entry & large))) {
            w.result = Compose::misconfigured;
            return w;
        }
        w.rights &= entry;
        if (depth == 0 || (entry & large)) {
            w.size = page_size << (9 * depth);
            w.address = (entry & address_bits & ~(w.size - 1)) | (address & (w.size - 1));
            w.type = entry & 0x78;
            const u64 type = entry >> 3 & 7;
            if (type == 2 || type == 3 || type == 7) w.result = Compose::misconfigured;
            return w;
        }
        table = entry & address_bits;
    }
}

// The tables of all nested guests begin anew.
void drop_all(Monitor& m)
{
    for (EptContext& e : m.ept)
        if (e.root) zero(e.root, page_size);
    m.pool_used = 0;
    invept(2, 0);
}

} // namespace

u64 ept_pointer(const EptContext& e) { return e.root | 3u << 3 | 6; }

void map(EptContext& e, u64 guest, u64 own, u64 size, u64 entry_bits, bool permanent)
{
    if (!e.root) e.root = fresh_page(permanent);
    const unsigned leaf = size == page_size ? 0 : size == large_page ? 1 : 2;
    u64 table = e.root;
    for (unsigned depth = 3; depth > leaf; --depth) {
        u64& entry = at<u64>(table + 8 * index_at(guest, depth));
        if (entry & large) { // finer than what is there: split it
            const u64 page = fresh_page(permanent), step = page_size << (9 * (depth - 1));
            for (unsigned i = 0; i < 512; ++i)
                at<u64>(page + 8 * i) = (entry & ~(depth == 1 ? large : 0)) + i * step;
            entry = page | all_rights;
        }
        if (entry == 0) {
            const u64 page = fresh_page(permanent);
            if (page == 0) { // the pool is used up; the access comes again
                drop_all(monitor);
                return;
            }
            entry = page | all_rights;
        }
        table = entry & address_bits;
    }
    at<u64>(table + 8 * index_at(guest, leaf)) = (own & ~(size - 1)) | entry_bits | (leaf ? large : 0);
}

void unmap(EptContext& e, u64 guest)
{
    u64 table = e.root;
    for (unsigned depth = 3;; --depth) {
        u64& entry = at<u64>(table + 8 * index_at(guest, depth));
        if (entry == 0) return;
        if (depth == 0 || (entry & large)) {
            entry = 0;
            return;
        }
        table = entry & address_bits;
    }
}

EptContext& ept_for(Monitor& m, unsigned parent, u64 source)
{
    if (parent == 0) return m.own_ept;
    EptContext* oldest = nullptr;
    for (EptContext& e : m.ept) {
        if (e.root && e.parent == parent && e.source == source) {
            e.age = ++m.clock;
            return e;
        }
        bool in_use = false;
        for (const Level& l : m.level) in_use |= l.context && l.context->ept == &e;
        if (!in_use && (!oldest || e.age < oldest->age)) oldest = &e;
    }
    EptContext& e = *oldest;
    if (e.root) {
        zero(e.root, page_size); // its lower tables come back when the pool begins anew
        invept(1, ept_pointer(e));
    }
    e = {address_of(roots[&e - m.ept]), source, parent, ++m.clock};
    return e;
}

void drop_contexts(Monitor& m, unsigned parent, u64 source)
{
    forget_translations(m);
    // What was derived from the dropped tables at deeper levels goes, too.
    for (EptContext& e : m.ept) {
        if (!e.root || e.parent < parent) continue;
        if (e.parent == parent && source != no_address && e.source != source) continue;
        zero(e.root, page_size);
        invept(1, ept_pointer(e));
    }
}

void forget_translations(Monitor&)
{
    for (Translation& t : translations) t.context = nullptr;
}

u64 to_own(Monitor& m, unsigned level, u64 address)
{
    if (level == 1) {
        if (address < m.linear_end) return address + m.guest_offset;
        const Walk w = walk(m, 0, m.own_ept.root, address);
        return w.result == Compose::done ? w.address : no_address;
    }
    const Context& c = *m.level[level].context;
    if (!(c.vmcs12[slot(field::secondary_controls)] & bit(control::ept.number))) return to_own(m, level - 1, address);
    const u64 page = address & ~(page_size - 1);
    Translation& t = translations[(page / page_size * 29 + level * 61) % translation_count];
    if (t.context != &c || t.page != page) {
        const Walk w = walk(m, level - 1, c.vmcs12[slot(field::eptp)], page);
        if (w.result != Compose::done) return no_address;
        const u64 own = to_own(m, level - 1, w.address);
        if (own == no_address) return no_address;
        t = {page, own, &c};
    }
    return t.own + (address - page);
}

Compose compose(Monitor& m, unsigned level, u64 address, u64 access, u64& below)
{
    EptContext& e = *m.level[level].context->ept;
    u64 size = ~0ull, rights = all_rights, type = write_back, a = address;
    for (unsigned k = level; k > 1; --k) {
        const Context& c = *m.level[k].context;
        if (!(c.vmcs12[slot(field::secondary_controls)] & bit(control::ept.number))) continue;
        const Walk w = walk(m, k - 1, c.vmcs12[slot(field::eptp)], a);
        if (k == level) m.fault_rights = w.result == Compose::done ? w.rights : 0;
        if (w.result != Compose::done) return k == level ? w.result : Compose::missing_below;
        if (k == level) type = w.type;
        rights &= w.rights;
        if ((rights & access) != access) return k == level ? Compose::missing_in_guest : Compose::missing_below;
        if (w.size < size) size = w.size;
        a = w.address;
    }
    below = a;
    const Walk w = walk(m, 0, m.own_ept.root, a);
    if (w.result != Compose::done) return Compose::missing_here;
    rights &= w.rights;
    if (w.size < size) size = w.size;
    if (size > large_page) size = large_page;
    map(e, address & ~(size - 1), w.address & ~(size - 1), size, rights | type, false);
    return Compose::done;
}

} // namespace nano
