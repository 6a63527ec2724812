// SPDX-License-Identifier: Apache-2.0
// State that its own controls load on VM entry, save and load on VM exit: each with the control on and off.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

/// One register with the controls that move it. `never`: there is no such control.
constexpr Capability never{VmxWord::count, 0};
struct State {
    std::string_view name;
    u64 (*read)(const Cpu&);
    void (*write)(Cpu&, u64);
    Field guest;
    Capability load_guest;
    Capability save_guest;  ///< `never`: saved by every exit of a processor that has load_guest
    bool has_host;
    Field host;
    Capability load_host;
    Capability clear;                                           ///< on exit, in place of a host field
    u64 of_guest = 0x1000, changed = 0x2000, of_host = 0x3000;  ///< legal values
};

template <u64 CetState::*m> u64 cet(const Cpu& c) {
    return c.cet.*m;
}
template <u64 CetState::*m> void set_cet(Cpu& c, u64 v) {
    c.cet.*m = v;
}
template <u64 CpuState::*m> u64 plain(const Cpu& c) {
    return c.*m;
}
template <u64 CpuState::*m> void set_plain(Cpu& c, u64 v) {
    c.*m = v;
}
template <unsigned n> u64 rsp(const Cpu& c) {
    return c.fred.rsp[n];
}
template <unsigned n> void set_rsp(Cpu& c, u64 v) {
    c.fred.rsp[n] = v;
}
template <unsigned n> u64 ssp(const Cpu& c) {
    return c.fred.ssp[n];
}
template <unsigned n> void set_ssp(Cpu& c, u64 v) {
    c.fred.ssp[n] = v;
}

