// SPDX-License-Identifier: Apache-2.0
// Hardware task switching (SDM "Task Management").
#pragma once
#include <optional>

#include "cpu/segmentation.h"

namespace droste {

/// Numbers as in the exit qualification for task switches.
enum class TaskSource : u8 { call, iret, jump, task_gate };

enum class TaskSwitch : u8 {
    done,    ///< the new task's state is loaded; Cpu::rip is its first instruction
    failed,  ///< an access or check failed before the commit point: the old task goes on
    failed_in_new_task,  ///< after it: Cpu::rip is the new task's
    exited,  ///< VM exit (always in non-root operation)
};

/// Switches to the task of `tss`, an available TSS that passed the caller's checks (busy for IRET).
/// @param next_rip   saved as EIP of the old task, with `flags` as EFLAGS
/// @param error_code pushed in the new task
/// @param ext        EXT bit of error codes
/// @param length     instruction length for a VM exit
TaskSwitch task_switch(Cpu& cpu, u16 selector, const DescriptorAt& tss, TaskSource source, u64 next_rip,
                       u64 flags, std::optional<u32> error_code, u32 ext, u32 length);

}  // namespace droste
