// SPDX-License-Identifier: Apache-2.0
// The tracker against a model of a stack of hypervisors that nest in software, any number of levels deep.
#include "nested/level_tracker.h"

#include <gtest/gtest.h>

#include "nested/exit_accounts.h"

namespace droste {
namespace {

/// Every level runs the same hypervisor. It keeps two VMCSs: `direct` for its guest, `merged` for whatever runs
/// deeper than that guest. Only level 0 touches the hardware; all others' VMX instructions exit and are emulated by the
/// level beneath, which does so with its own VMX instructions, and so on down.
class Stack {
public:
    static u64 direct(unsigned level) { return 0x1000 + level * 0x10000ull; }
    static u64 merged(unsigned level) { return 0x2000 + level * 0x10000ull; }

    /// Hypervisor `level`, running now, enters VMCS `w`, after which `target` is to run.
    void enter(unsigned level, u64 w, unsigned target) {
        if (level == 0) {
            tracker.vmptrld(0, w);
            tracker.entered(w);
            ++entries;
            ASSERT_EQ(tracker.level_of(tracker.running()), target) << "depth " << target;
            return;
        }
        ASSERT_EQ(tracker.level_of(tracker.running()), level);
        tracker.vmptrld(tracker.running(), w);
        service(level);
        tracker.attempt_entry(tracker.running());
        exit_to_parent(level);
        // The parent runs now and emulates the entry: its guest's direct VMCS means the level above that guest.
        enter(level - 1, merged(level - 1), target);
    }
    /// The node at `level` exits; afterwards its parent (level - 1) runs.
    void exit_to_parent(unsigned level) {
        tracker.left();
        for (unsigned k = 1; k < level; ++k) enter(k - 1, direct(k - 1), k);
    }
    /// An exit of `level` that its parent handles before it resumes it.
    void service(unsigned level) {
        exit_to_parent(level);
        resume(level);
    }
    /// The parent of `level`, running now, resumes it. The whole chain does so by its direct VMCSs.
    void resume(unsigned level) { enter(level - 1, direct(level - 1), level); }

