// SPDX-License-Identifier: Apache-2.0
// What people read about failures: decoded fields, writers, and the exceptions of a triple fault.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cpu/cpu.h"
#include "machine/explain/field_text.h"
#include "machine/explain/field_writers.h"
#include "machine/quiet_console.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
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
