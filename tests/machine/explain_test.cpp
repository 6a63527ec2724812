// SPDX-License-Identifier: Apache-2.0
// What people read about failures: decoded fields, writers, and the exceptions of a triple fault.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cpu/cpu.h"
#include "machine/explain/failures.h"
#include "machine/explain/field_text.h"
#include "machine/explain/field_writers.h"
#include "machine/quiet_console.h"
#include "vmx/vmx_errors.h"
#include "vmx/vmx_machine.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(FieldText, BitsByName) {
    struct Row {
        Field field;
        u64 value;
        const char* text;
    };
    const Row rows[] = {
        {"guest_cr0"_f, 0x8000'0031, "0x80000031 (PE, ET, NE, PG)"},
        {"host_cr0"_f, 0x6005'000E, "0x6005000e (MP, EM, TS, WP, AM, NW, CD)"},
        {"cr0_read_shadow"_f, 0x80, "0x80 (bit 7)"},
        {"guest_cr4"_f, 0x3F, "0x3f (VME, PVI, TSD, DE, PSE, PAE)"},
        {"host_cr4"_f, 0x7FC0, "0x7fc0 (MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, UMIP, LA57, VMXE, SMXE)"},
        {"cr4_guest_host_mask"_f, 0x1B7F'0000,
         "0x1b7f0000 (FSGSBASE, PCIDE, OSXSAVE, KL, SMEP, SMAP, PKE, PKS, UINTR, LASS, LAM_SUP)"},
        {"guest_cr4"_f, 0x1'0080'0000, "0x100800000 (CET, FRED)"},
        {"guest_ia32_efer"_f, 0xD01, "0xd01 (SCE, LME, LMA, NXE)"},
        {"guest_rflags"_f, 0, "0x0 (none set)"},
        {"guest_rflags"_f, 0x3F'4FD7,
         "0x3f4fd7 (CF, fixed 1, PF, AF, ZF, SF, TF, IF, DF, OF, NT, RF, VM, AC, VIF, VIP, ID)"},
        {"guest_interruptibility_state"_f, 0x1F,
         "0x1f (blocking by STI, blocking by MOV SS, blocking by SMI, blocking by NMI, enclave "
         "interruption)"},
        {"guest_pending_debug_exceptions"_f, 0x1'580F,
         "0x1580f (B0, B1, B2, B3, BLD, enabled breakpoint, BS, RTM)"},
        {"guest_ia32_debugctl"_f, 0x1C7, "0x1c7 (LBR, BTF, BLD, TR, BTS, BTINT)"},
        {"guest_activity_state"_f, 0, "0 (active)"},
        {"guest_activity_state"_f, 1, "1 (HLT)"},
        {"guest_activity_state"_f, 2, "2 (shutdown)"},
        {"guest_activity_state"_f, 3, "3 (wait-for-SIPI)"},
        {"guest_activity_state"_f, 4, "4 (no such state)"},
        {"guest_cs_access_rights"_f, 0xA09B, "0xa09b (type 11: code readable accessed, DPL 0, S, P, L, G)"},
        {"guest_ss_access_rights"_f, 0xC0F3, "0xc0f3 (type 3: data writable accessed, DPL 3, S, P, D/B, G)"},
        {"guest_ds_access_rights"_f, 0x1'1014, "0x11014 (type 4: data expand-down, DPL 0, S, AVL, unusable)"},
        {"guest_es_access_rights"_f, 0x1C, "0x1c (type 12: code conforming, DPL 0, S)"},
        {"guest_tr_access_rights"_f, 0x8B, "0x8b (type 11, DPL 0, P)"},
        {"entry_interruption_information"_f, 0x8000'0B0E,
         "0x80000b0e (hardware exception, vector 14 #PF, with error code)"},
        {"entry_interruption_information"_f, 0x8000'0020, "0x80000020 (external interrupt, vector 32)"},
        {"entry_interruption_information"_f, 0x8000'0202, "0x80000202 (NMI, vector 2)"},
        {"entry_interruption_information"_f, 0x8000'0100, "0x80000100 (reserved type 1, vector 0)"},
        {"entry_interruption_information"_f, 0x30E, "0x30e (not valid)"},
        {"eptp"_f, 0x12'305E,
         "0x12305e (memory type 6, page-walk length 4, accessed and dirty flags, table at 0x123000)"},
        {"entry_interruption_information"_f, 0x8000'0480, "0x80000480 (software interrupt, vector 128)"},
        {"entry_interruption_information"_f, 0x8000'0501,
         "0x80000501 (privileged software exception, vector 1)"},
        {"entry_interruption_information"_f, 0x8000'0603, "0x80000603 (software exception, vector 3)"},
        {"entry_interruption_information"_f, 0x8000'0700, "0x80000700 (other event, vector 0)"},
        {"eptp"_f, 0x1080,
         "0x1080 (memory type 0, page-walk length 1, supervisor shadow-stack control, table at 0x1000)"},
        {"eptp"_f, 0x5000, "0x5000 (memory type 0, page-walk length 1, table at 0x5000)"},
        {"pin_based_controls"_f, 0x29, "0x29 (external_interrupt_exiting, nmi_exiting, virtual_nmis)"},
        {"primary_processor_based_controls"_f, 0x8000'0080,
         "0x80000080 (hlt_exiting, activate_secondary_controls)"},
        {"secondary_processor_based_controls"_f, 0x22, "0x22 (enable_ept, enable_vpid)"},
        {"exit_controls"_f, 0x200, "0x200 (host_address_space_size)"},
        {"entry_controls"_f, 0x200, "0x200 (ia32e_mode_guest)"},
        {"guest_rip"_f, 0x1234, "0x1234"},
        {"host_cr3"_f, 0x1000, "0x1000"},
    };
    for (const Row& row : rows)
        EXPECT_EQ(field_text(row.field, row.value), row.text) << row.field->name;
    EXPECT_EQ(bit_text("guest_cr0"_f, 31), "PG");
    EXPECT_EQ(bit_text("guest_cr0"_f, 7), "bit 7");
    EXPECT_EQ(bit_text("pin_based_controls"_f, 5), "virtual_nmis");
    EXPECT_EQ(bit_text("pin_based_controls"_f, 20), "bit 20");
    EXPECT_EQ(bit_text("guest_rip"_f, 3), "bit 3");
}

TEST(FieldText, Vectors) {
    const char* const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",   "#TS",
                                 "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
    for (unsigned v = 0; v < std::size(names); ++v)
        EXPECT_EQ(vector_text(v), names[v]);
    EXPECT_EQ(vector_text(22), "22");
}

TEST(FieldWriters, TellsTheLastWriterOrWhatElseItWas) {
    FieldWriters w;
    const Field rip = "guest_rip"_f, count = "cr3_target_count"_f;
    EXPECT_EQ(w.told(0x1000, rip, 5), "not written while this ran");
    w.loaded(0x1000, 10, "VMPTRLD");
    EXPECT_EQ(w.told(0x1000, rip, 5), "not written since VMPTRLD at tick 10");
    w.wrote(0x1000, rip, {.ticks = 20, .linear_rip = 0xAB, .value = 5, .level = 0, .processor = 0});
    EXPECT_EQ(w.told(0x1000, rip, 5), "written at tick 20 by level 0, RIP 0xab");
    w.wrote(0x1000, count, {.ticks = 21, .linear_rip = 0xAC, .value = 6, .level = 1, .processor = 3});
    EXPECT_EQ(w.told(0x1000, count, 6), "written at tick 21 by level 1 on processor 3, RIP 0xac");
    EXPECT_EQ(w.told(0x1000, count, 7),
              "written as 0x6 at tick 21 by level 1 on processor 3, RIP 0xac, and changed in memory since");
    w.exited(0x1000, 30, "cpuid");
    EXPECT_EQ(w.told(0x1000, rip, 7), "saved by the VM exit (cpuid) at tick 30");
    EXPECT_EQ(w.told(0x1000, "guest_rsp"_f, 7), "saved by the VM exit (cpuid) at tick 30");
    EXPECT_EQ(w.told(0x1000, count, 7).substr(0, 14), "written as 0x6") << "an exit saves no controls";
    w.loaded(0x1000, 40, "VMCLEAR");
    EXPECT_EQ(w.told(0x1000, "host_rip"_f, 7), "not written since VMCLEAR at tick 40");
    EXPECT_EQ(w.told(0x2000, rip, 5), "not written while this ran") << "another VMCS";
}

class Notes final : public QuietConsole {
public:
    void note(std::string_view text) override { told += text; }
    std::string told;
};

TEST(VmxFailures, AbortsShowTheirFields) {
    struct Row {
        VmxAbort abort;
        const char* text;
        std::vector<std::string> fields;
    };
    const Row rows[] = {
        {VmxAbort::msr_store,
         "VMX abort 1: a guest's MSR could not be stored (SDM \"VMX Aborts\"), VMCS 0x201000",
         {"exit_msr_store_address", "exit_msr_store_count"}},
        {VmxAbort::host_pdptes,
         "VMX abort 2: the host's page-directory-pointer-table entries have reserved bits (SDM \"VMX "
         "Aborts\"), VMCS 0x201000",
         {"host_cr3", "host_cr4"}},
        {VmxAbort::corrupted_vmcs,
         "VMX abort 3: the current VMCS is corrupt (SDM \"VMX Aborts\"), VMCS 0x201000",
         {}},
        {VmxAbort::msr_load,
         "VMX abort 4: a host's MSR could not be loaded (SDM \"VMX Aborts\"), VMCS 0x201000",
         {"exit_msr_load_address", "exit_msr_load_count"}},
        {VmxAbort::machine_check,
         "VMX abort 5: a machine check during the VM exit (SDM \"VMX Aborts\"), VMCS 0x201000",
         {}},
        {VmxAbort::from_32_bit_host,
         "VMX abort 6: the guest was in IA-32e mode, the host address-space size is 32 bits (SDM \"VMX "
         "Aborts\"), VMCS 0x201000",
         {"exit_controls", "entry_controls"}},
    };
    for (const Row& row : rows) {
        test::VmxMachine m;
        m.start();
        VmxFailures failures(m.vmx, 0, nullptr, nullptr);
        failures.aborted(row.abort);
        ASSERT_EQ(failures.abort().size(), 1 + row.fields.size());
        EXPECT_EQ(failures.abort()[0], row.text);
        for (std::size_t i = 0; i < row.fields.size(); ++i)
            EXPECT_THAT(failures.abort()[1 + i], ::testing::StartsWith("  " + row.fields[i] + " = "));
    }
}

TEST(VmxFailures, AbortsListTheMsrsOfTheirArea) {
    test::VmxMachine m;
    m.start();
    m.poke<u64>(test::VmxMachine::msr_list, 0xC000'0080);
    m.poke<u64>(test::VmxMachine::msr_list + 8, 0x500);
    m.poke<u64>(test::VmxMachine::msr_list + 16, 0x7'0000'0010);
    for (const Field address : {Field{"exit_msr_load_address"_f}, Field{"exit_msr_store_address"_f}})
        m.set(address, test::VmxMachine::msr_list);
    for (const Field count : {Field{"exit_msr_load_count"_f}, Field{"exit_msr_store_count"_f}})
        m.set(count, 18);
    for (const VmxAbort abort : {VmxAbort::msr_load, VmxAbort::msr_store}) {
        VmxFailures failures(m.vmx, 0, nullptr, nullptr);
        failures.aborted(abort);
        const auto& lines = failures.abort();
        ASSERT_EQ(lines.size(), 3u + 16 + 1);
        EXPECT_EQ(lines[3], "  entry 1 at 0x20e000: MSR 0xc0000080, value 0x500");
        EXPECT_EQ(lines[4], "  entry 2 at 0x20e010: MSR 0x10, value 0x0, reserved bits 0x7");
        EXPECT_EQ(lines[19], "  and 2 more");
    }
}

TEST(VmxFailures, EachIsCountedAndTheFirstExplained) {
    test::VmxMachine m;
    VmxFailures failures(m.vmx, 3, nullptr, nullptr);
    m.vmx.add_observer(failures);
    m.start();
    m.set("guest_rflags"_f, 0);
    for (int i = 0; i < 3; ++i)
        EXPECT_FALSE(m.enter());
    ASSERT_EQ(failures.entries().size(), 1u);
    const EntryFailureSummary& f = failures.entries().begin()->second;
    EXPECT_EQ(f.count, 3u);
    EXPECT_EQ(f.check, "guest RFLAGS: reserved bits");
    EXPECT_EQ(f.outcome, "exit reason 0x80000021 (entry_failure_guest_state), qualification 0");
    EXPECT_EQ(f.instruction, "VMLAUNCH");
    EXPECT_EQ(f.processor, 3u);
    ASSERT_EQ(f.fields.size(), 1u);
    EXPECT_EQ(f.fields[0].remedy, "set fixed 1");
    EXPECT_EQ(f.fields[0].writer, "");
}

TEST(VmxFailures, RemediesInWords) {
    const auto remedy = [](Field field, u64 value, const std::vector<Capability>& enabled = {}) {
        test::VmxMachine m;
        VmxFailures failures(m.vmx, 0, nullptr, nullptr);
        m.vmx.add_observer(failures);
        m.start();
        for (const Capability c : enabled)
            m.enable(c);
        m.set(field, value);
        EXPECT_FALSE(m.enter());
        for (const auto& [check, failure] : failures.entries())
            for (const ExplainedField& f : failure.fields)
                if (f.name == field->name)
                    return f.remedy;
        return std::string("not read");
    };
    EXPECT_EQ(remedy("guest_rflags"_f, 0x8002), "clear bit 15");
    EXPECT_EQ(remedy("host_cs_selector"_f, 0x0B), "clear bit 0 and clear bit 1, or 0");
    EXPECT_EQ(remedy("cr3_target_count"_f, 200), "0 would pass");
    EXPECT_EQ(remedy("vmcs_link_pointer"_f, 0x123), "all bits set would pass");
    EXPECT_EQ(remedy("virtual_processor_identifier"_f, 0, {"enable_vpid"_vmx}), "any other value would pass");
    EXPECT_EQ(remedy("tsc_multiplier"_f, 0, {"use_tsc_scaling"_vmx}), "any other value would pass");
    EXPECT_EQ(remedy("guest_activity_state"_f, 5), "clear bit 2, or 0");
}

TEST(VmxFailures, NotesTellEveryOne) {
    test::VmxMachine m;
    Notes notes;
    FieldWriters writers;
    VmxFailures failures(m.vmx, 0, &writers, &notes);
    m.vmx.add_observer(failures);
    m.start();
    m.set("guest_rflags"_f, 0);
    EXPECT_FALSE(m.enter());
    EXPECT_FALSE(m.enter());
    const std::string once = failure_text(failures.entries().begin()->second);
    EXPECT_EQ(notes.told.find("guest RFLAGS"), once.find("guest RFLAGS"));
    EXPECT_NE(notes.told.find("guest RFLAGS", once.size()), notes.told.npos) << "the second too";
    EXPECT_THAT(notes.told, HasSubstr("not written while this ran"));
    EXPECT_EQ(failures.entries().begin()->second.count, 2u);
    notes.told.clear();
    for (int i = 0; i < 20; ++i)
        (void)m.execute({0x0F, 0x01, 0xC3});  // VMRESUME of a VMCS that was not launched
    EXPECT_EQ(std::count(notes.told.begin(), notes.told.end(), '\n'), 16);
    EXPECT_THAT(notes.told,
                AllOf(HasSubstr("VMRESUME failed at tick "), HasSubstr("VMfailValid 5 (VMRESUME with"),
                      HasSubstr("(further ones are only counted)")));
    EXPECT_EQ(failures.instructions().at(5).count, 20u);
}

TEST(VmxFailures, ProcessorsAreAddedUp) {
    test::VmxMachine a, b;
    VmxFailures of_a(a.vmx, 0, nullptr, nullptr), of_b(b.vmx, 1, nullptr, nullptr);
    for (int i = 0; i < 2; ++i) {
        of_a.instruction_failed(
            {.error = VmxError::vmptrld_address, .name = "VMPTRLD", .ticks = 50, .linear_rip = 1});
        of_b.instruction_failed(
            {.error = VmxError::vmptrld_address, .name = "VMPTRLD", .ticks = 40, .linear_rip = 2});
    }
    of_b.instruction_failed({.error = std::nullopt, .name = "VMXON", .ticks = 30, .linear_rip = 3});
    const VmxFailures* const both[] = {&of_a, &of_b};
    const auto all = failed_instructions(both);
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].instruction, "VMXON");
    EXPECT_EQ(all[0].error, 0u);
    EXPECT_EQ(all[1].count, 4u);
    EXPECT_EQ(all[1].first_tick, 40u);
    EXPECT_EQ(all[1].rip, 2u);
    EXPECT_TRUE(failed_entries(both).empty());
}

TEST(TripleFault, ErrorCodesAndAddressesInWords) {
    test::VmxMachine m;
    m.cpu.fault_chain = {};
    const auto line = [&](const FaultChain::Link& link) {
        m.cpu.fault_chain = {};
        m.cpu.fault_chain.add(link);
        m.cpu.fault_chain.add(link);
        return triple_fault_lines(m.cpu)[0];
    };
    constexpr u8 exception = 3;
    EXPECT_EQ(line({.vector = 13, .type = exception, .has_code = true, .code = 0, .cr2 = 0}),
              "first #GP, error code 0");
    EXPECT_EQ(line({.vector = 11, .type = exception, .has_code = true, .code = 0x18, .cr2 = 0}),
              "first #NP, error code 0x18 (GDT entry 3)");
    EXPECT_EQ(line({.vector = 11, .type = exception, .has_code = true, .code = 0x1C, .cr2 = 0}),
              "first #NP, error code 0x1c (LDT entry 3)");
    EXPECT_EQ(line({.vector = 14, .type = exception, .has_code = true, .code = 0, .cr2 = 0x1000}),
              "first #PF, error code 0x0 (supervisor read, not present), address 0x1000");
    EXPECT_EQ(
        line({.vector = 14, .type = exception, .has_code = true, .code = 0x2F, .cr2 = 0}),
        "first #PF, error code 0x2f (user write, protection, reserved bit, protection key), address 0x0");
    EXPECT_EQ(line({.vector = 14, .type = exception, .has_code = true, .code = 0x15, .cr2 = 8}),
              "first #PF, error code 0x15 (user fetch, protection), address 0x8");
    EXPECT_EQ(line({.vector = 0x20, .type = 0, .has_code = false, .code = 0, .cr2 = 0}),
              "first interrupt 32");
}

TEST(TripleFault, TheOldestIsForgottenFirst) {
    FaultChain chain;
    for (u8 v = 0; v < 8; ++v)
        chain.add({.vector = v, .type = 3, .has_code = false, .code = 0, .cr2 = 0});
    ASSERT_EQ(chain.count, 6);
    for (u8 i = 0; i < 6; ++i)
        EXPECT_EQ(chain.links[i].vector, i + 2);
}

TEST(TripleFault, ToldWithItsChain) {
    // UD2 without an IDT: #UD, then #GP for the gate, then #GP for that one's, which makes #DF, then #GP.
    const QuietRun r =
        run_quietly(TinyGuest().bytes({0x0F, 0x01, 0x1D}).imm32(0x20'0000 + 64).bytes({0x0F, 0x0B}));
    EXPECT_EQ(r.summary.end.kind, EndKind::triple_fault);
    const auto& death = r.summary.death;
    ASSERT_EQ(death.size(), 5u) << ::testing::PrintToString(death);
    EXPECT_EQ(death[0], "first #UD");
    EXPECT_THAT(death[1], AllOf(HasSubstr("then #GP, error code 0x33 (IDT entry 6")));
    EXPECT_THAT(death[2], HasSubstr("then #GP, error code 0x6b (IDT entry 13"));
    EXPECT_THAT(death[3], HasSubstr("in the delivery of #DF, #GP, error code 0x43 (IDT entry 8"));
    EXPECT_THAT(death[4], AllOf(HasSubstr("RIP 0x20"), HasSubstr("CR2 0x0"), HasSubstr("IDT at 0x")));
    EXPECT_THAT(summary_text(r.summary, false), HasSubstr("first #UD\n"));
    EXPECT_THAT(summary_json(r.summary), HasSubstr("\"first #UD\""));
}

TEST(TripleFault, OtherEndsTellNone) {
    EXPECT_TRUE(run_quietly(TinyGuest().debug_exit(0).hlt()).summary.death.empty());
}

}  // namespace
}  // namespace droste
