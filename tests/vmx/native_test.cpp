// SPDX-License-Identifier: Apache-2.0
// The routing design `native`: VMX instructions in non-root operation, who gets which exit at three levels, the
// views that hypervisors further down get, and how an inner run goes on.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "vmx_machine.h"

namespace droste::test {
namespace {

/// Root and up to three levels above it. The EPT of every layer maps all memory in place, but for `window`, which
/// lies 2 MBytes higher in the level beneath.
class NativeMachine : public VmxMachine {
public:
    static constexpr u64 window = 0x200'0000, step = 0x20'0000;
    static constexpr u64 vmxon_at = window, vmcs_at = window + 0x1000, bitmap_at = window + 0x2000,
                         vapic_at = window + 0x3000;
    static constexpr u64 tables = 0x300'0000;  ///< of layer k: + k * 4 pages, and one for 4-KByte pages
    static constexpr u32 revision = 0x1234567;

    NativeMachine() {
        vmx.use_native(most_layers);
        start();
        for (unsigned k = 0; k < 4; ++k) make_tables(k);
        enable("enable_ept"_vmx);
        set("eptp"_f, table(k0) | 0x1E);
        v[0] = vmx.current();
    }
    static constexpr unsigned k0 = 0;
    static u64 table(unsigned k) { return tables + k * 0x4000; }
    /// Entry of layer k for the 4-KByte page `i` of the 2 MBytes from 0x80'0000.
    static constexpr u64 small_pages = 0x80'0000;
    static u64 small_entry(unsigned k, unsigned i) { return table(k) + 0x3000 + 8 * i; }
    /// Machine address of something in the window of level `level`.
    static u64 machine(unsigned level, u64 a) { return a + level * step; }

    /// From root or a level of its own into the next one, with a copy of V01. False: it was not entered.
    bool go_up() {
        const unsigned level = vmx.level();
        if (level == 0) return enter() && vmx.level() == 1;
        poke<u32>(machine(level, vmxon_at), revision);
        poke<u32>(machine(level, vmcs_at), revision);
        if (vmx.operating() || vmx.vmxon(vmxon_at) != Outcome::next || cf()) return false;
        if (vmx.vmclear(vmcs_at) != Outcome::next || zf() || vmx.vmptrld(vmcs_at) != Outcome::next || zf())
            return false;
        v[level] = vmx.accessed();
        for (u16 i = 0; i < vmcs_fields.size(); ++i) v[level].set({i}, blank[i]);
        v[level].set("eptp"_f, table(level) | 0x1E);
        v[level].set("host_rip"_f, host_entry + 0x10 * level);
        v[level].set("guest_rip"_f, guest_code + 0x100 * (level + 1));
        v[level].set("guest_rsp"_f, guest_stack - 0x100 * (level + 1));
        poke<u8>(host_entry + 0x10 * level, 0xF4);
        if (prepare) prepare(level, v[level]);
        return again(true);
    }
    /// VMLAUNCH or VMRESUME by the running level.
    bool again(bool launch = false) {
        const unsigned level = vmx.level();
        cpu.rip = code + 0x40 * level;
        cpu.activity = Activity::active;
        return execute({0x0F, 0x01, static_cast<u8>(launch ? 0xC2 : 0xC3)}) == Outcome::vm_exit_retired &&
               vmx.level() > level;
    }
    void climb(unsigned levels) {
        if (!copied)
            for (u16 i = 0; i < vmcs_fields.size(); ++i) blank[i] = v[0][{i}];
        copied = true;
        while (vmx.level() < levels) ASSERT(go_up());
    }
    /// Root resumes its guest.
    bool root_resumes() {
        cpu.rip = code;
        cpu.activity = Activity::active;
        return execute({0x0F, 0x01, 0xC3}) == Outcome::vm_exit_retired && cpu.non_root;
    }
    /// The running level executes `bytes`.
    Outcome does(std::initializer_list<u8> bytes) {
        at = cpu.rip;
        return execute(bytes);
    }
    void boundary() {
        cpu.set_attention();
        run_for(0);
        if (cpu.attention) run_for(1);
    }
    std::array<Vmcs, 4> v;
    std::array<u64, vmcs_fields.size()> blank{};  ///< as V01 was at the first climb()
    bool copied = false;
    std::function<void(unsigned, const Vmcs&)> prepare;
    u64 at = 0;

private:
    void make_tables(unsigned k) {
        const u64 t = table(k);
        poke<u64>(t, (t + 0x1000) | 7);
        poke<u64>(t + 0x1000, (t + 0x2000) | 7);
        for (u64 i = 0; i < 512; ++i) poke<u64>(t + 0x2000 + 8 * i, (i << 21) | 0xB7);
        poke<u64>(t + 0x2000 + 8 * (window >> 21), (window + step) | 0xB7);
        poke<u64>(t + 0x2000 + 8 * (small_pages >> 21), (t + 0x3000) | 7);
        for (u64 i = 0; i < 512; ++i) poke<u64>(small_entry(k, i), (small_pages + (i << 12)) | 0x37);
        // The windows further down stay where they are: level k's is at window + k * step in machine memory.
        for (unsigned n = 1; n < 4; ++n)
            poke<u64>(t + 0x2000 + 8 * ((window + n * step) >> 21), (window + (n + 1) * step) | 0xB7);
    }
};

struct NativeRig {
    NativeMachine m;
    unsigned level() const { return m.vmx.level(); }
    u64 reason(unsigned layer) const { return m.v[layer]["exit_reason"_f]; }
    static u64 vmresume_of(unsigned level) { return TestMachine::code + 0x40 * level; }
};
struct Native : ::testing::Test, NativeRig {};

TEST_F(Native, VmxInstructionsOfAGuestExecute) {
    m.climb(1);
    ASSERT_EQ(level(), 1u);
    EXPECT_FALSE(m.vmx.operating());
    EXPECT_EQ(m.does({0x0F, 0x01, 0xC4}), Outcome::fault) << "VMXOFF outside VMX operation";
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::ud);
    const u64 window = NativeMachine::window;
    m.poke<u32>(NativeMachine::machine(1, NativeMachine::vmxon_at), 0x80000001);
    EXPECT_EQ(m.vmx.vmxon(window), Outcome::next);
    EXPECT_TRUE(m.cf()) << "bit 31 of the revision identifier";
    (void)m.vmx.vmxon(window + 4);
    EXPECT_TRUE(m.cf()) << "misaligned";
    m.poke<u32>(NativeMachine::machine(1, NativeMachine::vmxon_at), NativeMachine::revision);
    (void)m.vmx.vmxon(window);
    EXPECT_FALSE(m.cf());
    EXPECT_TRUE(m.vmx.operating());
    EXPECT_EQ(m.vmx.vmcs_pointer(), Vmcs::none);

