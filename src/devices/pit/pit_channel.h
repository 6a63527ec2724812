// SPDX-License-Identifier: Apache-2.0
// PitChannel: one counter of an 8254, computed from the number of clock ticks instead of being stepped.
#pragma once
#include "base/archive.h"
#include "base/types.h"

namespace droste {

/// All times are ticks of the counter's clock. Tick `t` is the state after t clock pulses; a count written at
/// tick t is loaded by the next pulse and first visible at t + 1.
class PitChannel {
public:
    static constexpr u64 no_tick = ~0ull;

    void reset(bool gate);
    /// Writes the mode, access and BCD bits of a control word (not a latch command).
    void set_control(u8 value);
    void write(u8 value, u64 tick);
    u8 read(u64 tick);
    void latch_count(u64 tick);
    void latch_status(u64 tick);
    void set_gate(bool gate, u64 tick);
    bool gate() const { return gate_; }
    bool output(u64 tick) const;
    /// The first tick after `tick` at which the output may differ, or no_tick.
    u64 next_change(u64 tick) const;
    /// Takes over a count that was waiting for the end of the period.
    void sync(u64 tick);
    void visit(Archive& archive);

private:
    u32 modulus() const { return bcd_ ? 10000 : 0x10000; }
    u32 reload_value() const;
    void load(u32 count, u64 at);
    u32 count_at(u64 tick) const;
    u16 visible_count(u64 tick) const;
    u64 elapsed(u64 tick) const { return tick < start_ ? 0 : tick - start_; }
    bool loaded(u64 tick) const { return running_ && tick >= start_; }

    u8 mode_ = 0;
    u8 access_ = 3;            // 1 low byte, 2 high byte, 3 low then high
    bool bcd_ = false;
    bool gate_ = true;
    bool high_next_write_ = false, high_next_read_ = false;
    u8 low_written_ = 0;
    u16 written_ = 0;          // the count register (CR)
    bool armed_ = false;       // a count has been written since the control word
    bool running_ = false;     // the counting element moves (or will at start_)
    bool expired_ = false;     // modes 0 and 4: past the terminal count when the gate stopped the count
    bool not_loaded_ = true;   // the count register holds what the counting element has not taken yet
    bool idle_output_ = true;  // the output while no count is loaded
    u32 base_ = 0x10000;       // the counting element at tick start_
    u64 start_ = 0;
    u32 waiting_ = 0;          // modes 2 and 3: the next period's count, 0 if none
    u64 waiting_from_ = 0;     // ... and the tick from which it counts
    u8 latched_bytes_ = 0;     // bytes of latch_ not read yet: 1 low, 2 high
    u16 latch_ = 0;
    bool status_latched_ = false;
    u8 status_ = 0;
};

}  // namespace droste
