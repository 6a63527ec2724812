// SPDX-License-Identifier: Apache-2.0
// Rtc: the MC146818 real-time clock with its battery-backed memory.
#pragma once
#include <array>

#include "base/device.h"
#include "base/events.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"

namespace droste {

/// Offsets: 0 index (port 0x70; bit 7 masks NMI), 1 data (0x71). The clock starts at `epoch`, in seconds
/// since 1970, at guest time 0 and follows guest time only. The memory and the time survive a platform reset.
class Rtc final : public Device {
public:
    Rtc(EventQueue& queue, const TimeSource& time, InterruptLine irq8, i64 epoch);

    const char* name() const override { return "rtc"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

    /// What firmware finds about the size of memory: bytes below and above 4 GiB.
    void set_memory_size(u64 below_4g, u64 above_4g);
    /// A byte of the memory, for the board (index 0x0E..0x7F).
    void set_cmos(u8 index, u8 value);
    bool nmi_masked() const { return bit(index_, 7); }

private:
    enum Register : u8 {
        seconds, seconds_alarm, minutes, minutes_alarm, hours, hours_alarm,
        weekday, day, month, year, reg_a, reg_b, reg_c, reg_d, century = 0x32
    };

    u64 tick() const;
    bool running() const { return (ram_[reg_a] >> 4 & 7) <= 2; }
    bool updating() const;
    u64 periodic_ticks() const;
    u8 read_register(u8 index);
    void write_register(u8 index, u8 value);
    void sync();
    void advance(u64 seconds_gone);
    bool alarm_matches() const;
    i64 date() const;
    void set_date(i64 since_1970);
    unsigned decode(u8 raw) const;
    u8 encode(unsigned value) const;
    u8 encode_hour(unsigned hour) const;
    void due(Time now);
    void update();

    EventQueue& queue_;
    const TimeSource& time_;
    ClockRatio clock_;
    InterruptLine irq8_;
    MemberEvent<Rtc> event_{*this, &Rtc::due};

    std::array<u8, 128> ram_{};
    u8 index_ = 0;
    u64 phase_ = 0;   // a tick at which a second began
    u64 synced_ = 0;  // everything up to this tick has been accounted for
};

}  // namespace droste
