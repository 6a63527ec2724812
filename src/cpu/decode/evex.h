// SPDX-License-Identifier: Apache-2.0
// The EVEX prefix: its payload, its legality, and compressed displacements (SDM "Intel AVX-512 Encoding").
#pragma once
#include "cpu/decode/decoder.h"

namespace droste {

/// Takes the three payload bytes apart into `d`; map and pp are given back. False: #UD.
bool take_evex_payload(u8 p0, u8 p1, u8 p2, bool is64, Decoded& d, unsigned& map, u8& pp);

/// The vector length of the row fits EVEX.L'L, or L'L is a rounding mode. `mod` of ModRM decides which.
bool evex_length_matches(const InsnRow& row, const Decoded& d, unsigned mod);

/// SDM "#UD Equations for EVEX": what the prefix may say beside the row's operands.
bool evex_legal(const Decoded& d, bool is64);

/// What an 8-bit displacement is multiplied by (SDM "Compressed Displacement (disp8*N) Support in EVEX").
unsigned evex_displacement_scale(const Decoded& d);

}  // namespace droste
