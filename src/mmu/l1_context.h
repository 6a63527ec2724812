// SPDX-License-Identifier: Apache-2.0
// One set of first-level tables: valid for one address space under one setting of the permission controls.
#pragma once
#include <array>
#include <bit>

#include "base/types.h"
#include "mmu/permissions.h"
#include "mmu/tlb.h"

namespace droste {

/// Marks slots of a table, so that emptying it touches only what was filled.
template <unsigned size> class SlotSet {
public:
    void set(unsigned i) { word_[i / 64] |= 1ull << (i % 64); }
    void reset(unsigned i) { word_[i / 64] &= ~(1ull << (i % 64)); }
    /// Calls f(slot) for each member, and removes it.
    template <class F> void drain(F&& f) {
        for (unsigned w = 0; w < size / 64; ++w) {
            u64 m = word_[w];
            word_[w] = 0;
            for (; m != 0; m &= m - 1) f(w * 64 + static_cast<unsigned>(std::countr_zero(m)));
        }
    }
    template <class F> void each(F&& f) const {
        for (unsigned w = 0; w < size / 64; ++w)
            for (u64 m = word_[w]; m != 0; m &= m - 1) f(w * 64 + static_cast<unsigned>(std::countr_zero(m)));
    }

private:
    std::array<u64, size / 64> word_{};
};

/// What the contents of a context depend on. Compared as a whole; fields that do not matter are 0.
struct L1Key {
    u64 eptp = 0, apic_access_page = 0, hlatp = 0, sppt = 0;
    u32 pkru = 0, pkrs = 0, beneath = 0;
    u16 vpid = 0, pcid = 0;
    u16 flags = 0;
    bool operator==(const L1Key&) const = default;
    static L1Key of(const PagingControls& c);
};

struct L1Context {
    static constexpr unsigned data_classes = 3;  ///< user, supervisor, supervisor_ac

    L1Key key;
    bool used = false;
    u64 last_use = 0;
    unsigned space = 0;  ///< in AddressSpaces
    Permissions permissions;
    std::array<TlbClass, data_classes> data;
    std::array<FetchTlb, 2> fetch;

    L1Context() {
        for (TlbClass& t : data) {
            t.read_tag.fill(TlbClass::no_tag);
            t.write_tag.fill(TlbClass::no_tag);
            t.addend.fill(0);
        }
    }
    /// `page`: linear address of the page. `local`: not global.
    void fill_data(unsigned cls, u64 page, u8* host, bool readable, bool writable, bool local) {
        TlbClass& t = data[cls];
        const unsigned i = TlbClass::slot(page);
        const u64 tag = 0 - (page >> 12);
        t.read_tag[i] = readable ? tag : TlbClass::no_tag;
        t.write_tag[i] = writable ? tag : TlbClass::no_tag;
        t.addend[i] = reinterpret_cast<u64>(host) - page;
        note(data_filled_[cls], data_local_[cls], i, local);
    }
    void fill_fetch(Privilege p, u64 page, u8* host, u64 machine_page, bool local) {
        const unsigned n = static_cast<unsigned>(p);
        const unsigned i = FetchTlb::slot(page);
        fetch[n].forget_targets(page);
        fetch[n].entry[i] = {0 - (page >> 12), machine_page, host};
        note(fetch_filled_[n], fetch_local_[n], i, local);
    }
    /// Empties every slot.
    void clear() {
        for (unsigned c = 0; c < data_classes; ++c) {
            data_filled_[c].drain([&](unsigned i) { clear_data(c, i); });
            data_local_[c] = {};
        }
        for (unsigned p = 0; p < 2; ++p) {
            fetch_filled_[p].drain([&](unsigned i) { clear_fetch(p, i); });
            fetch_local_[p] = {};
        }
    }
    /// Empties the slots of translations that are not global.
    void clear_local() {
        for (unsigned c = 0; c < data_classes; ++c)
            data_local_[c].drain([&](unsigned i) {
                clear_data(c, i);
                data_filled_[c].reset(i);
            });
        for (unsigned p = 0; p < 2; ++p)
            fetch_local_[p].drain([&](unsigned i) {
                clear_fetch(p, i);
                fetch_filled_[p].reset(i);
            });
    }
    /// Empties the slots of one page.
    void clear_page(u64 page) {
        const u64 tag = 0 - (page >> 12);
        for (unsigned c = 0; c < data_classes; ++c) {
            const unsigned i = TlbClass::slot(page);
            if (data[c].read_tag[i] == tag || data[c].write_tag[i] == tag) clear_data(c, i);
        }
        for (unsigned p = 0; p < 2; ++p) {
            const unsigned i = FetchTlb::slot(page);
            if (fetch[p].entry[i].tag == tag) clear_fetch(p, i);
        }
    }
    /// Takes away the write tags of the page at `host`.
    void drop_write_tags(const u8* host) {
        for (unsigned c = 0; c < data_classes; ++c)
            data_filled_[c].each([&](unsigned i) {
                u64& tag = data[c].write_tag[i];
                if (tag != TlbClass::no_tag &&
                    ((0 - tag) << 12) + data[c].addend[i] == reinterpret_cast<u64>(host))
                    tag = TlbClass::no_tag;
            });
    }

private:
    template <unsigned n> static void note(SlotSet<n>& filled, SlotSet<n>& locals, unsigned i, bool local) {
        filled.set(i);
        if (local) locals.set(i);
        else locals.reset(i);
    }
    void clear_data(unsigned c, unsigned i) {
        data[c].read_tag[i] = TlbClass::no_tag;
        data[c].write_tag[i] = TlbClass::no_tag;
    }
    void clear_fetch(unsigned p, unsigned i) {
        fetch[p].entry[i].tag = TlbClass::no_tag;
        fetch[p].forget_targets(u64{i} << 12);
    }
    std::array<SlotSet<TlbClass::size>, data_classes> data_filled_{}, data_local_{};
    std::array<SlotSet<FetchTlb::size>, 2> fetch_filled_{}, fetch_local_{};
};

}  // namespace droste
