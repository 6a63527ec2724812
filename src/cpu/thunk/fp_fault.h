// SPDX-License-Identifier: Apache-2.0
// Unmasked SIMD floating-point exceptions of the host, met inside a thunk, become the thunk's fault exit.
#pragma once
#include "base/types.h"

namespace droste {

/// A thunk announces itself while it executes an instruction that may fault: r10 holds this number and r11
/// the address of its fault exit. So the signal handler needs to know no buffers, and any number of them may
/// exist.
inline constexpr u64 fp_fault_signature = 0xD057E5167F9E04D1ull;

/// Installs the process's SIGFPE handler; repeating it is harmless. A SIGFPE from anywhere else than a thunk
/// goes to the handler that was there before, or ends the process.
void install_fp_fault_handler();

}  // namespace droste
