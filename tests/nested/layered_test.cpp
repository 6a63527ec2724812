// SPDX-License-Identifier: Apache-2.0
// The design `layered` on a processor with three levels above root: who receives what, and in which state.
#include <gtest/gtest.h>

#include "routed_machine.h"

namespace droste::test {
namespace {

/// R_3 above R_2 above R_1; S_3 is level 2's for level 3, S_2 level 1's for level 2.
class ThreeLevels : public RoutedMachine {
public:
    static constexpr u64 r3 = 0x23'0000, s3 = 0x23'1000, level2_entry = 0x3B00, level2_code = 0x3C00;
    static constexpr u64 ept_of_level_2 = 0x24'0000;

    explicit ThreeLevels(RoutingConfig config = config_of("layered")) : RoutedMachine(config) {
        for (const u64 region : {r3, s3}) poke<u32>(region, vmx.capabilities().revision);
        poke<u64>(ept_of_level_2, (ept_of_level_2 + 0x1000) | 7);
        poke<u64>(ept_of_level_2 + 0x1000, (ept_of_level_2 + 0x2000) | 7);
        for (u64 i = 0; i < 512; ++i) poke<u64>(ept_of_level_2 + 0x2000 + 8 * i, (i << 21) | 0xB7);
        build();
        // Level 2 stands at an exit to level 0, as after its VMRESUME.
        disable("exit_routing"_vmx);
        run_guest({0x90, 0x0F, 0xA2});
        EXPECT_EQ(reason(), 10u);
        cpu.activity = Activity::active;
        enable("exit_routing"_vmx);
        start(s3);
        enable_ept();
        set("eptp"_f, ept_of_level_2 | 0x5E);
        set("host_rip"_f, level2_entry);
        set("host_rsp"_f, 0x7700);
        poke<u8>(level2_entry, 0xF4);
        start(r3);
        enable_ept();
        enable("exit_routing"_vmx);
        for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}}) set(f, ~0ull);
        set("state_link"_f, s3);
        set(design->link, r2);
        enable("save_ia32_efer"_vmx);
        s().set("guest_rip"_f, 0x1234);
    }
    /// Which of V_3, V_2, V_1 ask, by a control; R_3 has it when any does.
    void who(Capability control, bool b3, bool b2, bool b1) {
        const Field f = word_field(control);
        const auto put_bit = [&](u64 region, bool on) {
            const Vmcs v = vmcs(region);
            v.set(f, on ? v[f] | control.mask() : v[f] & ~control.mask());
        };
        put_bit(s3, b3), put_bit(s2, b2), put_bit(r1, b1), put_bit(r3, true);
        vmx.written(f);
    }
    /// The level that runs after a stop.
    unsigned level() const {
        if (!cpu.non_root) return 0;
        const u64 at = vmx.current().address();
        return at == r1 ? 1 : at == r2 ? 2 : 3;
    }
    unsigned run_level3(std::initializer_list<u8> bytes) {
        run_guest(bytes);
        return level();
    }
};

TEST(Layered, InstructionsGoToTheInnermostThatAsks) {
    for (unsigned bits = 0; bits < 8; ++bits) {
        ThreeLevels m;
        const bool b3 = bits & 4, b2 = bits & 2, b1 = bits & 1;
        m.who("hlt_exiting"_vmx, b3, b2, b1);
        EXPECT_EQ(m.run_level3({0x90, 0xF4}), b3 ? 2u : 0u) << bits;
        const RouteAccounts& a = m.unit.accounts();
        ASSERT_EQ(a.routes().size(), 1u);
        // Level 1 would have to see the registers of level 3.
        EXPECT_EQ(a.fallbacks(RouteFallback::view), !b3 && b2 ? 1u : 0u);
        EXPECT_EQ(a.routes().begin()->first.why, b3 ? "top-down" : b2 ? "view" : b1 ? "top-down" : "unclaimed");
        if (!b3) continue;
        const Vmcs s3 = m.vmcs(ThreeLevels::s3);
        EXPECT_EQ(s3["exit_reason"_f], "hlt"_exit->number);
        EXPECT_EQ(s3["guest_rip"_f], VmxMachine::guest_code + 1);
        EXPECT_EQ(m.cpu.rip, ThreeLevels::level2_entry + 1);
        EXPECT_EQ(m.cpu.reg(Gpr::rsp), 0x7700u);
        EXPECT_EQ(m.s()["guest_rip"_f], 0x1234u) << "level 1's is not touched";
    }
}

