// SPDX-License-Identifier: Apache-2.0
// The local APIC against the SDM: registers, priorities, IPIs, timer, modes.
#include <gtest/gtest.h>

#include "devices/local_apic/local_apic.h"
#include "fakes.h"

namespace droste::test {
namespace {

constexpr u64 id = 0x20, version = 0x30, tpr = 0x80, apr = 0x90, ppr = 0xA0, eoi = 0xB0, ldr = 0xD0,
              dfr = 0xE0, svr = 0xF0, isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, cmci = 0x2F0,
              icr_low = 0x300, icr_high = 0x310, lvt_timer = 0x320, lvt_thermal = 0x330, lvt_perf = 0x340,
              lvt_lint0 = 0x350, lvt_lint1 = 0x360, lvt_error = 0x370, initial = 0x380, current = 0x390,
              divide = 0x3E0;
constexpr u32 masked = 1u << 16;
constexpr u32 apic_base = 0x1B, tsc_deadline = 0x6E0;

class Fake8259 final : public ExtIntSource {
public:
    explicit Fake8259(LocalApic& apic) : apic_(apic) {}
    u8 interrupt_acknowledge() override {
        ++cycles;
        apic_.set_level(LocalApic::lint0, false);
        return 0x30;
    }
    unsigned cycles = 0;

private:
    LocalApic& apic_;
};
class Eois final : public EoiListener {
public:
    void end_of_interrupt(u8 vector) override { vectors.push_back(vector); }
    std::vector<u8> vectors;
};

/// Two processors with their APICs enabled by software.
class LocalApicTest : public ::testing::Test {
protected:
    LocalApicTest() {
        for (LocalApic* a : {&one, &two}) {
            a->reset();
            a->write(svr, Width::dword, 0x1FF);
        }
        bus.attach(eois);
    }
    static u32 get(LocalApic& a, u64 offset) { return static_cast<u32>(a.read(offset, Width::dword)); }
    static void set(LocalApic& a, u64 offset, u32 value) { a.write(offset, Width::dword, value); }
    static bool requested(LocalApic& a, u8 v) { return bit(get(a, irr + (v / 32) * 16), v % 32); }
    static bool in_service(LocalApic& a, u8 v) { return bit(get(a, isr + (v / 32) * 16), v % 32); }
    static void x2apic(LocalApic& a) {
        ASSERT_TRUE(a.write_msr(apic_base, *a.read_msr(apic_base) | 1 << 10));
    }
    void fixed_level(u8 vector) {
        ApicMessage m;
        m.vector = vector;
        m.trigger = TriggerMode::level;
        ASSERT_TRUE(bus.deliver(m));
    }

