// SPDX-License-Identifier: Apache-2.0
// EntryState: the processor state in which a loaded kernel starts.
#pragma once
#include "base/types.h"

namespace droste {

struct EntryState {
    enum class Mode : u8 {
        long64,  ///< 64-bit mode, paging on, identity-mapped
        flat32,  ///< 32-bit protected mode, paging off
    };
    Mode mode = Mode::long64;
    u64 rip = 0;
    u64 rax = 0, rbx = 0, rsi = 0;
    u64 rflags = 2;
    u64 cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
    u64 gdt_base = 0;
    u16 gdt_limit = 0;
    u16 code_selector = 0;  ///< CS; flat, base 0
    u16 data_selector = 0;  ///< DS, ES, SS, FS, GS; flat, writable, base 0
    u16 task_selector = 0;  ///< TR: a busy TSS of base `task_base`
    u64 task_base = 0;
    u32 task_limit = 0;
};

}  // namespace droste
