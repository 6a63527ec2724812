// SPDX-License-Identifier: Apache-2.0
// The body of x87 thunks, and the instruction pointer that x87 instructions leave behind.
#pragma once
#include "cpu/insn.h"

namespace droste {

/// For an x87 instruction that runs in a thunk.
Code x87_code(const ThunkCall& call);

}  // namespace droste
