// SPDX-License-Identifier: Apache-2.0
// Gates: what VM-execution controls close. Plain data that vmx fills at VM entry and bodies test.
#pragma once
#include "base/types.h"

namespace droste {

/// One gate for each condition that a body tests before it acts. In root operation all are open.
enum class Gate : u8 {
    // always closed in non-root operation: the instruction exits unconditionally
    cpuid, getsec, invd, xsetbv, vmx_instruction, invept, invvpid, task_switch,
    // closed by a control
    hlt, invlpg, mwait, rdpmc, rdtsc, cr3_load, cr3_store, cr8_load, cr8_store, mov_dr, io, msr, monitor, pause,
    descriptor_table, wbinvd, rdrand, rdseed,
    // "enable ..." controls that are 0: the instruction gives #UD
    rdtscp_disabled, invpcid_disabled, xsaves_disabled, wait_pause_disabled, pconfig_disabled, vmfunc_disabled,
    msrlist_disabled,
    // RDMSRLIST and WRMSRLIST without MSR bitmaps
    rdmsrlist, wrmsrlist,
    // accesses that need a look at masks, shadows or bitmaps (closed throughout non-root operation)
    cr0_write, cr4_write, cr_read_shadow, exception, tpr_shadow, ple, invpcid_exits, xsave_bitmap,
    // "NMI exiting" is 1 and "virtual NMIs" is 0: IRET leaves blocking by NMI as it is
    iret_nmi_unblocking,
    count
};

struct Gates {
    u64 closed_mask = 0;
    constexpr bool closed(Gate g) const { return (closed_mask >> static_cast<unsigned>(g)) & 1; }
    constexpr void close(Gate g, bool on = true) {
        const u64 m = 1ull << static_cast<unsigned>(g);
        closed_mask = on ? closed_mask | m : closed_mask & ~m;
    }
};
static_assert(static_cast<unsigned>(Gate::count) <= 64);

}  // namespace droste
