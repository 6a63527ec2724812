// SPDX-License-Identifier: Apache-2.0
// SDM "Page-Modification Logging".
#include "vmx/vmx.h"

namespace droste {

bool Layer::full() const { return (vmcs["pml_index"_f] & 0xFFFF) > 511; }

bool Layer::log(GuestPhys page) {
    if (full()) return false;
    const u64 index = vmcs["pml_index"_f];
    vmx.cpu().memory.write64(reach(vmcs["pml_address"_f] + 8 * index), page.value & ~0xFFFull);
    vmcs.set("pml_index"_f, (index - 1) & 0xFFFF);
    return true;
}

}  // namespace droste