    const u64 vmcs = NativeMachine::vmcs_at, region = NativeMachine::machine(1, vmcs);
    m.poke<u32>(region, 5);
    (void)m.vmx.vmptrld(vmcs);
    EXPECT_TRUE(m.cf()) << "another identifier than the VMXON region's, and no current VMCS";
    m.poke<u32>(region, NativeMachine::revision);
    (void)m.vmx.vmclear(vmcs);
    (void)m.vmx.vmptrld(vmcs);
    EXPECT_FALSE(m.cf() || m.zf());
    EXPECT_EQ(m.vmx.vmcs_pointer(), vmcs);
    EXPECT_EQ(m.vmx.accessed().address(), region) << "a guest-physical address, translated";
    (void)m.vmx.vmptrld(window);
    EXPECT_TRUE(m.zf());
    EXPECT_EQ(m.vmx.accessed()["vm_instruction_error"_f], static_cast<u64>(VmxError::vmptrld_vmxon_pointer));
    (void)m.vmx.vmclear(window);
    EXPECT_EQ(m.vmx.accessed()["vm_instruction_error"_f], static_cast<u64>(VmxError::vmclear_vmxon_pointer));

    m.cpu.reg(Gpr::rax) = 0x681E;  // guest RIP
    m.cpu.reg(Gpr::rcx) = 0x1234;
    EXPECT_EQ(m.does({0x0F, 0x79, 0xC1}), Outcome::next) << "VMWRITE";
    m.cpu.reg(Gpr::rcx) = 0;
    EXPECT_EQ(m.does({0x0F, 0x78, 0xC1}), Outcome::next) << "VMREAD";
    EXPECT_EQ(m.cpu.reg(Gpr::rcx), 0x1234u);
    EXPECT_NE(m.v[0]["guest_rip"_f], 0x1234u);

