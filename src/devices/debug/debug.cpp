// SPDX-License-Identifier: Apache-2.0
// Ports for debugging.
#include "devices/debug/debug.h"

#include "base/archive.h"

namespace droste {

void DebugExit::write(u64 offset, Width width, u64 value) {
    if (offset == 0) platform_.debug_exit(static_cast<u32>(value & width_mask(width)));
}
void DebugExit::visit(Archive& archive) { archive.section("debug_exit", 1); }

void DebugConsole::write(u64 offset, Width width, u64 value) {
    if (offset != 0) return;
    for (unsigned i = 0; i < bytes(width); ++i) sink_.put(static_cast<u8>(value >> (8 * i)));
}
void DebugConsole::visit(Archive& archive) { archive.section("debug_console", 1); }

u64 PostCodes::read(u64 offset, Width width) {
    u64 v = 0;
    for (unsigned i = 0; i < bytes(width); ++i)
        if (offset + i < latches_.size()) v |= u64(latches_[offset + i]) << (8 * i);
    return v;
}
void PostCodes::write(u64 offset, Width width, u64 value) {
    for (unsigned i = 0; i < bytes(width); ++i)
        if (offset + i < latches_.size()) latches_[offset + i] = static_cast<u8>(value >> (8 * i));
}
void PostCodes::visit(Archive& archive) {
    archive.section("post_codes", 1);
    archive.field("latches", latches_);
}

}  // namespace droste
