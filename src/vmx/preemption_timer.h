// SPDX-License-Identifier: Apache-2.0
// PreemptionTimer: the VMX-preemption timer, an exact ratio of the TSC, as an event of the queue.
#pragma once
#include "base/archive.h"
#include "base/events.h"
#include "base/types.h"

namespace droste {

class Vmx;

class PreemptionTimer final : public Event {
public:
    explicit PreemptionTimer(Vmx& vmx) : vmx_(vmx) {}
    ~PreemptionTimer() override;
    /// Counts down from `value` beginning now.
    void start(u32 value);
    void stop();
    bool expired() const { return expired_; }
    /// What is left; 0 once expired.
    u32 value() const;
    void fire(Time now) override;
    void visit(Archive& archive);

private:
    u64 count() const;  ///< TSC >> rate
    Time due() const;
    Vmx& vmx_;
    bool running_ = false;
    bool expired_ = false;
    u64 end_ = 0;  ///< count() at which it expires
};

}  // namespace droste