    (void)m.vmx.vmclear(vmcs);
    EXPECT_EQ(m.vmx.vmcs_pointer(), Vmcs::none);
    EXPECT_EQ(m.vmx.vmxoff(), Outcome::next);
    EXPECT_FALSE(m.vmx.operating());
    EXPECT_EQ(level(), 1u) << "no exit at all";
}

TEST_F(Native, WithoutEptVmxInstructionsExit) {
    m.disable("enable_ept"_vmx);
    m.climb(1);
    m.poke<u64>(0x5000, NativeMachine::window);
    EXPECT_EQ(m.does({0xF3, 0x0F, 0xC7, 0x34, 0x25, 0, 0x50, 0, 0}), Outcome::vm_exit);
    EXPECT_EQ(level(), 0u);
    EXPECT_EQ(reason(0), "vmxon"_exit->number);
}

TEST_F(Native, ExitsOfEachLevelGoToItsParent) {
    m.climb(3);
    for (unsigned n = 3; n > 0; --n) {
        EXPECT_EQ(m.does({0x0F, 0xA2}), Outcome::vm_exit);
        ASSERT_EQ(level(), n - 1);
        EXPECT_EQ(reason(n - 1), "cpuid"_exit->number);
        EXPECT_EQ(m.v[n - 1]["guest_rip"_f], m.at);
        EXPECT_EQ(m.v[n - 1]["exit_instruction_length"_f], 2u);
        EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry + 0x10 * (n - 1));
    }
    EXPECT_FALSE(m.cpu.non_root);
}

TEST_F(Native, EntriesThatFail) {
    m.prepare = [](unsigned, const Vmcs& v) { v.set("guest_rflags"_f, 0); };
    m.climb(1);
    EXPECT_FALSE(m.go_up());
    EXPECT_EQ(level(), 1u);
    EXPECT_EQ(reason(1), "entry_failure_guest_state"_exit->number | exit_reason_entry_failure);
    EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry + 0x10);
    m.v[1].set("guest_rflags"_f, 2);
    m.v[1].set("host_rip"_f, 1ull << 63);
    m.vmx.written("host_rip"_f);
    EXPECT_FALSE(m.again(true));
    EXPECT_TRUE(m.zf());
    EXPECT_EQ(m.v[1]["vm_instruction_error"_f], static_cast<u64>(VmxError::entry_host_state));
    EXPECT_EQ(level(), 1u);
    m.v[1].set("host_rip"_f, VmxMachine::host_entry + 0x10);
    m.vmx.written("host_rip"_f);
    EXPECT_FALSE(m.again(false)) << "VMRESUME of a VMCS that is not launched";
    EXPECT_TRUE(m.again(true));
    EXPECT_EQ(level(), 2u);
}

struct ControlCase {
    Capability control;
    std::vector<u8> bytes;
    std::string_view reason;
    bool resource;
};
const ControlCase control_cases[] = {
    {"hlt_exiting"_vmx, {0xF4}, "hlt", true},
    {"mwait_exiting"_vmx, {0x0F, 0x01, 0xC9}, "mwait", true},
    {"monitor_exiting"_vmx, {0x0F, 0x01, 0xC8}, "monitor", true},
    {"rdpmc_exiting"_vmx, {0x0F, 0x33}, "rdpmc", true},
    {"rdtsc_exiting"_vmx, {0x0F, 0x31}, "rdtsc", true},
    {"unconditional_io_exiting"_vmx, {0xE4, 0x70}, "io_instruction", true},
    {"pause_exiting"_vmx, {0xF3, 0x90}, "pause", true},
    {"wbinvd_exiting"_vmx, {0x0F, 0x09}, "wbinvd", true},
    {"rdrand_exiting"_vmx, {0x0F, 0xC7, 0xF0}, "rdrand", true},
    {"rdseed_exiting"_vmx, {0x0F, 0xC7, 0xF8}, "rdseed", true},
    {"invlpg_exiting"_vmx, {0x0F, 0x01, 0x38}, "invlpg", false},
    {"cr3_load_exiting"_vmx, {0x0F, 0x22, 0xD8}, "control_register_access", false},
    {"cr3_store_exiting"_vmx, {0x0F, 0x20, 0xD8}, "control_register_access", false},
    {"cr8_store_exiting"_vmx, {0x44, 0x0F, 0x20, 0xC0}, "control_register_access", false},
    {"mov_dr_exiting"_vmx, {0x0F, 0x21, 0xD8}, "mov_dr", false},
    {"descriptor_table_exiting"_vmx, {0x0F, 0x00, 0xC8}, "ldtr_or_tr_access", false},
};

