// SPDX-License-Identifier: Apache-2.0
// FieldWriters: which instruction last wrote each VMCS field, for those who ask why an entry failed.
#pragma once
#include <map>
#include <string>

#include "vmx/exit_router.h"

namespace droste {

struct Cpu;
class LevelObserver;

/// Of all VMCSs, by their addresses. Nothing of it is seen by the guest.
class FieldWriters {
public:
    struct Write {
        u64 ticks = 0, linear_rip = 0, value = 0;
        unsigned level = 0, processor = 0;
    };
    void wrote(u64 vmcs, Field field, const Write& write) { regions_[vmcs].writes[field.row] = write; }
    void loaded(u64 vmcs, u64 ticks, std::string_view by) {
        regions_[vmcs].loaded_at = ticks;
        regions_[vmcs].loaded_by = by;
    }
    void exited(u64 vmcs, u64 ticks, std::string_view reason) {
        regions_[vmcs].exit_at = ticks;
        regions_[vmcs].exit_reason = reason;
    }
    /// A sentence: who wrote the field that now has this value.
    std::string told(u64 vmcs, Field field, u64 value) const;

private:
    struct Region {
        std::map<u16, Write> writes;  // by row
        u64 loaded_at = 0;            // ticks
        std::string_view loaded_by;
        u64 exit_at = 0;
        std::string_view exit_reason;
    };
    std::map<u64, Region> regions_;
};

/// What one processor does to VMCSs.
class WriterFeed final : public FieldRecorder, public VmxObserver {
public:
    WriterFeed(const Cpu& cpu, const LevelObserver& levels, unsigned processor, FieldWriters& to)
        : cpu_(cpu), levels_(levels), processor_(processor), to_(to) {}
    void wrote(const FieldWrite& write) override;
    void vmptrld(u64 address) override;
    void vmclear(u64 address) override;
    void exited(const ExitEvent& event) override;

private:
    const Cpu& cpu_;
    const LevelObserver& levels_;
    const unsigned processor_;
    FieldWriters& to_;
};

}  // namespace droste
