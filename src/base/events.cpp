// SPDX-License-Identifier: Apache-2.0
// The event queue.
#include "base/events.h"

#include <algorithm>

namespace droste {

void EventQueue::schedule(Event& event, Time when) {
    const auto old = std::find(queue_.begin(), queue_.end(), &event);
    if (old != queue_.end()) queue_.erase(old);
    event.when_ = when;
    if (when != never) {
        event.seq_ = seq_++;
        const auto at = std::find_if(queue_.begin(), queue_.end(), [&](const Event* e) { return when < e->when_; });
        queue_.insert(at, &event);
    }
    if (watcher_ != nullptr) watcher_->next_event_changed(next());
}

void EventQueue::restore(Event& event, Time when, u64 order) {
    const auto old = std::find(queue_.begin(), queue_.end(), &event);
    if (old != queue_.end()) queue_.erase(old);
    event.when_ = when;
    if (when != never) {
        event.seq_ = order;
        seq_ = std::max(seq_, order + 1);
        const auto at = std::find_if(queue_.begin(), queue_.end(), [&](const Event* e) {
            return when < e->when_ || (when == e->when_ && order < e->seq_);
        });
        queue_.insert(at, &event);
    }
    if (watcher_ != nullptr) watcher_->next_event_changed(next());
}

void EventQueue::run(Time now) {
    while (!queue_.empty() && queue_.front()->when_ <= now) {
        Event* e = queue_.front();
        queue_.erase(queue_.begin());
        e->when_ = never;
        e->fire(now);
    }
    if (watcher_ != nullptr) watcher_->next_event_changed(next());
}

}  // namespace droste
