// SPDX-License-Identifier: Apache-2.0
// Memory operands under an opmask: only the selected elements are accessed, and only they can fault.
#pragma once
#include "cpu/cpu.h"
#include "cpu/thunk/operand_memory.h"

namespace droste {

/// Linear address of `size` bytes `at` bytes behind offset `ea` in the instruction's segment. The offset is cut to
/// the address size, the sum is not: an operand runs on beyond 64 KiB or 4 GiB.
inline bool element_address(Cpu& cpu, const Insn& in, u64 ea, unsigned at, unsigned size, Access access,
                            u64& linear) {
    constexpr u64 mask[4] = {0xFFFF, 0xFFFFFFFF, ~0ull, ~0ull};
    ea = (ea & mask[in.asz()]) + at;
    if (in.fl & insn_flags::segmented) return cpu.segmented(in.seg(), ea, size, access, linear);
    linear = cpu.ea_base[in.seg()] + ea;
    return true;
}

/// Reads the elements that `selected` (a bit each) names into `to`; the others become 0.
bool load_selected(Cpu& cpu, const Insn& in, u64 ea, u64 selected, unsigned element, unsigned count, u8* to);

/// Stores the elements that `selected` names, all or none.
bool store_selected(Cpu& cpu, const Insn& in, u64 ea, u64 selected, unsigned element, unsigned count,
                    const u8* from);

}  // namespace droste
