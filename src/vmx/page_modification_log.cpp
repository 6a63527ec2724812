// SPDX-License-Identifier: Apache-2.0
// SDM "Page-Modification Logging".
#include "vmx/vmx.h"

namespace droste {

bool Vmx::full() const { return (get("pml_index"_f) & 0xFFFF) > 511; }

bool Vmx::log(GuestPhys page) {
    if (full()) return false;
    const u64 index = get("pml_index"_f);
    cpu_.memory.write64(get("pml_address"_f) + 8 * index, page.value & ~0xFFFull);
    current_.set("pml_index"_f, (index - 1) & 0xFFFF);
    return true;
}

}  // namespace droste
