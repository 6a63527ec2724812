// SPDX-License-Identifier: Apache-2.0
// The VM-exit instruction-information field and the displacement in exit qualifications, computed from the
// instruction.
#pragma once
#include "cpu/cpu.h"
#include "vmx/exit_reasons.h"

namespace droste {

/// SDM "Information for VM Exits Due to Instruction Execution", the tables "Format of the VM-Exit
/// Instruction-Information Field".
u32 instruction_information(const Cpu& cpu, const Insn& in, InfoFormat format);

/// Exit qualification of instructions with a memory operand: the displacement; for RIP-relative operands the
/// address.
u64 exit_displacement(const Cpu& cpu, const Insn& in);

}  // namespace droste
