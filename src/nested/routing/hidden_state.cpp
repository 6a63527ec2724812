// SPDX-License-Identifier: Apache-2.0
// The digest of what merging depends on.
#include "nested/routing/hidden_state.h"

#include <algorithm>
#include <iterator>

#include "vmx/routed_exit.h"

namespace droste::hidden {

u64 merge_digest(const Vmcs& state, const Vmcs& merged, const VmxCapabilities& caps) {
    u64 digest = 0xCBF2'9CE4'8422'2325;
    const auto add = [&](u64 value) {
        digest = (digest ^ value) * 0x0000'0100'0000'01B3;
        digest ^= digest >> 29;
    };
    for (u16 i = 0; i < vmcs_fields.size(); ++i) {
        const Field f{i};
        const bool event = std::find(std::begin(entry_event_fields), std::end(entry_event_fields), f) !=
                           std::end(entry_event_fields);
        if ((f->area() == FieldArea::control || f->area() == FieldArea::host) && !event && caps.field_exists(f))
            add(state[f]);
    }
    add(state["guest_cr0"_f] & merged["cr0_guest_host_mask"_f]);
    add(state["guest_cr4"_f] & merged["cr4_guest_host_mask"_f]);
    add(state["vmcs_link_pointer"_f]);
    return digest;
}

}  // namespace droste::hidden
