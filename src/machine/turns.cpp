// SPDX-License-Identifier: Apache-2.0
// Rounds and turns.
#include "machine/turns.h"

#include <algorithm>
#include <utility>

namespace droste {

Time Turns::earliest() const {
    Time t = never;
    for (const Slot& s : slots_)
        if (!s.asleep())
            t = std::min(t, s.cpu->now());
    return t;
}

Time Turns::latest() const {
    Time t = 0;
    for (const Slot& s : slots_)
        t = std::max(t, s.cpu->now());
    return t;
}

u64 Turns::ticks() const {
    u64 sum = 0;
    for (const Slot& s : slots_)
        sum += s.cpu->ticks();
    return sum;
}

u64 Turns::cycles() const {
    u64 sum = 0;
    for (const Slot& s : slots_)
        sum += s.cpu->cycles();
    return sum;
}

bool Turns::turn(Slot& slot) {
    Cpu& cpu = *slot.cpu;
    in_turn_ = static_cast<unsigned>(&slot - slots_.data());
    running_ = &cpu;
    if (slot.halted)
        cpu.skip_to(present_);  // what woke it may not have told it the time
    cpu.next_event_changed(std::min(limit_, events_.next()));
    const Stop stop = cpu.run();
    running_ = nullptr;
    slot.halted = stop == Stop::halted;
    slot.attention_left = cpu.attention;
    return stop != Stop::shutdown;
}

Turns::Round Turns::round() {
    // One processor needs no quantum: only events end its turn.
    limit_ = never;
    if (const Time start = earliest(); slots_.size() > 1 && start != never)
        limit_ = start + quantum_;
    for (Slot& s : slots_) {
        if (s.halted && !s.cpu->attention)
            continue;
        if (!turn(s))
            return Round::shutdown;
        if (stopping_) {
            stopping_ = false;
            return Round::stopped;
        }
    }
    const Time end = std::min(limit_, events_.next());
    for (Slot& s : slots_)
        if (std::exchange(s.cpu->turn_given_up, false))
            s.cpu->skip_to(end);
    const Time reached = earliest();
    if (reached == never)
        return Round::asleep;
    present_ = reached;
    events_.run(present_);
    return Round::over;
}

void Turns::sleep() {
    if (slots_.size() == 1)
        slots_.front().cpu->skip_to(events_.next());
    present_ = never;
    for (const Slot& s : slots_)
        present_ = std::min(present_, s.cpu->now());
    present_ = std::max(present_, events_.next());
    events_.run(present_);
}

void Turns::stop() {
    if (running_ == nullptr)
        return;
    stopping_ = true;
    running_->request_stop();
}

}  // namespace droste
