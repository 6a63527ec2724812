// SPDX-License-Identifier: Apache-2.0
// Configuration space of a PCI function. PCI Local Bus Specification 3.0, chapter 6.
#include "devices/pci/pci_function.h"

#include "base/archive.h"
#include "base/assert.h"

namespace droste {

namespace {
constexpr u32 reg_command = 0x04, reg_status = 0x06, reg_bar = 0x10, reg_capabilities = 0x34;
constexpr u16 command_writable = 0x0547;  // I/O, memory, bus master, parity, SERR, INTx disable
constexpr u16 status_capabilities = 0x0010;

bool is_64_bit(BarKind kind) { return kind == BarKind::memory_64 || kind == BarKind::memory_64_prefetchable; }
u32 type_bits(BarKind kind) {
    switch (kind) {
    case BarKind::io: return 1;
    case BarKind::memory_32: return 0;
    case BarKind::memory_64: return 4;
    case BarKind::memory_64_prefetchable: return 0xC;
    }
    return 0;
}
}  // namespace

PciFunction::PciFunction(const PciIdentity& id) {
    define(0x00, 2, id.vendor, 0);
    define(0x02, 2, id.device, 0);
    define(reg_command, 2, 0, command_writable);
    define(0x08, 4, u64(id.class_code) << 8 | id.revision, 0);
    define(0x0C, 2, 0, 0xFFFF);  // cache line size, latency timer
    define(0x2C, 2, id.subsystem_vendor, 0);
    define(0x2E, 2, id.subsystem, 0);
    define(0x3C, 2, u64(id.interrupt_pin) << 8, 0xFF);
}

void PciFunction::define(u32 offset, unsigned size, u64 value, u64 writable) {
    ASSERT(offset + size <= config_.size());
    for (unsigned i = 0; i < size; ++i) {
        initial_[offset + i] = config_[offset + i] = static_cast<u8>(value >> (8 * i));
        writable_[offset + i] = static_cast<u8>(writable >> (8 * i));
    }
}

void PciFunction::add_bar(unsigned index, BarKind kind, u64 size, Device& device) {
    ASSERT(index + (is_64_bit(kind) ? 1u : 0u) < bars && windows_[index].device == nullptr);
    ASSERT((size & (size - 1)) == 0 && size >= (kind == BarKind::io ? 4u : 16u));
    windows_[index] = PciWindow{kind, size, &device};
    const u32 offset = reg_bar + 4 * index;
    const u64 address_bits = ~(size - 1);
    if (is_64_bit(kind)) {
        define(offset, 8, type_bits(kind), address_bits);
    } else {
        define(offset, 4, type_bits(kind), kind == BarKind::io ? address_bits & 0xFFFF'FFFC : address_bits);
    }
}

u8 PciFunction::add_capability(u8 id, const std::vector<u8>& body, const std::vector<u8>& writable) {
    const u8 at = next_capability_;
    ASSERT(at + 2 + body.size() <= 0x100 && writable.size() <= body.size());
    define(reg_status, 2, config(reg_status, 2) | status_capabilities, 0);
    define(last_link_, 1, at, 0);
    define(at, 2, id, 0);
    for (std::size_t i = 0; i < body.size(); ++i)
        define(at + 2 + static_cast<u32>(i), 1, body[i], i < writable.size() ? writable[i] : 0);
    last_link_ = at + 1;
    next_capability_ = static_cast<u8>((at + 2 + body.size() + 3) & ~3u);
    static_assert(reg_capabilities == 0x34);
    return at;
}

u64 PciFunction::config(u32 offset, unsigned size) const {
    u64 v = 0;
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i)
        v |= u64(config_[offset + i]) << (8 * i);
    return v;
}

void PciFunction::set_config(u32 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i)
        config_[offset + i] = static_cast<u8>(value >> (8 * i));
}

void PciFunction::reset() {
    config_ = initial_;
    update_windows();
}

u64 PciFunction::config_read(u32 offset, Width width) {
    if (offset + bytes(width) > config_.size()) return ~0ull;
    config_reading(offset, bytes(width));
    return config(offset, bytes(width));
}

void PciFunction::config_write(u32 offset, Width width, u64 value) {
    if (offset + bytes(width) > config_.size()) return;
    for (unsigned i = 0; i < bytes(width); ++i) {
        const u8 mask = writable_[offset + i];
        config_[offset + i] =
            static_cast<u8>((config_[offset + i] & ~mask) | (static_cast<u8>(value >> (8 * i)) & mask));
    }
    const u32 end = offset + bytes(width);
    if ((offset < reg_command + 2 && end > reg_command) || (offset < reg_bar + 4 * bars && end > reg_bar))
        update_windows();
    config_written(offset, bytes(width));
}

void PciFunction::update_windows() {
    for (unsigned i = 0; i < bars; ++i) {
        PciWindow& w = windows_[i];
        if (w.device == nullptr || decoder_ == nullptr) continue;
        const bool io = w.kind == BarKind::io;
        const u64 raw = config(reg_bar + 4 * i, is_64_bit(w.kind) ? 8 : 4);
        const u64 address = io ? raw & 0xFFFC : raw & ~15ull;
        const bool decode = bit(config_[reg_command], io ? 0 : 1) && address != 0 && !(io && raw >> 16);
        if (decode != w.decoded || (decode && address != w.address))
            decoder_->decode_changed(w, decode, address);
    }
}

void PciFunction::visit(Archive& archive) {
    archive.section(name(), 1);
    archive.field("config", config_);
    if (archive.mode() == Archive::Mode::load) {
        for (std::size_t i = 0; i < config_.size();
             ++i)  // BAR type bits decide addresses: not a file's to say
            if (i >= reg_bar && i < reg_bar + 4 * bars)
                config_[i] = static_cast<u8>((config_[i] & writable_[i]) | (initial_[i] & ~writable_[i]));
        update_windows();
    }
}

}  // namespace droste