// Resource controls of a hypervisor further down count for the level above its guest, context controls do not.
TEST(NativeControls, OfHypervisorsFurtherDown) {
    for (const ControlCase& row : control_cases)
        for (unsigned layers = 0; layers < 8; ++layers) {
            NativeMachine m;
            m.set("primary_processor_based_controls"_f,
                  m.get("primary_processor_based_controls"_f) & ~("cr3_load_exiting"_vmx.mask() | "cr3_store_exiting"_vmx.mask()));
            const auto set = [&](unsigned k, const Vmcs& v) {
                const Field word = VmxMachine::word_field(row.control);
                v.set(word, layers >> k & 1 ? v[word] | row.control.mask() : v[word] & ~row.control.mask());
            };
            m.climb(0);
            set(0, m.v[0]);
            m.prepare = set;
            m.climb(3);
            m.cpu.reg(Gpr::rax) = row.control == "cr3_load_exiting"_vmx ? m.cpu.cr3 : 0x5000;
            m.cpu.reg(Gpr::rcx) = 0;
            const u64 rip = m.cpu.rip;
            (void)m.execute(std::span(row.bytes));
            const unsigned counts = row.resource ? layers : layers & 4;
            unsigned expected = 3;
            for (unsigned k = 0; k < 3; ++k)
                if (counts >> k & 1) expected = k;
            ASSERT_EQ(m.vmx.level(), expected) << row.reason << " by layers " << layers;
            if (expected == 3) continue;
            const Vmcs& v = m.v[expected];
            EXPECT_EQ(exit_row(static_cast<u16>(v["exit_reason"_f]))->name, row.reason);
            EXPECT_EQ(v["guest_rip"_f], rip) << "the running level's, further down too";
            EXPECT_EQ(v["guest_rsp"_f], VmxMachine::guest_stack - 0x300);
            EXPECT_EQ(v["exit_instruction_length"_f], row.bytes.size());
            // The hypervisor skips the instruction: the running level goes on behind it.
            v.set("guest_rip"_f, rip + row.bytes.size());
            ASSERT_TRUE(expected == 0 ? m.root_resumes() : m.again());
            EXPECT_EQ(m.vmx.level(), 3u);
            EXPECT_EQ(m.cpu.rip, rip + row.bytes.size());
            EXPECT_EQ(m.cpu.gpr[static_cast<unsigned>(Gpr::rsp)], VmxMachine::guest_stack - 0x300);
        }
}

TEST(NativeControls, MsrsAndPorts) {
    for (unsigned layers = 0; layers < 8; ++layers)
        for (const bool port : {false, true}) {
            NativeMachine m;
            const auto set = [&](unsigned k, const Vmcs& v) {
                v.set("primary_processor_based_controls"_f,
                      v["primary_processor_based_controls"_f] | "use_msr_bitmaps"_vmx.mask() | "use_io_bitmaps"_vmx.mask());
                v.set("msr_bitmap_address"_f, NativeMachine::bitmap_at);
                v.set("io_bitmap_a_address"_f, NativeMachine::bitmap_at + 0x1000);
                v.set("io_bitmap_b_address"_f, NativeMachine::bitmap_at + 0x2000);
                const bool exits = layers >> k & 1;
                m.poke<u8>(NativeMachine::machine(k, NativeMachine::bitmap_at) + 0x175 / 8, exits ? 1 << (0x175 % 8) : 0);
                m.poke<u8>(NativeMachine::machine(k, NativeMachine::bitmap_at + 0x1000) + 0x80 / 8, exits ? 1 : 0);
            };
            m.climb(0);
            set(0, m.v[0]);
            m.prepare = set;
            m.climb(3);
            m.cpu.reg(Gpr::rcx) = 0x175;
            (void)(port ? m.does({0xE6, 0x80}) : m.does({0x0F, 0x32}));
            unsigned expected = 3;
            for (unsigned k = 0; k < 3; ++k)
                if (layers >> k & 1) expected = k;
            EXPECT_EQ(m.vmx.level(), expected) << layers << port;
            if (expected != 3) {
                EXPECT_EQ(m.v[expected]["guest_rip"_f], m.at);
            }
        }
}

