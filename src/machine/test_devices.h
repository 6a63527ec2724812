// SPDX-License-Identifier: Apache-2.0
// TestDevices: what kernels made for testing find on the board beside a PC's devices.
#pragma once
#include "base/bus.h"
#include "devices/debug/debug.h"
#include "devices/pci/pci_host.h"
#include "devices/test_device/memory_errors.h"
#include "devices/test_device/pci_test_device.h"
#include "devices/test_device/test_device.h"

namespace droste {

/// What they are plugged into; all outlive them.
struct TestDeviceParts {
    PortBus& ports;
    MemoryBus& mmio;
    InterruptSink& isa;      ///< inputs 0..15
    InterruptSink& io_apic;  ///< inputs 16..23
    PlatformControl& platform;
    ByteSink& console;
    PciHost& pci;
    EventQueue& events;
    const TimeSource& time;
};

class TestDevices {
public:
    /// Attaches everything. There is no way back.
    explicit TestDevices(const TestDeviceParts& parts);
    TestDevices(const TestDevices&) = delete;
    TestDevices& operator=(const TestDevices&) = delete;
    void reset();
    void visit(Archive& archive);

private:
    /// Interrupt lines by their numbers: below 16 as an ISA device drives them.
    class Lines final : public InterruptSink {
    public:
        Lines(InterruptSink& isa, InterruptSink& io_apic) : isa_(isa), io_apic_(io_apic) {}
        void set_level(unsigned pin, bool asserted) override {
            (pin < 16 ? isa_ : io_apic_).set_level(pin, asserted);
        }

    private:
        InterruptSink& isa_;
        InterruptSink& io_apic_;
    };

    PciHost& host_;
    Lines lines_;
    TestInterruptPorts interrupts_;
    TestEchoPort echo_;
    TestMemoryErrors memory_errors_;
    TestMemoryRegion memory_;
    ShutdownPort shutdown_;
    DebugConsole console_;
    PciTestDevice pci_;
};

}  // namespace droste
