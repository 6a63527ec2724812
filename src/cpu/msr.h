// SPDX-License-Identifier: Apache-2.0
// MSRs: one row each. What has no row gives #GP(0), never a silent 0.
#pragma once
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cpu/cpu.h"

namespace droste {

struct MsrRow {
    u32 index = 0;
    std::string_view name;
    Feature needs = Feature::base;         ///< not enumerated: #GP(0)
    u32 count = 1;                         ///< consecutive MSRs that share the row
    u64 CpuState::*member = nullptr;       ///< plain storage
    u64 writable = 0;                      ///< of plain storage: the other bits must be written as 0
    /// nullopt / false: #GP(0). Take precedence over the storage.
    std::optional<u64> (*read)(Cpu& cpu, u32 index) = nullptr;
    bool (*write)(Cpu& cpu, u32 index, u64 value) = nullptr;
};
using MsrRows = std::span<const MsrRow>;

/// The rows of all folders.
class MsrTable {
public:
    /// @param groups the spans must outlive the table. Rows that overlap are an internal error.
    explicit MsrTable(std::initializer_list<MsrRows> groups);

    const MsrRow* find(u32 index) const;
    /// nullopt / false: #GP(0), nothing changed. No check of CPL or VMX: also for the MSR areas of VM entry
    /// and exit.
    std::optional<u64> read(Cpu& cpu, u32 index) const;
    bool write(Cpu& cpu, u32 index, u64 value) const;

private:
    std::vector<const MsrRow*> rows_;  // by index
};

/// The MSRs of this folder; those of vmx (3AH, 480H..493H) are handed in by it.
MsrRows cpu_msr_rows();

/// What other folders write by the same rules as WRMSR.
bool write_efer(Cpu& cpu, u64 value);
/// A valid IA32_PAT: each byte one of the defined memory types.
bool valid_pat(u64 value);
/// Bits of IA32_DEBUGCTL that exist.
u64 valid_debugctl(const Cpu& cpu);
/// No reserved bit of IA32_SPEC_CTRL is set.
bool valid_spec_ctrl(const Cpu& cpu, u64 value);

}  // namespace droste
