// SPDX-License-Identifier: Apache-2.0
// Short code for the common x87 instructions: only the registers concerned are loaded, not the whole state.
#pragma once
#include <optional>

#include "cpu/thunk/build.h"

namespace droste {

/// When the short code applies, and what it leaves to be done to the stack. All exceptions must be masked, so
/// that the instruction completes; `valid` and `empty` say for each ST(i) (bit i) what its tag must be.
struct X87Fast {
    u8 valid = 0, empty = 0;
    u8 pops = 0;
    bool push = false;
    u8 fills = 0xFF;         ///< ST(i) that becomes valid, before pops; none: 0xFF
    u16 condition_codes = 0; ///< bits of FSW that the instruction sets
};

/// Builds the code: rdi = FxArea of the guest, rsi = memory operand; returns the host's FSW. Nothing when the
/// instruction has no short form. A pushed value is written to ST(7), which the push makes ST(0).
std::optional<X87Fast> build_x87_fast(const ThunkForm& form, Emitter& e);

}  // namespace droste
