// SPDX-License-Identifier: Apache-2.0
// GuestTimer: the timer behind a virtual TSC-deadline timer (SDM "Guest Timer"), as an event of the queue.
#pragma once
#include "base/archive.h"
#include "base/events.h"
#include "base/types.h"

namespace droste {

class Vmx;

class GuestTimer final : public Event {
public:
    explicit GuestTimer(Vmx& vmx) : vmx_(vmx) {}
    ~GuestTimer() override;
    /// The guest deadline, a value of the real TSC; 0: disarmed.
    u64 deadline() const { return deadline_; }
    void set_deadline(u64 deadline);
    /// The deadline has been reached: a guest-timer event waits for the next boundary.
    bool due() const;
    /// WRMSR of IA32_TSC_DEADLINE in the guest. True: the deadline has passed already.
    bool write(u64 virtual_deadline);
    void fire(Time now) override;
    void visit(Archive& archive);

private:
    u64 tsc() const;
    Vmx& vmx_;
    u64 deadline_ = 0;
};

}  // namespace droste
