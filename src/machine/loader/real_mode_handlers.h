// SPDX-License-Identifier: Apache-2.0
// The interrupt handlers of real mode that a BIOS leaves behind.
#pragma once
#include "machine/loader/guest_memory.h"

namespace droste {

/// Fills the interrupt-vector table at address 0: hardware interrupts are acknowledged at the 8259s, all others
/// return. A service of a BIOS is not among them.
void lay_real_mode_handlers(GuestMemory& memory);

}  // namespace droste
