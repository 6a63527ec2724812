// SPDX-License-Identifier: Apache-2.0
// What a Machine owns, in the order in which the parts need each other.
#pragma once
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/events.h"
#include "base/host_output.h"
#include "cpu/cpu.h"
#include "cpu/decode/decoder.h"
#include "cpu/msr.h"
#include "machine/apic_window.h"
#include "machine/board.h"
#include "machine/console.h"
#include "machine/explain/explainer.h"
#include "machine/machine.h"
#include "machine/processor.h"
#include "machine/turns.h"
#include "mmu/physical_memory.h"
#include "vmx/insns.h"

namespace droste {

/// All that the options say about a machine, checked.
struct MachineConfig {
    CpuModel model;
    VmxCapabilities vmx;
    RoutingConfig routing;
    CostTable costs;
    BoardConfig board;
    u64 memory_bytes = 0;
    unsigned processors = 1;
    Time quantum = 0;
    u64 master_hz = 0;
    bool clock_follows_cycles = false;
    bool feature_control_locked = false;
    u64 rdrand_seed = 0;
    u64 max_ticks = 0;
    u64 timeout_ms = 0;
    u64 hash_interval = 0;
    bool realtime = false;
    bool explain_entries = false;
};
Result<MachineConfig> machine_config(const Options& options);

struct Machine::Parts final : PlatformControl {
    Parts(const Options& options, MachineConfig config, HostConsole& host);
    /// The parts, each with its events, are destroyed in no particular order: nothing is pending any more.
    ~Parts() { events = EventQueue(); }

    // PlatformControl: what the guest asks for.
    void power_off(std::string_view by) override;
    void reset(std::string_view by) override;
    void debug_exit(u32 value) override;

    void finish(EndKind kind, std::string reason, u32 code = 0);
    /// Runs until the guest has ended or `stop_at` ticks have retired.
    void run(u64 stop_at);
    u64 state_hash();
    /// The processor in its turn, or the last one that was.
    Processor& in_turn() { return *processors[turns.running_processor()]; }
    u64 ticks() const { return turns.ticks(); }

    const Options options;
    const MachineConfig config;
    HostConsole& host;

    MemoryBus mmio;
    PortBus ports;
    EventQueue events;
    Turns turns;
    PhysicalMemory memory;
    ApicPages apic_pages;
    Isa isa;
    MsrTable msrs;
    LevelTracker tracker;
    std::vector<std::unique_ptr<Processor>> processors;
    FieldWriters field_writers;
    std::vector<std::unique_ptr<Explainer>> explainers;  // one for each processor
    Console console;
    Board board;

    std::optional<RunEnd> end;
    std::vector<HashMark> hash_trail;
    std::vector<StampedInput> input_log;
    double host_seconds = 0;

private:
    /// Looks at the host at fixed guest times.
    class Poll final : public Event {
    public:
        explicit Poll(Parts& parts) : parts_(parts) {}
        void fire(Time now) override { parts_.poll(now); }

    private:
        Parts& parts_;
    };
    /// Stops the processor at an exact number of ticks, for the hash trail and for limits.
    class Mark final : public Event {
    public:
        explicit Mark(Parts& parts) : parts_(parts) {}
        void fire(Time) override { parts_.reach_mark(); }

    private:
        Parts& parts_;
    };

    void poll(Time now);
    void feed_serial();
    void schedule_mark();
    void reach_mark();
    std::vector<std::unique_ptr<Processor>> make_processors();
    std::vector<std::unique_ptr<Explainer>> make_explainers();
    std::vector<ProcessorWires> wires();
    void shut_down();
    void idle();
    bool deaf() const;
    void pace(Time idle_time);
    bool nothing_else_pending();
    /// With one processor, marks stop it at an exact tick. With several they are looked at between rounds, so that
    /// where they stand does not change who runs when.
    bool exact_marks() const { return processors.size() == 1; }

    Poll poll_event_{*this};
    Mark mark_event_{*this};
    std::deque<u8> typed_;   // not yet taken by the serial port
    u64 stop_at_ = ~0ull;    // ticks
    u64 next_hash_ = ~0ull;  // ticks
    std::chrono::steady_clock::time_point started_{};
    Time halted_since_ = never;
    u64 halted_ticks_ = 0;
    double idle_debt_ = 0;  // seconds of idle guest time that the host has not waited
};

/// Lays tables and kernel and puts the processor at its entry.
Status load_into(Machine::Parts& parts, const BootRequest& request);
/// Reads the files of boot.*.
Result<BootRequest> boot_request(const Options& options);

}  // namespace droste
