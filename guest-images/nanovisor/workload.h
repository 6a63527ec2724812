// SPDX-License-Identifier: Apache-2.0
// What the deepest level does: causes exits of each kind and measures them.
#pragma once

#include "options.h"

namespace nano {

// Prints `level reason iterations median-cycles` for each kind. `fresh` is the first of 2 MiB of memory never used.
void run_workload(const Options& options, u64 fresh);

} // namespace nano
