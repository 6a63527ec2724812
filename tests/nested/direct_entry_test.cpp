// SPDX-License-Identifier: Apache-2.0
// VMRESUME of level 1 that enters level 2 without level 0, deferred VMCS accesses, and contexts that level 0 does not see.
#include <gtest/gtest.h>

#include <set>

#include "nested/routing/protected_context.h"
#include "routed_machine.h"

namespace droste::test {
namespace {

/// Level 2 exits by CPUID to level 1, which skips the instruction by VMWRITE and executes VMRESUME.
class DirectEntry : public RoutedMachine {
public:
    explicit DirectEntry(bool configured = true) : RoutedMachine([&] {
        RoutingConfig c = config_of("links");
        c.direct_entry = configured;
        return c;
    }()) {
        for (unsigned i = 0; i < 4096; i += 8) poke<u64>(vmread_bitmap + i, 0), poke<u64>(vmwrite_bitmap + i, 0);
        build();
        set("routing_controls"_f, 2);
        route_reason(10);
        // Level 1's VMREADs and VMWRITEs go to S_2.
        EXPECT_EQ(vmx.vmptrld(r1), Outcome::next);
        enable("vmcs_shadowing"_vmx);
        set("vmcs_link_pointer"_f, s2);
        run_guest({0x0F, 0xA2});
        EXPECT_EQ(reason(), 10u);
        cpu.activity = Activity::active;
        EXPECT_EQ(vmx.vmptrld(r2), Outcome::next);
        s().set("guest_rip"_f, 0);
        // vmread rax, rdx (RIP); add rax, 2; vmwrite rdx, rax; vmresume
        write(level1_entry, {0x0F, 0x78, 0xD0, 0x48, 0x83, 0xC0, 0x02, 0x0F, 0x79, 0xD0, 0x0F, 0x01, 0xC3, 0xF4});
        cpu.reg(Gpr::rdx) = 0x681E;
        write(guest_code, {0x0F, 0xA2, 0x90, 0xF4});
        set("guest_rip"_f, guest_code);
    }
    /// Who halts after at most so many instructions.
    unsigned run(u64 ticks = 50) {
        EXPECT_TRUE(enter());
        cpu.reg(Gpr::rdx) = 0x681E;
        run_for(ticks);
        return !cpu.non_root ? 0 : vmx.current().address() == r1 ? 1 : 2;
    }
};

TEST(DirectEntries, WithoutLevel0) {
    DirectEntry m;
    EXPECT_EQ(m.run(), 2u);
    EXPECT_EQ(m.cpu.rip, VmxMachine::guest_code + 4) << "behind level 2's HLT";
    EXPECT_EQ(m.cpu.activity, Activity::hlt);
    EXPECT_EQ(m.unit.accounts().routes().size(), 2u);
    const auto route = std::find_if(m.unit.accounts().routes().begin(), m.unit.accounts().routes().end(),
                                    [](const auto& r) { return r.first.why == "direct entry"; });
    ASSERT_NE(route, m.unit.accounts().routes().end());
    EXPECT_EQ(m.c()["guest_rip"_f], RoutedMachine::level1_entry + 10) << "level 1 at its VMRESUME";
}

TEST(DirectEntries, WhatLevel1InjectsIsDelivered) {
    DirectEntry m;
    m.s().set("guest_idtr_limit"_f, 0xFFF);
    // vmwrite rbx, rax; vmresume: the event to inject, then VMRESUME
    m.write(RoutedMachine::level1_entry, {0x0F, 0x79, 0xD8, 0x0F, 0x01, 0xC3, 0xF4});
    EXPECT_TRUE(m.enter());
    m.cpu.reg(Gpr::rbx) = 0x4016;
    m.cpu.reg(Gpr::rax) = 0x80000306;
    m.run_for(20);
    EXPECT_EQ(m.vmx.current().address(), RoutedMachine::r2);
    EXPECT_EQ(m.stopped_at(), 6);
}

struct Obstacle {
    std::string_view what;
    std::function<void(DirectEntry&)> make;
};

TEST(DirectEntries, OtherwiseLevel0Enters) {
    const Obstacle list[] = {
        {"the control is 0", [](DirectEntry& m) { m.set("routing_controls"_f, 0); }},
        {"a control was written",
         [](DirectEntry& m) {
             // vmwrite rbx (the exception bitmap), rax; vmresume
             m.write(RoutedMachine::level1_entry, {0x0F, 0x79, 0xD8, 0x0F, 0x01, 0xC3, 0xF4});
         }},
        {"an MSR-load area", [](DirectEntry& m) { m.s().set("entry_msr_load_count"_f, 1); }},
        {"the guest state is not valid", [](DirectEntry& m) { m.write(RoutedMachine::level1_entry, {0x0F, 0x79, 0xD8, 0x0F, 0x01, 0xC3, 0xF4});
             m.cpu.reg(Gpr::rbp) = 0x6820; }},
        {"another VMCS is current", [](DirectEntry& m) { m.c().set("vmcs_link_pointer"_f, ~0ull); }},
        {"VMLAUNCH", [](DirectEntry& m) { m.poke<u8>(RoutedMachine::level1_entry + 12, 0xC2); }},
        {"MSRs that level 0 loads", [](DirectEntry& m) { m.set("entry_msr_load_count"_f, 1), m.poke<u64>(VmxMachine::msr_list, 0xC000'0082),
             m.set("entry_msr_load_address"_f, VmxMachine::msr_list); }},
    };
    for (const Obstacle& o : list) {
        SCOPED_TRACE(o.what);
        DirectEntry m;
        m.cpu.reg(Gpr::rbp) = 0x4004;
        o.make(m);
        EXPECT_TRUE(m.enter());
        m.cpu.reg(Gpr::rdx) = 0x681E;
        m.cpu.reg(Gpr::rbx) = m.cpu.reg(Gpr::rbp);
        m.cpu.reg(Gpr::rax) = 0xFFFF'FFFF;
        m.run_for(50);
        EXPECT_FALSE(m.cpu.non_root);
        EXPECT_EQ(m.vmx.current().address(), RoutedMachine::r1);
        EXPECT_EQ(m.c()["exit_reason"_f], o.what == "VMLAUNCH" ? 20u : 24u);
    }
    DirectEntry off(false);
    EXPECT_EQ(off.run(), 0u);
    EXPECT_EQ(off.c()["exit_reason"_f], 24u);
}

TEST(Deferred, AccessesOfLevel1AreMemoryAccessesMergedAtEntry) {
    RoutedMachine m(config_of("deferred"));
    m.vmx.set_router(&m.unit);
    // An ordinary VMCS is the page: VMCS shadowing is off.
    m.poke<u32>(RoutedMachine::s2, m.vmx.capabilities().revision);
    m.build();
    m.set("control_link"_f, ~0ull);
    const u64 before_rip = m.get("guest_rip"_f);
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
    m.enable("exit_routing"_vmx);
    for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}}) m.set(f, ~0ull);
    m.set("vmcs_link_pointer"_f, RoutedMachine::s2);
    // vmwrite rdx (RIP), rax; vmread rbx, rdx; vmwrite rsi (a control), rax; vmresume: that one exits
    m.write(VmxMachine::guest_code, {0x0F, 0x79, 0xD0, 0x0F, 0x78, 0xD3, 0x0F, 0x79, 0xF0, 0x0F, 0x01, 0xC3});
    m.set("guest_rip"_f, VmxMachine::guest_code);
    EXPECT_TRUE(m.enter());
    m.cpu.reg(Gpr::rdx) = 0x681E;
    m.cpu.reg(Gpr::rsi) = 0x4004;
    m.cpu.reg(Gpr::rax) = 0x3C00;
    m.run_for(20);
    EXPECT_FALSE(m.cpu.non_root);
    EXPECT_EQ(m.reason(), 24u) << "three accesses, no exit";
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x3C00u);
    EXPECT_EQ(m.s()["guest_rip"_f], 0x3C00u);
    EXPECT_EQ(m.s()["exception_bitmap"_f], 0x3C00u);
    // The next entry of level 2 takes what was written, and nothing else.
    m.cpu.activity = Activity::active;
    m.write(0x3C00, {0xF4});
    m.s().set("guest_rsp"_f, 0x1111);
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r2), Outcome::next);
    EXPECT_EQ(m.get("guest_rip"_f), before_rip);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.rip, 0x3C00u);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), VmxMachine::guest_stack);
    EXPECT_EQ(m.get("exception_bitmap"_f), 0u) << "controls are level 0's to merge";
    m.exit_by_cpuid();
    m.cpu.activity = Activity::active;
    m.set("guest_rip"_f, 0x3C80);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.rip, 0x3C80u) << "merged once";
}

