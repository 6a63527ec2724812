// SPDX-License-Identifier: Apache-2.0
// The supervisor components of XSAVES and XRSTORS: CET's MSRs and user interrupts.
#pragma once
#include "base/archive.h"
#include "cpu/msr_protection.h"

namespace droste {

inline constexpr unsigned cet_u_component = 11, cet_s_component = 12, uintr_component = 14;

/// All of them as they lie in memory, one after the other.
struct SupervisorState {
    std::array<u64, 11> q{};
};
struct SupervisorPart {
    u8 number;
    u8 first, count;  ///< in SupervisorState::q
};
inline constexpr SupervisorPart supervisor_parts[] = {
    {cet_u_component, 0, 2},  // IA32_U_CET, IA32_PL3_SSP
    {cet_s_component, 2, 3},  // IA32_PL0_SSP..IA32_PL2_SSP
    {uintr_component, 5, 6},  // handler, stack adjustment, UITTSZ UINV UIF, UPID address, UIRR, UITT address
};
inline constexpr u64 uif_bit = 1ull << 63;  ///< of the third quadword of the user-interrupt state

inline SupervisorState supervisor_state(const Cpu& cpu) {
    const auto& u = cpu.uintr;
    return {{cpu.cet.u_cet, cpu.cet.pl_ssp[3], cpu.cet.pl_ssp[0], cpu.cet.pl_ssp[1], cpu.cet.pl_ssp[2],
             u.handler, u.stack_adjust, u.misc | (u.uif ? uif_bit : 0), u.pd, u.rr, u.tt}};
}

inline u64 supervisor_state_in_use(const Cpu& cpu) {
    const SupervisorState s = supervisor_state(cpu);
    u64 used = 0;
    for (const SupervisorPart& p : supervisor_parts)
        for (unsigned i = 0; i < p.count; ++i)
            if (s.q[p.first + i] != 0)
                used |= 1ull << p.number;
    return used;
}

/// What WRMSR would refuse gives #GP; so does user-interrupt state while notifications still arrive for
/// another.
inline bool valid_supervisor_state(const Cpu& cpu, const SupervisorState& s, u64 restored) {
    const auto& q = s.q;
    if (bit(restored, cet_u_component) && (!valid_cet_control(cpu, q[0]) || !valid_ssp(cpu, q[1])))
        return false;
    if (bit(restored, cet_s_component) &&
        (!valid_ssp(cpu, q[2]) || !valid_ssp(cpu, q[3]) || !valid_ssp(cpu, q[4])))
        return false;
    return !bit(restored, uintr_component) ||
           (uinv(cpu) == 0 && valid_uintr_handler(cpu, q[5]) && valid_uintr_handler(cpu, q[6]) &&
            valid_uintr_misc(q[7] & ~uif_bit) && valid_uintr_pd(cpu, q[8]) && valid_uintr_tt(cpu, q[10]));
}

/// `s` holds zeros for what goes to its initial configuration.
inline void load_supervisor_state(Cpu& cpu, const SupervisorState& s, u64 requested) {
    const auto& q = s.q;
    if (bit(requested, cet_u_component)) {
        cpu.cet.u_cet = q[0];
        cpu.cet.pl_ssp[3] = q[1];
    }
    if (bit(requested, cet_s_component))
        std::copy_n(q.begin() + 2, 3, cpu.cet.pl_ssp.begin());
    if (bit(requested, uintr_component)) {
        auto& u = cpu.uintr;
        u.handler = q[5];
        u.stack_adjust = q[6];
        u.misc = q[7] & ~uif_bit;
        u.uif = q[7] & uif_bit;
        u.pd = q[8];
        u.rr = q[9];
        u.tt = q[10];
    }
    if (requested & (1ull << cet_u_component | 1ull << cet_s_component | 1ull << uintr_component))
        cpu.segments_changed();
}

}  // namespace droste
