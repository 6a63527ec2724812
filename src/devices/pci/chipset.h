// SPDX-License-Identifier: Apache-2.0
// The two chipset functions that firmware looks for: a Q35 host bridge and an ICH9 LPC bridge.
#pragma once
#include "base/bus.h"
#include "devices/pci/pci_function.h"

namespace droste {

/// 00:00.0, 8086:29C0 with subsystem 1AF4:1100. PCIEXBAR (0x60) moves and switches the ECAM range. PAM and
/// SMRAM registers keep what is written and change no mapping: the memory below 1 MiB is always RAM.
class HostBridge final : public PciFunction {
public:
    /// `ecam_base` is PCIEXBAR after reset, already enabled, for boards without firmware; 0: disabled.
    HostBridge(MemoryBus& memory, Device& ecam, u64 ecam_base);
    const char* name() const override { return "host_bridge"; }
    void reset() override;
    void visit(Archive& archive) override;

private:
    void config_written(u32 offset, unsigned size) override;
    void move_ecam();
    MemoryBus& memory_;
    Device& ecam_;
    u64 attached_size_ = 0;  // 0: not attached
    u64 attached_at_ = 0;
};

/// 00:1F.0, 8086:2918. PMBASE (0x40) and ACPI_CNTL (0x44) move and switch the range of the ACPI registers.
class LpcBridge final : public PciFunction {
public:
    /// `pm_base` is PMBASE after reset, already enabled, for boards without firmware; 0: disabled.
    LpcBridge(PortBus& ports, Device& acpi_pm, u64 range_size, u16 pm_base);
    const char* name() const override { return "lpc_bridge"; }
    void reset() override;
    void visit(Archive& archive) override;

private:
    void config_written(u32 offset, unsigned size) override;
    void move_acpi_pm();
    PortBus& ports_;
    Device& acpi_pm_;
    const u64 range_size_;
    bool attached_ = false;
    u16 attached_at_ = 0;
};

}  // namespace droste
