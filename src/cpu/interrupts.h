// SPDX-License-Identifier: Apache-2.0
// Recognition of events between instructions.
#pragma once
#include "base/types.h"

namespace droste {

struct Cpu;

/// To be called at an instruction boundary while Cpu::attention is set. Takes the event of the highest
/// priority (SDM "Priority Among Concurrent Events"); keeps attention set while something may follow.
/// @return control was transferred: Cpu::rip, or the whole context, is another.
bool recognise_events(Cpu& cpu);

/// To be called at an instruction boundary while Cpu::init_pending is set. False: nothing happened.
bool recognise_init(Cpu& cpu);

}  // namespace droste
