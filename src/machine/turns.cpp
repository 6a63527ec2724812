// SPDX-License-Identifier: Apache-2.0
// Rounds and turns.
#include "machine/turns.h"

#include <algorithm>

namespace droste {

Time Turns::earliest() const {
    Time t = never;
    for (const Slot& s : slots_)
        t = std::min(t, s.cpu->now());
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
    cpu.next_event_changed(std::min(limit_, events_.next()));
    const Stop stop = cpu.run();
    running_ = nullptr;
    slot.halted = stop == Stop::halted;
    slot.attention_left = cpu.attention;
    return stop != Stop::shutdown;
}

Turns::Round Turns::round() {
    // One processor needs no quantum: only events end its turn.
    limit_ = slots_.size() == 1 ? never : earliest() + quantum_;
    for (Slot& s : slots_) {
        if (!s.wakes()) continue;
        if (!turn(s)) return Round::shutdown;
        if (stopping_) {
            stopping_ = false;
            return Round::stopped;
        }
    }
    if (std::all_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.halted && !s.woken_since(); }))
        return Round::asleep;
    const Time end = std::min(limit_, events_.next());
    for (Slot& s : slots_) {
        if (s.halted || s.cpu->turn_given_up) s.cpu->skip_to(end);
        s.cpu->turn_given_up = false;
    }
    events_.run(now());
    return Round::over;
}

void Turns::sleep() {
    for (Slot& s : slots_)
        s.cpu->skip_to(events_.next());
    events_.run(now());
}

void Turns::stop() {
    if (running_ == nullptr) return;
    stopping_ = true;
    running_->request_stop();
}

}  // namespace droste