    LevelTracker tracker;
    u64 entries = 0;
};

TEST(LevelTracker, KnowsEveryLevelOfASoftwareStack) {
    for (unsigned depth = 1; depth <= 5; ++depth) {
        Stack stack;
        for (unsigned level = 1; level <= depth; ++level) {
            stack.enter(level - 1, Stack::direct(level - 1), level);
            if (level < depth) {
                stack.tracker.vmxon(stack.tracker.running());
                stack.service(level);
            }
        }
        for (int i = 0; i < 3; ++i) stack.service(depth);
        EXPECT_EQ(stack.tracker.node_count(), depth + 1);
    }
}

/// Level 0 serves the VMX instructions of all levels: an entry that it makes is what the exiting level asked for, and the
/// processor goes back to that level by itself.
TEST(LevelTracker, KnowsLevelsThatLevel0ServesItself) {
    LevelTracker t;
    const auto real = [](unsigned level) { return 0x9000 + level * 0x1000ull; };   // level 0's VMCS for a level
    const auto kept = [](unsigned level) { return 0x100000 + level * 0x1000ull; }; // what the level below keeps for it
    t.entered(real(1));
    for (unsigned level = 1; level <= 6; ++level) {
        ASSERT_EQ(t.level_of(t.running()), level);
        t.vmxon(t.running());
        t.vmptrld(t.running(), kept(level + 1));
        for (unsigned round = 0; round < 3; ++round) {
            const u32 hypervisor = t.running();
            t.attempt_entry(hypervisor);
            t.left();
            EXPECT_EQ(t.level_of(t.entered(real(level + 1))), level + 1);
            EXPECT_EQ(t.node(t.running()).parent, hypervisor);
            t.left();  // an exit that level 0 handles
            EXPECT_EQ(t.level_of(t.entered(real(level + 1))), level + 1);
            t.left();
            EXPECT_EQ(t.came_back(real(level)), hypervisor);
        }
        t.attempt_entry(t.running());
        t.left();
        t.entered(real(level + 1));
    }
    // Several levels down at once.
    t.left();
    EXPECT_EQ(t.level_of(t.came_back(real(2))), 2u);
    t.attempt_entry(t.running());
    t.left();
    EXPECT_EQ(t.level_of(t.entered(real(3))), 3u);
}

/// Level 0 serves levels 1 and 2; level 2 nests its guests in software.
TEST(LevelTracker, AnAttemptIsPassedOnToAHypervisorThatRunsByAnAlias) {
    LevelTracker t;
    constexpr u64 v01 = 0x1000, v02 = 0x2000, v03 = 0x3000, v04 = 0x4000, v12 = 0x12000, v23 = 0x23000, v24 = 0x24000,
                  v34 = 0x34000;
    const auto attempt = [&](u64 vmcs) {
        t.vmptrld(t.running(), vmcs);
        t.attempt_entry(t.running());
        t.left();
    };
    t.entered(v01);
    attempt(v12);
    t.entered(v02);
    attempt(v23);
    t.entered(v03);
    for (unsigned round = 0; round < 3; ++round) {
        ASSERT_EQ(t.level_of(t.running()), 3u) << round;
        const u32 third = t.running();
        attempt(v34);
        EXPECT_EQ(t.level_of(t.entered(v02)), 2u) << "level 2 is to emulate it";
        attempt(v24);
        EXPECT_EQ(t.level_of(t.entered(v04)), 4u);
        EXPECT_EQ(t.node(t.running()).parent, third);
        t.left();
        EXPECT_EQ(t.level_of(t.entered(v02)), 2u) << "an exit of level 4";
        attempt(v23);
        EXPECT_EQ(t.entered(v03), third);
    }
}

TEST(LevelTracker, CostMultipliesWithDepth) {
    const auto entries_of_one_exit = [](unsigned depth) {
        Stack stack;
        for (unsigned level = 1; level <= depth; ++level) stack.enter(level - 1, Stack::direct(level - 1), level);
        const u64 before = stack.entries;
        stack.service(depth);
        return stack.entries - before;
    };
    EXPECT_EQ(entries_of_one_exit(1), 1u);
    EXPECT_GT(entries_of_one_exit(2), 2u);
    EXPECT_GT(entries_of_one_exit(3), 2 * entries_of_one_exit(2));
}

TEST(LevelTracker, FailedEntryReturnsToTheHypervisor) {
    LevelTracker t;
    t.entered(0x1000);
    const u32 hypervisor = t.running();
    t.vmptrld(hypervisor, 0x5000);
    t.attempt_entry(hypervisor);
    t.left();
    t.entered(0x1000);  // VMfail: the hypervisor goes on
    EXPECT_EQ(t.running(), hypervisor);
    t.left();
    t.entered(0x9000);  // a second, unrelated guest of level 0
    EXPECT_EQ(t.level_of(t.running()), 1u);
    EXPECT_NE(t.running(), hypervisor);
}

TEST(LevelTracker, TwoGuestsShareTheMergedVmcs) {
    LevelTracker t;
    t.entered(0x1000);
    const u32 hypervisor = t.running();
    const auto run_guest = [&](u64 vmcs) {
        t.vmptrld(hypervisor, vmcs);
        t.attempt_entry(hypervisor);
        t.left();
        t.entered(0x2000);
        return t.running();
    };
    const u32 a = run_guest(0x5000);
    t.left();
    t.entered(0x1000);
    const u32 b = run_guest(0x6000);
    EXPECT_EQ(t.level_of(a), 2u);
    EXPECT_EQ(t.level_of(b), 2u);
    EXPECT_NE(a, b);
    t.left();
    t.entered(0x2000);  // level 0 resumes without a new attempt
    EXPECT_EQ(t.running(), b);
}

TEST(LevelTracker, AttemptWithoutVmcsIsNoEntry) {
    LevelTracker t;
    t.entered(0x1000);
    const u32 hypervisor = t.running();
    t.vmxon(hypervisor);
    t.attempt_entry(hypervisor);
    EXPECT_FALSE(t.node(hypervisor).pending.has_value());
    t.vmptrld(hypervisor, 0x5000);
    t.vmclear(hypervisor, 0x5000);
    t.attempt_entry(hypervisor);
    EXPECT_FALSE(t.node(hypervisor).pending.has_value());
}

/// A virtual processor of level 1 attempts to enter its VMCS `inner` on `processor`, which runs it by `outer`.
void attempt(LevelTracker& t, unsigned processor, u64 outer, u64 inner) {
    t.entered(outer, processor);
    t.vmxon(t.running(processor));
    t.vmptrld(t.running(processor), inner);
    t.attempt_entry(t.running(processor));
    t.left(processor);
}

TEST(LevelTrackerOfSeveral, AttemptsArePairedByProcessor) {
    LevelTracker t(2);
    t.vmxon(0, 0);
    t.vmxon(0, 1);
    attempt(t, 0, 0x1000, 0x5000);
    attempt(t, 1, 0x2000, 0x6000);
    EXPECT_EQ(t.level_of(t.entered(0x1800, 0)), 2u);
    EXPECT_EQ(t.level_of(t.entered(0x2800, 1)), 2u);
    EXPECT_EQ(t.node(t.running(0)).vmcs, 0x5000u);
    EXPECT_EQ(t.node(t.running(1)).vmcs, 0x6000u);
    EXPECT_NE(t.running(0), t.running(1));
}

TEST(LevelTrackerOfSeveral, GuestsMigrateWithTheirVmcss) {
    LevelTracker t(2);
    t.vmxon(0, 0);
    t.vmxon(0, 1);
    attempt(t, 0, 0x1000, 0x5000);
    const u32 inner = t.entered(0x1800, 0);
    t.left(0);
    t.vmclear(0, 0x1800);  // as hypervisors do before another processor may use it
    EXPECT_EQ(t.entered(0x1800, 1), inner) << "no new attempt: it stands for what it stood for";
    EXPECT_EQ(t.level_of(inner), 2u);
}

TEST(LevelTrackerOfSeveral, PreemptedAttemptIsNotAnothersEntry) {
    LevelTracker t(2);
    t.vmxon(0, 0);
    t.vmxon(0, 1);
    const u32 second = t.entered(0x2000, 1);
    t.left(1);
    attempt(t, 1, 0x2000, 0x6000);
    const u32 second_inner = t.entered(0x2800, 1);
    t.left(1);
    // The first attempts, is preempted, and its processor runs the second, which came from the other processor.
    attempt(t, 0, 0x1000, 0x5000);
    t.vmclear(0, 0x2000);
    EXPECT_EQ(t.entered(0x2000, 0), second) << "it stands for a guest hypervisor";
    t.left(0);
    EXPECT_EQ(t.entered(0x2800, 0), second_inner) << "it serves another guest";
    t.left(0);
    EXPECT_EQ(t.node(t.entered(0x1800, 0)).vmcs, 0x5000u);
}

TEST(LevelTrackerOfSeveral, VmxonOfOneProcessorForgetsNothingOfOthers) {
    LevelTracker t(2);
    t.vmxon(0, 0);
    attempt(t, 0, 0x1000, 0x5000);
    const u32 inner = t.entered(0x1800, 0);
    t.left(0);
    t.vmxon(0, 1);
    t.vmxoff(0, 1);
    EXPECT_EQ(t.entered(0x1800, 0), inner);
    t.left(0);
    t.vmxoff(0, 0);
    t.vmxon(0, 0);
    EXPECT_EQ(t.level_of(t.entered(0x1800, 0)), 1u) << "all processors left VMX operation";
}

TEST(ExitAccounts, OfTwoProcessorsAddUp) {
    ExitAccounts first, second, all;
    const auto trip = [](ExitAccounts& a, u64 start, u64 cycles) {
        a.exit(1, 1, 10, {.cycles = start, .ticks = start, .exits = 0});
        a.entry(1, 1, {.cycles = start + cycles, .ticks = start + cycles, .exits = 1, .entries = 1, .vmreads = 3});
        a.exit(1, 1, 10, {.cycles = start + 5000, .ticks = start + 5000});
    };
    trip(first, 1000, 99);
    trip(second, 70'000, 199);
    all.add(first);
    all.add(second);
    ASSERT_EQ(all.lines().size(), 1u);
    const ExitLine& line = all.lines().begin()->second;
    EXPECT_EQ(line.count, 2u);
    EXPECT_EQ(line.round_trip.min(), 100u);
    EXPECT_EQ(line.round_trip.max(), 200u);
    EXPECT_EQ(line.round_trip.mean(), 150.0);
    EXPECT_EQ(line.vmreads, 6u);
    EXPECT_EQ(line.exits, 2u);
    EXPECT_EQ(line.entries, 2u);
    EXPECT_EQ(all.exits(), 4u);
    EXPECT_EQ(all.cycles_in_level()[1], first.cycles_in_level()[1] + second.cycles_in_level()[1]);
    EXPECT_GT(all.cycles_in_level()[1], 0u);
}

TEST(ExitAccounts, RoundTripsOfMigratedGuestsAreNotCounted) {
    ExitAccounts a;
    a.exit(1, 1, 10, {.cycles = 1000, .ticks = 1000});
    a.migrated(1);
    a.entry(1, 1, {.cycles = 900'000, .ticks = 900'000});
    a.exit(1, 1, 12, {.cycles = 901'000, .ticks = 901'000});
    EXPECT_TRUE(a.lines().empty());
    a.migrated(7);
}

}  // namespace
}  // namespace droste
