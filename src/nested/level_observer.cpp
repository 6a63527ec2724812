// SPDX-License-Identifier: Apache-2.0
// VMX events to tracker and accounts.
#include "nested/level_observer.h"

#include "cpu/cpu.h"

namespace droste {

namespace {

/// What an attempted VMX instruction means to the tracker, by exit reason.
struct AttemptRow {
    const ExitRow* reason;
    void (*apply)(LevelTracker&, u32 node, const ExitEvent&);
};

constexpr AttemptRow attempts[] = {
    {"vmxon"_exit, [](LevelTracker& t, u32 n, const ExitEvent&) { t.vmxon(n); }},
    {"vmxoff"_exit, [](LevelTracker& t, u32 n, const ExitEvent&) { t.vmxoff(n); }},
    {"vmptrld"_exit,
     [](LevelTracker& t, u32 n, const ExitEvent& e) {
         if (e.operand) t.vmptrld(n, *e.operand);
     }},
    {"vmclear"_exit,
     [](LevelTracker& t, u32 n, const ExitEvent& e) {
         if (e.operand) t.vmclear(n, *e.operand);
     }},
    {"vmlaunch"_exit, [](LevelTracker& t, u32 n, const ExitEvent&) { t.attempt_entry(n); }},
    {"vmresume"_exit, [](LevelTracker& t, u32 n, const ExitEvent&) { t.attempt_entry(n); }},
};

}  // namespace

Meters LevelObserver::meters(u64 ticks, u64 cycles) const {
    return {.cycles = cycles,
            .ticks = ticks,
            .exits = exits_,
            .entries = entries_,
            .vmreads = vmreads_,
            .vmwrites = vmwrites_,
            .walk_references = cpu_.mmu.counters.references + cpu_.mmu.counters.ept_references};
}

const ExitAccounts& LevelObserver::accounts() const {
    accounts_.settle(cpu_.cycles());
    return accounts_;
}

void LevelObserver::vmxon(u64) { tracker_.vmxon(0, processor_); }
void LevelObserver::vmxoff() { tracker_.vmxoff(0, processor_); }
void LevelObserver::vmptrld(u64 address) { tracker_.vmptrld(0, address); }
void LevelObserver::vmclear(u64 address) { tracker_.vmclear(0, address); }
void LevelObserver::vmread(Field, u64, bool) { ++vmreads_; }
void LevelObserver::vmwrite(Field, u64, bool) { ++vmwrites_; }

void LevelObserver::entered(const EntryEvent& event) {
    ++entries_;
    accounts_.handed_over(tracker_.running(processor_));
    arrived(event, event.path.empty() ? tracker_.entered(event.vmcs, processor_)
                                      : tracker_.entered_along(event.path, processor_));
}

void LevelObserver::arrived(const EntryEvent& event, u32 node) {
    const unsigned level = tracker_.level_of(node);
    // The clocks of two processors have no common zero: a round trip that began on another one is not counted.
    if (tracker_.node(node).exited_on != processor_) accounts_.migrated(node);
    if (first_seen_.size() <= level) 
        first_seen_.resize(level + 1, {event.ticks, cpu_.cycles(), cpu_.now()});
    accounts_.entry(node, level, meters(event.ticks, cpu_.cycles()));
}

void LevelObserver::entry_failed(const EntryEvent&, std::string_view) { tracker_.left(processor_); }

void LevelObserver::attempted(const ExitEvent& event, u32 node) {
    for (const AttemptRow& row : attempts)
        if (row.reason == event.row) row.apply(tracker_, node, event);
}

void LevelObserver::exit_recognised(const ExitEvent& event) {
    if (event.row->kind == ExitKind::entry) return;  // a failed entry: nothing ran
    const u32 node = tracker_.running(processor_);
    exit_node_ = node;
    exit_level_ = tracker_.level_of(node);
    if (node == 0) {
        accounts_.unknown_exit();
    } else {
        accounts_.exit(node, tracker_.level_of(node), event.row->number, meters(event.ticks, event.cycles_before));
        attempted(event, node);
    }
    ++exits_;
    recent_.push_back({cpu_.now(), processor_, event.ticks, tracker_.level_of(node), event.row->name, event.qualification, event.linear_rip,
                       event.guest_physical.value, event.has_guest_physical});
    if (recent_.size() > 16) recent_.pop_front();
    tracker_.left(processor_);
}

// The hypervisor of the now current VMCS's guest runs, without an entry of level 0.
void LevelObserver::exited_to_non_root(const ExitEvent& event) {
    arrived({.vmcs = event.vmcs_after, .launch = false, .ticks = event.ticks, .cycles_before = event.cycles_before,
             .linear_rip = event.linear_rip},
            tracker_.came_back(event.vmcs_after, processor_));
}

// Native nesting: a guest hypervisor goes on after an exit of a level above it.
void LevelObserver::received(const ExitEvent& event) {
    const u32 node = tracker_.hypervisor(exit_node_, event.to);
    tracker_.resumed(node, processor_);
    accounts_.entry(node, event.to, meters(event.ticks, cpu_.cycles()));
}

void LevelObserver::entered_from_non_root(const EntryEvent& event) { entered(event); }

}  // namespace droste
