// SPDX-License-Identifier: Apache-2.0
// LevelObserver: feeds the level tracker and the exit accounts with what VMX does.
#pragma once
#include <deque>
#include <string_view>
#include <vector>

#include "base/events.h"
#include "nested/exit_accounts.h"
#include "nested/level_tracker.h"
#include "vmx/exit_router.h"

namespace droste {

struct Cpu;

/// One exit of the recent past, for the report of a guest that died.
struct RecentExit {
    Time time;
    unsigned processor;
    u64 tick;
    unsigned level;
    std::string_view reason;
    u64 qualification;
    u64 linear_rip;
    u64 guest_physical;
    bool has_guest_physical;
};

/// When a level first ran.
struct FirstSeen {
    u64 tick = 0, cycle = 0;  ///< of the processor that ran it
    Time time = 0;
};

class LevelObserver final : public VmxObserver {
public:
    /// Of processor number `processor`. The tracker is shared by all.
    LevelObserver(const Cpu& cpu, LevelTracker& tracker, unsigned processor)
        : cpu_(cpu), tracker_(tracker), processor_(processor) {
        first_seen_.emplace_back();
    }

    void set_listener(RoundTripListener* listener) { accounts_.set_listener(listener); }
    /// Complete up to the present cycle.
    const ExitAccounts& accounts() const;
    const LevelTracker& tracker() const { return tracker_; }
    /// The level that runs now on this processor.
    unsigned level() const { return tracker_.level_of(tracker_.running(processor_)); }
    /// When each level first ran on this processor; index = level.
    const std::vector<FirstSeen>& first_seen() const { return first_seen_; }
    /// Newest last, at most 16.
    const std::deque<RecentExit>& recent() const { return recent_; }

    void vmxon(u64 pointer) override;
    void vmxoff() override;
    void vmptrld(u64 address) override;
    void vmclear(u64 address) override;
    void vmread(Field field, u64 value, bool shadow) override;
    void vmwrite(Field field, u64 value, bool shadow) override;
    void entered(const EntryEvent& event) override;
    void entry_failed(const EntryEvent& event, std::string_view check) override;
    void exit_recognised(const ExitEvent& event) override;
    void exited_to_non_root(const ExitEvent& event) override;
    void received(const ExitEvent& event) override;
    void entered_from_non_root(const EntryEvent& event) override;
    /// The level of the last exit that was recognised; 0 when it was unknown.
    unsigned exit_level() const { return exit_level_; }

private:
    Meters meters(u64 ticks, u64 cycles) const;
    /// The guest of a VMCS runs from now on.
    void arrived(const EntryEvent& event, u32 node);
    /// A VMX instruction attempted in non-root operation: what it would do to the attempting hypervisor.
    void attempted(const ExitEvent& event, u32 node);
    const Cpu& cpu_;
    LevelTracker& tracker_;
    const unsigned processor_;
    mutable ExitAccounts accounts_;  // settled when read
    std::vector<FirstSeen> first_seen_;
    std::deque<RecentExit> recent_;
    unsigned exit_level_ = 0;
    u32 exit_node_ = 0;
    u64 exits_ = 0, entries_ = 0, vmreads_ = 0, vmwrites_ = 0;
};

}  // namespace droste