/// What each step of the designs costs; all else costs nothing here.
TEST(Costs, OfEachStep) {
    const auto costs = [](RoutedMachine& m) {
        const auto set = [&](CostEvent e, u32 c) { m.cpu.costs.cycles[static_cast<std::size_t>(e)] = c; };
        set(CostEvent::route_check, 1);
        set(CostEvent::route_level, 10);
        set(CostEvent::direct_exit, 100);
        set(CostEvent::direct_entry, 1000);
        set(CostEvent::deferred_access, 10'000);
        set(CostEvent::deferred_merge, 100'000);
    };
    {
        DirectEntry m;
        costs(m);
        const u64 before = m.cpu.model_cycles;
        EXPECT_EQ(m.run(), 2u);
        EXPECT_EQ(m.cpu.model_cycles - before, 1u + 10 + 100 + 1 + 1000);
    }
    {
        DirectEntry m;
        costs(m);
        m.set("reason_bitmap_0"_f, 0);
        const u64 before = m.cpu.model_cycles;
        EXPECT_EQ(m.run(), 0u);
        EXPECT_EQ(m.cpu.model_cycles - before, 1u + 10) << "the decision alone";
    }
    {
        RoutedMachine m(config_of("deferred"));
        m.build();
        m.set(Field{"control_link"_f}, ~0ull);
        costs(m);
        const u64 before = m.cpu.model_cycles;
        m.unit.written_in_non_root(m.s(), "guest_rip"_f);
        EXPECT_EQ(m.cpu.model_cycles - before, 10'000u);
        EXPECT_TRUE(m.enter());
        EXPECT_EQ(m.cpu.model_cycles - before, 110'000u);
        m.exit_by_cpuid();
        const u64 between = m.cpu.model_cycles;
        EXPECT_TRUE(m.enter());
        EXPECT_EQ(m.cpu.model_cycles, between) << "nothing to merge";
    }
}

TEST(Deferred, ControlRegistersKeepWhatLevel0Keeps) {
    RoutedMachine m(config_of("deferred"));
    m.build();
    m.set("cr0_guest_host_mask"_f, cr0_bits::ts);
    const u64 cr0 = m.get("guest_cr0"_f);
    m.s().set("guest_cr0"_f, (cr0 | cr0_bits::ts) ^ cr0_bits::mp);
    m.unit.written_in_non_root(m.s(), "guest_cr0"_f);
    m.set(Field{"control_link"_f}, ~0ull);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.cr0, cr0 ^ cr0_bits::mp);
}

TEST(Deferred, BitmapsOfVmcsShadowingStillCount) {
    RoutedMachine m(config_of("deferred"));
    m.build();
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
    m.enable("exit_routing"_vmx);
    for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}}) m.set(f, ~0ull);
    m.enable("vmcs_shadowing"_vmx);  // all bits are 1
    m.set("vmcs_link_pointer"_f, RoutedMachine::s2);
    EXPECT_EQ(m.run_guest({0x0F, 0x79, 0xD0}), "vmwrite"_exit->number);
}

