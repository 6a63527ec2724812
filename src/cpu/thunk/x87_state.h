// SPDX-License-Identifier: Apache-2.0
// x87 control, status and tag words as the processor keeps them.
#pragma once
#include "cpu/state.h"

namespace droste {

/// Control word as it reads back: bit 6 is always 1, the reserved bits 0.
constexpr u16 x87_control_word(u16 v) { return static_cast<u16>((v & 0x1F7F) | 0x40); }

/// Status word with ES and B derived from the exception flags and their masks.
constexpr u16 x87_status_word(u16 fsw, u16 fcw) {
    const bool summary = fsw & ~fcw & 0x3F;
    return static_cast<u16>((fsw & 0x7F7F) | (summary ? 0x8080 : 0));
}

/// To be called after the x87 part was written from memory (FXRSTOR, XRSTOR, FLDENV, FRSTOR).
constexpr void x87_canonicalise(FxArea& fx) {
    fx.fcw = x87_control_word(fx.fcw);
    fx.fsw = x87_status_word(fx.fsw, fx.fcw);
    fx.fop &= 0x7FF;
}

}  // namespace droste
