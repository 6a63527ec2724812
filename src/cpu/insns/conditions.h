// SPDX-License-Identifier: Apache-2.0
// Condition codes of Jcc, SETcc and CMOVcc on the flag image.
#pragma once
#include "cpu/state.h"

namespace droste {

/// SDM Appendix B "EFLAGS Condition Codes": 0 O, 2 B, 4 E, 6 BE, 8 S, A P, C L, E LE; odd codes negate.
template <unsigned cc> constexpr bool condition(u16 flags) {
    using namespace flag_image;
    constexpr unsigned test = cc >> 1;
    bool met;
    if constexpr (test == 0) met = flags & of;
    else if constexpr (test == 1) met = flags & cf;
    else if constexpr (test == 2) met = flags & zf;
    else if constexpr (test == 3) met = flags & (cf | zf);
    else if constexpr (test == 4) met = flags & sf;
    else if constexpr (test == 5) met = flags & pf;
    else if constexpr (test == 6) met = ((flags >> 15) ^ flags) & 1;
    else met = (flags & zf) || (((flags >> 15) ^ flags) & 1);
    return met != bool(cc & 1);
}
static_assert(flag_image::sf == 0x8000 && flag_image::of == 1, "L and LE compare bit 15 with bit 0");

}  // namespace droste
