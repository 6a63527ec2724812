// SPDX-License-Identifier: Apache-2.0
// Port I/O as instructions do it: permission first, then the access with its breakpoints.
#pragma once
#include "base/types.h"

namespace droste {

struct Cpu;

/// SDM "I/O Privilege Level" and "I/O Permission Bit Map". False: #GP(0), or what reading the TSS met, is
/// pending.
bool io_permitted(Cpu& cpu, u16 port, unsigned size);
/// The access itself, after permission and VMX were asked. Notes I/O breakpoints.
u64 port_read(Cpu& cpu, u16 port, unsigned size);
void port_write(Cpu& cpu, u16 port, unsigned size, u64 value);

}  // namespace droste