    Clock clock;
    ApicBus bus;
    Pins pins_one, pins_two;
    Eois eois;
    LocalApic one{{.id = 0}, bus, clock.queue, clock, pins_one};
    LocalApic two{{.id = 5, .bootstrap_processor = false}, bus, clock.queue, clock, pins_two};
};

TEST_F(LocalApicTest, ResetValues) {
    one.reset();
    const struct { u64 offset; u32 value;
    } rows[] = {{id, 0},
                {version, 0x0106'0015},
                {tpr, 0},
                {ppr, 0},
                {ldr, 0},
                {dfr, ~0u},
                {svr, 0xFF},
                {esr, 0},
                {icr_low, 0},
                {icr_high, 0},
                {cmci, masked},
                {lvt_timer, masked},
                {lvt_thermal, masked},
                {lvt_perf, masked},
                {lvt_lint0, masked},
                {lvt_lint1, masked},
                {lvt_error, masked},
                {initial, 0},
                {current, 0},
                {divide, 0}};
    for (const auto& r : rows) EXPECT_EQ(get(one, r.offset), r.value) << std::hex << r.offset;
    EXPECT_EQ(get(two, id), 5u << 24);
    EXPECT_EQ(one.read_msr(apic_base), 0xFEE0'0900u);
    two.reset();
    EXPECT_EQ(two.read_msr(apic_base), 0xFEE0'0800u);
    EXPECT_EQ(one.mmio_page()->value, 0xFEE0'0000u);
}

TEST_F(LocalApicTest, WritableBits) {
    const struct { u64 offset; u32 writable;
    } rows[] = {{tpr, 0xFF},          {ldr, 0xFF00'0000},     {svr, 0x13FF},           {cmci, 0x107FF},
                {lvt_timer, 0x700FF}, {lvt_thermal, 0x107FF}, {lvt_perf, 0x107FF},     {lvt_lint0, 0x1A7FF},
                {lvt_lint1, 0x1A7FF}, {lvt_error, 0x100FF},   {icr_high, 0xFF00'0000}, {divide, 0xB}};
    for (const auto& r : rows) {
        set(one, r.offset, ~0u);
        EXPECT_EQ(get(one, r.offset), r.writable) << std::hex << r.offset;
    }
    set(one, dfr, 0);
    EXPECT_EQ(get(one, dfr), 0x0FFF'FFFFu);
    set(one, id, ~0u);
    EXPECT_EQ(get(one, id), 0u);
}

TEST_F(LocalApicTest, SoftwareDisableMasksTheLvt) {
    set(one, lvt_lint0, 0x700);
    EXPECT_EQ(get(one, lvt_lint0), 0x700u);
    set(one, svr, 0xFF);
    EXPECT_EQ(get(one, lvt_lint0), 0x700u | masked);
    set(one, lvt_lint0, 0x700);
    EXPECT_EQ(get(one, lvt_lint0), 0x700u | masked);
    one.raise(0x50);
    EXPECT_FALSE(requested(one, 0x50));
}

TEST_F(LocalApicTest, OnlyAlignedDwordsWrite) {
    one.write(tpr, Width::byte, 0x20);
    one.write(tpr + 4, Width::dword, 0x20);
    one.write(tpr, Width::qword, 0x20);
    EXPECT_EQ(get(one, tpr), 0u);
    EXPECT_EQ(one.read(version + 2, Width::byte) & 0xFF, 0x06u);
    EXPECT_EQ(one.read(version + 4, Width::dword), 0u);
}

TEST_F(LocalApicTest, DeliversInOrderOfPriority) {
    for (u8 v : {0x31, 0x52, 0x51, 0x91}) one.raise(v);
    EXPECT_TRUE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0x91);
    EXPECT_TRUE(in_service(one, 0x91));
    EXPECT_FALSE(requested(one, 0x91));
    EXPECT_EQ(get(one, ppr), 0x90u);
    EXPECT_FALSE(one.interrupt_pending());  // all others are lower
    one.raise(0x9F);                        // the same class does not nest
    EXPECT_FALSE(one.interrupt_pending());
    one.raise(0xA0);
    EXPECT_TRUE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0xA0);
    set(one, eoi, 0);
    EXPECT_FALSE(in_service(one, 0xA0));
    set(one, eoi, 0);
    EXPECT_EQ(one.acknowledge(), 0x9F);
    set(one, eoi, 0);
    EXPECT_EQ(one.acknowledge(), 0x52);
    set(one, eoi, 0);
    EXPECT_EQ(one.acknowledge(), 0x51);
    set(one, eoi, 0);
    EXPECT_EQ(one.acknowledge(), 0x31);
    EXPECT_FALSE(one.interrupt_pending());
    EXPECT_TRUE(eois.vectors.empty());  // edges are not broadcast
}

TEST_F(LocalApicTest, TaskPriorityHoldsBack) {
    one.raise(0x45);
    set(one, tpr, 0x40);
    EXPECT_FALSE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0xFF);  // raised in between: the spurious vector
    EXPECT_TRUE(requested(one, 0x45));
    EXPECT_EQ(get(one, isr + 0x70), 0u);
    one.set_cr8(3);
    EXPECT_EQ(get(one, tpr), 0x30u);
    EXPECT_TRUE(one.interrupt_pending());
    set(one, tpr, 0x4F);
    EXPECT_EQ(one.cr8(), 4);
    EXPECT_EQ(get(one, ppr), 0x4Fu);
    EXPECT_EQ(get(one, apr), 0x4Fu);
    set(one, tpr, 0x10);
    EXPECT_EQ(get(one, apr), 0x40u);
}

TEST_F(LocalApicTest, TellsThePinsOfChangesOnly) {
    const unsigned before = pins_one.changes;
    one.raise(0x45);
    EXPECT_EQ(pins_one.changes, before + 1);
    one.raise(0x46);
    EXPECT_EQ(pins_one.changes, before + 1);
    one.set_cr8(15);
    EXPECT_EQ(pins_one.changes, before + 2);
}

TEST_F(LocalApicTest, LevelTriggeredEoiIsBroadcast) {
    fixed_level(0x61);
    EXPECT_TRUE(bit(get(one, tmr + 0x30), 1));
    one.acknowledge();
    set(one, eoi, 0);
    EXPECT_EQ(eois.vectors, std::vector<u8>{0x61});
    set(one, svr, 0x11FF);  // suppressed
    fixed_level(0x61);
    one.acknowledge();
    set(one, eoi, 0);
    EXPECT_EQ(eois.vectors.size(), 1u);
    one.raise(0x61);  // an edge clears TMR
    EXPECT_FALSE(bit(get(one, tmr + 0x30), 1));
    set(one, eoi, 0);  // nothing in service
    EXPECT_TRUE(requested(one, 0x61));
}

TEST_F(LocalApicTest, ErrorsShowAfterAWrite) {
    set(one, lvt_error, 0xE1);
    set(one, icr_low, 0x4000F);  // self IPI with an illegal vector
    EXPECT_EQ(get(one, esr), 0u);
    EXPECT_TRUE(requested(one, 0xE1));
    one.acknowledge();
    set(one, eoi, 0);
    get(one, 0x3A0);  // no such register
    EXPECT_FALSE(requested(one, 0xE1)) << "not re-armed yet";
    set(one, esr, 0);
    EXPECT_EQ(get(one, esr), 1u << 5 | 1u << 7);
    one.raise(3);
    EXPECT_TRUE(requested(one, 0xE1));
    set(one, esr, 0);
    EXPECT_EQ(get(one, esr), 1u << 6);
    set(one, esr, 0);
    EXPECT_EQ(get(one, esr), 0u);
}

TEST_F(LocalApicTest, PhysicalIpis) {
    set(one, icr_high, 5u << 24);
    set(one, icr_low, 0x40F0);
    EXPECT_TRUE(requested(two, 0xF0));
    EXPECT_FALSE(requested(one, 0xF0));
    EXPECT_EQ(get(one, icr_low), 0x40F0u);
    set(one, icr_low, 0x4400);  // NMI
    EXPECT_EQ(pins_two.nmis, 1u);
    set(one, icr_low, 0x4500);  // INIT
    EXPECT_EQ(pins_two.inits, 1u);
    set(one, icr_low, 0x8500);  // INIT level deassert
    EXPECT_EQ(pins_two.inits, 1u);
    set(one, icr_low, 0x4699);  // startup
    EXPECT_EQ(pins_two.sipis, std::vector<u8>{0x99});
    set(one, icr_high, 0xFFu << 24);  // broadcast
    set(one, icr_low, 0x40F1);
    EXPECT_TRUE(requested(one, 0xF1) && requested(two, 0xF1));
    set(one, icr_high, 7u << 24);  // nobody
    set(one, icr_low, 0x40F2);
    EXPECT_FALSE(requested(one, 0xF2) || requested(two, 0xF2));
}

TEST_F(LocalApicTest, Shorthands) {
    set(one, icr_low, 0x4'0041);
    EXPECT_TRUE(requested(one, 0x41) && !requested(two, 0x41));
    set(one, icr_low, 0x8'0042);
    EXPECT_TRUE(requested(one, 0x42) && requested(two, 0x42));
    set(one, icr_low, 0xC'0043);
    EXPECT_TRUE(!requested(one, 0x43) && requested(two, 0x43));
    set(one, icr_low, 0xC'4500);
    EXPECT_EQ(pins_one.inits, 0u);
    EXPECT_EQ(pins_two.inits, 1u);
}

TEST_F(LocalApicTest, LogicalDestinations) {
    set(one, ldr, 0x01u << 24);
    set(two, ldr, 0x02u << 24);
    const auto send = [&](u32 destination, u8 vector) {
        set(one, icr_high, destination << 24);
        set(one, icr_low, 0x4800u | vector);
        return (requested(one, vector) ? 1 : 0) | (requested(two, vector) ? 2 : 0);
    };
    EXPECT_EQ(send(0x01, 0x41), 1);
    EXPECT_EQ(send(0x02, 0x42), 2);
    EXPECT_EQ(send(0x03, 0x43), 3);
    EXPECT_EQ(send(0x04, 0x44), 0);
    EXPECT_EQ(send(0xFF, 0x45), 3);
    // Cluster model: cluster 2, members 1 and 4.
    for (LocalApic* a : {&one, &two}) set(*a, dfr, 0x0FFF'FFFF);
    set(one, ldr, 0x21u << 24);
    set(two, ldr, 0x24u << 24);
    EXPECT_EQ(send(0x21, 0x51), 1);
    EXPECT_EQ(send(0x25, 0x52), 3);
    EXPECT_EQ(send(0x31, 0x53), 0);
    EXPECT_EQ(send(0xFF, 0x54), 3);
}

TEST_F(LocalApicTest, LowestPriorityGoesToOne) {
    set(one, icr_high, 0xFFu << 24);
    set(one, tpr, 0x20);
    set(one, icr_low, 0x4161);
    EXPECT_TRUE(!requested(one, 0x61) && requested(two, 0x61));
    set(two, tpr, 0x30);
    set(one, icr_low, 0x4162);
    EXPECT_TRUE(requested(one, 0x62) && !requested(two, 0x62));
}

TEST_F(LocalApicTest, ExtIntRunsThe8259) {
    Fake8259 pic(one);
    bus.connect_8259(pic);
    one.set_level(LocalApic::lint0, true);
    EXPECT_FALSE(one.interrupt_pending());
    set(one, lvt_lint0, 0x700);
    EXPECT_TRUE(one.interrupt_pending());
    set(one, tpr, 0xFF);  // ExtINT passes by the priorities
    EXPECT_TRUE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0x30);
    EXPECT_EQ(pic.cycles, 1u);
    EXPECT_FALSE(in_service(one, 0x30));
    EXPECT_FALSE(one.interrupt_pending());
    // The same as a message from the I/O APIC.
    ApicMessage m;
    m.mode = DeliveryMode::ext_int;
    EXPECT_TRUE(bus.deliver(m));
    EXPECT_TRUE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0x30);
    EXPECT_FALSE(one.interrupt_pending());
}

TEST_F(LocalApicTest, DisabledApicPassesItsPinsOn) {
    Fake8259 pic(one);
    bus.connect_8259(pic);
    EXPECT_TRUE(one.write_msr(apic_base, 0xFEE0'0100));
    EXPECT_FALSE(one.mmio_page());
    EXPECT_EQ(one.read(svr, Width::dword) & 0xFFFF'FFFF, 0xFFFF'FFFFu);
    one.set_level(LocalApic::lint0, true);
    EXPECT_TRUE(one.interrupt_pending());
    EXPECT_EQ(one.acknowledge(), 0x30);
    one.set_level(LocalApic::lint1, true);
    EXPECT_EQ(pins_one.nmis, 1u);
    one.raise(0x50);
    EXPECT_FALSE(one.interrupt_pending());
    EXPECT_TRUE(one.write_msr(apic_base, 0xFEE0'0900));
    EXPECT_EQ(get(one, svr), 0xFFu);  // enabled anew: reset values
}

TEST_F(LocalApicTest, LocalPins) {
    set(one, lvt_lint1, 0x400);
    one.set_level(LocalApic::lint1, true);
    one.set_level(LocalApic::lint1, true);
    EXPECT_EQ(pins_one.nmis, 1u);
    set(one, lvt_lint0, 0x8055);  // fixed, level-triggered
    one.set_level(LocalApic::lint0, true);
    EXPECT_TRUE(requested(one, 0x55));
    EXPECT_EQ(get(one, lvt_lint0), 0xC055u);
    EXPECT_EQ(one.acknowledge(), 0x55);
    EXPECT_FALSE(requested(one, 0x55));
    set(one, eoi, 0);
    EXPECT_TRUE(requested(one, 0x55)) << "still asserted";
    one.acknowledge();
    one.set_level(LocalApic::lint0, false);
    set(one, eoi, 0);
    EXPECT_FALSE(requested(one, 0x55));
    EXPECT_EQ(get(one, lvt_lint0), 0x8055u);
    set(one, lvt_perf, 0x77);
    one.set_level(LocalApic::performance_counter, true);
    EXPECT_TRUE(requested(one, 0x77));
    EXPECT_EQ(get(one, lvt_perf), 0x77u | masked);
}

// --- timer: master 2 GHz, bus 1 GHz ---

TEST_F(LocalApicTest, OneShotTimer) {
    set(one, divide, 0xB);  // by 1
    set(one, lvt_timer, 0x40);
    set(one, initial, 1000);
    EXPECT_EQ(get(one, current), 1000u);
    clock.run_to(1);
    EXPECT_EQ(get(one, current), 1000u);
    clock.run_to(2);
    EXPECT_EQ(get(one, current), 999u);
    clock.run_to(1999);
    EXPECT_EQ(get(one, current), 1u);
    EXPECT_FALSE(requested(one, 0x40));
    clock.run_to(2000);
    EXPECT_TRUE(requested(one, 0x40));
    EXPECT_EQ(get(one, current), 0u);
    EXPECT_EQ(get(one, initial), 1000u);
    EXPECT_EQ(clock.queue.next(), never);
    one.acknowledge();
    clock.run_to(100'000);
    EXPECT_FALSE(requested(one, 0x40));
}

TEST_F(LocalApicTest, DividersOfTheTimer) {
    const struct {
        u32 code;
        u32 by;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (const auto& r : rows) {
        set(one, divide, r.code);
        set(one, initial, 10);
        EXPECT_EQ(clock.queue.next(), clock.now() + 20 * r.by) << r.code;
        clock.run_for(2 * r.by);
        EXPECT_EQ(get(one, current), 9u);
    }
    set(one, divide, 0xB);  // changed while it counts: the count goes on at the new rate
    set(one, initial, 100);
    clock.run_for(2 * 40);
    set(one, divide, 0);
    EXPECT_EQ(get(one, current), 60u);
    EXPECT_EQ(clock.queue.next(), clock.now() + 60 * 4);
}

TEST_F(LocalApicTest, PeriodicTimer) {
    set(one, divide, 0xB);
    set(one, lvt_timer, 0x2'0040);
    set(one, initial, 100);
    for (int i = 0; i < 5; ++i) {
        clock.run_for(199);
        EXPECT_FALSE(requested(one, 0x40));
        clock.run_for(1);
        EXPECT_EQ(one.acknowledge(), 0x40);
        set(one, eoi, 0);
        EXPECT_EQ(get(one, current), 100u);
    }
    clock.set(clock.now() + 1050);  // late by several periods: one interrupt, and the phase stays
    clock.queue.run(clock.now());
    EXPECT_TRUE(requested(one, 0x40));
    EXPECT_EQ(get(one, current), 75u);
    EXPECT_EQ(clock.queue.next(), 1000u + 1200);
    set(one, lvt_timer, 0x3'0040);  // masked: it counts on in silence
    one.acknowledge();
    clock.run_for(1000);
    EXPECT_FALSE(requested(one, 0x40));
    EXPECT_NE(get(one, current), 0u);
    set(one, initial, 0);
    EXPECT_EQ(clock.queue.next(), never);
}

// The mode can change while the count runs: the count goes on, and what happens at its end is the new mode's.
TEST_F(LocalApicTest, OneShotAndPeriodicChangeOver) {
    set(one, divide, 0xB);
    set(one, lvt_timer, 0x40);
    set(one, initial, 1000);
    clock.run_for(1200);
    set(one, lvt_timer, 0x2'0040);
    EXPECT_EQ(get(one, current), 400u);
    clock.run_for(1000);
    EXPECT_EQ(get(one, current), 900u);
    set(one, lvt_timer, 0x40);
    EXPECT_EQ(get(one, current), 900u);
    clock.run_for(10'000);
    EXPECT_EQ(get(one, current), 0u);
    set(one, lvt_timer, 0x2'0040);
    EXPECT_EQ(get(one, current), 0u) << "stays at zero until a count is written";
    EXPECT_EQ(clock.queue.next(), never);
}

TEST_F(LocalApicTest, TscDeadline) {
    EXPECT_TRUE(one.write_msr(tsc_deadline, 500));  // ignored in another mode
    EXPECT_EQ(one.read_msr(tsc_deadline), 0u);
    set(one, lvt_timer, 0x4'0040);
    one.set_tsc_offset(10'000);
    EXPECT_TRUE(one.write_msr(tsc_deadline, 10'500));
    EXPECT_EQ(one.read_msr(tsc_deadline), 10'500u);
    set(one, initial, 7);  // ignored in this mode
    EXPECT_EQ(get(one, current), 0u);
    clock.run_to(499);
    EXPECT_FALSE(requested(one, 0x40));
    clock.run_to(500);
    EXPECT_EQ(one.acknowledge(), 0x40);
    set(one, eoi, 0);
    EXPECT_EQ(one.read_msr(tsc_deadline), 0u);
    EXPECT_TRUE(one.write_msr(tsc_deadline, 10'400));  // past
    EXPECT_TRUE(requested(one, 0x40));
    EXPECT_EQ(one.read_msr(tsc_deadline), 0u);
    one.acknowledge();
    EXPECT_TRUE(one.write_msr(tsc_deadline, 20'000));
    one.set_tsc_offset(19'000);  // the TSC was written: the deadline is nearer
    EXPECT_EQ(clock.queue.next(), 1000u);
    EXPECT_TRUE(one.write_msr(tsc_deadline, 0));
    EXPECT_EQ(clock.queue.next(), never);
    EXPECT_TRUE(one.write_msr(tsc_deadline, 20'000));
    set(one, lvt_timer, 0x40);  // a change of mode disarms
    EXPECT_EQ(clock.queue.next(), never);
    EXPECT_EQ(one.read_msr(tsc_deadline), 0u);
    EXPECT_TRUE(one.write_msr(tsc_deadline, ~0ull));
    set(one, lvt_timer, 0x4'0040);
    EXPECT_TRUE(one.write_msr(tsc_deadline, ~0ull));  // practically never
}

// --- x2APIC ---

TEST_F(LocalApicTest, ModeTransitions) {
    constexpr u64 off = 0xFEE0'0100, x1 = off | 1 << 11, x2 = x1 | 1 << 10, bad = off | 1 << 10;
    const struct { u64 from, to; bool legal;
    } rows[] = {{x1, x1, true},   {x1, x2, true},  {x1, off, true},  {x1, bad, false},
                {x2, x2, true},   {x2, x1, false}, {x2, off, true},  {x2, bad, false},
                {off, off, true}, {off, x1, true}, {off, x2, false}, {off, bad, false}};
    for (const auto& r : rows) {
        one.reset();
        if (r.from != x1) {
            ASSERT_TRUE(one.write_msr(apic_base, r.from));
        }
        EXPECT_EQ(one.write_msr(apic_base, r.to), r.legal) << std::hex << r.from << " to " << r.to;
        EXPECT_EQ(one.read_msr(apic_base), r.legal ? r.to : r.from);
    }
    one.reset();
    EXPECT_FALSE(one.write_msr(apic_base, x1 | 1));
    EXPECT_FALSE(one.write_msr(apic_base, x1 | 1ull << 46));
    EXPECT_TRUE(one.write_msr(apic_base, 1ull << 45 | 0x12345'0900));
    EXPECT_EQ(one.mmio_page()->value, 1ull << 45 | 0x12345'0000);
}

TEST_F(LocalApicTest, X2apicRegisters) {
    EXPECT_FALSE(one.read_msr(0x802)) << "not in this mode";
    EXPECT_FALSE(one.write_msr(0x808, 0));
    x2apic(two);
    EXPECT_FALSE(two.mmio_page());
    EXPECT_EQ(two.read_msr(0x802), 5u);
    EXPECT_EQ(two.read_msr(0x803), 0x0106'0015u);
    EXPECT_EQ(two.read_msr(0x80D), 1u << 5);
    // Access rights of SDM "x2APIC Register Address Space"; r: readable, w: a zero can be written.
    std::string rights;
    for (u32 i = 0x800; i < 0x840; ++i) {
        const bool r = two.read_msr(i).has_value(), w = two.write_msr(i, 0);
        rights += r && w ? 'b' : r ? 'r' : w ? 'w' : '.';
    }
    EXPECT_EQ(rights, "..rr....b.rw.r.b"
                      "rrrrrrrrrrrrrrrr"
                      "rrrrrrrrb......b"
                      "b.bbbbbbbr....bw");
    EXPECT_FALSE(two.write_msr(0x80B, 1));
    EXPECT_FALSE(two.write_msr(0x828, 1));
    EXPECT_FALSE(two.write_msr(0x808, 0x100));
    EXPECT_FALSE(two.write_msr(0x808, 1ull << 32));
    EXPECT_FALSE(two.write_msr(0x832, 1u << 20));
    EXPECT_FALSE(two.write_msr(0x830, 1u << 13));
    EXPECT_FALSE(two.read_msr(0x8FF));
    EXPECT_FALSE(two.read_msr(0x840));
}

TEST_F(LocalApicTest, X2apicIpis) {
    x2apic(one);
    x2apic(two);
    for (LocalApic* a : {&one, &two}) ASSERT_TRUE(a->write_msr(0x80F, 0x1FF));
    const auto irr_of = [](LocalApic& a, u8 v) { return bit(*a.read_msr(0x820 + v / 32), v % 32); };
    EXPECT_TRUE(one.write_msr(0x830, 5ull << 32 | 0x4041));
    EXPECT_TRUE(irr_of(two, 0x41) && !irr_of(one, 0x41));
    EXPECT_EQ(one.read_msr(0x830), 5ull << 32 | 0x4041);
    EXPECT_TRUE(one.write_msr(0x830, 0xFFull << 32 | 0x4042));  // not a broadcast in this mode
    EXPECT_FALSE(irr_of(two, 0x42) || irr_of(one, 0x42));
    EXPECT_TRUE(one.write_msr(0x830, 0xFFFF'FFFFull << 32 | 0x4043));
    EXPECT_TRUE(irr_of(two, 0x43) && irr_of(one, 0x43));
    EXPECT_TRUE(one.write_msr(0x830, 0x21ull << 32 | 0x4844));  // logical: cluster 0, members 0 and 5
    EXPECT_TRUE(irr_of(two, 0x44) && irr_of(one, 0x44));
    EXPECT_TRUE(one.write_msr(0x830, 0x1'0021ull << 32 | 0x4845));
    EXPECT_FALSE(irr_of(two, 0x45) || irr_of(one, 0x45));
    EXPECT_TRUE(two.write_msr(0x83F, 0x46));
    EXPECT_TRUE(irr_of(two, 0x46) && !irr_of(one, 0x46));
}

TEST_F(LocalApicTest, MsiMessages) {
    EXPECT_TRUE(bus.deliver_msi(MachinePhys(0xFEE0'5000), 0x4071));
    EXPECT_TRUE(requested(two, 0x71));
    set(one, ldr, 1u << 24);
    EXPECT_TRUE(bus.deliver_msi(MachinePhys(0xFEE0'1004), 0x72));
    EXPECT_TRUE(requested(one, 0x72));
    EXPECT_FALSE(bus.deliver_msi(MachinePhys(0xFED0'0000), 0x73));
}

TEST_F(LocalApicTest, InitKeepsIdAndMode) {
    x2apic(two);
    ASSERT_TRUE(two.write_msr(0x80F, 0x1FF));
    ASSERT_TRUE(two.write_msr(0x832, 0x4'0040));
    ASSERT_TRUE(two.write_msr(tsc_deadline, 1'000'000));
    two.raise(0x99);
    two.init_reset();
    EXPECT_EQ(two.read_msr(apic_base), 0xFEE0'0C00u);
    EXPECT_EQ(two.read_msr(0x802), 5u);
    EXPECT_EQ(two.read_msr(0x80F), 0xFFu);
    EXPECT_EQ(two.read_msr(0x832), u64{masked});
    EXPECT_EQ(two.read_msr(tsc_deadline), 0u);
    EXPECT_EQ(clock.queue.next(), never);
    EXPECT_FALSE(two.interrupt_pending());
}

}  // namespace
}  // namespace droste::test
