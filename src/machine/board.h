// SPDX-License-Identifier: Apache-2.0
// Board: the devices of the PC, their addresses and their wires.
#pragma once
#include <memory>
#include <vector>

#include "base/bus.h"
#include "base/host_output.h"
#include "devices/acpi_pm/acpi_pm.h"
#include "devices/debug/debug.h"
#include "devices/fw_cfg/fw_cfg.h"
#include "devices/hpet/hpet.h"
#include "devices/i8042/i8042.h"
#include "devices/ioapic/ioapic.h"
#include "devices/local_apic/local_apic.h"
#include "devices/pci/chipset.h"
#include "devices/pci/pci_host.h"
#include "devices/pci/pci_intx.h"
#include "devices/pic/pic.h"
#include "devices/pit/pit.h"
#include "devices/reset/reset.h"
#include "devices/rtc/rtc.h"
#include "devices/serial/serial.h"
#include "devices/wiring.h"
#include "machine/acpi/tables.h"
#include "machine/apic_window.h"
#include "machine/test_devices.h"
#include "mmu/physical_memory.h"

namespace droste {

struct BoardConfig {
    u64 bus_hz = 1'000'000'000;
    unsigned max_phys_addr_bits = 46;
    i64 rtc_epoch = 0;
};

/// A processor as its local APIC sees it.
struct ProcessorWires {
    CpuPins& pins;
    const u64& tsc_offset;  ///< what the processor's TSC is ahead of guest time
    ApicWindow& window;
};

/// What the board is plugged into; all outlive it.
struct BoardParts {
    EventQueue& events;
    const TimeSource& time;
    const std::vector<ProcessorWires>& processors;  ///< by APIC ID; the first is the bootstrap processor
    PortBus& ports;
    MemoryBus& mmio;
    PhysicalMemory& memory;
    PlatformControl& platform;
    ByteSink& console;
};

class Board final : private DmaMemory, private A20Gate {
public:
    Board(const BoardConfig& config, const BoardParts& parts);
    Board(const Board&) = delete;
    Board& operator=(const Board&) = delete;

    void reset();
    void visit(Archive& archive);
    /// How firmware would have left the interrupt controllers.
    void prepare_without_firmware() {
        local_apics_.front()->set_virtual_wire();
        for (const u64 mask_register : {1u, 3u})
            pic_.write(mask_register, Width::byte, 0xFF);
    }
    /// How a BIOS leaves the 8259s and the timer to a boot loader: vectors 0x08 and 0x70, 18.2 timer interrupts
    /// a second and every other line masked.
    void prepare_as_bios();
    /// Adds what test kernels expect, before the guest runs.
    void add_test_devices();
    /// What the ACPI tables must say about this board.
    AcpiConfig acpi_config() const;
    Serial& serial() { return com1_; }
    LocalApic& local_apic(unsigned processor = 0) { return *local_apics_[processor]; }
    FwCfg& fw_cfg() { return fw_cfg_; }

private:
    bool read(MachinePhys from, void* data, std::size_t size) override;
    bool write(MachinePhys to, const void* data, std::size_t size) override;
    // Address line 20 is always let through: what closed it was software for the 8086. The bit is kept for
    // reads.
    void set_a20(bool open) override { a20_ = open; }
    bool a20() const override { return a20_; }

    void attach_ports(PortBus& ports);
    void attach_memory(MemoryBus& mmio);
    void attach(PortBus& bus, u16 first, u64 size, Device& device, u64 offset = 0);
    InterruptLine isa(unsigned irq) { return {isa_, irq}; }
    InterruptLine gsi(unsigned pin) { return {io_apic_, pin}; }

    PortBus& ports_;
    MemoryBus& mmio_;
    PhysicalMemory& memory_;
    std::vector<ApicWindow*> apic_windows_;
    EventQueue& events_;
    const TimeSource& time_;
    PlatformControl& platform_;
    ByteSink& console_;
    bool a20_ = true;

    ApicBus apic_bus_;
    std::vector<std::unique_ptr<LocalApic>> local_apics_;
    IoApic io_apic_;
    Pic pic_;
    InterruptFanout isa_;  // an ISA interrupt reaches the 8259 and the I/O APIC
    Hpet hpet_;
    Pit pit_;
    Rtc rtc_;
    Serial com1_;
    AcpiPm acpi_pm_;
    SmiCommandPort smi_port_;
    ResetControl reset_control_;
    SystemControlA system_control_a_;
    I8042 keyboard_;
    DebugExit debug_exit_;
    DebugConsole debug_console_;
    PostCodes post_codes_;
    FwCfg fw_cfg_;
    PciHost pci_host_;
    PciIntx pci_intx_;
    PciConfigPorts pci_config_ports_;
    PciEcam pci_ecam_;
    HostBridge host_bridge_;
    LpcBridge lpc_bridge_;
    std::vector<Device*> devices_;         // in the order of reset and saving
    std::vector<PciFunction*> functions_;  // after the devices
    std::unique_ptr<TestDevices> test_devices_;  // null: none
};

}  // namespace droste
