// SPDX-License-Identifier: Apache-2.0
// Element by element; a store probes its first and its last byte before any byte is written.
#include "cpu/thunk/masked_memory.h"

#include <bit>

namespace droste {

bool load_selected(Cpu& cpu, const Insn& in, u64 ea, u64 selected, unsigned element, unsigned count, u8* to) {
    std::memset(to, 0, std::size_t{element} * count);
    if (count < 64) selected &= (1ull << count) - 1;
    for (; selected != 0; selected &= selected - 1) {
        const unsigned at = static_cast<unsigned>(std::countr_zero(selected)) * element;
        u64 linear;
        if (!element_address(cpu, in, ea, at, element, Access::read, linear) ||
            !load_sized(cpu, in.seg(), linear, to + at, element))
            return false;
    }
    return true;
}

bool store_selected(Cpu& cpu, const Insn& in, u64 ea, u64 selected, unsigned element, unsigned count,
                    const u8* from) {
    if (count < 64) selected &= (1ull << count) - 1;
    if (selected == 0) return true;
    u64 linear;
    if (count == 1)  // a scalar
        return element_address(cpu, in, ea, 0, element, Access::write, linear) &&
               store_sized(cpu, in.seg(), linear, from, element);
    // Observed order of the checks, seen in the address of page faults: the first selected byte, then the last.
    const unsigned first = static_cast<unsigned>(std::countr_zero(selected)) * element;
    const unsigned last = static_cast<unsigned>(63 - std::countl_zero(selected)) * element;
    if (!element_address(cpu, in, ea, first, element, Access::write, linear) ||
        !cpu.probe_write(in.seg(), linear, 1) ||
        !element_address(cpu, in, ea, last, element, Access::write, linear) ||
        !cpu.probe_write(in.seg(), linear + element - 1, 1))
        return false;
    for (; selected != 0; selected &= selected - 1) {
        const unsigned at = static_cast<unsigned>(std::countr_zero(selected)) * element;
        if (!element_address(cpu, in, ea, at, element, Access::write, linear) ||
            !store_sized(cpu, in.seg(), linear, from + at, element))
            return false;
    }
    return true;
}

}  // namespace droste
