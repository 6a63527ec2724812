// SPDX-License-Identifier: Apache-2.0
// The run loop: processor, events, idle time, and the looks at the host in between.
#include <fmt/format.h>

#include <algorithm>

#include "machine/machine_parts.h"

namespace droste {

namespace {
using Clock = std::chrono::steady_clock;
/// Guest time between two looks at the host. A power of two, so that the moments are the same in every run.
constexpr Time poll_interval = 1u << 22;
/// A processor that is halted with interrupts disabled for so long is taken for dead.
constexpr u64 dead_after_seconds = 60;
}  // namespace

void Machine::Parts::power_off(std::string_view by) {
    finish(EndKind::powered_off, fmt::format("the guest powered off ({})", by));
}

void Machine::Parts::reset(std::string_view by) {
    finish(EndKind::reset,
           fmt::format("the guest reset the machine ({}); a kernel that was loaded directly is not "
                       "started again",
                       by));
}

void Machine::Parts::debug_exit(u32 value) {
    finish(EndKind::debug_exit, fmt::format("the guest wrote {} to the debug-exit port", value), value);
}

void Machine::Parts::finish(EndKind kind, std::string reason, u32 code) {
    if (!end)
        end = RunEnd{kind, code, std::move(reason)};
    turns.stop();
}

void Machine::Parts::run(u64 stop_at) {
    stop_at_ = stop_at;
    started_ = Clock::now() -
               std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(host_seconds));
    if (config.hash_interval != 0 && next_hash_ == ~0ull)
        next_hash_ = (ticks() / config.hash_interval + 1) * config.hash_interval;
    if (EventQueue::when(poll_event_) == never)
        events.schedule(poll_event_, (turns.now() / poll_interval + 1) * poll_interval);
    schedule_mark();
    while (!end && ticks() < stop_at_) {
        switch (turns.round()) {
        case Turns::Round::over:
        case Turns::Round::stopped:
            break;
        case Turns::Round::asleep:
            idle();
            break;
        case Turns::Round::shutdown:
            shut_down();
            break;
        }
        if (!exact_marks() && !end)
            reach_mark();
    }
    host_seconds = std::chrono::duration<double>(Clock::now() - started_).count();
}

void Machine::Parts::shut_down() {
    const Processor& p = in_turn();
    const std::string which =
        processors.size() == 1 ? "the processor" : fmt::format("processor {}", turns.running_processor());
    if (const VmxAbort why = p.vmx.last_abort(); why != VmxAbort::none)
        finish(EndKind::vmx_abort,
               fmt::format("VMX abort {} (SDM \"VMX Aborts\"){} at tick {}", static_cast<u32>(why),
                           processors.size() == 1 ? "" : " of " + which, ticks()));
    else
        finish(EndKind::triple_fault,
               fmt::format("triple fault: {} shut down at RIP {:#x}, tick {}", which, p.cpu.rip, ticks()));
}

/// No processor can take an interrupt. One in MWAIT may be woken by a masked one, or by a device's store.
bool Machine::Parts::deaf() const {
    return std::all_of(processors.begin(), processors.end(), [](const auto& p) {
        const Cpu& cpu = p->cpu;
        return cpu.activity == Activity::wait_for_sipi ||
               (cpu.activity != Activity::mwait && !cpu.non_root && (cpu.rflags & rflags_bits::if_) == 0);
    });
}

void Machine::Parts::idle() {
    if (halted_since_ == never || halted_ticks_ != ticks()) {
        halted_since_ = turns.now();
        halted_ticks_ = ticks();
    }
    if (deaf() && turns.now() - halted_since_ > dead_after_seconds * config.master_hz) {
        const Cpu& first = processors.front()->cpu;
        finish(EndKind::dead_halt,
               processors.size() == 1
                   ? fmt::format("the processor is halted for good: interrupts are disabled at RIP {:#x}",
                                 first.rip)
                   : fmt::format("all processors are halted for good: interrupts are disabled, on processor "
                                 "0 at RIP {:#x}",
                                 first.rip));
        return;
    }
    if (nothing_else_pending()) {
        // Only a key can wake this guest.
        if (!host.wait_for_input()) {
            finish(EndKind::dead_halt,
                   processors.size() == 1
                       ? "the processor is halted, and nothing is left that could wake it"
                       : "all processors are halted, and nothing is left that could wake them");
            return;
        }
    }
    if (config.realtime)
        pace(events.next() - turns.now());
    turns.sleep();
}

