// SPDX-License-Identifier: Apache-2.0
// Several processors: start-up, messages between them, shared code and memory, waiting, and that runs repeat.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cpu/cpu.h"
#include "machine/loader/loader.h"
#include "machine/machine.h"
#include "machine/processors_guest.h"
#include "mmu/physical_memory.h"

namespace droste {
namespace {

using ::testing::HasSubstr;
using Code = ProcessorCode;

class SilentConsole final : public HostConsole {
public:
    void put(u8) override {}
    void poll_input(std::vector<u8>&) override {}
    bool quit_requested() override { return false; }
    void progress(const RunProgress&) override {}
    bool wait_for_input() override { return false; }
};

// Variables of the guests.
constexpr u32 count = 0x7100, set = 0x7108, other = 0x7180, flag = 0x7200, table = 0x7400;
constexpr u8 vector = 0x40, answer = 0x41;

/// A machine that ran to its end. Two processors and a limit unless `sets` say otherwise.
struct Ran {
    SilentConsole console;
    std::unique_ptr<Machine> machine;
    RunSummary summary;

    Ran(const ProcessorsGuest& processors, const std::vector<std::string>& sets = {}, u64 pieces_of = 0)
        : Ran(processors.guest(), sets, pieces_of) {}
    Ran(const TinyGuest& guest, const std::vector<std::string>& sets = {}, u64 pieces_of = 0) {
        Options options;
        EXPECT_TRUE(options.set("memory.size=32MiB"));
        EXPECT_TRUE(options.set("machine.cpus=2"));
        EXPECT_TRUE(options.set("run.max_ticks=100000000"));
        for (const std::string& s : sets)
            EXPECT_TRUE(options.set(s)) << s;
        auto made = Machine::create(options, console);
        if (!made)
            throw std::runtime_error(made.error().text);
        machine = std::move(*made);
        BootRequest request;
        request.kernel = {"tiny", guest.image()};
        if (const Status loaded = machine->load(request); !loaded)
            throw std::runtime_error(loaded.error().text);
        if (pieces_of != 0)
            for (u64 tick = pieces_of; machine->run_until(tick); tick += pieces_of) {
            }
        machine->run();
        summary = machine->summary();
    }
    u32 at(u32 address) const { return machine->memory().read32(address); }
    u64 ticks(unsigned processor) const { return summary.processors.at(processor).ticks; }
};

void expect_power_off(const Ran& r) {
    EXPECT_EQ(r.summary.end.kind, EndKind::powered_off) << r.summary.end.reason;
}

/// Each counts itself and enters its APIC ID in a set and CPUID's in a table.
ProcessorCode reporting() {
    Code c;
    c.load_id().add({0xF0, 0x0F, 0xAB, 0x05}).word(set);   // lock bts [set], eax
    c.add({0x89, 0xC6, 0xB8, 0x0B, 0, 0, 0, 0x31, 0xC9});  // esi = id; eax = 0BH, ecx = 0
    c.add({0x0F, 0xA2, 0x89, 0x14, 0xB5}).word(table);     // cpuid; [table + 4 * esi] = edx
    c.lock_inc(count).halt_for_ever();
    return c;
}

TEST(Processors, AllStartWithIdsOfTheirOwn) {
    for (const unsigned processors : {2u, 3u, 64u}) {
        Code first;
        first.wait_for(count, static_cast<u8>(processors - 1)).power_off();
        const Ran r(ProcessorsGuest(first, reporting()), {"machine.cpus=" + std::to_string(processors)});
        expect_power_off(r);
        const u64 ids = u64{r.at(set + 4)} << 32 | r.at(set);
        EXPECT_EQ(ids, processors == 64 ? ~1ull : (1ull << processors) - 2);
        for (u32 i = 1; i < processors; ++i)
            EXPECT_EQ(r.at(table + 4 * i), i);
        EXPECT_EQ(r.summary.processors.size(), processors);
        u64 sum = 0;
        for (const ProcessorSummary& p : r.summary.processors)
            sum += p.ticks;
        EXPECT_EQ(sum, r.summary.ticks);
    }
}

TEST(Processors, OthersWaitForStartup) {
    const Ran r(TinyGuest().spin(100'000).power_off(), {"machine.cpus=3"});
    expect_power_off(r);
    for (const unsigned i : {1u, 2u}) {
        EXPECT_EQ(r.ticks(i), 0u);
        EXPECT_EQ(r.machine->cpu(i).activity, Activity::wait_for_sipi);
    }
}

// The first sends, the second answers from its handler, and both sleep in between.
TEST(Processors, InterruptsGoBackAndForth) {
    constexpr u8 rounds = 20;
    Code first;
    first.gate(vector, ProcessorsGuest::handler_address(0));
    first.gate(answer, ProcessorsGuest::handler_address(1));
    first.load_idt().put(flag, 1).wait_for(other, 1);
    for (u8 i = 1; i <= rounds; ++i)
        first.send(0x4000 | vector, 1).halt_until(set, i);
    first.power_off();
    Code second;
    second.wait_for(flag, 1).load_idt().put(other, 1).halt_for_ever();
    Code to_second, to_first;
    to_second.inc(count).send(0x4000 | answer, 0).iret_after_eoi();
    to_first.inc(set).iret_after_eoi();
    const Ran r(ProcessorsGuest(first, second, {to_second, to_first}));
    expect_power_off(r);
    EXPECT_EQ(r.at(count), rounds);
    EXPECT_EQ(r.at(set), rounds);
    EXPECT_LT(r.ticks(0), 1000u);
    EXPECT_LT(r.ticks(1), 1000u);
    // A sleeping receiver wakes at the sender's time, so that a round costs no quantum.
    EXPECT_LT(r.machine->cpu(0).now(), 40'000u);
}

TEST(Processors, NmiReachesAProcessorThatRuns) {
    Code first;
    first.gate(2, ProcessorsGuest::handler_address(0)).load_idt().put(flag, 1).wait_for(other, 1);
    first.send(0x4400, 1).wait_for(count, 1).power_off();
    Code second;
    second.wait_for(flag, 1).load_idt().put(other, 1).jump_to_self();
    expect_power_off(Ran(ProcessorsGuest(first, second, {Code().inc(count).add({0xCF})})));
}

// The second calls a function that the first changes.
TEST(Processors, CodeWrittenByAnotherIsExecuted) {
    constexpr u32 function = 0x9000;
    Code first;
    first.put(flag, 1).wait_for(count, 7).put(function + 1, 9).wait_for(count, 9).power_off();
    Code second;
    second.wait_for(flag, 1);
    // mov ebx, function; again: call ebx; store; jmp again
    second.add({0xBB}).word(function).add({0xFF, 0xD3}).store_eax(count).add({0xEB, 0xF7});
    Code all;
    all.put(function, 0x0000'07B8).put(function + 4, 0xC300);  // mov eax, 7; ret
    all.code(first.code());
    const Ran r(ProcessorsGuest(all, second));
    expect_power_off(r);
    EXPECT_GT(r.ticks(1), 20u);
}

/// `turns` times: takes the lock, adds 1 to the counter in two steps, releases it; then counts itself ready.
ProcessorCode contending(u32 turns, bool pauses) {
    constexpr u32 lock = 0x7300;
    Code c;
    c.add({0xBD}).word(turns);                                                       // ebp
    c.add({0xB8, 1, 0, 0, 0, 0x87, 0x05}).word(lock).add({0x85, 0xC0, 0x74, 0x04});  // xchg; test; jz taken
    if (pauses)
        c.pause();
    else
        c.add({0x90, 0x90});
    c.add({0xEB, 0xED});  // again
    c.load_eax(count).add({0x40, 0x90, 0x90, 0x90}).store_eax(count).put(lock, 0);
    c.add({0x4D, 0x75, 0xD2});  // dec ebp; jnz
    c.lock_inc(set);
    return c;
}

TEST(Processors, LockedExchangeExcludes) {
    constexpr u32 turns = 500;
    for (const bool pauses : {false, true}) {
        for (const char* quantum : {"machine.quantum=100", "machine.quantum=10000"}) {
            Code first = contending(turns, pauses), others = contending(turns, pauses);
            first.wait_for(set, 3).power_off();
            others.halt_for_ever();
            const Ran r(ProcessorsGuest(first, others), {"machine.cpus=3", quantum});
            expect_power_off(r);
            EXPECT_EQ(r.at(count), 3 * turns);
        }
    }
}

TEST(Processors, PauseLetsTheTurnPass) {
    Code first, second;
    first.spin(1'000'000).put(flag, 1).wait_for(other, 1).power_off();
    second.wait_for(flag, 1).put(other, 1).halt_for_ever();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_GT(r.ticks(0), 1'000'000u);
    EXPECT_LT(r.ticks(1), 1'000u) << "one PAUSE and one look a round";
}

TEST(Processors, PauseCostsNoTimeOnASingleProcessor) {
    const Ran r(TinyGuest().mov_ecx(1000).bytes({0xF3, 0x90, 0xE2, 0xFC}).power_off(), {"machine.cpus=1"});
    expect_power_off(r);
    EXPECT_EQ(r.machine->cpu().now(), r.summary.ticks);
}

/// monitor [flag]; mwait
ProcessorCode waiting_for_store() {
    Code c;
    c.add({0xB8}).word(flag).add({0x31, 0xC9, 0x31, 0xD2, 0x0F, 0x01, 0xC8});
    return c;
}

TEST(Processors, StoreToTheMonitoredLineEndsMwait) {
    Code second = waiting_for_store();
    second.put(other, 1).add({0x0F, 0x01, 0xC9}).lock_inc(count).halt_for_ever();
    Code first;
    first.wait_for(other, 1).spin(100'000).load_eax(count).store_eax(table);
    first.put(flag + 64, 1).spin(100'000).load_eax(count).store_eax(table + 4);  // the next line
    first.put(flag + 60, 1).wait_for(count, 1).power_off();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_EQ(r.at(table), 0u) << "nothing was stored yet";
    EXPECT_EQ(r.at(table + 4), 0u) << "another line of the page";
    EXPECT_LT(r.ticks(1), 100u);
}

TEST(Processors, StoreBetweenMonitorAndMwaitIsNotMissed) {
    Code second = waiting_for_store();
    second.put(other, 1).wait_for(table, 1).add({0x0F, 0x01, 0xC9}).lock_inc(count).halt_for_ever();
    Code first;
    first.wait_for(other, 1).put(flag, 1).put(table, 1).wait_for(count, 1).power_off();
    expect_power_off(Ran(ProcessorsGuest(first, second)));
}

// fw_cfg's DMA: control (select item 0, read), length, address, all big-endian.
TEST(Processors, DeviceThatWritesToTheMonitoredLineEndsMwait) {
    constexpr u32 request = 0x7500;
    Code second = waiting_for_store();
    second.put(other, 1).add({0x0F, 0x01, 0xC9}).lock_inc(count).halt_for_ever();
    Code first;
    first.wait_for(other, 1).spin(50'000).load_eax(count).store_eax(table);
    first.put(request, 0x0A00'0000).put(request + 4, 0x0400'0000);
    first.put(request + 8, 0).put(request + 12, 0x0072'0000);
    first.out_eax(0x514, 0).out_eax(0x518, 0x0075'0000);
    first.wait_for(count, 1).power_off();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_EQ(r.at(table), 0u);
    EXPECT_EQ(r.at(flag), 0x554D'4551u) << "\"QEMU\", the signature that item 0 holds";
}

TEST(Processors, StoresAreFastAgainAfterTheWait) {
    Code second = waiting_for_store();
    second.put(other, 1).add({0x0F, 0x01, 0xC9}).lock_inc(count).halt_for_ever();
    Code first;
    first.wait_for(other, 1).put(flag, 1).wait_for(count, 1).put(flag, 2).power_off();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_FALSE(r.machine->memory().has_code(flag));
}

// The 8042's clock sends no interrupt here; what ends the wait is the masked timer interrupt (ECX[0]).
TEST(Processors, MwaitMayWaitLongWithInterruptsMasked) {
    Code code;
    code.out_al(0x21, 0xFF);  // the 8259's timer would end the wait
    code.put(Code::divide, 0xB).put(Code::lvt_timer, vector).cli();
    Code wait = waiting_for_store();
    code.code(wait.code());
    // 4 * 10^9 ticks of the bus at 10 MHz: 400 seconds, longer than a halted processor is given.
    code.put(Code::initial_count, 4'000'000'000).add({0xB9, 1, 0, 0, 0, 0x0F, 0x01, 0xC9}).power_off();
    Code halted;
    halted.cli().hlt();
    const Ran r(ProcessorsGuest(code, halted), {"clock.bus_hz=10000000"});
    expect_power_off(r);
    EXPECT_GT(r.summary.guest_ns, 300'000'000'000u);
}

TEST(Processors, InitStopsAndStartupRestarts) {
    Code first;
    first.wait_for(flag, 1);
    first.send(0x4500, 1).spin(50'000).load_eax(count).store_eax(table);
    first.spin(50'000).load_eax(count).store_eax(table + 4);
    first.put(flag, 0).send(0x4608, 1).wait_for(flag, 1).power_off();
    Code second;
    second.put(flag, 1).inc(count).add({0xEB, 0xF8});  // counts for ever
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_GT(r.at(table), 0u);
    EXPECT_EQ(r.at(table), r.at(table + 4)) << "it stood still after INIT";
    EXPECT_GT(r.at(count), r.at(table + 4));
}

// The receiver has had no turn in between: INIT is still pending when SIPI arrives.
TEST(Processors, StartupRightAfterInitIsNotLost) {
    Code first;
    first.wait_for(flag, 1).put(flag, 0).send(0x4500, 1).put(Code::icr_low, 0x4608);
    first.wait_for(flag, 1).power_off();
    Code second;
    second.lock_inc(count).put(flag, 1).jump_to_self();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_EQ(r.at(count), 2u) << "started twice";
}

TEST(Processors, StartupWithoutInitIsIgnored) {
    Code first;
    first.wait_for(flag, 1).put(flag, 0).send(0x4608, 1);
    first.spin(50'000).load_eax(flag).store_eax(table).power_off();
    Code second;
    second.put(flag, 1).halt_for_ever();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_EQ(r.at(table), 0u);
}

// The second arms its timer in the middle of a round in which the first runs.
TEST(Processors, TimerOfOneIsNotDelayedBeyondAQuantum) {
    constexpr u32 bus_ticks = 1000;  // 2000 of the master clock
    Code first;
    first.gate(vector, ProcessorsGuest::handler_address(0)).load_idt().put(flag, 1).wait_for(other, 1);
    first.spin(200'000).power_off();
    Code second;
    second.wait_for(flag, 1).load_idt().put(Code::divide, 0xB).put(Code::lvt_timer, vector).put(other, 1);
    second.spin(777).rdtsc().store_eax(table).put(Code::initial_count, bus_ticks).halt_for_ever();
    Code fired;
    fired.rdtsc().store_eax(table + 4).inc(count).iret_after_eoi();
    const Ran r(ProcessorsGuest(first, second, {fired}));
    expect_power_off(r);
    EXPECT_EQ(r.at(count), 1u);
    const u32 waited = r.at(table + 4) - r.at(table);
    EXPECT_GE(waited, 2 * bus_ticks);
    EXPECT_LE(waited, 2 * bus_ticks + 100) << "the event ended the round for its own processor";
}

TEST(Processors, TscsAreInStep) {
    Code first, second;
    first.wait_for(flag, 1).rdtsc().store_eax(table).put(other, 1).wait_for(count, 1).power_off();
    second.put(flag, 1).wait_for(other, 1).rdtsc().store_eax(table + 4).put(count, 1).halt_for_ever();
    const Ran r(ProcessorsGuest(first, second));
    expect_power_off(r);
    EXPECT_LT(std::abs(static_cast<i32>(r.at(table + 4) - r.at(table))), 3 * 10'000);
    EXPECT_EQ(r.machine->cpu(0).tsc_offset_host, r.machine->cpu(1).tsc_offset_host);
}

TEST(Processors, EachDrawsItsOwnRandomNumbers) {
    Code first, second;
    first.add({0x0F, 0xC7, 0xF0}).store_eax(table).wait_for(flag, 1).power_off();
    second.add({0x0F, 0xC7, 0xF0}).store_eax(table + 4).put(flag, 1).halt_for_ever();
    const Ran r(ProcessorsGuest(first, second));
    EXPECT_NE(r.at(table), r.at(table + 4));
}

TEST(Processors, EqualRunsAreEqual) {
    Code first = contending(3000, true), others = contending(3000, true);
    first.wait_for(set, 3).power_off();
    others.halt_for_ever();
    const ProcessorsGuest guest(first, others);
    for (const char* quantum : {"machine.quantum=500", "machine.quantum=10000"}) {
        const std::vector<std::string> sets = {"machine.cpus=3", quantum, "run.hash_interval=2048"};
        const Ran a(guest, sets), b(guest, sets), in_pieces(guest, sets, 777);
        EXPECT_EQ(a.summary.state_hash, b.summary.state_hash);
        EXPECT_EQ(a.summary.state_hash, in_pieces.summary.state_hash) << "stopping to look changes nothing";
        ASSERT_EQ(a.summary.hash_trail.size(), b.summary.hash_trail.size());
        EXPECT_GE(a.summary.hash_trail.size(), 3u) << a.summary.ticks;
        for (std::size_t i = 0; i < a.summary.hash_trail.size(); ++i)
            EXPECT_EQ(a.summary.hash_trail[i].hash, b.summary.hash_trail[i].hash);
        for (unsigned p = 0; p < 3; ++p)
            EXPECT_EQ(a.ticks(p), b.ticks(p));
    }
}

TEST(Processors, TickLimitHoldsWithinARound) {
    Code spinning;
    spinning.jump_to_self();
    const Ran r(ProcessorsGuest(spinning, spinning), {"machine.cpus=4", "run.max_ticks=1000000"});
    EXPECT_EQ(r.summary.end.kind, EndKind::out_of_ticks);
    EXPECT_GE(r.summary.ticks, 1'000'000u);
    EXPECT_LT(r.summary.ticks, 1'000'000u + 4 * 10'000);
    // All run for the same time, but for the start.
    EXPECT_NEAR(static_cast<double>(r.ticks(3)), static_cast<double>(r.ticks(0)), 20'000);
}

TEST(Processors, TripleFaultOfAnyEndsTheRun) {
    Code first, second;
    first.jump_to_self();
    // An empty IDT, and UD2.
    second.put(Code::saved_idtr, 0).add({0x0F, 0x01, 0x1D}).word(Code::saved_idtr).add({0x0F, 0x0B});
    const Ran r(ProcessorsGuest(first, second));
    EXPECT_EQ(r.summary.end.kind, EndKind::triple_fault);
    EXPECT_THAT(r.summary.end.reason, HasSubstr("processor 1"));
}

TEST(Processors, AllHaltedForGoodIsNoticed) {
    Code first, second;
    first.wait_for(flag, 1).cli().hlt();
    second.put(flag, 1).cli().hlt();
    const Ran r(ProcessorsGuest(first, second));
    EXPECT_EQ(r.summary.end.kind, EndKind::dead_halt);
    EXPECT_THAT(r.summary.end.reason, HasSubstr("all processors"));
}

TEST(Processors, OneOfThemMayHaltForGood) {
    Code first, second;
    first.spin(300'000).power_off();
    second.cli().hlt();
    expect_power_off(Ran(ProcessorsGuest(first, second)));
}

}  // namespace
}  // namespace droste
