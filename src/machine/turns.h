// SPDX-License-Identifier: Apache-2.0
// Turns: runs the processors one after the other on one host thread, in rounds of guest time
// (docs/decisions/0005).
#pragma once
#include <vector>

#include "base/events.h"
#include "cpu/cpu.h"
#include "machine/apic_window.h"

namespace droste {

/// A round covers the guest time from the earliest processor's that is awake to the next event, at most a
/// quantum. Each processor runs to the end of the round by its own clock. One that executed PAUSE lets the
/// rest of it pass, a sleeping one all time until something wakes it. An event that is scheduled for a time
/// within the round ends it there for the processors that run and that come after. Then the events are fired
/// that are due for the earliest processor.
///
/// The time of now() is that of the processor in its turn; between turns it is that of the events.
class Turns final : public TimeSource, public EventWatcher, public RunningProcessor {
public:
    Turns(EventQueue& events, u64 master_hz, Time quantum)
        : TimeSource(master_hz), events_(events), quantum_(quantum) {}
    /// All are added before the first round, in the order of their turns.
    void add(Cpu& cpu) {
        slots_.push_back({.cpu = &cpu});
        cpu.pause_ends_turn = slots_.size() > 1;
        slots_.front().cpu->pause_ends_turn = slots_.size() > 1;
    }

    enum class Round : u8 {
        over,
        asleep,   ///< all processors sleep; no time has passed for them: call sleep()
        stopped,  ///< by stop(), in the middle of a turn
        shutdown  ///< the processor `in_turn()` shut down
    };
    Round round();
    /// Lets time go on to the next event, and fires what is due.
    void sleep();
    /// Ends the round in progress after the present instruction.
    void stop();

    Time now() const override {
        if (running_ != nullptr)
            return running_->now();
        return slots_.size() == 1 ? slots_.front().cpu->now() : present_;
    }
    /// The latest processor's time.
    Time latest() const;
    void next_event_changed(Time when) override {
        if (running_ != nullptr)
            running_->next_event_changed(std::min(limit_, when));
    }
    /// The processor that runs, or ran last.
    unsigned running_processor() const override { return in_turn_; }
    /// Over all processors.
    u64 ticks() const;
    u64 cycles() const;

private:
    struct Slot {
        Cpu* cpu = nullptr;
        bool halted = false;          // run() said so in its last turn
        bool attention_left = false;  // and there was something that it could not act on
        bool asleep() const { return halted && (!cpu->attention || attention_left); }
    };
    /// Over the processors that are awake; `never` when there is none.
    Time earliest() const;
    /// False: the processor shut down.
    bool turn(Slot& slot);

    EventQueue& events_;
    const Time quantum_;
    std::vector<Slot> slots_;
    Cpu* running_ = nullptr;
    unsigned in_turn_ = 0;
    Time present_ = 0;    // of the events that were fired last
    Time limit_ = never;  // of the round, but for events
    bool stopping_ = false;
};

}  // namespace droste
