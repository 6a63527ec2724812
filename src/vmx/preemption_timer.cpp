// SPDX-License-Identifier: Apache-2.0
// The VMX-preemption timer.
#include "vmx/preemption_timer.h"

#include "vmx/vmx.h"

namespace droste {

PreemptionTimer::~PreemptionTimer() { vmx_.cpu_.events.cancel(*this); }

// SDM "VMX-Preemption Timer": counts down by 1 each time that bit X of the TSC changes, X from IA32_VMX_MISC.
// The timer follows the real TSC, not the guest's.
u64 PreemptionTimer::count() const {
    return (vmx_.cpu_.now() + vmx_.cpu_.tsc_offset_host) >> vmx_.caps_.preemption_timer_rate;
}

Time PreemptionTimer::due() const {
    const u64 left = end_ - count();
    const u64 rate = vmx_.caps_.preemption_timer_rate;
    const u64 tsc = vmx_.cpu_.now() + vmx_.cpu_.tsc_offset_host;
    const u64 into_count = tsc & ((1ull << rate) - 1);
    return vmx_.cpu_.now() + (left << rate) - into_count;
}

void PreemptionTimer::start(u32 value) {
    running_ = true;
    end_ = count() + value;
    expired_ = value == 0;
    if (expired_) vmx_.cpu_.set_attention();
    else vmx_.cpu_.events.schedule(*this, due());
}

void PreemptionTimer::stop() {
    if (!running_) return;
    running_ = expired_ = false;
    vmx_.cpu_.events.cancel(*this);
}

u32 PreemptionTimer::value() const {
    const u64 at = count();
    return expired_ || at >= end_ ? 0 : static_cast<u32>(end_ - at);
}

void PreemptionTimer::fire(Time) {
    expired_ = true;
    vmx_.cpu_.set_attention();
}

void PreemptionTimer::visit(Archive& archive) {
    archive.field("preemption_timer_running", running_);
    archive.field("preemption_timer_expired", expired_);
    archive.field("preemption_timer_end", end_);
    if (archive.mode() != Archive::Mode::load) return;
    if (running_ && !expired_) vmx_.cpu_.events.schedule(*this, due());
    else vmx_.cpu_.events.cancel(*this);
}

}  // namespace droste