TEST(Layered, EventsOfThePlatformGoToTheOutermostThatAsks) {
    for (unsigned bits = 1; bits < 8; ++bits) {
        ThreeLevels m;
        const bool b3 = bits & 4, b2 = bits & 2, b1 = bits & 1;
        m.who("external_interrupt_exiting"_vmx, b3, b2, b1);
        m.interrupts.raise(0x40);
        m.cpu.set_attention();
        EXPECT_EQ(m.run_level3({0x90, 0x90}), b1 ? 0u : b2 ? 1u : 2u) << bits;
        if (b1) {
            EXPECT_EQ(m.vmcs(ThreeLevels::r3)["exit_reason"_f], 1u);
            continue;
        }
        const Vmcs receiver = b2 ? m.s() : m.vmcs(ThreeLevels::s3);
        EXPECT_EQ(receiver["exit_reason"_f], 1u);
        EXPECT_EQ(m.vmcs(ThreeLevels::s3)["guest_rip"_f], VmxMachine::guest_code) << "level 3 will go on here";
        if (b2) {
            // Level 1 sees level 2 where it was when level 3 was entered.
            EXPECT_EQ(receiver["guest_rip"_f], m.v()["guest_rip"_f]);
            EXPECT_EQ(receiver["guest_rip"_f], VmxMachine::guest_code + 1);
            EXPECT_EQ(receiver["idt_vectoring_information"_f], 0u);
            EXPECT_EQ(m.cpu.rip, RoutedMachine::level1_entry + 1);
        }
    }
}

