// SPDX-License-Identifier: Apache-2.0
// Bodies of AVX-512 instructions whose elements lie apart in memory: gathers, scatters, compression, expansion.
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// VPGATHERxx, VGATHERxxx: indexes of type I (i32, i64), elements of type T (u32, u64).
template <class I, class T> Outcome gather_masked(Cpu& cpu, const Insn& in);
/// VPSCATTERxx, VSCATTERxxx.
template <class I, class T> Outcome scatter_masked(Cpu& cpu, const Insn& in);
/// VPCOMPRESSx, VCOMPRESSPx to memory; elements of type T.
template <class T> Outcome compress_store(Cpu& cpu, const Insn& in);
/// VPEXPANDx, VEXPANDPx from memory.
template <class T> Outcome expand_load(Cpu& cpu, const Insn& in);

}  // namespace droste
