// SPDX-License-Identifier: Apache-2.0
// VmxFailures: VM entries and VMX instructions that failed, and why, for the reports.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>

#include "machine/explain/field_writers.h"
#include "machine/host_console.h"
#include "machine/run_summary.h"
#include "vmx/exit_router.h"
#include "vmx/vmx.h"

namespace droste {

class VmxFailures final : public VmxObserver {
public:
    /// `writers`: null when nobody records them. `notes`: hears of every failure as it happens; may be null.
    VmxFailures(Vmx& vmx, unsigned processor, const FieldWriters* writers, HostConsole* notes)
        : vmx_(vmx), processor_(processor), writers_(writers), notes_(notes) {}

    void entry_check_failed(const EntryEvent& event, const EntryCheck& check,
                            const EntryContext& context) override;
    void entry_msr_failed(const EntryEvent& event, u64 number) override;
    void instruction_failed(const FailedInstruction& failed) override;
    void aborted(VmxAbort why) override;
    void exit_recognised(const ExitEvent& event) override;

    const std::map<std::string, EntryFailureSummary>& entries() const { return entries_; }
    /// By VM-instruction error, 0 for VMfailInvalid.
    const std::map<u32, VmFailSummary>& instructions() const { return instructions_; }
    /// Lines about the VMX abort; empty when there was none.
    const std::vector<std::string>& abort() const { return abort_; }

private:
    void add(EntryFailureSummary failure);
    void list_msrs(u64 address, u64 count);
    std::string writer(u64 vmcs, Field field, u64 value) const;
    ExplainedField read_field(const Vmcs& v, Field field) const;

    Vmx& vmx_;
    const unsigned processor_;
    const FieldWriters* writers_;
    HostConsole* notes_;
    std::map<std::string, EntryFailureSummary> entries_;
    std::map<u32, VmFailSummary> instructions_;
    std::vector<std::string> abort_;
};

/// What several processors met, together; the earliest of each kind is told, in the order of their ticks.
std::vector<EntryFailureSummary> failed_entries(std::span<const VmxFailures* const> processors);
std::vector<VmFailSummary> failed_instructions(std::span<const VmxFailures* const> processors);

/// The exceptions of a triple fault, one line each, then the IDT.
std::vector<std::string> triple_fault_lines(const Cpu& cpu);

}  // namespace droste