TEST_F(Native, EptViolationsGoToTheLevelWhoseTableLacksThePage) {
    for (unsigned k = 0; k < 3; ++k) {
        NativeMachine n;
        n.climb(3);
        n.poke<u64>(NativeMachine::small_entry(k, 3), 0);
        n.cpu.rflags |= rflags_bits::if_;
        const u64 rip = n.cpu.rip;
        // mov al, [small_pages + 3 pages]
        n.write(rip, {0x8A, 0x04, 0x25, 0x10, 0x30, 0x80, 0x00, 0x90, 0xF4});
        n.run_for(1);
        ASSERT_EQ(n.vmx.level(), k);
        const Vmcs& v = n.v[k];
        EXPECT_EQ(v["exit_reason"_f], "ept_violation"_exit->number);
        EXPECT_EQ(v["guest_physical_address"_f], NativeMachine::small_pages + 0x3010);
        EXPECT_EQ(v["guest_rip"_f], k == 2 ? rip : vmresume_of(k + 1)) << "its guest is inside its VMLAUNCH";
        EXPECT_EQ((v["exit_qualification"_f] & 0x80) != 0, k == 2) << "a linear address of its guest";
        EXPECT_EQ(v["exit_qualification"_f] & 0x3F, 1u);
        EXPECT_EQ(v["idt_vectoring_information"_f], 0u);
        n.poke<u64>(NativeMachine::small_entry(k, 3), (NativeMachine::small_pages + 0x3000) | 0x37);
        n.poke<u8>(NativeMachine::small_pages + 0x3010, 0x77);
        ASSERT_TRUE(k == 0 ? n.root_resumes() : n.again());
        EXPECT_EQ(n.vmx.level(), 3u);
        EXPECT_EQ(n.cpu.rip, rip);
        EXPECT_EQ(n.cpu.gpr[static_cast<unsigned>(Gpr::rsp)], VmxMachine::guest_stack - 0x300);
        EXPECT_TRUE(n.cpu.rflags & rflags_bits::if_);
        n.run_for(1);
        EXPECT_EQ(n.cpu.reg(Gpr::rax) & 0xFF, 0x77u);
    }
}

TEST_F(Native, StructuresThatAreNotMappedAreViolationsOfTheVmresume) {
    m.climb(2);
    (void)m.does({0x0F, 0xA2});
    ASSERT_EQ(level(), 1u);
    m.v[1].set("msr_bitmap_address"_f, NativeMachine::small_pages);
    m.v[1].set("primary_processor_based_controls"_f,
               m.v[1]["primary_processor_based_controls"_f] | "use_msr_bitmaps"_vmx.mask());
    m.poke<u64>(NativeMachine::small_entry(0, 0), 0);
    m.cpu.rip = vmresume_of(1);
    m.write(m.cpu.rip, {0x0F, 0x01, 0xC3});
    m.cpu.activity = Activity::active;
    m.run_for(1);
    ASSERT_EQ(level(), 0u);
    EXPECT_EQ(reason(0), "ept_violation"_exit->number);
    EXPECT_EQ(m.v[0]["guest_rip"_f], vmresume_of(1));
    EXPECT_EQ(m.v[0]["guest_physical_address"_f] & ~0xFFFull, NativeMachine::small_pages);
    m.poke<u64>(NativeMachine::small_entry(0, 0), NativeMachine::small_pages | 0x37);
    ASSERT_TRUE(m.root_resumes());
    ASSERT_EQ(level(), 1u);
    m.run_for(1);
    EXPECT_EQ(level(), 2u) << "and then it succeeds";
}

struct EventRig : NativeRig {
    void climb(unsigned levels, unsigned exiting, bool acknowledge) {
        const auto set = [=](unsigned k, const Vmcs& v) {
            if (exiting >> k & 1)
                v.set("pin_based_controls"_f, v["pin_based_controls"_f] | "external_interrupt_exiting"_vmx.mask() |
                                                  "nmi_exiting"_vmx.mask());
            if (acknowledge) v.set("exit_controls"_f, v["exit_controls"_f] | "acknowledge_interrupt_on_exit"_vmx.mask());
        };
        m.climb(0);
        set(0, m.v[0]);
        m.prepare = set;
        m.climb(levels);
        // Boundaries need something to execute.
        for (unsigned k = 1; k <= 3; ++k) m.write(VmxMachine::guest_code + 0x100 * k, {0x90, 0x90, 0x90, 0x90});
    }
};
struct NativeEvents : ::testing::Test, EventRig {};