TEST(Layered, EptFaultsGoToTheLevelWhoseTableLacksThePage) {
    constexpr u64 entry = 0x2000 + 8 * 16;  // guest-physical 32 MBytes
    for (unsigned lacking = 0; lacking < 8; ++lacking) {
        ThreeLevels m;
        m.poke<u64>(VmxMachine::ept_tables + entry, 0);  // the hardware's, of R_1 too
        if (lacking & 4) m.poke<u64>(ThreeLevels::ept_of_level_2 + entry, 0);
        if (lacking & 2) m.poke<u64>(RoutedMachine::ept_of_level_1 + entry, 0);
        // mov rax, [0x2000000]
        const unsigned level = m.run_level3({0x48, 0x8B, 0x04, 0x25, 0, 0, 0, 0x02});
        EXPECT_EQ(level, lacking & 4 ? 2u : 0u) << lacking;
        EXPECT_EQ(m.unit.accounts().fallbacks(RouteFallback::view), (lacking & 6) == 2 ? 1u : 0u);
        if (lacking & 4) {
            EXPECT_EQ(m.vmcs(ThreeLevels::s3)["guest_physical_address"_f], 0x200'0000u);
        }
    }
}

/// What may be read of a table is enough; what the access needs is not there.
TEST(Layered, EptFaultsByMissingRights) {
    constexpr u64 entry = 0x2000 + 8 * 16;
    for (const u64 rights : {1ull, 3ull, 5ull, 7ull}) {
        ThreeLevels m;
        m.poke<u64>(VmxMachine::ept_tables + entry, (16ull << 21) | 0xB1);  // read only
        m.poke<u64>(ThreeLevels::ept_of_level_2 + entry, (16ull << 21) | 0xB0 | rights);
        // mov [0x2000000], rax
        EXPECT_EQ(m.run_level3({0x48, 0x89, 0x04, 0x25, 0, 0, 0, 0x02}), rights & 2 ? 0u : 2u) << rights;
    }
}

TEST(Layered, AnInjectedEventIsOfferedAboveItsInjector) {
    constexpr u32 page_fault = 0x80000B0E;
    for (unsigned injector = 0; injector < 4; ++injector)  // as the field has it: 1 + level, 0 the guest's own
        for (const bool level2_asks : {false, true}) {
            ThreeLevels m;
            m.set("routing_controls"_f, injector << 8);
            m.set("entry_interruption_information"_f, page_fault);
            m.set("entry_exception_error_code"_f, 2);
            if (level2_asks) m.vmcs(ThreeLevels::s3).set("exception_bitmap"_f, 1u << 14);
            m.s().set("exception_bitmap"_f, 0);
            m.run_level3({0x90});
            const bool exits = level2_asks && (injector == 1 || injector == 2);
            EXPECT_EQ(m.level(), exits ? 2u : 3u) << injector << level2_asks;
            if (!exits) {
                EXPECT_EQ(m.stopped_at(), 14) << "delivered";
                continue;
            }
            const Vmcs s3 = m.vmcs(ThreeLevels::s3);
            EXPECT_EQ(s3["exit_reason"_f], 0u);
            EXPECT_EQ(s3["exit_interruption_information"_f], page_fault);
            EXPECT_EQ(s3["idt_vectoring_information"_f], page_fault);
            EXPECT_EQ(s3["idt_vectoring_error_code"_f], 2u);
        }
}

TEST(Layered, TheWalkIsCharged) {
    RoutingConfig config = config_of("layered");
    config.walk_cycles = 40;
    for (const bool parent : {true, false}) {
        ThreeLevels m(config);
        m.who("hlt_exiting"_vmx, parent, false, true);
        const u64 before = m.cpu.model_cycles;
        m.run_level3({0xF4});
        EXPECT_EQ(m.cpu.model_cycles - before, parent ? 40u : 120u);
    }
}

TEST(Layered, ChainsHaveAnEnd) {
    RoutingConfig config = config_of("layered");
    config.max_levels = 2;
    ThreeLevels m(config);
    m.who("hlt_exiting"_vmx, true, false, false);
    EXPECT_EQ(m.run_level3({0xF4}), 0u);
    EXPECT_EQ(m.unit.accounts().fallbacks(RouteFallback::too_deep), 1u);
    // A cycle: R_1 gets links that lead back.
    ThreeLevels n;
    n.who("hlt_exiting"_vmx, true, false, false);
    EXPECT_EQ(n.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
    n.enable("exit_routing"_vmx);
    n.set("state_link"_f, RoutedMachine::s2);
    n.set("parent_link"_f, ThreeLevels::r3);
    EXPECT_EQ(n.vmx.vmptrld(ThreeLevels::r3), Outcome::next);
    n.vmcs(ThreeLevels::r3).set_launch_state(LaunchState::launched);
    EXPECT_EQ(n.run_level3({0xF4}), 0u);
    EXPECT_EQ(n.unit.accounts().fallbacks(RouteFallback::too_deep), 1u);
}

TEST(Layered, ThePolicyTableDecides) {
    for (unsigned nibble = 0; nibble < 16; ++nibble) {
        ThreeLevels m;
        m.who("hlt_exiting"_vmx, true, true, true);
        m.set("routing_controls"_f, 1);
        m.set("policy_table_pointer"_f, 0x30'0040);
        m.poke<u8>(0x30'0040 + 12 / 2, static_cast<u8>(nibble));  // HLT is reason 12: the low half
        const unsigned level = m.run_level3({0xF4});
        const RouteKey& route = m.unit.accounts().routes().begin()->first;
        const bool to_2 = nibble == 0 || nibble == 3 || nibble == 5 || nibble == 7 || nibble == 10;
        EXPECT_EQ(level, to_2 ? 2u : 0u) << nibble;
        EXPECT_EQ(route.why == "view", nibble == 9) << "to level 1: " << nibble;
    }
}

/// Links of any content lead to VMfail or to a level, never elsewhere.
TEST(Layered, ArbitraryLinks) {
    u64 seed = 7;
    const auto random = [&] { return seed = seed * 6364136223846793005ull + 1442695040888963407ull, seed >> 20; };
    const u64 some[] = {ThreeLevels::r3,   ThreeLevels::s3, RoutedMachine::r2, RoutedMachine::s2, RoutedMachine::r1, ~0ull, 0,
                        VmxMachine::vmxon_region, VmxMachine::msr_list, 0xFEE0'0000, 1ull << 45, 0x23'1008};
    unsigned entered = 0, refused = 0;
    for (unsigned i = 0; i < 300; ++i) {
        ThreeLevels m;
        m.who("hlt_exiting"_vmx, true, true, true);
        for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}})
            if (random() % 3 == 0) m.set(f, random() % 5 == 0 ? random() : some[random() % std::size(some)]);
        for (unsigned k = 0; k < 4; ++k) {
            const Field f{static_cast<u16>(random() % vmcs_fields.size())};
            m.vmcs(random() % 2 ? ThreeLevels::s3 : RoutedMachine::r2).set(f, random());
        }
        m.write(VmxMachine::guest_code, {0xF4});
        m.set("guest_rip"_f, VmxMachine::guest_code);
        m.enter() ? ++entered : ++refused;
        m.run_for(20);
        if (m.cpu.non_root) {
            EXPECT_TRUE(m.vmx.current());
        }
    }
    EXPECT_GT(entered, 20u);
    EXPECT_GT(refused, 20u);
}

}  // namespace
}  // namespace droste::test
