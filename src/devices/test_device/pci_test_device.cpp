// SPDX-License-Identifier: Apache-2.0
// The PCI test function.
#include "devices/test_device/pci_test_device.h"

#include "base/archive.h"

namespace droste {

// No processor below tells the three kinds of each space apart here: there is none that could take the write in its
// kernel. Test kernels go on to the next kind while the count is right.
const PciTestDevice::Test PciTestDevice::tests_[] = {
    {Space::memory, "mmio-no-eventfd", 0xFA, false}, {Space::memory, "mmio-wildcard-eventfd", 0xCE, true},
    {Space::memory, "mmio-datamatch-eventfd", 0xFA, false}, {Space::ports, "portio-no-eventfd", 0xFA, false},
    {Space::ports, "portio-wildcard-eventfd", 0xCE, true}, {Space::ports, "portio-datamatch-eventfd", 0xFA, false},
};

PciTestDevice::PciTestDevice()
    : PciFunction({.vendor = 0x1B36, .device = 0x0005, .class_code = 0x00FF00, .subsystem_vendor = 0x1AF4,
                   .subsystem = 0x1100}) {
    add_bar(0, BarKind::memory_32, memory_size, memory_);
    add_bar(1, BarKind::io, port_size, ports_);
}

void PciTestDevice::reset() {
    PciFunction::reset();
    test_ = none;
    count_ = 0;
}

void PciTestDevice::visit(Archive& archive) {
    PciFunction::visit(archive);
    archive.field("test", test_);
    archive.field("count", count_);
}

const PciTestDevice::Test* PciTestDevice::chosen() const {
    return test_ < 2 * tests_of_a_space ? &tests_[test_] : nullptr;
}

/// Tests count in the second half of their window, each at a place of its own.
u32 PciTestDevice::counting_offset() const {
    const u64 size = tests_[test_].space == Space::memory ? memory_size : port_size;
    return static_cast<u32>(size / 2 + test_);
}

u8 PciTestDevice::byte(u64 offset) const {
    const Test* t = chosen();
    if (t == nullptr) return 0;
    constexpr u8 width = 1;
    switch (offset) {
    case 0: return test_;
    case 1: return width;
    case 4: case 5: case 6: case 7: return static_cast<u8>(counting_offset() >> (8 * (offset - 4)));
    case 8: return t->data;
    case 12: case 13: case 14: case 15: return static_cast<u8>(count_ >> (8 * (offset - 12)));
    default: break;
    }
    return offset >= 16 && offset - 16 < t->name.size() ? static_cast<u8>(t->name[offset - 16]) : 0;
}

u64 PciTestDevice::Window::read(u64 offset, Width width) {
    u64 v = 0;
    for (unsigned i = 0; i < bytes(width); ++i) v |= u64(owner_.byte(offset + i)) << (8 * i);
    return v;
}

void PciTestDevice::write(Space space, u64 offset, Width width, u64 value) {
    if (offset == 0) {
        const u64 number = value & width_mask(width);
        test_ = none;
        if (number >= tests_of_a_space) return;
        test_ = static_cast<u8>(number + (space == Space::ports ? tests_of_a_space : 0));
        count_ = 0;
        return;
    }
    const Test* t = chosen();
    if (t == nullptr || t->space != space || offset != counting_offset()) return;
    if (t->any_write || (width == Width::byte && (value & 0xFF) == t->data)) ++count_;
}

}  // namespace droste