TEST_F(NativeEvents, AnInterruptGoesToTheLowestLevelThatExits) {
    for (unsigned exiting = 1; exiting < 8; ++exiting) {
        SCOPED_TRACE(exiting);
        EventRig e;
        e.climb(3, exiting, true);
        const u64 rip = e.m.cpu.rip;
        e.m.interrupts.raise(0x41);
        e.m.boundary();
        const unsigned lowest = exiting & 1 ? 0 : exiting & 2 ? 1 : 2;
        ASSERT_EQ(e.level(), lowest);
        EXPECT_EQ(e.reason(lowest), "external_interrupt"_exit->number);
        EXPECT_EQ(e.m.v[lowest]["exit_interruption_information"_f], 0x80000041u);
        EXPECT_EQ(e.m.v[lowest]["guest_rip"_f], lowest == 2 ? rip : vmresume_of(lowest + 1));
        if (lowest == 2) continue;
        const bool taken_above = exiting >> (lowest + 1) != 0;
        EXPECT_EQ((e.m.v[lowest]["guest_rflags"_f] & rflags_bits::if_) != 0, taken_above) << "what its guest would take";
        ASSERT_TRUE(lowest == 0 ? e.m.root_resumes() : e.m.again());
        EXPECT_EQ(e.level(), 3u);
        EXPECT_EQ(e.m.cpu.rip, rip);
    }
}

TEST_F(NativeEvents, AnInjectedInterruptEndsTheInnerRun) {
    for (const bool acknowledge : {true, false}) {
        EventRig e;
        e.climb(3, 3, acknowledge);
        e.m.interrupts.raise(0x41);
        e.m.boundary();
        ASSERT_EQ(e.level(), 0u);
        e.m.interrupts.vectors.clear();
        e.m.v[0].set("entry_interruption_information"_f, 0x80000055);
        ASSERT_TRUE(e.m.root_resumes());
        e.m.boundary();
        ASSERT_EQ(e.level(), 1u);
        EXPECT_EQ(e.reason(1), "external_interrupt"_exit->number);
        EXPECT_EQ(e.m.v[1]["exit_interruption_information"_f], acknowledge ? 0x80000055u : 0u);
        EXPECT_EQ(e.m.v[1]["guest_rip"_f], vmresume_of(2)) << "level 2 is inside its VMLAUNCH";
        if (!acknowledge) {
            // The vector waits for level 1 to open RFLAGS.IF.
            e.m.cpu.rip = VmxMachine::guest_code + 0x100;
            e.m.cpu.activity = Activity::active;
            e.m.cpu.write_rflags(rflags_bits::if_ | 2);
            e.m.run_for(1);
            EXPECT_EQ(e.m.cpu.rip, TestMachine::stops + 16 * 0x55 + 1);
            continue;
        }
        ASSERT_TRUE(e.m.again());
        EXPECT_EQ(e.level(), 3u) << "level 1 goes on with all of it";
        EXPECT_EQ(e.m.cpu.rip, VmxMachine::guest_code + 0x300);
    }
}

TEST_F(NativeEvents, AnInterruptThatEveryLevelPassesThroughIsTheRunningLevels) {
    climb(3, 1, true);
    m.interrupts.raise(0x41);
    m.boundary();
    ASSERT_EQ(level(), 0u);
    m.interrupts.vectors.clear();
    EXPECT_EQ(m.v[0]["guest_rflags"_f] & rflags_bits::if_, 0u) << "level 3 has it closed";
    m.v[0].set("guest_rflags"_f, 2 | rflags_bits::if_);
    m.v[0].set("entry_interruption_information"_f, 0x80000055);
    ASSERT_TRUE(m.root_resumes());
    m.boundary();
    ASSERT_EQ(level(), 3u);
    EXPECT_EQ(m.stopped_at(), -1) << "held";
    m.cpu.write_rflags(rflags_bits::if_ | 2);
    m.boundary();
    m.run_for(1);
    EXPECT_EQ(level(), 3u);
    EXPECT_EQ(m.stopped_at(), 0x55);
}

