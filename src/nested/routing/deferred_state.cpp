// SPDX-License-Identifier: Apache-2.0
// Marks and merges.
#include "nested/routing/deferred_state.h"

#include <algorithm>
#include <iterator>

#include "nested/routing/hidden_state.h"
#include "nested/routing/levels_chain.h"

namespace droste {

namespace {

bool event_field(Field f) {
    return std::find(std::begin(entry_event_fields), std::end(entry_event_fields), f) != std::end(entry_event_fields);
}

}  // namespace

void mark_deferred(const Vmcs& v, Field f) {
    const unsigned word = hidden::dirty + f.row / 64u;
    v.set_hidden(word, v.hidden(word) | 1ull << (f.row % 64));
}

bool merge_deferred(const Vmcs& merged, const Vmcs& source, const VmxCapabilities& caps) {
    if (!controls_of(merged).has("exit_routing"_vmx) || !valid_link(source, caps)) return false;
    bool any = false;
    for (u16 i = 0; i < vmcs_fields.size(); ++i) {
        const Field f{i};
        const unsigned word = hidden::dirty + i / 64u;
        const u64 mark = 1ull << (i % 64);
        if ((source.hidden(word) & mark) == 0 || !caps.field_exists(f)) continue;
        // Controls and host state are level 0's to merge: it finds them in the VMCS.
        if (!(f->area() == FieldArea::guest && f->merge == Merge::from_guest) && !event_field(f)) continue;
        u64 value = source[f];
        const auto keep = [&](Field register_field, Field mask) {
            if (f == register_field) value = (value & ~merged[mask]) | (merged[f] & merged[mask]);
        };
        keep("guest_cr0"_f, "cr0_guest_host_mask"_f);
        keep("guest_cr4"_f, "cr4_guest_host_mask"_f);
        merged.set(f, value);
        source.set_hidden(word, source.hidden(word) & ~mark);
        any = true;
    }
    return any;
}

}  // namespace droste
