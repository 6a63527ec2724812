// SPDX-License-Identifier: Apache-2.0
// The I/O APIC.
#include "devices/ioapic/ioapic.h"

#include "base/archive.h"

namespace droste {

namespace {
constexpr u64 reg_select = 0x00, reg_window = 0x10, reg_eoi = 0x40;
constexpr u32 version = 0x20 | (IoApic::pins - 1) << 16;
constexpr u64 remote_irr = 1u << 14;
constexpr u64 level_triggered = 1u << 15;
constexpr u64 masked = 1u << 16;
// Delivery status and remote IRR are read-only; bits 17..55 are reserved.
constexpr u64 writable = 0xFF00'0000'0001'AFFF;

DeliveryMode mode_of(u64 entry) { return static_cast<DeliveryMode>(bits(entry, 10, 8)); }
/// NMI, SMI, INIT and ExtINT are edges whatever the trigger bit says.
bool is_level(u64 entry) {
    return entry & level_triggered &&
           (mode_of(entry) == DeliveryMode::fixed || mode_of(entry) == DeliveryMode::lowest_priority);
}
}  // namespace

void IoApic::reset() {
    id_ = initial_id_ & 0xF;
    select_ = 0;
    levels_ = 0;
    entries_.fill(masked);
}

u64 IoApic::read(u64 offset, Width width) {
    const u64 reg = offset & ~3ull;
    const u32 value = reg == reg_select ? select_ : reg == reg_window ? read_register() : 0;
    return (value >> (8 * (offset & 3))) & width_mask(width);
}

void IoApic::write(u64 offset, Width, u64 value) {
    switch (offset) {
    case reg_select: select_ = static_cast<u8>(value); break;
    case reg_window: write_register(static_cast<u32>(value)); break;
    case reg_eoi: end_of_interrupt(static_cast<u8>(value)); break;
    default: break;
    }
}

u32 IoApic::read_register() const {
    switch (select_) {
    case 0: return u32(id_) << 24;
    case 1: return version;
    case 2: return u32(id_) << 24;  // arbitration id
    default: break;
    }
    const unsigned half = select_ - 0x10u;
    if (half >= 2 * pins) return 0;
    return static_cast<u32>(entries_[half >> 1] >> (32 * (half & 1)));
}

void IoApic::write_register(u32 value) {
    if (select_ == 0) id_ = static_cast<u8>(bits(value, 27, 24));
    const unsigned half = select_ - 0x10u;
    if (half < 2 * pins) write_entry(half >> 1, half & 1, value);
}

void IoApic::write_entry(unsigned pin, bool high_half, u32 value) {
    u64& entry = entries_[pin];
    const u64 before = entry;
    const u64 lane = (high_half ? 0xFFFF'FFFF'0000'0000 : 0xFFFF'FFFF) & writable;
    entry = (entry & ~lane) | (u64(value) << (high_half ? 32 : 0) & lane);
    // An edge-triggered pin has no remote IRR; system software also clears a stuck one this way.
    if (!(entry & level_triggered)) entry &= ~remote_irr;
    if (is_level(entry)) {
        service_level(pin);
    } else if (mode_of(entry) == DeliveryMode::ext_int && before & masked && !(entry & masked) &&
               bit(levels_, pin)) {
        send(pin);  // the 8259 holds its request until it is acknowledged
    }
}

void IoApic::set_level(unsigned pin, bool asserted) {
    if (pin >= pins || bit(levels_, pin) == asserted) return;
    levels_ ^= 1u << pin;
    if (!asserted) return;
    if (is_level(entries_[pin])) {
        service_level(pin);
    } else if (!(entries_[pin] & masked)) {  // edges at a masked pin are lost (82093AA, "Interrupt Mask")
        send(pin);
    }
}

void IoApic::service_level(unsigned pin) {
    if (!bit(levels_, pin) || entries_[pin] & (masked | remote_irr)) return;
    // Set first: the processor's EOI may arrive while the message is being delivered.
    entries_[pin] |= remote_irr;
    if (!send(pin)) entries_[pin] &= ~remote_irr;
}

bool IoApic::send(unsigned pin) {
    const u64 entry = entries_[pin];
    ApicMessage m;
    m.vector = static_cast<u8>(entry);
    m.mode = mode_of(entry);
    m.destination_mode = bit(entry, 11) ? DestinationMode::logical : DestinationMode::physical;
    m.trigger = is_level(entry) ? TriggerMode::level : TriggerMode::edge;
    m.destination = static_cast<u32>(entry >> 56);
    return bus_.deliver(m);
}

void IoApic::end_of_interrupt(u8 vector) {
    for (unsigned pin = 0; pin < pins; ++pin) {
        if (static_cast<u8>(entries_[pin]) != vector || !(entries_[pin] & remote_irr)) continue;
        entries_[pin] &= ~remote_irr;
        service_level(pin);
    }
}

void IoApic::visit(Archive& archive) {
    archive.section("ioapic", 1);
    archive.field("id", id_);
    archive.field("select", select_);
    archive.field("levels", levels_);
    archive.field("entries", entries_);
}

}  // namespace droste
