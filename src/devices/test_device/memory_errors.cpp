// SPDX-License-Identifier: Apache-2.0
// The order of failing pages, and when they are reported.
#include "devices/test_device/memory_errors.h"

#include "base/archive.h"

namespace droste {

void TestMemoryErrors::reset() {
    queue_.cancel(event_);
    range_ = {};
    status_ = state_ = errors_ = 0;
    line_.set(false);
}

u64 TestMemoryErrors::read(u64 offset, Width width) {
    if (width != Width::dword || offset % 4 != 0 || offset >= size) return 0;
    return offset < 12 ? range_[offset / 4] : status_;
}

void TestMemoryErrors::write(u64 offset, Width width, u64 value) {
    if (width != Width::dword || offset % 4 != 0 || offset >= size) return;
    if (offset == 12) {
        status_ = 0;
        line_.set(false);
        if (range_[2] != 0) queue_.schedule(event_, time_.now() + range_[2]);
        return;
    }
    range_[offset / 4] = static_cast<u32>(value);
    // No guest can make the machine do nothing but report.
    constexpr u32 shortest = 1024;
    if (offset == 8 && range_[2] != 0 && range_[2] < shortest) range_[2] = shortest;
    if (offset == 8) queue_.schedule(event_, range_[2] == 0 ? never : time_.now() + range_[2]);
}

void TestMemoryErrors::due(Time) {
    if ((status_ & waiting) != 0 || range_[1] == 0) return;
    state_ = state_ * 1664525 + 1013904223;
    const bool lost = ++errors_ % 8 == 0;
    status_ = waiting | (lost ? uncorrected : 0) | ((range_[0] + (state_ >> 8) % range_[1]) & frame);
    line_.set(true);
}

void TestMemoryErrors::visit(Archive& archive) {
    archive.section(name(), 1);
    archive.field("range", range_);
    archive.field("status", status_);
    archive.field("state", state_);
    archive.field("errors", errors_);
    visit_event(archive, "next", queue_, event_);
}

}  // namespace droste
