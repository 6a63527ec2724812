// SPDX-License-Identifier: Apache-2.0
// The body around a thunk of an EVEX or opmask instruction.
#pragma once
#include "cpu/insn.h"

namespace droste {

struct ThunkCall;

Code evex_code(const ThunkCall& call);

}  // namespace droste
