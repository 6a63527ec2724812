// SPDX-License-Identifier: Apache-2.0
// Host bridge and LPC bridge. "Intel 3 Series Express Chipset" and "ICH9 Family" datasheets.
#include "devices/pci/chipset.h"

#include "base/archive.h"

namespace droste {

namespace {
constexpr u32 pciexbar = 0x60, pam0 = 0x90, smramc = 0x9D;
constexpr u32 pmbase = 0x40, acpi_cntl = 0x44, pirq_a = 0x60, pirq_e = 0x68, gen_pmcon = 0xA0, rcba = 0xF0;
constexpr u64 mib = 1 << 20;

bool touches(u32 offset, unsigned size, u32 reg, unsigned reg_size) {
    return offset < reg + reg_size && reg < offset + size;
}
}  // namespace

HostBridge::HostBridge(MemoryBus& memory, Device& ecam, u64 ecam_base)
    : PciFunction({.vendor = 0x8086, .device = 0x29C0, .class_code = 0x060000, .subsystem_vendor = 0x1AF4,
                   .subsystem = 0x1100}),
      memory_(memory), ecam_(ecam) {
    define(pciexbar, 8, ecam_base == 0 ? 0 : ecam_base | 1, 0x0000'000F'FC00'0007);
    define(pam0, 7, 0, 0x0033'3333'3333'3330);
    define(smramc, 2, 0x3802, 0xFF7F);
}

void HostBridge::reset() {
    PciFunction::reset();
    move_ecam();
}

void HostBridge::config_written(u32 offset, unsigned size) {
    if (touches(offset, size, pciexbar, 8)) move_ecam();
}

void HostBridge::move_ecam() {
    const u64 raw = config(pciexbar, 8);
    static constexpr u64 sizes[] = {256 * mib, 128 * mib, 64 * mib, 0};
    const u64 size = bit(raw, 0) ? sizes[bits(raw, 2, 1)] : 0;
    const u64 base = size == 0 ? 0 : raw & 0xF'FC00'0000 & ~(size - 1);
    if (size == attached_size_ && base == attached_at_) return;
    if (attached_size_ != 0) (void)memory_.detach(MachinePhys(attached_at_));
    attached_size_ = 0;
    if (size != 0 && !memory_.attach({MachinePhys(base), size}, ecam_)) {
        attached_size_ = size;
        attached_at_ = base;
    }
}

void HostBridge::visit(Archive& archive) {
    PciFunction::visit(archive);
    if (archive.mode() == Archive::Mode::load) move_ecam();
}

LpcBridge::LpcBridge(PortBus& ports, Device& acpi_pm, u64 range_size, u16 pm_base)
    : PciFunction({.vendor = 0x8086, .device = 0x2918, .class_code = 0x060100, .revision = 2,
                   .subsystem_vendor = 0x1AF4, .subsystem = 0x1100}),
      ports_(ports), acpi_pm_(acpi_pm), range_size_(range_size) {
    define(pmbase, 4, pm_base | 1u, 0xFF80);
    define(acpi_cntl, 1, pm_base == 0 ? 0 : 0x80, 0x87);
    define(pirq_a, 4, 0x80808080, 0x8F8F8F8F);  // bit 7: the input is not routed to the 8259
    define(pirq_e, 4, 0x80808080, 0x8F8F8F8F);
    define(gen_pmcon, 8, 0, 0xFFFF'FFFF'FFFF'FFFF);
    define(rcba, 4, 0, 0xFFFF'C001);
}

void LpcBridge::reset() {
    PciFunction::reset();
    move_acpi_pm();
}

void LpcBridge::config_written(u32 offset, unsigned size) {
    if (touches(offset, size, pmbase, 8)) move_acpi_pm();
}

void LpcBridge::move_acpi_pm() {
    const u16 base = static_cast<u16>(config(pmbase, 4) & 0xFF80);
    const bool decode = bit(config(acpi_cntl, 1), 7) && base != 0;
    if (decode == attached_ && (!decode || base == attached_at_)) return;
    if (attached_) (void)ports_.detach(Port(attached_at_));
    attached_ = decode && !ports_.attach({Port(base), range_size_}, acpi_pm_);
    attached_at_ = base;
}

void LpcBridge::visit(Archive& archive) {
    PciFunction::visit(archive);
    if (archive.mode() == Archive::Mode::load) move_acpi_pm();
}

}  // namespace droste
