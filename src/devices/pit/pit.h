// SPDX-License-Identifier: Apache-2.0
// Pit: the 8254 interval timer with port 0x61 (gate and output of channel 2, refresh toggle).
#pragma once
#include <array>

#include "base/device.h"
#include "base/events.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"
#include "devices/pit/pit_channel.h"

namespace droste {

/// Offsets: 0..3 counters and control word (ports 0x40..0x43), 4 system control port B (0x61).
class Pit final : public Device {
public:
    static constexpr u64 clock_hz = 1'193'182;
    Pit(EventQueue& queue, const TimeSource& time, InterruptLine irq0)
        : queue_(queue), time_(time), clock_{clock_hz, time.master_hz()}, irq0_(irq0) {}

    const char* name() const override { return "pit"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    // The channels' clock starts here, so that a load never lies before tick 0.
    static constexpr u64 first_tick = 0x2'0000;
    u64 tick() const { return clock_.count_at(time_.now()) + first_tick; }
    u8 read_byte(u64 offset);
    void write_byte(u64 offset, u8 value);
    void control_word(u8 value);
    void due(Time now);
    void update();

    EventQueue& queue_;
    const TimeSource& time_;
    ClockRatio clock_;
    InterruptLine irq0_;
    MemberEvent<Pit> event_{*this, &Pit::due};
    std::array<PitChannel, 3> channels_;
    u8 port_b_ = 0;  // bits 0..3 as written
};

}  // namespace droste
