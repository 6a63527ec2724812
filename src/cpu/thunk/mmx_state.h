// SPDX-License-Identifier: Apache-2.0
// MMX registers as what they are: the x87 register stack seen with TOP = 0.
#pragma once
#include <algorithm>

#include "cpu/state.h"

namespace droste {

inline unsigned x87_top(const FxArea& fx) { return (fx.fsw >> 11) & 7; }

/// SDM "Effect of MMX, x87 FPU, FXSAVE, and FXRSTOR Instructions on the x87 FPU Tag Word": TOP becomes 0,
/// every tag valid. Afterwards fx.st[n] is MMn.
inline void mmx_transition(FxArea& fx) {
    if (const unsigned top = x87_top(fx)) {
        // st[i] is physical register (top + i) & 7.
        std::rotate(fx.st.begin(), fx.st.begin() + (8 - top), fx.st.end());
        fx.fsw &= static_cast<u16>(~0x3800);
    }
    fx.ftw = 0xFF;
}

/// A write to MMn fills the exponent of the register with ones.
inline void mark_mmx_written(FxArea& fx, unsigned n) { fx.st[n & 7][8] = fx.st[n & 7][9] = 0xFF; }

}  // namespace droste
