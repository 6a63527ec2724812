// SPDX-License-Identifier: Apache-2.0
// Control-flow enforcement: when it is on, shadow stacks of far transfers, and the tracker of indirect
// branches.
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// IA32_U_CET and IA32_S_CET.
namespace cet_bits {
inline constexpr u64 sh_stk_en = 1, wr_shstk_en = 2, endbr_en = 4, leg_iw_en = 8, no_track_en = 16,
                     suppress_dis = 32, reserved = 0x3C0, suppress = 1 << 10, tracker = 1 << 11,
                     bitmap_base = ~0xFFFull;
inline constexpr u64 of_shadow_stacks = sh_stk_en | wr_shstk_en;
inline constexpr u64 of_tracking =
    endbr_en | leg_iw_en | no_track_en | suppress_dis | suppress | tracker | bitmap_base;
}  // namespace cet_bits

/// Error codes of #CP (SDM "Interrupt 21-Control Protection Exception (#CP)").
namespace cp_code {
inline constexpr u32 near_ret = 1, far_ret_iret = 2, endbranch = 3, rstorssp = 4, setssbsy = 5;
}

inline u64& cet_control(Cpu& cpu, unsigned cpl) {
    return cpl == 3 ? cpu.cet.u_cet : cpu.cet.s_cet;
}
/// Control bits that count at `cpl`; 0 while CET is off. `level` is one that is entered: outside virtual-8086
/// mode.
inline u64 cet_at_level(const Cpu& cpu, unsigned level) {
    if (!(cpu.cr4 & cr4_bits::cet) || !cpu.protected_mode())
        return 0;
    return level == 3 ? cpu.cet.u_cet : cpu.cet.s_cet;
}
inline u64 cet_now(const Cpu& cpu, unsigned cpl) {
    return cpu.v86() ? 0 : cet_at_level(cpu, cpl);
}
inline bool shadow_stack_enabled(const Cpu& cpu, unsigned cpl) {
    return cet_now(cpu, cpl) & cet_bits::sh_stk_en;
}
inline bool endbranch_enabled(const Cpu& cpu, unsigned cpl) {
    return cet_now(cpu, cpl) & cet_bits::endbr_en;
}

/// After a far transfer or event delivery: its target must be ENDBRANCH. Before segments_changed().
void track_far_transfer(Cpu& cpu);
/// After a near indirect branch.
void track_near_branch(Cpu& cpu, const Insn& in);

// ---- shadow-stack accesses

/// Of 4 or 8 bytes, to a user or a supervisor shadow stack. False: the access failed, as for Cpu::load.
bool shadow_load(Cpu& cpu, u64 linear, unsigned size, u64& value, bool user);
bool shadow_store(Cpu& cpu, u64 linear, unsigned size, u64 value, bool user);
/// The processor's own cmpxchg of a token: writes `desired` where `expected` is found; `found` tells.
bool shadow_exchange(Cpu& cpu, u64 linear, u64 expected, u64 desired, bool user, bool& found);

/// Bit 0 of a supervisor shadow-stack token.
inline constexpr u64 shadow_token_busy = 1;

// ---- far transfers

/// Entry of an event handler or of far-called code.
struct ShadowEntry {
    unsigned level;  ///< CPL of the target
    bool new_stack;  ///< to another level, or through an interrupt stack table entry
    unsigned ist;    ///< entry of the interrupt SSP table, 0: IA32_PLi_SSP
    bool to64;
    u16 cs;  ///< what is pushed
    u64 lip;
    u32 error_code;  ///< of #GP
};
/// Sets the busy bit of a new stack, pushes what belongs there. `ssp` is committed by the caller with
/// enter_level().
bool enter_shadow_stack(Cpu& cpu, const ShadowEntry& entry, u64& ssp);
/// Adopts `ssp` at `level`; a user's stack pointer is put away. Call while CPL still is the old one.
void commit_shadow_entry(Cpu& cpu, unsigned level, u64 ssp);

/// Return by far RET or IRET.
struct ShadowReturn {
    u64 ssp = 0;            ///< at the outer level
    bool restores = false;  ///< `ssp` counts
};
enum class ReturnKind : u8 { far_ret, iret };
/// Compares the frame on the shadow stack, releases the stack that is left. All other checks come before.
bool leave_shadow_stack(Cpu& cpu, ReturnKind kind, u16 cs, u64 lip, unsigned level, bool to64,
                        ShadowReturn& out);

}  // namespace droste
