// SPDX-License-Identifier: Apache-2.0
// Guest time and the queue of what happens next. One master clock; every timer is an exact ratio of it.
#pragma once
#include <vector>

#include "base/types.h"

namespace droste {

/// Guest time in periods of the master clock (default 2 GHz; the TSC's rate). What advances it (ticks or modelled
/// cycles) is decided by the run loop.
using Time = u64;
inline constexpr Time never = ~0ull;

/// An exact ratio of two frequencies: converts master-clock periods to counts of a derived clock without drift.
struct ClockRatio {
    u64 derived_hz{1};
    u64 master_hz{1};
    /// Number of derived ticks that have elapsed at `t` (floor).
    constexpr u64 count_at(Time t) const { return static_cast<u64>(u128(t) * derived_hz / master_hz); }
    /// The first time at which count_at() is at least `count`.
    constexpr Time time_of(u64 count) const {
        const u128 t = (u128(count) * master_hz + derived_hz - 1) / derived_hz;
        return t > never ? never : static_cast<Time>(t);
    }
};

/// Tells the present guest time. Implemented by the run loop; valid also in the middle of an instruction.
class TimeSource {
public:
    virtual ~TimeSource() = default;
    virtual Time now() const = 0;
    u64 master_hz() const { return master_hz_; }

protected:
    explicit TimeSource(u64 master_hz) : master_hz_(master_hz) {}

private:
    u64 master_hz_;
};

class EventQueue;

/// A timer of one part. The owner implements fire(); the part re-arms by schedule().
class Event {
public:
    virtual ~Event() = default;
    /// Due. Called by the run loop between instructions with now() >= the time scheduled.
    virtual void fire(Time now) = 0;

private:
    friend class EventQueue;
    Time when_ = never;
    u64 seq_ = 0;
};

/// Told when the head of the queue may have become earlier, so that the CPU's budget can be shortened.
class EventWatcher {
public:
    virtual ~EventWatcher() = default;
    virtual void next_event_changed(Time when) = 0;
};

/// The pending events, ordered by (time, order of scheduling); small, so a sorted vector serves.
/// Not saved itself: each part re-schedules in its visit(Archive&) on load.
class EventQueue {
public:
    /// (Re-)schedules `event` at `when`; `never` cancels.
    void schedule(Event& event, Time when);
    void cancel(Event& event) { schedule(event, never); }
    Time next() const { return queue_.empty() ? never : queue_.front()->when_; }
    static Time when(const Event& event) { return event.when_; }
    /// For saving: the place of a pending event among those of the same time, and how a load puts it back there.
    static u64 order(const Event& event) { return event.seq_; }
    void restore(Event& event, Time when, u64 order);
    /// Fires everything due at `now`, in order; events may schedule further ones.
    void run(Time now);
    void watch(EventWatcher& watcher) { watcher_ = &watcher; }

private:
    std::vector<Event*> queue_;
    u64 seq_ = 0;
    EventWatcher* watcher_ = nullptr;
};

}  // namespace droste
