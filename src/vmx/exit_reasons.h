// SPDX-License-Identifier: Apache-2.0
// Every basic exit reason, one row each: number, SDM name, what its exit qualification and information fields
// hold.
#pragma once
#include <array>
#include <string_view>

#include "base/types.h"
#include "vmx/row_lookup.h"

namespace droste {

/// What the exit qualification means. SDM "Basic VM-Exit Information".
enum class Qualification : u8 {
    none,
    debug_or_linear,
    sipi_vector,
    task_switch,
    linear_address,
    displacement,
    cr_access,
    mov_dr,
    io,
    mwait,
    apic_access,
    vector,
    offset,
    ept_violation,
    nmi_unblocking,
    entry_failure,
    msr_index,
    sub_page,
    instruction_timeout,
    msr_address,
    variant,  ///< which of the instructions that share the reason
};
/// Layout of the VM-exit instruction-information field. SDM "Information for VM Exits Due to Instruction
/// Execution".
enum class InfoFormat : u8 {
    none,
    ins_outs,
    inv,
    gdtr_idtr,
    ldtr_tr,
    rdrand,
    memory,
    vmread_vmwrite,
    wait,  ///< UMWAIT, TPAUSE
    loadiwkey
};
/// When the exit happens relative to its instruction.
enum class ExitKind : u8 {
    event,        ///< between instructions, or instead of an event's delivery
    instruction,  ///< instead of an instruction: the instruction length is saved, RF is saved as 0
    access,       ///< instead of a memory access of an instruction or of event delivery
    trap,         ///< after an instruction
    entry,        ///< a failed VM entry
};

struct ExitRow {
    u16 number;
    std::string_view name;
    ExitKind kind;
    Qualification qualification = Qualification::none;
    InfoFormat info = InfoFormat::none;
};

// clang-format off
inline constexpr auto exit_rows = std::to_array<ExitRow>({
    {0, "exception_or_nmi", ExitKind::event, Qualification::debug_or_linear},
    {1, "external_interrupt", ExitKind::event},
    {2, "triple_fault", ExitKind::event},
    {3, "init_signal", ExitKind::event},
    {4, "startup_ipi", ExitKind::event, Qualification::sipi_vector},
    {7, "interrupt_window", ExitKind::event},
    {8, "nmi_window", ExitKind::event},
    {9, "task_switch", ExitKind::event, Qualification::task_switch},
    {10, "cpuid", ExitKind::instruction},
    {11, "getsec", ExitKind::instruction},
    {12, "hlt", ExitKind::instruction},
    {13, "invd", ExitKind::instruction},
    {14, "invlpg", ExitKind::instruction, Qualification::linear_address},
    {15, "rdpmc", ExitKind::instruction},
    {16, "rdtsc", ExitKind::instruction},
    {18, "vmcall", ExitKind::instruction},
    {19, "vmclear", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {20, "vmlaunch", ExitKind::instruction},
    {21, "vmptrld", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {22, "vmptrst", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {23, "vmread", ExitKind::instruction, Qualification::displacement, InfoFormat::vmread_vmwrite},
    {24, "vmresume", ExitKind::instruction},
    {25, "vmwrite", ExitKind::instruction, Qualification::displacement, InfoFormat::vmread_vmwrite},
    {26, "vmxoff", ExitKind::instruction},
    {27, "vmxon", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {28, "control_register_access", ExitKind::instruction, Qualification::cr_access},
    {29, "mov_dr", ExitKind::instruction, Qualification::mov_dr},
    {30, "io_instruction", ExitKind::instruction, Qualification::io, InfoFormat::ins_outs},
    {31, "rdmsr", ExitKind::instruction},
    {32, "wrmsr", ExitKind::instruction, Qualification::variant},
    {33, "entry_failure_guest_state", ExitKind::entry, Qualification::entry_failure},
    {34, "entry_failure_msr_loading", ExitKind::entry, Qualification::msr_index},
    {36, "mwait", ExitKind::instruction, Qualification::mwait},
    {37, "monitor_trap_flag", ExitKind::trap},
    {39, "monitor", ExitKind::instruction},
    {40, "pause", ExitKind::instruction},
    {43, "tpr_below_threshold", ExitKind::trap},
    {44, "apic_access", ExitKind::access, Qualification::apic_access},
    {45, "virtualized_eoi", ExitKind::trap, Qualification::vector},
    {46, "gdtr_or_idtr_access", ExitKind::instruction, Qualification::displacement, InfoFormat::gdtr_idtr},
    {47, "ldtr_or_tr_access", ExitKind::instruction, Qualification::displacement, InfoFormat::ldtr_tr},
    {48, "ept_violation", ExitKind::access, Qualification::ept_violation},
    {49, "ept_misconfiguration", ExitKind::access},
    {50, "invept", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {51, "rdtscp", ExitKind::instruction},
    {52, "vmx_preemption_timer_expired", ExitKind::event},
    {53, "invvpid", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {54, "wbinvd", ExitKind::instruction, Qualification::variant},
    {55, "xsetbv", ExitKind::instruction},
    {56, "apic_write", ExitKind::trap, Qualification::offset},
    {57, "rdrand", ExitKind::instruction, Qualification::none, InfoFormat::rdrand},
    {58, "invpcid", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {59, "vmfunc", ExitKind::instruction},
    {60, "encls", ExitKind::instruction},
    {61, "rdseed", ExitKind::instruction, Qualification::none, InfoFormat::rdrand},
    {62, "page_modification_log_full", ExitKind::access, Qualification::nmi_unblocking},
    {63, "xsaves", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {64, "xrstors", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {65, "pconfig", ExitKind::instruction},
    {66, "sub_page_permission_event", ExitKind::access, Qualification::sub_page},
    {67, "umwait", ExitKind::instruction, Qualification::none, InfoFormat::wait},
    {68, "tpause", ExitKind::instruction, Qualification::none, InfoFormat::wait},
    {69, "loadiwkey", ExitKind::instruction, Qualification::none, InfoFormat::loadiwkey},
    {70, "enclv", ExitKind::instruction},
    {72, "enqcmd_pasid_translation_failure", ExitKind::instruction, Qualification::displacement,
     InfoFormat::inv},
    {73, "enqcmds_pasid_translation_failure", ExitKind::instruction, Qualification::displacement,
     InfoFormat::inv},
    {74, "bus_lock", ExitKind::trap},
    {75, "instruction_timeout", ExitKind::event, Qualification::instruction_timeout},
    {78, "rdmsrlist", ExitKind::instruction, Qualification::msr_address},
    {79, "wrmsrlist", ExitKind::instruction, Qualification::msr_address},
});
// clang-format on

namespace vmx_detail {
consteval bool exit_rows_ascend() {
    for (std::size_t i = 1; i < exit_rows.size(); ++i)
        if (exit_rows[i - 1].number >= exit_rows[i].number) return false;
    return true;
}
static_assert(exit_rows_ascend(), "rows are sorted and unique");
}  // namespace vmx_detail

/// "ept_violation"_exit: the row.
consteval const ExitRow* operator""_exit(const char* text, std::size_t size) {
    return &exit_rows[vmx_detail::row_named(exit_rows, {text, size})];
}

/// The row of a basic exit reason, or null.
constexpr const ExitRow* exit_row(u32 number) {
    for (const ExitRow& row : exit_rows)
        if (row.number == number) return &row;
    return nullptr;
}

/// Exit-reason bit 31: VM-entry failure.
inline constexpr u32 exit_reason_entry_failure = 1u << 31;
/// Bit 26: a bus lock was asserted with "VMM bus-lock detection". Bit 25: a shadow stack became busy
/// prematurely.
inline constexpr u32 exit_reason_bus_lock = 1u << 26, exit_reason_shadow_stack_busy = 1u << 25;

}  // namespace droste
