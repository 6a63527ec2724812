// SPDX-License-Identifier: Apache-2.0
// ApicTimer: the local APIC's timer in its one-shot, periodic and TSC-deadline modes.
#pragma once
#include "base/archive.h"
#include "devices/member_event.h"

namespace droste {

class ApicTimer {
public:
    /// LVT timer bits 18:17.
    enum class Mode : u8 { one_shot, periodic, tsc_deadline, reserved };

    class Client {
    public:
        virtual ~Client() = default;
        virtual void timer_expired() = 0;
    };

    ApicTimer(EventQueue& queue, const TimeSource& time, u64 bus_hz, Client& client);

    void reset();
    /// A change from or to TSC-deadline mode disarms the timer. SDM "TSC-Deadline Mode".
    void set_mode(Mode mode);
    void set_divide_configuration(u32 value);
    void set_initial_count(u32 value);
    u32 initial_count() const { return initial_; }
    u32 current_count() const;
    /// IA32_TSC_DEADLINE; 0 when disarmed or in another mode.
    u64 deadline() const { return deadline_; }
    void set_deadline(u64 tsc);
    /// The TSC is the master time plus `offset`.
    void set_tsc_offset(u64 offset);
    void visit(Archive& archive);

private:
    void due(Time now);
    void arm();
    void arm_deadline();
    u64 bus_now() const { return bus_.count_at(time_.now()); }

    EventQueue& queue_;
    const TimeSource& time_;
    ClockRatio bus_;
    Client& client_;
    MemberEvent<ApicTimer> event_{*this, &ApicTimer::due};

    Mode mode_ = Mode::one_shot;
    bool running_ = false;
    u8 shift_ = 1;         // the divider is 1 << shift_
    u32 initial_ = 0;
    u32 remaining_ = 0;    // the count at bus tick start_
    u64 start_ = 0;
    u64 deadline_ = 0;
    u64 tsc_offset_ = 0;
};

}  // namespace droste
