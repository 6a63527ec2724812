// SPDX-License-Identifier: Apache-2.0
// The addresses of the test devices, and the base addresses that firmware would have given to the PCI
// function.
#include "machine/test_devices.h"

#include "base/assert.h"
#include "machine/board_map.h"

namespace droste {

TestDevices::TestDevices(const TestDeviceParts& p)
    : host_(p.pci), lines_(p.isa, p.io_apic), interrupts_(lines_),
      memory_errors_(p.events, p.time, InterruptLine(p.io_apic, board::test_memory_errors_line)), shutdown_(p.platform),
      console_(p.console) {
    const auto attach = [&](u16 first, u64 size, Device& device) {
        ASSERT(!p.ports.attach({Port(first), size}, device));
    };
    attach(board::test_echo, 8, echo_);
    attach(board::test_console, 1, console_);
    attach(board::test_interrupts, TestInterruptPorts::lines, interrupts_);
    attach(board::test_memory_errors, TestMemoryErrors::size, memory_errors_);
    attach(board::test_shutdown, 1, shutdown_);
    ASSERT(!p.mmio.attach({MachinePhys(board::test_memory), TestMemoryRegion::size}, memory_));
    ASSERT(host_.add(board::test_slot, 0, pci_));
    reset();
}

void TestDevices::reset() {
    for (Device* d : std::initializer_list<Device*>{&interrupts_, &echo_, &memory_, &memory_errors_, &shutdown_, &console_})
        d->reset();
    pci_.reset();
    constexpr u32 bar0 = 0x10, bar1 = 0x14, command = 4;
    constexpr u16 ports_and_memory = 3;
    pci_.config_write(bar0, Width::dword, board::test_pci_memory);
    pci_.config_write(bar1, Width::dword, board::test_pci_ports);
    pci_.config_write(command, Width::word, ports_and_memory);
}

void TestDevices::visit(Archive& archive) {
    for (Device* d : std::initializer_list<Device*>{&interrupts_, &echo_, &memory_, &memory_errors_, &shutdown_, &console_})
        d->visit(archive);
    pci_.visit(archive);
}

}  // namespace droste
