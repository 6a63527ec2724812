// SPDX-License-Identifier: Apache-2.0
// Bodies of SIMD instructions that move no whole operand: MXCSR, VZEROALL, masked moves, gathers.
#pragma once
#include "cpu/cpu.h"
#include "cpu/decode/row.h"
#include "cpu/insn.h"

namespace droste {

// Domain: Domain::sse or Domain::avx.
template <Domain domain> Outcome ldmxcsr(Cpu& cpu, const Insn& in);
template <Domain domain> Outcome stmxcsr(Cpu& cpu, const Insn& in);

/// MASKMOVDQU, VMASKMOVDQU.
template <Domain domain> Outcome maskmovdqu(Cpu& cpu, const Insn& in);
/// MASKMOVQ.
Outcome maskmovq(Cpu& cpu, const Insn& in);

/// VZEROUPPER, VZEROALL.
Outcome vzeroupper(Cpu& cpu, const Insn& in);
Outcome vzeroall(Cpu& cpu, const Insn& in);

/// VMASKMOVPS/PD, VPMASKMOVD/Q: elements of type T (u32, u64), the vector of `bytes`.
template <class T, unsigned bytes> Outcome vmaskmov_load(Cpu& cpu, const Insn& in);
template <class T, unsigned bytes> Outcome vmaskmov_store(Cpu& cpu, const Insn& in);

/// VPGATHERxx, VGATHERxxx: indexes of type I (i32, i64), elements of type T (u32, u64), vector of `bytes`.
template <class I, class T, unsigned bytes> Outcome gather(Cpu& cpu, const Insn& in);

}  // namespace droste