TEST_F(NativeEvents, AChangedRipEndsTheInnerRun) {
    climb(3, 1, true);
    m.interrupts.raise(0x41);
    m.boundary();
    ASSERT_EQ(level(), 0u);
    m.v[0].set("guest_rip"_f, 0x1234);
    ASSERT_TRUE(m.root_resumes());
    EXPECT_EQ(level(), 1u);
    EXPECT_EQ(reason(1), "external_interrupt"_exit->number);
    EXPECT_EQ(m.v[1]["exit_interruption_information"_f], 0u);
    EXPECT_EQ(m.cpu.rip, VmxMachine::host_entry + 0x10);
}

TEST_F(NativeEvents, WindowsOpenWhenTheViewIsOpen) {
    for (const bool exiting : {false, true}) {
        EventRig e;
        e.climb(2, exiting ? 3 : 1, true);
        e.m.interrupts.raise(0x41);
        e.m.boundary();
        ASSERT_EQ(e.level(), 0u);
        e.m.interrupts.vectors.clear();
        const Field primary = "primary_processor_based_controls"_f;
        e.m.v[0].set(primary, e.m.v[0][primary] | "interrupt_window_exiting"_vmx.mask());
        e.m.vmx.written(primary);
        ASSERT_TRUE(e.m.root_resumes());
        e.m.boundary();
        EXPECT_EQ(e.level(), exiting ? 0u : 2u);
        if (exiting) {
            EXPECT_EQ(e.reason(0), "interrupt_window"_exit->number);
        }
    }
}

TEST_F(Native, PreemptionTimersOfEveryLevelCount) {
    for (unsigned k = 0; k < 3; ++k) {
        NativeMachine n;
        const auto set = [=](unsigned layer, const Vmcs& v) {
            v.set("pin_based_controls"_f, v["pin_based_controls"_f] | "activate_vmx_preemption_timer"_vmx.mask());
            v.set("vmx_preemption_timer_value"_f, layer == k ? 4 : 1000);
        };
        n.climb(0);
        set(0, n.v[0]);
        n.prepare = set;
        n.climb(3);
        n.write(n.cpu.rip, {0xEB, 0xFE});
        n.cpu.activity = Activity::active;
        n.run_for(200);
        n.events.run(n.cpu.now());
        n.run_for(1);
        EXPECT_EQ(n.vmx.level(), k);
        EXPECT_EQ(n.v[k]["exit_reason"_f], "vmx_preemption_timer_expired"_exit->number);
    }
}

TEST_F(Native, TscOffsetsAddUp) {
    m.prepare = [](unsigned k, const Vmcs& v) {
        v.set("primary_processor_based_controls"_f,
              v["primary_processor_based_controls"_f] | "use_tsc_offsetting"_vmx.mask());
        v.set("secondary_processor_based_controls"_f,
              v["secondary_processor_based_controls"_f] | "use_tsc_scaling"_vmx.mask());
        v.set("tsc_offset"_f, k == 0 ? 1000 : k == 1 ? ~0ull - 299 : 7);
        v.set("tsc_multiplier"_f, k == 1 ? 2ull << 48 : 1ull << 48);
    };
    m.climb(0);
    m.prepare(0, m.v[0]);
    m.climb(3);
    const u64 t = m.cpu.now() + m.cpu.tsc_offset_host;
    EXPECT_EQ(m.cpu.read_tsc(), (t + 1000) * 2 - 300 + 7);
}

