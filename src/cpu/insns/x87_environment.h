// SPDX-License-Identifier: Apache-2.0
// x87 instructions whose memory image depends on mode and operand size, and those that read the state.
#pragma once
#include "cpu/cpu.h"
#include "cpu/insn.h"

namespace droste {

Outcome fldenv(Cpu& cpu, const Insn& in);
Outcome fnstenv(Cpu& cpu, const Insn& in);
Outcome frstor(Cpu& cpu, const Insn& in);
Outcome fnsave(Cpu& cpu, const Insn& in);
/// FNSTSW AX.
Outcome fnstsw_ax(Cpu& cpu, const Insn& in);
/// WAIT, FWAIT.
Outcome fwait(Cpu& cpu, const Insn& in);

}  // namespace droste
