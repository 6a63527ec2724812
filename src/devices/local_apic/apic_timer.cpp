// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer: counts are computed from guest time, only the expiry is an event.
#include "devices/local_apic/apic_timer.h"

namespace droste {

ApicTimer::ApicTimer(EventQueue& queue, const TimeSource& time, u64 bus_hz, Client& client)
    : queue_(queue), time_(time), bus_{bus_hz, time.master_hz()}, client_(client) {}

void ApicTimer::reset() {
    mode_ = Mode::one_shot;
    running_ = false;
    shift_ = 1;  // a divide configuration of 0 divides by 2
    initial_ = remaining_ = 0;
    start_ = deadline_ = 0;
    queue_.cancel(event_);
}

void ApicTimer::set_mode(Mode mode) {
    if (mode == mode_) return;
    const bool disarm = mode == Mode::tsc_deadline || mode_ == Mode::tsc_deadline || mode == Mode::reserved;
    mode_ = mode;
    if (!disarm) return;
    running_ = false;
    initial_ = remaining_ = 0;
    deadline_ = 0;
    queue_.cancel(event_);
}

void ApicTimer::set_divide_configuration(u32 value) {
    // Bits 3, 1, 0: 000 divides by 2, ... 110 by 128, 111 by 1.
    const u32 code = (value & 3) | (value >> 1 & 4);
    const u8 shift = code == 7 ? 0 : static_cast<u8>(code + 1);
    if (shift == shift_) return;
    if (running_) {  // go on from the present count at the new rate
        remaining_ = current_count();
        start_ = bus_now();
    }
    shift_ = shift;
    if (running_) arm();
}

void ApicTimer::set_initial_count(u32 value) {
    if (mode_ == Mode::tsc_deadline || mode_ == Mode::reserved) return;
    initial_ = remaining_ = value;
    start_ = bus_now();
    running_ = value != 0;
    if (running_) {
        arm();
    } else {
        queue_.cancel(event_);
    }
}

u32 ApicTimer::current_count() const {
    if (!running_) return 0;
    const u64 ticks = bus_now();
    u64 elapsed = ticks < start_ ? 0 : (ticks - start_) >> shift_;
    if (elapsed < remaining_) return remaining_ - static_cast<u32>(elapsed);
    if (mode_ != Mode::periodic) return 0;
    elapsed -= remaining_;
    return initial_ - static_cast<u32>(elapsed % initial_);
}

void ApicTimer::set_deadline(u64 tsc) {
    if (mode_ != Mode::tsc_deadline) return;
    deadline_ = tsc;
    arm_deadline();
}

void ApicTimer::set_tsc_offset(u64 offset) {
    if (offset == tsc_offset_) return;
    tsc_offset_ = offset;
    if (mode_ == Mode::tsc_deadline) arm_deadline();
}

void ApicTimer::arm() { queue_.schedule(event_, bus_.time_of(start_ + (u64(remaining_) << shift_))); }

void ApicTimer::arm_deadline() {
    if (deadline_ == 0) {
        queue_.cancel(event_);
        return;
    }
    const Time now = time_.now();
    const u64 tsc = now + tsc_offset_;
    if (tsc >= deadline_) {
        due(now);
        return;
    }
    const u64 wait = deadline_ - tsc;
    queue_.schedule(event_, wait >= never - now ? never : now + wait);
}

void ApicTimer::due(Time now) {
    if (mode_ == Mode::tsc_deadline) {
        deadline_ = 0;
        queue_.cancel(event_);
    } else if (mode_ == Mode::periodic && initial_ != 0) {
        start_ += u64(remaining_) << shift_;
        remaining_ = initial_;
        const u64 period = u64(initial_) << shift_;
        const u64 ticks = bus_.count_at(now);
        if (ticks > start_) start_ += (ticks - start_) / period * period;  // periods missed coalesce
        arm();
    } else {
        running_ = false;
    }
    client_.timer_expired();
}

void ApicTimer::visit(Archive& archive) {
    archive.field("timer_mode", mode_);
    archive.field("timer_running", running_);
    archive.field("timer_shift", shift_);
    archive.field("timer_initial", initial_);
    archive.field("timer_remaining", remaining_);
    archive.field("timer_start", start_);
    archive.field("tsc_deadline", deadline_);
    archive.field("tsc_offset", tsc_offset_);
    if (archive.mode() ==
        Archive::Mode::load) {  // a damaged file must not lead to a shift or division out of range
        mode_ = static_cast<Mode>(static_cast<u8>(mode_) & 3);
        shift_ &= 7;
        if (initial_ == 0) running_ = false;
    }
    visit_event(archive, "timer_due", queue_, event_);
}

}  // namespace droste