constexpr State states[] = {
    {"S_CET", cet<&CetState::s_cet>, set_cet<&CetState::s_cet>, "guest_ia32_s_cet"_f,
     "entry_load_cet_state"_vmx, never, true, "host_ia32_s_cet"_f, "exit_load_cet_state"_vmx, never},
    {"SSP", cet<&CetState::ssp>, set_cet<&CetState::ssp>, "guest_ssp"_f, "entry_load_cet_state"_vmx, never,
     true, "host_ssp"_f, "exit_load_cet_state"_vmx, never},
    {"INTERRUPT_SSP_TABLE", cet<&CetState::ssp_table>, set_cet<&CetState::ssp_table>,
     "guest_ia32_interrupt_ssp_table_addr"_f, "entry_load_cet_state"_vmx, never, true,
     "host_ia32_interrupt_ssp_table_addr"_f, "exit_load_cet_state"_vmx, never},
    {"PKRS", [](const Cpu& c) -> u64 { return c.pkrs; }, [](Cpu& c, u64 v) { c.pkrs = static_cast<u32>(v); },
     "guest_ia32_pkrs"_f, "entry_load_pkrs"_vmx, never, true, "host_ia32_pkrs"_f, "exit_load_pkrs"_vmx, never,
     0x40, 0x50, 0x60},
    {"UINV",
     [](const Cpu& c) -> u64 { return c.uintr.misc >> 32 & 0xFF; },
     [](Cpu& c, u64 v) { c.uintr.misc = (c.uintr.misc & 0xFFFFFFFF) | v << 32; },
     "guest_uinv"_f,
     "load_uinv"_vmx,
     never,
     false,
     {},
     never,
     "clear_uinv"_vmx,
     0x41,
     0x42,
     0},
    {"BNDCFGS",
     plain<&CpuState::bndcfgs>,
     set_plain<&CpuState::bndcfgs>,
     "guest_ia32_bndcfgs"_f,
     "load_ia32_bndcfgs"_vmx,
     never,
     false,
     {},
     never,
     "clear_ia32_bndcfgs"_vmx,
     0x1003,
     0x2001,
     0},
    {"SPEC_CTRL", plain<&CpuState::spec_ctrl>, set_plain<&CpuState::spec_ctrl>, "guest_ia32_spec_ctrl"_f,
     "entry_load_ia32_spec_ctrl"_vmx, never, true, "host_ia32_spec_ctrl"_f, "exit_load_ia32_spec_ctrl"_vmx,
     never, 1, 2, 4},
    {"PAT", plain<&CpuState::pat>, set_plain<&CpuState::pat>, "guest_ia32_pat"_f, "entry_load_ia32_pat"_vmx,
     "save_ia32_pat"_vmx, true, "host_ia32_pat"_f, "exit_load_ia32_pat"_vmx, never, 0x0101010101010101,
     0x0404040404040404, 0x0606060606060606},
    {"FRED_CONFIG", [](const Cpu& c) { return c.fred.config; }, [](Cpu& c, u64 v) { c.fred.config = v; },
     "guest_ia32_fred_config"_f, "entry_load_ia32_fred"_vmx, "save_ia32_fred"_vmx, true,
     "host_ia32_fred_config"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_RSP1", rsp<1>, set_rsp<1>, "guest_ia32_fred_rsp1"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_rsp1"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_RSP2", rsp<2>, set_rsp<2>, "guest_ia32_fred_rsp2"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_rsp2"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_RSP3", rsp<3>, set_rsp<3>, "guest_ia32_fred_rsp3"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_rsp3"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_STKLVLS", [](const Cpu& c) { return c.fred.stack_levels; },
     [](Cpu& c, u64 v) { c.fred.stack_levels = v; }, "guest_ia32_fred_stklvls"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_stklvls"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_SSP1", ssp<1>, set_ssp<1>, "guest_ia32_fred_ssp1"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_ssp1"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_SSP2", ssp<2>, set_ssp<2>, "guest_ia32_fred_ssp2"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_ssp2"_f, "exit_load_ia32_fred"_vmx, never},
    {"FRED_SSP3", ssp<3>, set_ssp<3>, "guest_ia32_fred_ssp3"_f, "entry_load_ia32_fred"_vmx,
     "save_ia32_fred"_vmx, true, "host_ia32_fred_ssp3"_f, "exit_load_ia32_fred"_vmx, never},
};

/// Enters, looks, changes the register as the guest would, exits by CPUID.
struct Moved {
    u64 entered, saved, after;
};
Moved move(VmxMachine& m, const State& s) {
    constexpr u64 before = 0;
    m.start();
    s.write(m.cpu, s.name == "PAT" ? 0x0007040600070406 : before);
    m.set(s.guest, s.of_guest);
    if (s.has_host)
        m.set(s.host, s.of_host);
    m.write(VmxMachine::guest_code, {0x0F, 0xA2});
    return {};
}
Moved finish(VmxMachine& m, const State& s) {
    Moved r{};
    EXPECT_TRUE(m.enter());
    r.entered = s.read(m.cpu);
    s.write(m.cpu, s.changed);
    m.run_for(10);
    EXPECT_EQ(m.reason(), 10u);
    r.saved = m.get(s.guest);
    r.after = s.read(m.cpu);
    return r;
}

TEST(StateLoads, WithTheControls) {
    for (const State& s : states) {
        SCOPED_TRACE(s.name);
        VmxMachine m;
        move(m, s);
        for (const Capability c : {s.load_guest, s.save_guest, s.load_host, s.clear})
            if (c != never)
                m.enable(c);
        const Moved r = finish(m, s);
        EXPECT_EQ(r.entered, s.of_guest);
        EXPECT_EQ(r.saved, s.changed);
        EXPECT_EQ(r.after, s.has_host ? s.of_host : 0);
    }
}

TEST(StateLoads, WithoutTheControls) {
    for (const State& s : states) {
        SCOPED_TRACE(s.name);
        VmxMachine m;
        move(m, s);
        const u64 before = s.read(m.cpu);
        const Moved r = finish(m, s);
        EXPECT_EQ(r.entered, before);
        EXPECT_EQ(r.saved, s.save_guest == never ? s.changed : s.of_guest);
        EXPECT_EQ(r.after, s.changed) << "the guest's value stays";
    }
}

/// A processor that lacks the entry control neither has the field nor writes to it.
TEST(StateLoads, NotSavedWithoutTheCapability) {
    for (const State& s : states) {
        if (s.save_guest != never)
            continue;
        SCOPED_TRACE(s.name);
        std::string off = "-";
        for (const CapabilityRow& row : capability_rows)
            if (Capability{row.word, row.bit} == s.load_guest)
                off.append(row.name);
        VmxMachine m({off});
        move(m, s);
        const Moved r = finish(m, s);
        EXPECT_EQ(r.saved, s.of_guest);
        EXPECT_FALSE(m.vmx.capabilities().field_exists(s.guest));
    }
}

TEST(StateLoads, UinvLeavesTheRestOfItsMsr) {
    VmxMachine m;
    m.start();
    m.cpu.uintr.misc = 0x5500000077;
    m.enable("load_uinv"_vmx);
    m.enable("clear_uinv"_vmx);
    m.set("guest_uinv"_f, 0x99);
    m.write(VmxMachine::guest_code, {0x0F, 0xA2});
    ASSERT_TRUE(m.enter());
    EXPECT_EQ(m.cpu.uintr.misc, 0x9900000077u);
    m.run_for(10);
    EXPECT_EQ(m.cpu.uintr.misc, 0x77u);
    EXPECT_EQ(m.get("guest_uinv"_f), 0x99u);
}

}  // namespace
}  // namespace droste::test
