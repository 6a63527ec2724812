// SPDX-License-Identifier: Apache-2.0
// TestMemoryErrors: a memory controller that reports failing pages, for firmware and hypervisors that handle them.
#pragma once
#include <array>

#include "base/device.h"
#include "base/events.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"

namespace droste {

/// Four registers of 32 bits, accessed whole:
///
///   +0   first page frame of the range that fails          read, write
///   +4   pages of the range                                read, write
///   +8   periods of the master clock between two errors    read, write; a write starts it anew, 0 stops it; at least 1,024
///   +12  read: bit 31 an error is there, bit 30 it could not be corrected, 29:0 its page frame; write: acknowledged,
///        and the next one comes an interval later
///
/// The interrupt line is up while an error waits for acknowledgement; none is reported meanwhile. The pages follow each
/// other in an order that looks random and is always the same; every eighth error is uncorrected.
class TestMemoryErrors final : public Device {
public:
    static constexpr u64 size = 16;
    TestMemoryErrors(EventQueue& queue, const TimeSource& time, InterruptLine line) : queue_(queue), time_(time), line_(line) {}
    const char* name() const override { return "test_memory_errors"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    static constexpr u32 waiting = 1u << 31, uncorrected = 1u << 30, frame = uncorrected - 1;
    void due(Time);

    EventQueue& queue_;
    const TimeSource& time_;
    InterruptLine line_;
    MemberEvent<TestMemoryErrors> event_{*this, &TestMemoryErrors::due};
    std::array<u32, 3> range_{};  // first frame, pages, interval
    u32 status_ = 0;
    u32 state_ = 0;  // of the order of pages
    u32 errors_ = 0;
};

}  // namespace droste
