// SPDX-License-Identifier: Apache-2.0
// The reset registers.
#include "devices/reset/reset.h"

#include "base/archive.h"

namespace droste {

u64 ResetControl::read(u64 offset, Width) { return offset == 0 ? value_ : 0xFF; }

void ResetControl::write(u64 offset, Width, u64 value) {
    if (offset != 0) return;
    const u8 before = value_;
    value_ = value & 0x0E;
    if (bit(value_, 2) && !bit(before, 2)) platform_.reset("port 0xCF9");
}

void ResetControl::visit(Archive& archive) {
    archive.section("reset_control", 1);
    archive.field("value", value_);
}

u64 SystemControlA::read(u64 offset, Width) { return offset == 0 ? value_ | (a20_.a20() ? 2 : 0) : 0xFF; }

void SystemControlA::write(u64 offset, Width, u64 value) {
    if (offset != 0) return;
    const u8 before = value_;
    value_ = value & 0xFD;
    a20_.set_a20(bit(value, 1));
    if (bit(value_, 0) && !bit(before, 0)) platform_.reset("port 0x92");
}

void SystemControlA::visit(Archive& archive) {
    archive.section("system_control_a", 1);
    archive.field("value", value_);
}

}  // namespace droste
