// SPDX-License-Identifier: Apache-2.0
// What happens to a linear address before paging: metadata is masked (LAM), halves are separated (LASS).
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// SDM "Linear-Address Masking (LAM)": the address of a data access in 64-bit mode without its metadata. Bit
/// 63 says whose setting counts and is never masked; the bits below it become copies of the highest bit that
/// is translated.
inline u64 without_metadata(const Cpu& cpu, u64 a) {
    constexpr u64 top = 1ull << 63;
    unsigned width;
    if (a & top) {
        if (!(cpu.cr4 & cr4_bits::lam_sup)) [[likely]]
            return a;
        width = cpu.cr4 & cr4_bits::la57 ? 57 : 48;
    } else {
        if (!(cpu.cr3 & (cr3_bits::lam_u57 | cr3_bits::lam_u48))) [[likely]]
            return a;
        width = cpu.cr3 & cr3_bits::lam_u57 ? 57 : 48;
    }
    return (sign_extend(a, width) & ~top) | (a & top);
}

/// SDM "Linear-Address-Space Separation (LASS)": a data access to the half of the other privilege. Supervisor
/// accesses are confined as SMAP confines them.
inline bool violates_lass(const Cpu& cpu, u64 linear, Privilege p, Intent intent) {
    if (!(cpu.cr4 & cr4_bits::lass) || !cpu.long_mode()) [[likely]]
        return false;
    const bool upper = bit(linear, 63);
    if (p == Privilege::user)
        return upper;
    const bool allowed = (cpu.rflags & rflags_bits::ac) && intent == Intent::explicit_access;
    return !upper && (cpu.cr4 & cr4_bits::smap) && !allowed;
}

}  // namespace droste
