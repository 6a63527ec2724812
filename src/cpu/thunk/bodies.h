// SPDX-License-Identifier: Apache-2.0
// The bodies that call thunks; ThunkCache chooses one for each ThunkCall.
#pragma once
#include "cpu/insn.h"
#include "cpu/thunk/thunk.h"

namespace droste {

Code thunk_code(const ThunkCall& call);

}  // namespace droste