void Machine::Parts::pace(Time idle_time) {
    constexpr double least = 0.02;
    idle_debt_ += static_cast<double>(idle_time) / static_cast<double>(config.master_hz);
    while (idle_debt_ > least) {
        const Clock::time_point before = Clock::now();
        if (!host.wait_for_input())
            idle_debt_ = 0;
        idle_debt_ -= std::chrono::duration<double>(Clock::now() - before).count();
        if (host.quit_requested())
            return;
    }
}

/// Whether the queue holds nothing but the machine's own events.
bool Machine::Parts::nothing_else_pending() {
    const Time first = events.next();
    return first == EventQueue::when(poll_event_) && [&] {
        const Time poll = EventQueue::when(poll_event_), mark = EventQueue::when(mark_event_);
        events.cancel(poll_event_);
        events.cancel(mark_event_);
        const bool empty = events.next() == never;
        events.schedule(poll_event_, poll);
        events.schedule(mark_event_, mark);
        return empty;
    }();
}

void Machine::Parts::poll(Time now) {
    events.schedule(poll_event_, (now / poll_interval + 1) * poll_interval);
    std::vector<u8> bytes;
    host.poll_input(bytes);
    typed_.insert(typed_.end(), bytes.begin(), bytes.end());
    feed_serial();
    if (host.quit_requested())
        finish(EndKind::quit, "ended by the user");
    const auto elapsed =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started_).count();
    if (config.timeout_ms != 0 && static_cast<u64>(elapsed) >= config.timeout_ms)
        finish(EndKind::out_of_time, fmt::format("out of time: run.timeout is {} s; raise it, or 0 for none",
                                                 static_cast<double>(config.timeout_ms) / 1000));
    std::size_t levels = 0;
    for (const auto& p : processors)
        levels = std::max(levels, p->levels.first_seen().size());
    host.progress({.ticks = ticks(),
                   .cycles = turns.cycles(),
                   .guest_ns = static_cast<u64>(u128(now) * 1'000'000'000 / config.master_hz),
                   .level = static_cast<int>(levels) - 1});
}

void Machine::Parts::feed_serial() {
    Serial& port = board.serial();
    while (!typed_.empty() && port.room() != 0) {
        input_log.push_back({turns.now(), ticks(), typed_.front()});
        port.receive(typed_.front());
        typed_.pop_front();
    }
}

void Machine::Parts::schedule_mark() {
    if (!exact_marks())
        return;
    u64 target = std::min(stop_at_, next_hash_);
    if (config.max_ticks != 0)
        target = std::min(target, config.max_ticks);
    // Idle time brings the mark nearer than it is; then it is set anew when it comes.
    const u64 done = ticks();
    if (target == ~0ull)
        events.cancel(mark_event_);
    else
        events.schedule(mark_event_, turns.now() + (target > done ? target - done : 0));
}

void Machine::Parts::reach_mark() {
    const u64 done = ticks();
    if (done >= next_hash_) {
        hash_trail.push_back({done, state_hash()});
        next_hash_ = (done / config.hash_interval + 1) * config.hash_interval;
    }
    if (config.max_ticks != 0 && done >= config.max_ticks) {
        finish(EndKind::out_of_ticks,
               fmt::format("out of ticks: run.max_ticks is {}; raise it, or 0 for none", config.max_ticks));
        return;
    }
    if (done >= stop_at_)
        turns.stop();
    else
        schedule_mark();
}

u64 Machine::Parts::state_hash() {
    HashArchive archive;
    for (const auto& p : processors) {
        p->cpu.visit_all(archive);
        p->vmx.visit(archive);
    }
    board.visit(archive);
    memory.visit(archive);
    return archive.value();
}

}  // namespace droste