/// Level 2's hypercall reaches level 1; level 0 sees neither's registers, and gives them back.
class Contexts : public RoutedMachine {
public:
    Contexts() : RoutedMachine([] {
        RoutingConfig c = config_of("parent-context");
        return c;
    }()) {
        build();
        set("routing_controls"_f, 4);
    }
};

TEST(ParentContexts, AHypercallReachesTheParentWithoutLevel0) {
    Contexts m;
    m.cpu.reg(Gpr::rdi) = 0x1234;
    EXPECT_EQ(m.run_level2({0x0F, 0x01, 0xC1}), 1u);
    EXPECT_EQ(m.s()["exit_reason"_f], 18u);
    EXPECT_EQ(m.s()["guest_rip"_f], VmxMachine::guest_code);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0x1234u) << "the parent sees its child's registers";
    // Level 0 enters the child again: its state is what the parent's VMCS has, not what level 0 writes.
    m.s().set("guest_rip"_f, 0x3C00);
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
}

TEST(ParentContexts, Level0SeesNoRegisters) {
    Contexts m;
    for (unsigned i = 5; i < 16; ++i) m.cpu.gpr[i] = 0x1000 + i;
    m.cpu.reg(Gpr::rax) = 0xAAAA;
    EXPECT_EQ(m.run_level2({0x0F, 0xA2}), 0u);
    EXPECT_EQ(m.v()["exit_reason"_f], 10u);
    for (unsigned i = 5; i < 16; ++i) EXPECT_EQ(m.cpu.gpr[i], 0u) << i;
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0xAAAAu) << "what is asked of level 0";
    for (const Field f : {Field{"guest_rip"_f}, Field{"guest_rsp"_f}, Field{"guest_cr3"_f}, Field{"guest_rflags"_f},
                          Field{"guest_gs_base"_f}, Field{"guest_cs_selector"_f}})
        EXPECT_EQ(m.v()[f], 0u) << f->name;
    EXPECT_NE(m.v()["guest_cr0"_f], 0u);
    // Level 0 answers in RAX and skips the instruction.
    for (unsigned i = 5; i < 16; ++i) m.cpu.gpr[i] = 0xDEAD;
    m.cpu.reg(Gpr::rax) = 0xBBBB;
    m.cpu.activity = Activity::active;
    m.set("guest_rip"_f, 2);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.rip, VmxMachine::guest_code + 2);
    EXPECT_EQ(m.cpu.reg(Gpr::rsp), VmxMachine::guest_stack);
    for (unsigned i = 5; i < 16; ++i) EXPECT_EQ(m.cpu.gpr[i], 0x1000u + i);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0xBBBBu);
}

