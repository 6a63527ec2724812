// SPDX-License-Identifier: Apache-2.0
// lower: from the decoded instruction to the 32-byte form that the engines execute.
#pragma once
#include "cpu/decode/decoder.h"

namespace droste {

/// Fills everything but the handler and the thunk. `offset` is the instruction's place in its block.
void lower(const Decoded& d, u32 mode, u16 offset, Insn& out);

}  // namespace droste
