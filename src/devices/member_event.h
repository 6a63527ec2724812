// SPDX-License-Identifier: Apache-2.0
// MemberEvent: a timer whose due call is a member function of its owner.
#pragma once
#include <string_view>

#include "base/archive.h"
#include "base/events.h"

namespace droste {

template <class Owner> class MemberEvent final : public Event {
public:
    MemberEvent(Owner& owner, void (Owner::*due)(Time)) : owner_(owner), due_(due) {}
    void fire(Time now) override { (owner_.*due_)(now); }

private:
    Owner& owner_;
    void (Owner::*due_)(Time);
};

/// Visits the time at which `event` is due, and its place among events of the same time; a load re-schedules
/// it. The place is a count of past schedulings and no part of the guest-visible state: it is not hashed.
inline void visit_event(Archive& archive, std::string_view name, EventQueue& queue, Event& event) {
    Time when = EventQueue::when(event);
    archive.field(name, when);
    if (archive.mode() == Archive::Mode::hash) return;
    u64 order = when == never ? 0 : EventQueue::order(event);
    archive.field("order", order);
    if (archive.mode() == Archive::Mode::load) queue.restore(event, archive.good() ? when : never, order);
}

}  // namespace droste
