// SPDX-License-Identifier: Apache-2.0
// Random VMCS contents: whatever software puts there, entries succeed or fail by the rules and the emulator
// survives.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "vmx_machine.h"

namespace droste::test {
namespace {

class Fuzzer {
public:
    explicit Fuzzer(u64 seed) : random_(seed) {}

    u64 below(u64 n) { return random_() % n; }
    /// Values at which something changes: single bits, masks, addresses of structures, plain noise.
    u64 value() {
        switch (below(8)) {
        case 0: return 0;
        case 1: return ~0ull;
        case 2: return 1ull << below(64);
        case 3: return ~(1ull << below(64));
        case 4: return VmxMachine::vmxon_region + 0x1000 * below(16);
        case 5: return (1ull << below(64)) - 1;
        case 6: return 0x80000000 | (below(8) << 8) | below(256);
        default: return random_();
        }
    }
    Field field() { return {static_cast<u16>(below(vmcs_fields.size()))}; }

private:
    std::mt19937_64 random_;
};

class Counts final : public VmxObserver {
public:
    void entered(const EntryEvent&) override { ++entries; }
    void entry_failed(const EntryEvent&, std::string_view) override { ++failures; }
    unsigned entries = 0, failures = 0;
};

/// Puts the host back where it can start over, whatever the guest and a VM exit with strange host state left.
std::unique_ptr<VmxMachine> fresh(Counts& counts) {
    auto m = std::make_unique<VmxMachine>();
    m->vmx.add_observer(counts);
    return m;
}

void one_round(VmxMachine& m, Fuzzer& f, bool behind_the_back) {
    m.start(f.below(2) ? VmxMachine::vmcs_a : VmxMachine::vmcs_b);
    if (f.below(2)) m.enable_ept();
    if (f.below(4) == 0) m.enable("unrestricted_guest"_vmx);
    // Controls one by one first, so that many combinations are legal.
    for (u64 i = f.below(6); i > 0; --i) {
        const CapabilityRow& row = capability_rows[f.below(capability_rows.size())];
        if (static_cast<unsigned>(row.word) < vmx_control_words) m.enable({row.word, row.bit});
    }
    for (u64 i = f.below(4); i > 0; --i) m.set(f.field(), f.value());
    for (unsigned i = 0; i < 32; ++i) m.poke<u8>(VmxMachine::guest_code + i, static_cast<u8>(f.value()));
    if (f.below(4) == 0) {  // the handlers of the guest's exceptions, descriptor tables and page tables
        const u64 targets[] = {TestMachine::idt, TestMachine::gdt, TestMachine::tables,
                               VmxMachine::ept_tables};
        m.poke<u64>(targets[f.below(4)] + 8 * f.below(512), f.value());
    }
    if (f.below(4) == 0) m.interrupts.raise(static_cast<u8>(f.value()));
    if (f.below(8) == 0) m.cpu.nmi();
    if (f.below(16) == 0) m.cpu.init();
    const bool inside = m.enter();
    if (behind_the_back)  // undefined by the architecture, but possible: the region written by ordinary
                          // stores
        for (unsigned i = 0; i < 4; ++i)
            m.vmx.current().set(f.field(), f.value());
    if (inside) m.run_for(50);
    m.interrupts.vectors.clear();
}

class VmcsFuzz : public ::testing::TestWithParam<bool> {};

/// DROSTE_FUZZ_ROUNDS asks for more than the quick run of every build.
unsigned rounds_wanted() {
    const char* text = std::getenv("DROSTE_FUZZ_ROUNDS");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 400;
}

TEST_P(VmcsFuzz, Survives) {
    Counts counts;
    const unsigned rounds = rounds_wanted();
    for (unsigned i = 0; i < rounds; ++i) {
        SCOPED_TRACE(::testing::Message() << "seed " << i);
        Fuzzer f(i);
        auto m = fresh(counts);
        one_round(*m, f, GetParam());
        if (m->cpu.shut_down) continue;
        if (!m->cpu.non_root) {
            EXPECT_EQ(m->cpu.gates.closed_mask, 0u);
            EXPECT_FALSE(m->cpu.ept_enabled);
            EXPECT_EQ(m->cpu.current_vpid, 0);
            EXPECT_EQ(m->cpu.tsc_offset, 0u);
        } else {
            EXPECT_NE(m->cpu.gates.closed_mask, 0u);
        }
    }
    // Neither all nor none: the generator is worth something.
    EXPECT_GT(counts.entries, rounds / 10);
    EXPECT_GT(counts.failures, rounds / 10);
}

INSTANTIATE_TEST_SUITE_P(Vmcs, VmcsFuzz, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "ScribbledWhileActive" : "Checked"; });

/// Saving in non-root operation and loading into another machine gives the same machine.
TEST(VmxSnapshot, NonRootStateComesBack) {
    VmxMachine a;
    a.start();
    a.enable_ept();
    a.enable("activate_vmx_preemption_timer"_vmx);
    a.enable("use_tsc_offsetting"_vmx);
    a.set("tsc_offset"_f, 12345);
    a.set("vmx_preemption_timer_value"_f, 1000);
    a.write(VmxMachine::guest_code, {0x90, 0x90, 0xEB, 0xFC});
    ASSERT_TRUE(a.enter());
    a.run_for(20);
    SaveArchive save;
    a.memory.visit(save);
    a.cpu.visit_all(save);
    a.vmx.visit(save);

    VmxMachine b;
    LoadArchive load(save.data);
    b.memory.visit(load);
    b.cpu.visit_all(load);
    b.vmx.visit(load);
    ASSERT_TRUE(load.good()) << load.problem();
    EXPECT_TRUE(b.cpu.non_root);
    EXPECT_EQ(b.cpu.gates.closed_mask, a.cpu.gates.closed_mask);
    EXPECT_EQ(b.cpu.tsc_offset, 12345u);
    EXPECT_EQ(b.vmx.current().address(), a.vmx.current().address());
    EXPECT_EQ(b.cpu.current_eptp, a.cpu.current_eptp);
    for (VmxMachine* m : {&a, &b}) {
        m->poke<u8>(VmxMachine::guest_code, 0x0F);
        m->poke<u8>(VmxMachine::guest_code + 1, 0xA2);
        m->cpu.rip = VmxMachine::guest_code;
        m->run_for(5);
        EXPECT_EQ(m->reason(), 10u);
    }
    HashArchive ha, hb;
    a.cpu.visit_all(ha);
    a.vmx.visit(ha);
    b.cpu.visit_all(hb);
    b.vmx.visit(hb);
    EXPECT_EQ(ha.value(), hb.value());
}

}  // namespace
}  // namespace droste::test
