// SPDX-License-Identifier: Apache-2.0
// The DSDT: which devices there are, where they decode, and how PCI interrupts are wired.
#include <string>

#include "machine/acpi/aml.h"
#include "machine/acpi/tables.h"
#include "machine/board_map.h"

namespace droste {

namespace {

using namespace aml;

Code with_id(std::string_view segment, std::string_view hid, unsigned uid, const Code& crs) {
    return device(segment, {name("_HID", eisa_id(hid)), name("_UID", integer(uid)), name("_CRS", crs)});
}

/// Fixed wiring without link devices: pin and device number choose one of the I/O APIC's inputs above the ISA
/// ones.
Code pci_routing() {
    std::vector<Code> entries;
    for (unsigned slot = 1; slot < 32; ++slot)
        for (unsigned pin = 0; pin < 4; ++pin)
            entries.push_back(package({integer(u64(slot) << 16 | 0xFFFF), integer(pin), integer(0),
                                       integer(board::pci_gsi(slot, pin))}));
    return package(entries);
}

Code host_bridge(const AcpiConfig& config) {
    const Code windows = Resources()
                             .buses(0, 0xFF)
                             .io(0xCF8, 8)
                             .io_window(0, 0xCF7)
                             .io_window(0xD00, 0xFFFF)
                             .memory_window(board::vga_hole, board::option_roms - 1)
                             .memory_window(board::pci_window, board::pci_window_end - 1)
                             .memory_window(board::pci_window2, board::pci_window2_end - 1)
                             .done();
    // PNP0A08 is a PCI Express host bridge; without ECAM it is a plain one.
    std::vector<Code> terms = {name("_HID", eisa_id(config.ecam ? "PNP0A08" : "PNP0A03"))};
    if (config.ecam)
        terms.push_back(name("_CID", eisa_id("PNP0A03")));
    terms.push_back(name("_UID", integer(0)));
    terms.push_back(name("_BBN", integer(0)));
    terms.push_back(name("_SEG", integer(0)));
    terms.push_back(name("_CRS", windows));
    terms.push_back(name("_PRT", pci_routing()));
    return device("PCI0", terms);
}

/// Ranges that belong to no other device but may not be given away. Linux uses ECAM only when it is reserved
/// here.
Code motherboard(const AcpiConfig& config) {
    Resources r;
    r.io(board::pm_base, 0x80).io(board::smi_command, 2).io(0x4D0, 2);
    if (config.ecam)
        r.memory(board::ecam, board::ecam_size);
    return with_id("MBRD", "PNP0C02", 0, r.done());
}

/// Processor devices; _UID is the processor's in the MADT (ACPI "Processor Device").
Code processor(unsigned number) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    const std::string segment = {'C', 'P', digits[number >> 4 & 15], digits[number & 15]};
    return device(segment, {name("_HID", text("ACPI0007")), name("_UID", integer(number))});
}

}  // namespace

std::vector<u8> dsdt_body(const AcpiConfig& config) {
    std::vector<Code> devices;
    for (unsigned cpu = 0; cpu < config.cpus; ++cpu)
        devices.push_back(processor(cpu));
    devices.push_back(motherboard(config));
    if (config.pci)
        devices.push_back(host_bridge(config));
    devices.push_back(with_id("COM1", "PNP0501", 1, Resources().io(board::com1, 8).irq(4).done()));
    devices.push_back(with_id("RTC_", "PNP0B00", 0, Resources().io(0x70, 2).irq(8).done()));
    devices.push_back(with_id("PIT_", "PNP0100", 0, Resources().io(0x40, 4).irq(0).done()));
    if (config.keyboard) {
        devices.push_back(with_id("KBD_", "PNP0303", 0, Resources().io(0x60, 1).io(0x64, 1).irq(1).done()));
        devices.push_back(with_id("MOU_", "PNP0F13", 0, Resources().irq(12).done()));
    }
    if (config.hpet)
        // In legacy replacement its first two timers drive the interrupts of the PIT and of the RTC.
        devices.push_back(
            with_id("HPET", "PNP0103", 0, Resources().irq(0).irq(8).memory(board::hpet, 0x400).done()));
    return join({scope("\\_SB_", devices), name("\\_S5_", package({integer(board::soft_off_type), integer(0),
                                                                   integer(0), integer(0)}))});
}

}  // namespace droste
