// SPDX-License-Identifier: Apache-2.0
// Does a hypervisor ask for an event: each exit reason against a literal row, and what merging two VMCSs must give.
#include "nested/routing/wants.h"

#include <gtest/gtest.h>

#include <set>

#include "vmx/interruption.h"
#include "vmx/vmx_machine.h"

namespace droste::test {
namespace {

class Wants : public ::testing::Test {
protected:
    Wants() {
        m.start();
        read = [this](u64 at) { return mapped ? std::optional(m.peek<u8>(at)) : std::nullopt; };
    }
    bool asks() {
        const Controls c = controls_of(m.vmx.current());
        return wants({m.vmx.current(), c, event, m.cpu, read});
    }
    bool asks(const ExitRow* row, u64 qualification = 0) {
        event = {};
        event.row = row;
        event.qualification = qualification;
        return asks();
    }
    bool asks_exception(unsigned vector, u32 code = 0, unsigned type = interruption::hardware_exception) {
        event = {};
        event.row = "exception_or_nmi"_exit;
        event.interruption_information = interruption::word(type, vector, true);
        event.interruption_error_code = code;
        return asks();
    }
    void clear_page(u64 at) {
        for (unsigned i = 0; i < 4096; i += 8) m.poke<u64>(at + i, 0);
    }
    VmxMachine m{{"+exit_routing"}};
    ExitEvent event;
    std::function<std::optional<u8>(u64)> read;
    bool mapped = true;
};

TEST_F(Wants, WithoutAControl) {
    const std::set<std::string_view> always = {
        "triple_fault", "init_signal", "startup_ipi", "task_switch", "cpuid",   "getsec", "invd",    "vmcall",  "vmclear",
        "vmlaunch",     "vmptrld",     "vmptrst",     "vmresume",    "vmxoff",  "vmxon",  "invept",  "invvpid", "xsetbv",
        "rdmsr",        "wrmsr",       "vmread",      "vmwrite",     "rdmsrlist", "wrmsrlist"};
    for (const ExitRow& row : exit_rows) EXPECT_EQ(asks(&row), always.contains(row.name)) << row.name;
}

TEST_F(Wants, ByTheControlAlone) {
    struct Row {
        const ExitRow* reason;
        Capability control;
    };
    constexpr Row rows[] = {
        {"external_interrupt"_exit, "external_interrupt_exiting"_vmx},
        {"interrupt_window"_exit, "interrupt_window_exiting"_vmx},
        {"nmi_window"_exit, "nmi_window_exiting"_vmx},
        {"hlt"_exit, "hlt_exiting"_vmx},
        {"invlpg"_exit, "invlpg_exiting"_vmx},
        {"rdpmc"_exit, "rdpmc_exiting"_vmx},
        {"rdtsc"_exit, "rdtsc_exiting"_vmx},
        {"mov_dr"_exit, "mov_dr_exiting"_vmx},
        {"mwait"_exit, "mwait_exiting"_vmx},
        {"monitor_trap_flag"_exit, "monitor_trap_flag"_vmx},
        {"monitor"_exit, "monitor_exiting"_vmx},
        {"pause"_exit, "pause_exiting"_vmx},
        {"pause"_exit, "pause_loop_exiting"_vmx},
        {"tpr_below_threshold"_exit, "use_tpr_shadow"_vmx},
        {"apic_access"_exit, "virtualize_apic_accesses"_vmx},
        {"apic_write"_exit, "use_tpr_shadow"_vmx},
        {"gdtr_or_idtr_access"_exit, "descriptor_table_exiting"_vmx},
        {"ldtr_or_tr_access"_exit, "descriptor_table_exiting"_vmx},
        {"ept_violation"_exit, "enable_ept"_vmx},
        {"ept_misconfiguration"_exit, "enable_ept"_vmx},
        {"vmx_preemption_timer_expired"_exit, "activate_vmx_preemption_timer"_vmx},
        {"wbinvd"_exit, "wbinvd_exiting"_vmx},
        {"rdrand"_exit, "rdrand_exiting"_vmx},
        {"vmfunc"_exit, "enable_vm_functions"_vmx},
        {"encls"_exit, "enable_encls_exiting"_vmx},
        {"rdseed"_exit, "rdseed_exiting"_vmx},
        {"page_modification_log_full"_exit, "enable_pml"_vmx},
        {"pconfig"_exit, "enable_pconfig"_vmx},
        {"sub_page_permission_event"_exit, "sub_page_write_permissions_for_ept"_vmx},
        {"loadiwkey"_exit, "loadiwkey_exiting"_vmx},
        {"enclv"_exit, "enable_enclv_exiting"_vmx},
        {"bus_lock"_exit, "vmm_bus_lock_detection"_vmx},
        {"instruction_timeout"_exit, "instruction_timeout"_vmx},
        {"io_instruction"_exit, "unconditional_io_exiting"_vmx},
    };
    for (const Row& r : rows) {
        SCOPED_TRACE(r.reason->name);
        EXPECT_FALSE(asks(r.reason));
        m.enable(r.control);
        EXPECT_TRUE(asks(r.reason));
        m.disable(r.control);
    }
}

TEST_F(Wants, ByTwoControls) {
    struct Row {
        const ExitRow* reason;
        Capability first, second;
    };
    constexpr Row rows[] = {
        {"invpcid"_exit, "enable_invpcid"_vmx, "invlpg_exiting"_vmx},
        {"rdtscp"_exit, "enable_rdtscp"_vmx, "rdtsc_exiting"_vmx},
        {"umwait"_exit, "enable_user_wait_and_pause"_vmx, "rdtsc_exiting"_vmx},
        {"tpause"_exit, "enable_user_wait_and_pause"_vmx, "rdtsc_exiting"_vmx},
    };
    for (const Row& r : rows)
        for (unsigned bits = 0; bits < 4; ++bits) {
            bits & 1 ? m.enable(r.first) : m.disable(r.first);
            bits & 2 ? m.enable(r.second) : m.disable(r.second);
            EXPECT_EQ(asks(r.reason), bits == 3) << r.reason->name << bits;
        }
    m.enable("use_tpr_shadow"_vmx);
    m.enable("virtual_interrupt_delivery"_vmx);
    EXPECT_FALSE(asks("tpr_below_threshold"_exit)) << "virtual-interrupt delivery has no threshold";
    m.enable("pause_loop_exiting"_vmx);
    m.cpu.cpl = 3;
    EXPECT_FALSE(asks("pause"_exit));
}

TEST_F(Wants, Exceptions) {
    for (unsigned vector = 0; vector < 32; ++vector) {
        if (vector == 14) continue;
        m.set("exception_bitmap"_f, 1ull << vector);
        EXPECT_TRUE(asks_exception(vector));
        m.set("exception_bitmap"_f, ~(1ull << vector));
        EXPECT_FALSE(asks_exception(vector));
    }
    m.set("page_fault_error_code_mask"_f, 3);
    m.set("page_fault_error_code_match"_f, 2);
    for (unsigned code = 0; code < 8; ++code)
        for (const bool bit : {false, true}) {
            m.set("exception_bitmap"_f, bit ? 1u << 14 : 0);
            EXPECT_EQ(asks_exception(14, code), bit == ((code & 3) == 2)) << code;
        }
    m.set("exception_bitmap"_f, ~0ull);
    EXPECT_FALSE(asks_exception(2, 0, interruption::nmi));
    m.enable("nmi_exiting"_vmx);
    m.set("exception_bitmap"_f, 0);
    EXPECT_TRUE(asks_exception(2, 0, interruption::nmi));
}

TEST_F(Wants, Ports) {
    m.enable("use_io_bitmaps"_vmx);
    m.enable("unconditional_io_exiting"_vmx);  // ignored now
    clear_page(VmxMachine::io_bitmap_a), clear_page(VmxMachine::io_bitmap_b);
    const auto io = [&](u64 port, unsigned size) { return asks("io_instruction"_exit, port << 16 | (size - 1)); };
    m.poke<u8>(VmxMachine::io_bitmap_a + 0x70 / 8, 1 << (0x71 % 8));
    m.poke<u8>(VmxMachine::io_bitmap_b + 0x10 / 8, 1);
    EXPECT_FALSE(io(0x70, 1));
    EXPECT_TRUE(io(0x71, 1));
    EXPECT_TRUE(io(0x6E, 4));
    EXPECT_FALSE(io(0x6D, 4));
    EXPECT_TRUE(io(0x8010, 1));
    EXPECT_TRUE(io(0x800F, 2));
    EXPECT_FALSE(io(0x0010, 1));
    EXPECT_TRUE(io(0xFFFF, 2)) << "wraps around";
    EXPECT_FALSE(io(0xFFFF, 1));
    mapped = false;
    EXPECT_TRUE(io(0x10, 1)) << "a bitmap that cannot be read";
}

TEST_F(Wants, Msrs) {
    m.enable("use_msr_bitmaps"_vmx);
    clear_page(VmxMachine::msr_bitmap);
    struct Row {
        u32 index;
        unsigned read_at, write_at;  ///< bytes of the bitmap
    };
    constexpr Row rows[] = {{0x10, 2, 2050}, {0x1FF8, 1023, 3071}, {0xC000'0080, 1040, 3088}, {0xC000'1FF8, 2047, 4095}};
    for (const Row& r : rows)
        for (const bool write : {false, true}) {
            m.cpu.reg(Gpr::rcx) = r.index;
            const ExitRow* reason = write ? "wrmsr"_exit : "rdmsr"_exit;
            const ExitRow* list = write ? "wrmsrlist"_exit : "rdmsrlist"_exit;
            const u64 at = VmxMachine::msr_bitmap + (write ? r.write_at : r.read_at);
            EXPECT_FALSE(asks(reason));
            EXPECT_FALSE(asks(list, r.index));
            m.poke<u8>(at, 1);
            EXPECT_TRUE(asks(reason)) << std::hex << r.index;
            EXPECT_TRUE(asks(list, r.index));
            m.poke<u8>(at, 0xFE);
            EXPECT_FALSE(asks(reason));
            m.poke<u8>(at, 0);
        }
    for (const u32 outside : {0x2000u, 0xBFFF'FFFFu, 0xC000'2000u}) {
        m.cpu.reg(Gpr::rcx) = outside;
        EXPECT_TRUE(asks("rdmsr"_exit));
        EXPECT_TRUE(asks("wrmsr"_exit));
    }
}

TEST_F(Wants, ControlRegisters) {
    const auto cr = [&](unsigned number, unsigned access, unsigned gpr = 0, u64 source = 0) {
        return asks("control_register_access"_exit, number | access << 4 | gpr << 8 | source << 16);
    };
    enum { mov_to, mov_from, clts, lmsw };
    m.set("cr0_guest_host_mask"_f, cr0_bits::ts | cr0_bits::pe);
    m.set("cr0_read_shadow"_f, cr0_bits::ts);
    m.set("cr4_guest_host_mask"_f, cr4_bits::vmxe);
    for (const u64 value : {u64{0}, u64{cr0_bits::ts}, cr0_bits::ts | cr0_bits::wp, cr0_bits::ts | cr0_bits::pe}) {
        m.cpu.reg(Gpr::rdx) = value;
        EXPECT_EQ(cr(0, mov_to, 2), ((value ^ cr0_bits::ts) & (cr0_bits::ts | cr0_bits::pe)) != 0);
    }
    m.cpu.reg(Gpr::rdx) = cr4_bits::vmxe;
    EXPECT_TRUE(cr(4, mov_to, 2));
    EXPECT_FALSE(cr(4, mov_to, 3)) << "RBX is 0";
    m.cpu.reg(Gpr::rdx) = cr4_bits::pge;
    EXPECT_FALSE(cr(4, mov_to, 2));
    EXPECT_TRUE(cr(0, clts));
    m.set("cr0_read_shadow"_f, 0);
    EXPECT_FALSE(cr(0, clts));
    EXPECT_TRUE(cr(0, lmsw, 0, 1)) << "sets PE";
    EXPECT_TRUE(cr(0, lmsw, 0, 8)) << "changes TS";
    EXPECT_FALSE(cr(0, lmsw, 0, 4)) << "EM is the guest's";
    m.set("cr0_read_shadow"_f, cr0_bits::pe);
    EXPECT_FALSE(cr(0, lmsw, 0, 0)) << "LMSW does not clear PE";

    m.disable("cr3_load_exiting"_vmx), m.disable("cr3_store_exiting"_vmx);
    for (const auto& [access, number, control] :
         {std::tuple(mov_to, 3u, Capability("cr3_load_exiting"_vmx)), std::tuple(mov_from, 3u, Capability("cr3_store_exiting"_vmx)),
          std::tuple(mov_to, 8u, Capability("cr8_load_exiting"_vmx)), std::tuple(mov_from, 8u, Capability("cr8_store_exiting"_vmx))}) {
        EXPECT_FALSE(cr(number, access));
        m.enable(control);
        EXPECT_TRUE(cr(number, access));
        m.disable(control);
    }
    m.enable("cr3_load_exiting"_vmx);
    m.set("cr3_target_value_1"_f, 0x5000);
    m.cpu.reg(Gpr::rdx) = 0x5000;
    EXPECT_TRUE(cr(3, mov_to, 2));
    m.set("cr3_target_count"_f, 2);
    EXPECT_FALSE(cr(3, mov_to, 2));
}

TEST_F(Wants, VmcsAccesses) {
    m.enable("vmcs_shadowing"_vmx);
    clear_page(VmxMachine::vmread_bitmap), clear_page(VmxMachine::vmwrite_bitmap);
    for (const bool write : {false, true}) {
        event = {};
        event.row = write ? "vmwrite"_exit : "vmread"_exit;
        EXPECT_TRUE(asks()) << "the operand is not known";
        event.operand = 0x681E;
        EXPECT_FALSE(asks());
        m.poke<u8>((write ? VmxMachine::vmwrite_bitmap : VmxMachine::vmread_bitmap) + 0x681E / 8, 1 << (0x681E % 8));
        EXPECT_TRUE(asks());
        event.operand = 0x8000;
        EXPECT_TRUE(asks());
        event.operand = 0x6820;
        EXPECT_FALSE(asks());
    }
}

TEST_F(Wants, StateComponentsAndEois) {
    m.set("xss_exiting_bitmap"_f, 1u << 11 | 1ull << 40);
    m.cpu.xss = 1u << 11 | 1u << 12;
    for (const ExitRow* row : {"xsaves"_exit, "xrstors"_exit}) {
        m.cpu.reg(Gpr::rax) = 1u << 11;
        m.cpu.reg(Gpr::rdx) = 0;
        EXPECT_TRUE(asks(row));
        m.cpu.reg(Gpr::rax) = 1u << 12;
        EXPECT_FALSE(asks(row));
        m.cpu.reg(Gpr::rdx) = 1u << 8;
        EXPECT_FALSE(asks(row)) << "IA32_XSS does not have it";
        m.cpu.xss |= 1ull << 40;
        EXPECT_TRUE(asks(row));
        m.cpu.xss &= ~(1ull << 40);
    }
    m.set("eoi_exit_bitmap_2"_f, 1ull << 5);
    EXPECT_FALSE(asks("virtualized_eoi"_exit, 133));
    m.enable("use_tpr_shadow"_vmx), m.enable("virtual_interrupt_delivery"_vmx);
    EXPECT_TRUE(asks("virtualized_eoi"_exit, 133));
    EXPECT_FALSE(asks("virtualized_eoi"_exit, 134));
    EXPECT_FALSE(asks("virtualized_eoi"_exit, 69));
}

/// Merged as a nested hypervisor merges, a VMCS asks for whatever either of the two asks for.
TEST(WantsMerged, IsTheOrOfBoth) {
    VmxMachine m;
    u64 seed = 99;
    const auto random = [&] { return seed = seed * 6364136223846793005ull + 1442695040888963407ull, seed >> 24; };
    m.start(VmxMachine::vmcs_b);
    m.start(VmxMachine::vmcs_a);
    const Vmcs inner = Vmcs(m.memory, VmxMachine::vmcs_b), outer = m.vmx.current();
    m.start(VmxMachine::shadow_vmcs);
    const Vmcs merged = m.vmx.current();
    constexpr Field words[] = {"pin_based_controls"_f, "primary_processor_based_controls"_f,
                               "secondary_processor_based_controls"_f};
    constexpr Capability exits[] = {
        "external_interrupt_exiting"_vmx, "nmi_exiting"_vmx, "interrupt_window_exiting"_vmx, "hlt_exiting"_vmx,
        "invlpg_exiting"_vmx, "mwait_exiting"_vmx, "rdpmc_exiting"_vmx, "rdtsc_exiting"_vmx, "cr3_load_exiting"_vmx,
        "cr3_store_exiting"_vmx, "mov_dr_exiting"_vmx, "unconditional_io_exiting"_vmx, "monitor_exiting"_vmx,
        "pause_exiting"_vmx, "descriptor_table_exiting"_vmx, "wbinvd_exiting"_vmx, "rdrand_exiting"_vmx, "rdseed_exiting"_vmx};
    const std::function<std::optional<u8>(u64)> none = [](u64) { return std::nullopt; };
    for (unsigned i = 0; i < 2000; ++i) {
        for (const Vmcs& v : {inner, outer}) {
            for (const Capability c : exits) {
                const Field f = VmxMachine::word_field(c);
                v.set(f, random() & 1 ? v[f] | c.mask() : v[f] & ~c.mask());
            }
            v.set("exception_bitmap"_f, random() & ~(1u << 14));
            v.set("cr0_guest_host_mask"_f, random() & 0xF);
            v.set("cr0_read_shadow"_f, random() & 0xF);
        }
        for (const Field f : words) merged.set(f, inner[f] | outer[f]);
        merged.set("exception_bitmap"_f, inner["exception_bitmap"_f] | outer["exception_bitmap"_f]);
        const ExitRow* const row = &exit_rows[random() % exit_rows.size()];
        if (row == "control_register_access"_exit && (random() & 1)) continue;  // masks need the guest's own values
        ExitEvent e;
        e.row = row;
        e.interruption_information =
            interruption::word(random() % 4 == 0 ? interruption::nmi : interruption::hardware_exception, random() % 14);
        if (row == "control_register_access"_exit) e.qualification = 3 | (random() & 1) << 4;
        const auto asks = [&](const Vmcs& v) {
            const Controls c = controls_of(v);
            return wants({v, c, e, m.cpu, none});
        };
        EXPECT_EQ(asks(merged), asks(inner) || asks(outer)) << row->name;
    }
}

}  // namespace
}  // namespace droste::test
