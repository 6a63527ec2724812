// SPDX-License-Identifier: Apache-2.0
// One counter of an 8254: modes 0-5, both radices, latches.
#include "devices/pit/pit_channel.h"

namespace droste {

namespace {
u32 from_bcd(u16 v) { return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15); }
u16 to_bcd(u32 v) {
    return static_cast<u16>((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10);
}
}  // namespace

void PitChannel::reset(bool gate) {
    *this = PitChannel{};
    gate_ = gate;
}

u32 PitChannel::reload_value() const {
    u32 n = bcd_ ? from_bcd(written_) % 10000 : written_;
    if (n == 0) n = modulus();
    // A period of one pulse does not exist in modes 2 and 3.
    if (n == 1 && (mode_ == 2 || mode_ == 3)) n = 2;
    return n;
}

void PitChannel::load(u32 count, u64 at) {
    base_ = count;
    start_ = at;
    running_ = true;
    waiting_ = 0;
}

void PitChannel::set_control(u8 value) {
    mode_ = value >> 1 & 7;
    if (mode_ > 5) mode_ &= 3;  // 6 and 7 are 2 and 3
    access_ = value >> 4 & 3;
    bcd_ = value & 1;
    high_next_write_ = high_next_read_ = false;
    latched_bytes_ = 0;
    status_latched_ = false;
    armed_ = running_ = expired_ = false;
    not_loaded_ = true;
    waiting_ = 0;
    idle_output_ = mode_ != 0;
}

void PitChannel::write(u8 value, u64 tick) {
    sync(tick);
    if (access_ == 3 && !high_next_write_) {
        low_written_ = value;
        high_next_write_ = true;
        if (mode_ == 0) {  // the first byte stops the count and takes the output low
            base_ = count_at(tick);
            start_ = tick;
            running_ = armed_ = expired_ = false;
            idle_output_ = false;
        }
        return;
    }
    high_next_write_ = false;
    if (access_ == 1) written_ = value;
    else if (access_ == 2) written_ = static_cast<u16>(value << 8);
    else written_ = static_cast<u16>(value << 8 | low_written_);
    const bool first = !armed_;
    armed_ = true;
    not_loaded_ = mode_ == 1 || mode_ == 5;  // these two wait for the gate
    switch (mode_) {
    case 0:
    case 4:
        expired_ = false;
        base_ = reload_value();
        start_ = tick + 1;
        running_ = gate_;
        idle_output_ = mode_ == 4;
        break;
    case 2:
    case 3:
        if (first || !running_) {
            base_ = reload_value();
            start_ = tick + 1;
            running_ = gate_;
            waiting_ = 0;
        } else {
            waiting_ = reload_value();
            const u64 gone = elapsed(tick) / base_ + 1;
            waiting_from_ = start_ + gone * base_;
            // Mode 3 takes a new count at the end of the present half-cycle.
            if (mode_ == 3) {
                const u64 half = start_ + (gone - 1) * base_ + (base_ + 1) / 2;
                if (tick < half) waiting_from_ = half;
            }
        }
        break;
    default: break;
    }
}

void PitChannel::sync(u64 tick) {
    if (waiting_ == 0 || !running_ || tick < waiting_from_) return;
    const u32 old = base_;
    const bool at_half = (waiting_from_ - start_) % old != 0;
    load(waiting_, waiting_from_);
    // Taken in the middle of a square wave: the low half of the new count comes next.
    if (at_half) start_ -= (base_ + 1) / 2;
}

void PitChannel::set_gate(bool gate, u64 tick) {
    sync(tick);
    if (gate == gate_) return;
    const bool was_output = output(tick);
    gate_ = gate;
    switch (mode_) {
    case 0:
    case 4:
        if (!armed_) break;
        if (!gate) {
            if (tick >= start_) {
                // Past the terminal count the output stays high while the count rolls over.
                expired_ = expired_ || elapsed(tick) >= base_;
                base_ = count_at(tick);
            }
            idle_output_ = was_output;
            running_ = false;
        } else {
            start_ = tick;
            running_ = true;
        }
        break;
    case 1:
    case 5:
        if (gate && armed_) {
            idle_output_ = was_output;  // a one-shot that is triggered again stays low
            not_loaded_ = false;
            load(reload_value(), tick + 1);
        }
        break;
    default:
        if (!gate) {
            base_ = count_at(tick);
            start_ = tick;
            running_ = false;
            waiting_ = 0;
            idle_output_ = true;
        } else if (armed_) {
            load(reload_value(), tick + 1);
        }
        break;
    }
}

bool PitChannel::output(u64 tick) const {
    if (expired_) return true;
    if (!running_ || tick < start_) return idle_output_;
    const u64 e = tick - start_;
    switch (mode_) {
    case 0:
    case 1: return e >= base_;
    case 2: return e % base_ != base_ - 1;
    case 3: return e % base_ < (base_ + 1) / 2;
    default: return e != base_;  // modes 4 and 5: low for one pulse
    }
}

u64 PitChannel::next_change(u64 tick) const {
    if (!running_ || expired_) return no_tick;
    if (tick < start_) return start_;
    const u64 e = tick - start_;
    u64 next = no_tick;
    switch (mode_) {
    case 0:
    case 1: next = e < base_ ? start_ + base_ : no_tick; break;
    case 2: {
        const u64 period = tick - e % base_, low = period + base_ - 1;
        next = tick < low ? low : period + base_;
        break;
    }
    case 3: {
        const u64 period = tick - e % base_, half = period + (base_ + 1) / 2;
        next = tick < half ? half : period + base_;
        break;
    }
    default: next = e < base_ ? start_ + base_ : e == base_ ? tick + 1 : no_tick; break;
    }
    if (waiting_ != 0 && waiting_from_ > tick && waiting_from_ < next) next = waiting_from_;
    return next;
}

// The counting element in binary; 0 stands for the modulus.
u32 PitChannel::count_at(u64 tick) const {
    if (!loaded(tick)) return base_ % modulus();
    const u64 e = tick - start_;
    if (mode_ == 2) return static_cast<u32>(base_ - e % base_) % modulus();
    if (mode_ == 3) {
        const u64 at = e % base_, half = (base_ + 1) / 2;
        // Counts down by two from the even part, once for each half of the square wave.
        const u64 from = base_ & ~1u;
        return static_cast<u32>((from - 2 * (at < half ? at : at - half)) % modulus());
    }
    const u64 m = modulus();
    return static_cast<u32>((base_ % m + m - e % m) % m);
}

u16 PitChannel::visible_count(u64 tick) const {
    const u32 n = count_at(tick);
    return bcd_ ? to_bcd(n) : static_cast<u16>(n);
}

void PitChannel::latch_count(u64 tick) {
    sync(tick);
    if (latched_bytes_ != 0) return;  // an earlier latch stands until it is read
    latch_ = visible_count(tick);
    latched_bytes_ = access_;
}

void PitChannel::latch_status(u64 tick) {
    sync(tick);
    if (status_latched_) return;
    const bool null_count = not_loaded_ || waiting_ != 0 || (running_ && tick < start_);
    status_ = static_cast<u8>((output(tick) ? 0x80 : 0) | (null_count ? 0x40 : 0) | access_ << 4 |
                              mode_ << 1 | (bcd_ ? 1 : 0));
    status_latched_ = true;
}

u8 PitChannel::read(u64 tick) {
    sync(tick);
    if (status_latched_) {
        status_latched_ = false;
        return status_;
    }
    if (latched_bytes_ != 0) {
        const bool low = latched_bytes_ & 1;
        latched_bytes_ &= low ? 2 : 0;
        return static_cast<u8>(low ? latch_ : latch_ >> 8);
    }
    const u16 count = visible_count(tick);
    const bool high = access_ == 2 || (access_ == 3 && high_next_read_);
    if (access_ == 3) high_next_read_ = !high_next_read_;
    return static_cast<u8>(high ? count >> 8 : count);
}

void PitChannel::visit(Archive& archive) {
    archive.field("mode", mode_);
    archive.field("access", access_);
    archive.field("bcd", bcd_);
    archive.field("gate", gate_);
    archive.field("high_next_write", high_next_write_);
    archive.field("high_next_read", high_next_read_);
    archive.field("low_written", low_written_);
    archive.field("written", written_);
    archive.field("armed", armed_);
    archive.field("running", running_);
    archive.field("expired", expired_);
    archive.field("not_loaded", not_loaded_);
    archive.field("idle_output", idle_output_);
    archive.field("base", base_);
    archive.field("start", start_);
    archive.field("waiting", waiting_);
    archive.field("waiting_from", waiting_from_);
    archive.field("latched_bytes", latched_bytes_);
    archive.field("latch", latch_);
    archive.field("status_latched", status_latched_);
    archive.field("status", status_);
    if (archive.mode() == Archive::Mode::load) {  // no value of a damaged file may divide by zero
        mode_ = mode_ > 5 ? 0 : mode_;
        access_ = access_ < 1 || access_ > 3 ? 3 : access_;
        latched_bytes_ &= 3;
        if (waiting_ > 0x10000) waiting_ = 0x10000;
        const bool divides = running_ && (mode_ == 2 || mode_ == 3);
        if (base_ > 0x10000 || (divides && base_ < 2)) base_ = 0x10000;
    }
}

}  // namespace droste
