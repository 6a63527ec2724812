// SPDX-License-Identifier: Apache-2.0
// VMX's rows of the instruction set, handed to the Isa at start-up.
#pragma once
#include "cpu/decode/row.h"

namespace droste {

RowSpan vmx_instruction_rows();

}  // namespace droste
