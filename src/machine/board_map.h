// SPDX-License-Identifier: Apache-2.0
// The board's address map: every fixed address and interrupt that loader, ACPI and wiring must agree on.
#pragma once
#include "base/types.h"

namespace droste::board {

/// Physical addresses below 4 GiB. RAM that does not fit below the hole continues at 4 GiB.
inline constexpr u64 ebda = 0x9'FC00;      ///< reserved to 0xA0000
inline constexpr u64 vga_hole = 0xA'0000;  ///< to 0xC0000: no RAM
inline constexpr u64 option_roms = 0xC'0000;
inline constexpr u64 firmware_tables = 0xE'0000;  ///< RSDP and the other ACPI tables; reserved RAM
inline constexpr u64 real_mode_handlers = 0xF'FF00;  ///< to 1 MiB
inline constexpr u64 high_memory = 0x10'0000;
inline constexpr u64 pci_hole = 0xC000'0000;    ///< RAM below 4 GiB ends here
inline constexpr u64 pci_window = 0xC000'0000;  ///< memory BARs
inline constexpr u64 pci_window_end = 0xE000'0000;
inline constexpr u64 ecam = 0xE000'0000;
inline constexpr u64 ecam_size = 0x1000'0000;  ///< 256 buses
inline constexpr u64 pci_window2 = 0xF000'0000;
inline constexpr u64 pci_window2_end = 0xFEC0'0000;
inline constexpr u64 io_apic = 0xFEC0'0000;
inline constexpr u64 hpet = 0xFED0'0000;
inline constexpr u64 local_apic = 0xFEE0'0000;
inline constexpr u64 four_gib = 0x1'0000'0000;

/// Ports.
inline constexpr u16 pm_base = 0x600;  ///< PM1a_EVT +0, PM1a_CNT +4, PM_TMR +8
inline constexpr u16 pm1a_event = pm_base, pm1a_control = pm_base + 4, pm_timer = pm_base + 8;
inline constexpr u16 smi_command = 0xB2;
inline constexpr u8 acpi_enable = 0xA1, acpi_disable = 0xA0;  ///< bytes written there
inline constexpr u8 soft_off_type = 0;                        ///< SLP_TYP of \_S5
inline constexpr u16 reset_control = 0xCF9;
inline constexpr u16 com1 = 0x3F8;

/// Devices for test kernels (machine.test_device).
inline constexpr u16 test_echo = 0xE0;  ///< 0xE0..0xE3 echo, 0xE4..0xE7 take a page address
inline constexpr u16 test_console = 0xF1;
inline constexpr u16 test_interrupts = 0x2000;  ///< + n: interrupt line n
inline constexpr u16 test_memory_errors = 0x2040;  ///< 16 ports
inline constexpr unsigned test_memory_errors_line = 20;  ///< input of the I/O APIC
inline constexpr u16 test_shutdown = 0x8900;
inline constexpr u64 test_memory = 0xFF00'0000;
inline constexpr unsigned test_slot = 3;
inline constexpr u64 test_pci_memory = 0xFEB0'0000;
inline constexpr u16 test_pci_ports = 0xC000;

/// Interrupts.
inline constexpr u8 bios_vectors[] = {0x08, 0x70};  ///< where a BIOS puts the 8259s' interrupts
inline constexpr unsigned sci = 9;
inline constexpr unsigned io_apic_id = 0;
inline constexpr unsigned io_apic_pins = 24;
inline constexpr unsigned pit_gsi = 2;  ///< IRQ 0 is wired to pin 2 of the I/O APIC

/// PCI interrupt pins (0 = INTA#) reach the four inputs above the ISA interrupts, rotated by device number.
constexpr unsigned pci_gsi(unsigned slot, unsigned pin) {
    return 16 + (slot + pin) % 4;
}

}  // namespace droste::board