/// Of the guest-state area, what tells the mode and the blocking of events stays readable.
TEST(ParentContexts, WhatIsSealed) {
    const std::set<std::string_view> open = {"guest_cr0", "guest_cr4", "guest_ia32_efer", "guest_interruptibility_state",
                                             "guest_activity_state", "guest_interrupt_status", "vmx_preemption_timer_value",
                                             "vmcs_link_pointer", "pml_index"};
    Contexts m;
    const Vmcs v = m.v();
    for (u16 i = 0; i < vmcs_fields.size(); ++i)
        if (vmcs_fields[i].area() == FieldArea::guest) v.set({i}, 0x11);
    seal(m.cpu, v);
    for (u16 i = 0; i < vmcs_fields.size(); ++i)
        if (vmcs_fields[i].area() == FieldArea::guest) {
            EXPECT_EQ(v[{i}], open.contains(vmcs_fields[i].name) ? 0x11u : 0u) << vmcs_fields[i].name;
        }
    v.set_launch_state(LaunchState::launched);
    unseal_fields(m.cpu, v, m.vmx.capabilities());
    for (u16 i = 0; i < vmcs_fields.size(); ++i)
        if (vmcs_fields[i].area() == FieldArea::guest) {
            EXPECT_EQ(v[{i}], 0x11u) << vmcs_fields[i].name;
        }
}

TEST(ParentContexts, WithoutTheControlRegistersAreOpen) {
    Contexts m;
    m.set("routing_controls"_f, 0);
    m.cpu.reg(Gpr::rdi) = 0x77;
    EXPECT_EQ(m.run_level2({0x0F, 0xA2}), 0u);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0x77u);
    EXPECT_EQ(m.v()["guest_rip"_f], VmxMachine::guest_code);
}

/// The child goes on with the registers that its parent left at VMRESUME, and with the state in the parent's VMCS.
TEST(ParentContexts, TheParentResumesItsChildThroughLevel0) {
    Contexts m;
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
    m.enable("exit_routing"_vmx);
    for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}}) m.set(f, ~0ull);
    m.set("routing_controls"_f, 4);
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r2), Outcome::next);
    m.write(RoutedMachine::level1_entry, {0xBF, 0x55, 0x55, 0, 0, 0x0F, 0x01, 0xC3});  // mov edi, 5555H; vmresume
    EXPECT_EQ(m.run_level2({0x0F, 0x01, 0xC1}), 0u);
    EXPECT_EQ(m.c()["exit_reason"_f], 24u) << "the first exit that level 0 sees";
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0u);
    m.s().set("guest_rip"_f, 0x3C00);
    m.poke<u8>(0x3C00, 0xF4);
    m.cpu.activity = Activity::active;
    EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r2), Outcome::next);
    EXPECT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.rip, 0x3C00u);
    EXPECT_EQ(m.cpu.reg(Gpr::rdi), 0x5555u);
}

}  // namespace
}  // namespace droste::test
