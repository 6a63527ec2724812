// SPDX-License-Identifier: Apache-2.0
// Which fault a blocked instruction gives.
#include "cpu/thunk/availability.h"

namespace droste {

Outcome raise_blocked(Cpu& cpu, Domain domain) {
    // SDM Table "Exception Conditions": #UD of the controls comes before #NM of CR0.TS.
    switch (domain) {
    case Domain::mmx:
        if (cpu.cr0 & cr0_bits::em) return cpu.ud();
        break;
    case Domain::sse:
        if ((cpu.cr0 & cr0_bits::em) || !(cpu.cr4 & cr4_bits::osfxsr)) return cpu.ud();
        break;
    case Domain::avx:
        if (!(cpu.cr4 & cr4_bits::osxsave) || (cpu.xcr0 & 6) != 6) return cpu.ud();
        break;
    case Domain::avx512:
        if (!(cpu.cr4 & cr4_bits::osxsave) || (cpu.xcr0 & 0xE6) != 0xE6) return cpu.ud();
        break;
    case Domain::x87: case Domain::general: case Domain::amx: break;
    }
    return cpu.raise(Fault::of(Vector::nm));
}

Outcome raise_x87_pending(Cpu& cpu) {
    // CR0.NE = 0 would signal FERR# to the interrupt controller; this processor reports #MF in both settings.
    return cpu.raise(Fault::of(Vector::mf));
}

}  // namespace droste