/// What an exit shows further down is what an exit to the parent would have saved.
TEST_F(Native, TheRunningLevelsStateIsShownWhole) {
    const auto set = [](unsigned k, const Vmcs& v) {
        if (k == 0) v.set("primary_processor_based_controls"_f,
                          v["primary_processor_based_controls"_f] | "rdtsc_exiting"_vmx.mask());
        for (const Capability c : {"save_debug_controls"_vmx, "save_ia32_pat"_vmx, "save_ia32_efer"_vmx})
            v.set("exit_controls"_f, v["exit_controls"_f] | c.mask());
        for (unsigned i = 0; i < 3; ++i) v.set("guest_fs_base"_f + i, 0x1000 * k + i);
        v.set("guest_ia32_sysenter_cs"_f, 0x10 + k);
        v.set("guest_ia32_sysenter_esp"_f, 0x1110 + k);
        v.set("guest_ia32_sysenter_eip"_f, 0x2220 + k);
        v.set("guest_gdtr_limit"_f, 0x100 + k);
        v.set("guest_idtr_limit"_f, 0xF00 + k);
        v.set("guest_ia32_s_cet"_f, 0);
    };
    m.climb(0);
    set(0, m.v[0]);
    m.prepare = set;
    m.climb(2);
    (void)m.does({0x0F, 0x31});
    ASSERT_EQ(level(), 0u);
    std::array<u64, guest_registers.size()> shown{};
    for (unsigned i = 0; i < shown.size(); ++i) shown[i] = m.v[0][guest_registers[i]];
    ASSERT_TRUE(m.root_resumes());
    ASSERT_EQ(level(), 2u);
    (void)m.does({0x0F, 0xA2});
    ASSERT_EQ(level(), 1u);
    for (unsigned i = 0; i < shown.size(); ++i)
        EXPECT_EQ(shown[i], m.v[1][guest_registers[i]]) << guest_registers[i]->name;
    EXPECT_EQ(m.v[1]["guest_ia32_sysenter_eip"_f], 0x2221u);
}

TEST_F(Native, ScribbledRunsAreNotLoaded) {
    for (unsigned qword = 0; qword < 180; ++qword)
        for (const u64 value : {~0ull, 0ull, 0x8000'0000'0000'0000ull}) {
            NativeMachine n;
            n.prepare = [](unsigned, const Vmcs&) {};
            n.climb(0);
            n.v[0].set("primary_processor_based_controls"_f,
                       n.v[0]["primary_processor_based_controls"_f] | "rdtsc_exiting"_vmx.mask());
            n.climb(2);
            if (value == 0) n.poke<u64>(NativeMachine::small_entry(0, 3), 0);
            n.write(n.cpu.rip, {0x8A, 0x04, 0x25, 0x10, 0x30, 0x80, 0x00, 0x0F, 0x31, 0xF4});
            n.run_for(3);
            ASSERT_EQ(n.vmx.level(), 0u);
            n.v[0].set_hidden(1 + qword, value);
            n.poke<u64>(NativeMachine::small_entry(0, 3), (NativeMachine::small_pages + 0x3000) | 0x37);
            (void)n.root_resumes();
            n.run_for(20);
        }
}

/// Whatever stands in the VMCSs of the hypervisors: the emulator survives, and some level runs.
TEST(NativeFuzz, ScribbledVmcses) {
    std::mt19937_64 random{7};
    const auto pick = [&](u64 n) { return random() % n; };
    for (unsigned round = 0; round < 250; ++round) {
        EventRig e;
        NativeMachine& m = e.m;
        e.climb(3, static_cast<unsigned>(pick(8)), pick(2));
        m.v[0].set("primary_processor_based_controls"_f,
                   m.v[0]["primary_processor_based_controls"_f] | "rdtsc_exiting"_vmx.mask());
        for (unsigned step = 0; step < 12; ++step) {
            const u64 rip = m.cpu.rip & 0xFFFF;
            static constexpr u8 opcodes[][2] = {{0x0F, 0x31}, {0x0F, 0xA2}, {0x90, 0x90}, {0xF4, 0x90}, {0xFB, 0x90}, {0xFA, 0x90}};
            if (rip < 0xFF00) m.write(rip, std::span(opcodes[pick(6)]));
            if (pick(3) == 0) m.interrupts.raise(static_cast<u8>(0x40 + pick(8)));
            if (pick(8) == 0) m.cpu.nmi();
            const Vmcs& v = m.v[pick(3)];
            const u64 values[] = {0, 1, ~0ull, random(), 0x80000040, 1ull << pick(64)};
            const u64 at = v.address() + 8 + (pick(2) ? 8 * pick(240) : 2040 + 8 * pick(180));
            m.poke<u64>(at, pick(2) ? values[pick(6)] : m.peek<u64>(at) ^ 1ull << pick(64));
            m.cpu.activity = Activity::active;
            m.cpu.set_attention();
            m.run_for(3);
            m.events.run(m.cpu.now());
            m.cpu.shut_down = false;
            m.cpu.activity = Activity::active;
            if (m.vmx.level() == 0) (void)m.root_resumes();
            else if (m.vmx.level() < 3 && m.vmx.operating()) (void)m.again();
            ASSERT_LE(m.vmx.level(), most_layers);
        }
    }
}

}  // namespace
}  // namespace droste::test
