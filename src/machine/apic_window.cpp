// SPDX-License-Identifier: Apache-2.0
// Placing the local APIC's register page.
#include "machine/apic_window.h"

#include "base/assert.h"

namespace droste {

void ApicWindow::place() {
    const std::optional<MachinePhys> wanted = apic_->mmio_page();
    if (wanted == attached_)
        return;
    if (attached_)
        ASSERT(!mmio_.detach(*attached_));
    attached_.reset();
    // Over RAM or over another device the page is not reachable; a guest that moves it there loses it.
    if (wanted && !mmio_.attach({*wanted, page}, *apic_))
        attached_ = wanted;
}

}  // namespace droste
