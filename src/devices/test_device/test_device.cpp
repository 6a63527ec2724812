// SPDX-License-Identifier: Apache-2.0
// Devices for kernels made for testing.
#include "devices/test_device/test_device.h"

#include <string_view>

#include "base/archive.h"

namespace droste {

void TestInterruptPorts::write(u64 offset, Width, u64 value) {
    if (offset < lines) sink_.set_level(static_cast<unsigned>(offset), (value & 0xFF) != 0);
}
void TestInterruptPorts::visit(Archive& archive) { archive.section(name(), 1); }

u64 TestEchoPort::read(u64 offset, Width) { return offset < 4 ? value_ >> (8 * offset) : 0; }
void TestEchoPort::write(u64 offset, Width width, u64 value) {
    if (offset >= 4) return;
    const u64 lanes = width_mask(width) << (8 * offset);
    value_ = static_cast<u32>((value_ & ~lanes) | ((value << (8 * offset)) & lanes));
}
void TestEchoPort::visit(Archive& archive) {
    archive.section(name(), 1);
    archive.field("value", value_);
}

u64 TestMemoryRegion::read(u64 offset, Width width) {
    u64 v = 0;
    for (unsigned i = 0; i < bytes(width); ++i)
        if (offset + i < size) v |= u64(bytes_[offset + i]) << (8 * i);
    return v;
}
void TestMemoryRegion::write(u64 offset, Width width, u64 value) {
    for (unsigned i = 0; i < bytes(width); ++i)
        if (offset + i < size) bytes_[offset + i] = static_cast<u8>(value >> (8 * i));
}
void TestMemoryRegion::visit(Archive& archive) {
    archive.section(name(), 1);
    archive.field("bytes", bytes_);
}

void ShutdownPort::write(u64 offset, Width, u64 value) {
    static constexpr std::string_view word = "Shutdown";
    if (offset != 0) return;
    const char c = static_cast<char>(value);
    matched_ = c == word[matched_ % word.size()] ? static_cast<u8>(matched_ % word.size() + 1)
               : c == word[0]                    ? 1
                                                 : 0;
    if (matched_ == word.size()) {
        matched_ = 0;
        platform_.power_off("port 0x8900");
    }
}
void ShutdownPort::visit(Archive& archive) {
    archive.section(name(), 1);
    archive.field("matched", matched_);
}

}  // namespace droste
