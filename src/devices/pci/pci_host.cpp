// SPDX-License-Identifier: Apache-2.0
// The PCI host: configuration accesses to functions, windows to buses.
#include "devices/pci/pci_host.h"

#include <algorithm>

#include "base/archive.h"

namespace droste {

bool PciHost::add(unsigned slot, unsigned number, PciFunction& function) {
    if (slot > 31 || number > 7 || functions_[slot * 8 + number] != nullptr) return false;
    functions_[slot * 8 + number] = &function;
    function.connect(*this);
    return true;
}

PciFunction* PciHost::find(unsigned bus, unsigned slot, unsigned number) const {
    return bus == 0 && slot < 32 && number < 8 ? functions_[slot * 8 + number] : nullptr;
}

u64 PciHost::config_read(unsigned bus, unsigned slot, unsigned number, u32 offset, Width width) {
    PciFunction* f = find(bus, slot, number);
    return f == nullptr ? ~0ull : f->config_read(offset, width);
}

void PciHost::config_write(unsigned bus, unsigned slot, unsigned number, u32 offset, Width width, u64 value) {
    if (PciFunction* f = find(bus, slot, number)) f->config_write(offset, width, value);
}

// A guest can make windows overlap (sizing a register with decoding on does): the later one is then not
// attached, and comes in as soon as there is room.
void PciHost::decode_changed(PciWindow& window, bool decode, u64 address) {
    detach(window);
    if (!decode && window.decoded) decoded_.erase(std::find(decoded_.begin(), decoded_.end(), &window));
    if (decode && !window.decoded) decoded_.push_back(&window);
    window.decoded = decode;
    window.address = address;
    for (PciWindow* w : decoded_)
        if (!w->attached) attach(*w);
}

void PciHost::attach(PciWindow& w) {
    w.attached = w.kind == BarKind::io ? !ports_.attach({Port(w.address), w.size}, *w.device)
                                       : !memory_.attach({MachinePhys(w.address), w.size}, *w.device);
}

void PciHost::detach(PciWindow& w) {
    if (!w.attached) return;
    w.attached = false;
    if (w.kind == BarKind::io) {
        (void)ports_.detach(Port(w.address));
    } else {
        (void)memory_.detach(MachinePhys(w.address));
    }
}

// --- mechanism 1 ---

u64 PciConfigPorts::read(u64 offset, Width width) {
    if (offset == 0 && width == Width::dword) return address_;
    if (offset == 1 && width == Width::byte) return reset_control_.read(0, width);
    if (offset < 4 || !bit(address_, 31)) return ~0ull;
    const u32 at = (address_ & 0xFC) + static_cast<u32>(offset - 4);
    return host_.config_read(static_cast<unsigned>(bits(address_, 23, 16)),
                             static_cast<unsigned>(bits(address_, 15, 11)),
                             static_cast<unsigned>(bits(address_, 10, 8)), at, width);
}

void PciConfigPorts::write(u64 offset, Width width, u64 value) {
    if (offset == 0 && width == Width::dword) {
        address_ = static_cast<u32>(value) & 0x80FF'FFFC;
    } else if (offset == 1 && width == Width::byte) {
        reset_control_.write(0, width, value);
    } else if (offset >= 4 && bit(address_, 31)) {
        const u32 at = (address_ & 0xFC) + static_cast<u32>(offset - 4);
        host_.config_write(static_cast<unsigned>(bits(address_, 23, 16)),
                           static_cast<unsigned>(bits(address_, 15, 11)),
                           static_cast<unsigned>(bits(address_, 10, 8)), at, width, value);
    }
}

void PciConfigPorts::visit(Archive& archive) {
    archive.section("pci_config_ports", 1);
    archive.field("address", address_);
}

// --- ECAM ---

u64 PciEcam::read(u64 offset, Width width) {
    return host_.config_read(static_cast<unsigned>(offset >> 20), static_cast<unsigned>(bits(offset, 19, 15)),
                             static_cast<unsigned>(bits(offset, 14, 12)), static_cast<u32>(offset & 0xFFF),
                             width);
}

void PciEcam::write(u64 offset, Width width, u64 value) {
    host_.config_write(static_cast<unsigned>(offset >> 20), static_cast<unsigned>(bits(offset, 19, 15)),
                       static_cast<unsigned>(bits(offset, 14, 12)), static_cast<u32>(offset & 0xFFF), width,
                       value);
}

void PciEcam::visit(Archive& archive) { archive.section("pci_ecam", 1); }

}  // namespace droste
