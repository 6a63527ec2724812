// SPDX-License-Identifier: Apache-2.0
// The guest timer of APIC-timer virtualization.
#include "vmx/guest_timer.h"

#include "vmx/vmx.h"

namespace droste {

GuestTimer::~GuestTimer() { vmx_.cpu_.events.cancel(*this); }

u64 GuestTimer::tsc() const { return vmx_.cpu_.now() + vmx_.cpu_.tsc_offset_host; }

bool GuestTimer::due() const { return deadline_ != 0 && deadline_ <= tsc(); }

void GuestTimer::set_deadline(u64 deadline) {
    if (deadline_ != 0) vmx_.cpu_.events.cancel(*this);
    deadline_ = deadline;
    if (deadline == 0) return;
    if (due()) {
        vmx_.cpu_.set_attention();
        return;
    }
    const u64 left = deadline - tsc();
    // A deadline beyond the end of guest time never comes.
    if (left <= ~0ull - vmx_.cpu_.now()) vmx_.cpu_.events.schedule(*this, vmx_.cpu_.now() + left);
}

// SDM "Changes to Instruction Behavior in VMX Non-Root Operation", WRMSR of 6E0H: the deadline is one of the
// guest's TSC. The inverse of what RDTSC does, rounded up so that the guest never sees its timer early.
bool GuestTimer::write(u64 virtual_deadline) {
    const Cpu& cpu = vmx_.cpu_;
    if (virtual_deadline == 0) {
        set_deadline(0);
        return false;
    }
    if (virtual_deadline <= cpu.read_tsc()) {
        set_deadline(0);
        return true;
    }
    const u64 scaled = virtual_deadline - cpu.tsc_offset;
    // VM entry refuses a multiplier of 0; a VMCS that was scribbled on may hold it all the same.
    const u128 real = cpu.tsc_multiplier == 0
                          ? u128(~0ull)
                          : ((u128(scaled) << 48) + cpu.tsc_multiplier - 1) / cpu.tsc_multiplier;
    set_deadline(real > ~0ull ? ~0ull : static_cast<u64>(real));
    return false;
}

void GuestTimer::fire(Time) { vmx_.cpu_.set_attention(); }

void GuestTimer::visit(Archive& archive) {
    u64 deadline = deadline_;
    archive.field("guest_deadline", deadline);
    if (archive.mode() == Archive::Mode::load) set_deadline(deadline);
}

}  // namespace droste
