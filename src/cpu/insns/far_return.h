// SPDX-License-Identifier: Apache-2.0
// What returns to other segments share (far.cpp).
#pragma once
#include "cpu/segmentation.h"

namespace droste {

/// With FRED, RET and IRET stay at their level; ERETU is the way to user code.
enum class LevelChange : u8 { forbidden_by_fred, allowed };
/// The code segment that a return goes to (not null).
bool return_code(Cpu& cpu, u16 selector, DescriptorAt& code,
                 LevelChange kind = LevelChange::forbidden_by_fred);
/// The stack segment popped by a return to `level`. A null one is allowed in 64-bit code below level 3.
bool return_stack(Cpu& cpu, u16 selector, unsigned level, bool to64, Segment& out);

}  // namespace droste
