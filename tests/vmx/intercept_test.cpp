// SPDX-License-Identifier: Apache-2.0
// What guests may do by themselves and what exits: controls, masks, bitmaps, and the information that exits
// give.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

struct InstructionExit {
    const char* name;
    std::vector<u8> bytes;
    Capability control;  ///< closes it; always: exits without a control
    u32 reason;
    u64 qualification = 0;
};

constexpr Capability always = VmcsField::always;

u32 run(VmxMachine& m, const std::vector<u8>& bytes) {
    m.write(VmxMachine::guest_code, bytes);
    m.poke<u8>(VmxMachine::guest_code + bytes.size(), 0xF4);
    m.set("guest_rip"_f, VmxMachine::guest_code);
    m.cpu.activity = Activity::active;
    return m.resume();
}

const std::vector<InstructionExit> instruction_exits = {
    {"CPUID", {0x0F, 0xA2}, always, 10},
    {"INVD", {0x0F, 0x08}, always, 13},
    {"VMCALL", {0x0F, 0x01, 0xC1}, always, 18},
    {"VMLAUNCH", {0x0F, 0x01, 0xC2}, always, 20},
    {"VMRESUME", {0x0F, 0x01, 0xC3}, always, 24},
    {"VMXOFF", {0x0F, 0x01, 0xC4}, always, 26},
    {"VMREAD", {0x0F, 0x78, 0xC3}, always, 23},
    {"VMWRITE", {0x0F, 0x79, 0xC3}, always, 25},
    {"VMCLEAR [data]", {0x66, 0x0F, 0xC7, 0x34, 0x25, 0, 0x40, 0, 0}, always, 19, 0x4000},
    {"VMPTRLD [rax-8]", {0x0F, 0xC7, 0x70, 0xF8}, always, 21, ~7ull},
    {"VMPTRST [rip+0x100]", {0x0F, 0xC7, 0x3D, 0, 1, 0, 0}, always, 22, VmxMachine::guest_code + 7 + 0x100},
    {"VMXON [data]", {0xF3, 0x0F, 0xC7, 0x34, 0x25, 0, 0x40, 0, 0}, always, 27, 0x4000},
    {"INVEPT", {0x66, 0x0F, 0x38, 0x80, 0x04, 0x25, 0, 0x40, 0, 0}, always, 50, 0x4000},
    {"INVVPID", {0x66, 0x0F, 0x38, 0x81, 0x04, 0x25, 0, 0x40, 0, 0}, always, 53, 0x4000},
    {"XSETBV", {0x0F, 0x01, 0xD1}, always, 55},
    {"HLT", {0xF4}, "hlt_exiting"_vmx, 12},
    {"INVLPG [0x5123]", {0x0F, 0x01, 0x3C, 0x25, 0x23, 0x51, 0, 0}, "invlpg_exiting"_vmx, 14, 0x5123},
    {"RDPMC", {0x0F, 0x33}, "rdpmc_exiting"_vmx, 15},
    {"RDTSC", {0x0F, 0x31}, "rdtsc_exiting"_vmx, 16},
    {"MOV DR7, RBX", {0x0F, 0x23, 0xFB}, "mov_dr_exiting"_vmx, 29, 7 | 3 << 8},
    {"MOV RCX, DR6", {0x0F, 0x21, 0xF1}, "mov_dr_exiting"_vmx, 29, 6 | 16 | 1 << 8},
    {"IN AL, 0x60", {0xE4, 0x60}, "unconditional_io_exiting"_vmx, 30, 0 | 8 | 64 | 0x60 << 16},
    {"OUT DX, EAX", {0xEF}, "unconditional_io_exiting"_vmx, 30, 3},
    {"WBINVD", {0x0F, 0x09}, "wbinvd_exiting"_vmx, 54},
    {"PAUSE", {0xF3, 0x90}, "pause_exiting"_vmx, 40},
    {"MOV CR3, RBX", {0x0F, 0x22, 0xDB}, "cr3_load_exiting"_vmx, 28, 3 | 3 << 8},
    {"MOV RBX, CR3", {0x0F, 0x20, 0xDB}, "cr3_store_exiting"_vmx, 28, 3 | 1 << 4 | 3 << 8},
    {"MOV CR8, R9", {0x45, 0x0F, 0x22, 0xC1}, "cr8_load_exiting"_vmx, 28, 8 | 9 << 8},
    {"MOV R9, CR8", {0x45, 0x0F, 0x20, 0xC1}, "cr8_store_exiting"_vmx, 28, 8 | 1 << 4 | 9 << 8},
    {"SGDT [data]", {0x0F, 0x01, 0x04, 0x25, 0, 0x40, 0, 0}, "descriptor_table_exiting"_vmx, 46, 0x4000},
    {"LIDT [rax+8]", {0x0F, 0x01, 0x58, 8}, "descriptor_table_exiting"_vmx, 46, 8},
    {"SLDT EBX", {0x0F, 0x00, 0xC3}, "descriptor_table_exiting"_vmx, 47},
    {"LTR BX", {0x0F, 0x00, 0xDB}, "descriptor_table_exiting"_vmx, 47},
    {"RDRAND R10", {0x49, 0x0F, 0xC7, 0xF2}, "rdrand_exiting"_vmx, 57},
    {"RDSEED EBX", {0x0F, 0xC7, 0xFB}, "rdseed_exiting"_vmx, 61},
};

TEST(Intercepts, InstructionsExitWhenTheirControlSays) {
    for (const InstructionExit& t : instruction_exits) {
        SCOPED_TRACE(t.name);
        VmxMachine m;
        m.start();
        if (t.control != always) m.enable(t.control);
        m.cpu.reg(Gpr::rdx) = 0;
        EXPECT_EQ(run(m, t.bytes), t.reason);
        EXPECT_EQ(m.qualification(), t.qualification);
        EXPECT_EQ(m.get("exit_instruction_length"_f), t.bytes.size());
        EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
        EXPECT_EQ(m.get("exit_interruption_information"_f), 0u);
    }
}

TEST(Intercepts, InstructionsDoNotExitWithoutTheirControl) {
    for (const InstructionExit& t : instruction_exits) {
        if (t.control == always || t.reason == 12) continue;
        SCOPED_TRACE(t.name);
        VmxMachine m;
        m.start();
        m.cpu.reg(Gpr::rbx) = TestMachine::tables;  // harmless for all of them
        if (t.name == std::string_view("MOV DR7, RBX")) m.cpu.reg(Gpr::rbx) = 0x400;
        const u32 reason = run(m, t.bytes);
        EXPECT_NE(reason, t.reason);
    }
}

TEST(Intercepts, VmcallExitsAtEveryPrivilegeLevel) {
    VmxMachine m;
    m.start();
    m.set("guest_cs_selector"_f, 0x1B);
    m.set("guest_cs_access_rights"_f, 0xA0FB);
    for (const unsigned s : {0u, 2u, 3u, 4u, 5u}) {
        m.set("guest_es_selector"_f + s, 0x23);
        m.set("guest_es_access_rights"_f + s, 0xC0F3);
    }
    EXPECT_EQ(run(m, {0x0F, 0x01, 0xC1}), 18u);
    EXPECT_EQ(m.cpu.cpl, 0);
    // HLT is privileged: the fault comes before the exit
    m.enable("hlt_exiting"_vmx);
    m.set("exception_bitmap"_f, 1u << 13);
    EXPECT_EQ(run(m, {0xF4}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
}

TEST(Intercepts, RdtscpNeedsItsControl) {
    VmxMachine m;
    m.start();
    m.set("exception_bitmap"_f, 1u << 6);
    EXPECT_EQ(run(m, {0x0F, 0x01, 0xF9}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000306u);
    m.enable("enable_rdtscp"_vmx);
    m.enable("rdtsc_exiting"_vmx);
    EXPECT_EQ(run(m, {0x0F, 0x01, 0xF9}), "rdtscp"_exit->number);
}

TEST(Intercepts, InvpcidNeedsItsControl) {
    const std::vector<u8> invpcid = {0x66, 0x0F, 0x38, 0x82, 0x04, 0x25, 0, 0x40, 0, 0};
    VmxMachine m;
    m.start();
    m.set("exception_bitmap"_f, 1u << 6);
    EXPECT_EQ(run(m, invpcid), 0u);
    m.enable("enable_invpcid"_vmx);
    m.enable("invlpg_exiting"_vmx);
    EXPECT_EQ(run(m, invpcid), "invpcid"_exit->number);
}

/// SDM tables "Format of the VM-Exit Instruction-Information Field".
TEST(Intercepts, InstructionInformation) {
    struct Info {
        std::vector<u8> bytes;
        Capability control;
        u32 information;
    };
    const std::vector<Info> list = {
        // vmread rbx, rax: register form
        {{0x0F, 0x78, 0xC3}, always, 1u << 10 | 3 << 3 | 0u << 28 | 0},
        // vmwrite r9, [rax+rcx*4]
        {{0x44, 0x0F, 0x79, 0x0C, 0x88}, always, 2u | 2 << 7 | 3 << 15 | 1 << 18 | 0 << 23 | 9u << 28},
        // vmptrld fs:[r13]
        {{0x64, 0x41, 0x0F, 0xC7, 0x75, 0x00}, always, 2 << 7 | 4 << 15 | 1 << 22 | 13 << 23},
        // vmclear [0x4000]: no base, no index
        {{0x66, 0x0F, 0xC7, 0x34, 0x25, 0, 0x40, 0, 0}, always, 2 << 7 | 3 << 15 | 1 << 22 | 1 << 27},
        // invept rdx, [rbp+r12*2]
        {{0x66, 0x42, 0x0F, 0x38, 0x80, 0x54, 0x65, 0},
         always,
         1 | 2 << 7 | 2 << 15 | 12 << 18 | 5 << 23 | 2u << 28},
        // lidt [eax]: 32-bit addresses
        {{0x67, 0x0F, 0x01, 0x18},
         "descriptor_table_exiting"_vmx,
         1 << 7 | 1 << 11 | 3 << 15 | 1 << 22 | 3u << 28},
        // sldt ebx
        {{0x0F, 0x00, 0xC3}, "descriptor_table_exiting"_vmx, 1 << 10 | 3 << 3},
        // ltr [rax]
        {{0x0F, 0x00, 0x18}, "descriptor_table_exiting"_vmx, 2 << 7 | 3 << 15 | 1 << 22 | 3u << 28},
        // rdrand r10
        {{0x49, 0x0F, 0xC7, 0xF2}, "rdrand_exiting"_vmx, 10 << 3 | 2 << 11},
        // rdseed bx
        {{0x66, 0x0F, 0xC7, 0xFB}, "rdseed_exiting"_vmx, 3 << 3},
        // gs outsb
        {{0x65, 0x6E}, "unconditional_io_exiting"_vmx, 2 << 7 | 5 << 15},
        // insd with 32-bit addresses
        {{0x67, 0x6D}, "unconditional_io_exiting"_vmx, 1 << 7},
    };
    for (const Info& t : list) {
        VmxMachine m;
        m.start();
        if (t.control != always) m.enable(t.control);
        ASSERT_NE(run(m, t.bytes), 0xFFFFu);
        constexpr u32 register_form = 1u << 10;
        // With a register operand the fields of the memory operand are undefined.
        const u32 mask = t.information & register_form ? 0xF0000078 | register_form : ~0u;
        EXPECT_EQ(m.get("exit_instruction_information"_f) & mask, t.information)
            << std::hex << unsigned{t.bytes[1]};
    }
}

TEST(Intercepts, Cr0MaskAndShadow) {
    VmxMachine m;
    m.start();
    m.set("cr0_guest_host_mask"_f, cr0_bits::ts | cr0_bits::wp);
    m.set("cr0_read_shadow"_f, cr0_bits::wp);
    const u64 cr0 = m.get("guest_cr0"_f);
    m.drop("guest_cr0"_f, cr0_bits::wp);
    // mov rbx, cr0: the shadow shows WP
    EXPECT_EQ(run(m, {0x0F, 0x20, 0xC3, 0x0F, 0xA2}), 10u);
    EXPECT_NE(m.cpu.reg(Gpr::rbx) & cr0_bits::wp, 0u);
    // mov cr0, rbx with the shadow's values: no exit, the masked bits stay
    m.cpu.reg(Gpr::rbx) = cr0 | cr0_bits::em;
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xC3, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("guest_cr0"_f), (cr0 | cr0_bits::em) & ~cr0_bits::wp);
    // differing from the shadow: exit
    m.cpu.reg(Gpr::rbx) = cr0 | cr0_bits::ts;
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xC3}), 28u);
    EXPECT_EQ(m.qualification(), 3u << 8);
    // CLTS: TS is masked, the shadow has 0: nothing happens
    EXPECT_EQ(run(m, {0x0F, 0x06, 0x0F, 0xA2}), 10u);
    m.add("cr0_read_shadow"_f, cr0_bits::ts);
    EXPECT_EQ(run(m, {0x0F, 0x06}), 28u);
    EXPECT_EQ(m.qualification(), 2u << 4);
    // LMSW EBX: source data in the qualification
    m.cpu.reg(Gpr::rbx) = 0x1231;
    EXPECT_EQ(run(m, {0x0F, 0x01, 0xF3}), 28u);
    EXPECT_EQ(m.qualification(), 3u << 4 | 0x1231u << 16);
}

TEST(Intercepts, Cr3Targets) {
    VmxMachine m;
    m.start();
    m.enable("cr3_load_exiting"_vmx);
    m.set("cr3_target_count"_f, 2);
    m.set("cr3_target_value_1"_f, TestMachine::tables);
    m.cpu.reg(Gpr::rbx) = TestMachine::tables;
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xDB, 0x0F, 0xA2}), 10u);
    m.set("cr3_target_count"_f, 1);
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xDB}), 28u);
}

TEST(Intercepts, FixedBitsOfTheGuest) {
    VmxMachine m;
    m.start();
    m.set("exception_bitmap"_f, 1u << 13);
    m.cpu.reg(Gpr::rbx) = m.get("guest_cr0"_f) & ~cr0_bits::ne;
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xC3}), 0u) << "clearing CR0.NE in VMX operation is #GP";
    m.cpu.reg(Gpr::rbx) = m.get("guest_cr4"_f) & ~cr4_bits::vmxe;
    EXPECT_EQ(run(m, {0x0F, 0x22, 0xE3}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
}

TEST(Intercepts, IoBitmaps) {
    VmxMachine m;
    m.start();
    m.enable("use_io_bitmaps"_vmx);
    EXPECT_EQ(run(m, {0xE4, 0x60, 0x0F, 0xA2}), 10u);
    m.poke<u8>(VmxMachine::io_bitmap_a + 0x61 / 8, 1 << (0x61 % 8));
    EXPECT_EQ(run(m, {0xE4, 0x60, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(run(m, {0xE5, 0x60}), 30u) << "a doubleword at 60H covers 61H";
    EXPECT_EQ(m.qualification(), 3u | 8 | 64 | 0x60u << 16);
    m.poke<u8>(VmxMachine::io_bitmap_b + 0x7FFF / 8, 0x80);
    m.cpu.reg(Gpr::rdx) = 0xFFFF;
    EXPECT_EQ(run(m, {0xEE}), 30u);
    m.poke<u8>(VmxMachine::io_bitmap_b + 0x7FFF / 8, 0);
    EXPECT_EQ(run(m, {0xEF}), 30u) << "an access that wraps around exits";
}

TEST(Intercepts, MsrBitmaps) {
    VmxMachine m;
    m.start();
    m.cpu.reg(Gpr::rcx) = 0xC0000102;
    EXPECT_EQ(run(m, {0x0F, 0x32}), 31u) << "without bitmaps every access exits";
    m.enable("use_msr_bitmaps"_vmx);
    EXPECT_EQ(run(m, {0x0F, 0x32, 0x0F, 0xA2}), 10u);
    const u64 bit = 0x102;
    m.poke<u8>(VmxMachine::msr_bitmap + 3072 + bit / 8, 1 << (bit % 8));
    m.cpu.reg(Gpr::rcx) = 0xC0000102;
    EXPECT_EQ(run(m, {0x0F, 0x30}), 32u);
    m.cpu.reg(Gpr::rcx) = 0x2000;
    EXPECT_EQ(run(m, {0x0F, 0x32}), 31u) << "outside both ranges";
}

TEST(Intercepts, ExceptionBitmapAndPageFaultMask) {
    VmxMachine m;
    m.start();
    const std::vector<u8> ud2 = {0x0F, 0x0B};
    EXPECT_EQ(run(m, ud2), 0xFFFFu) << "delivered in the guest";
    EXPECT_EQ(m.stopped_at(), 6);
    VmxMachine n;
    n.start();
    n.set("exception_bitmap"_f, 1u << 6);
    EXPECT_EQ(run(n, ud2), 0u);
    EXPECT_EQ(n.get("exit_interruption_information"_f), 0x80000306u);
    EXPECT_NE(n.get("guest_rflags"_f) & rflags_bits::rf, 0u);
    // INT3
    n.set("exception_bitmap"_f, 1u << 3);
    EXPECT_EQ(run(n, {0xCC}), 0u);
    EXPECT_EQ(n.get("exit_interruption_information"_f), 0x80000603u);
    EXPECT_EQ(n.get("exit_instruction_length"_f), 1u);
    // page fault: address in the qualification, CR2 untouched
    n.set("exception_bitmap"_f, 1u << 14);
    n.cpu.cr2 = 0x1111;
    const std::vector<u8> load = {0x48, 0x8B, 0x04, 0x25, 0x34, 0x12, 0x00, 0x70};
    EXPECT_EQ(run(n, load), 0u);
    EXPECT_EQ(n.get("exit_interruption_information"_f), 0x80000B0Eu);
    EXPECT_EQ(n.get("exit_interruption_error_code"_f), 0u);
    EXPECT_EQ(n.qualification(), 0x70001234u);
    EXPECT_EQ(n.cpu.cr2, 0x1111u);
    // mask and match: only faults by writes exit
    n.set("page_fault_error_code_mask"_f, 2);
    n.set("page_fault_error_code_match"_f, 2);
    EXPECT_EQ(run(n, load), 0xFFFFu);
    EXPECT_EQ(n.cpu.cr2, 0x70001234u);
}

TEST(Intercepts, TripleFault) {
    VmxMachine m;
    m.start();
    m.set("guest_idtr_limit"_f, 0);
    EXPECT_EQ(run(m, {0x0F, 0x0B}), 2u);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0u);
    EXPECT_FALSE(m.cpu.shut_down);
}

TEST(Intercepts, DoubleFaultThatExits) {
    VmxMachine m;
    m.start();
    m.set("guest_idtr_limit"_f, 0);
    m.set("exception_bitmap"_f, 1u << 8);
    EXPECT_EQ(run(m, {0x48, 0x8B, 0x04, 0x25, 0x34, 0x12, 0x00, 0x70}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B08u);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0u);
}

TEST(Intercepts, ExceptionDuringDelivery) {
    VmxMachine m;
    m.start();
    m.set("guest_idtr_limit"_f, 0x6F);  // vectors 0..6
    m.set("exception_bitmap"_f, 1u << 13);
    // int 0x80: the gate lies beyond the limit
    EXPECT_EQ(run(m, {0xCD, 0x80}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
    EXPECT_EQ(m.get("exit_interruption_error_code"_f), 0x80u * 8 + 2);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000480u);
    EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
}

TEST(Intercepts, EptViolationDuringDelivery) {
    VmxMachine m;
    m.start();
    m.enable_ept();
    // The IDT moves to a page that the guest maps and EPT does not.
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, 0);
    m.set("guest_idtr_base"_f, 32u << 20);
    EXPECT_EQ(run(m, {0xCD, 0x80}), "ept_violation"_exit->number);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000480u);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 2u);
    EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
    EXPECT_EQ(m.get("guest_physical_address"_f), (32u << 20) + 0x800);
}

TEST(Intercepts, EptMisconfiguration) {
    VmxMachine m;
    m.start();
    m.enable_ept();
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, (32u << 20) | 0xB6);  // writable, not readable
    EXPECT_EQ(run(m, {0x48, 0x89, 0x04, 0x25, 0x23, 0x01, 0x00, 0x02}), "ept_misconfiguration"_exit->number);
    EXPECT_EQ(m.get("guest_physical_address"_f), 0x2000123u);
    EXPECT_EQ(m.qualification(), 0u);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 8u) << "KVM skips the instruction by it";
}

TEST(Intercepts, PageModificationLog) {
    VmxMachine m;
    m.start();
    m.enable_ept();
    m.enable("enable_pml"_vmx);
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, (32u << 20) | 0xB7);
    m.set("pml_index"_f, 0);
    // a store to 32 MBytes: first the page with the paging structures is logged, then there is no room for
    // the other
    const std::vector<u8> store = {0x48, 0x89, 0x04, 0x25, 0x23, 0x51, 0x00, 0x02, 0x0F, 0xA2};
    EXPECT_EQ(run(m, store), 62u) << "the log had one entry";
    EXPECT_EQ(m.get("pml_index"_f), 0xFFFFu);
    EXPECT_EQ(m.get("guest_rip"_f), VmxMachine::guest_code);
    m.set("pml_index"_f, 511);
    EXPECT_EQ(run(m, store), 10u);
    bool logged = false;
    for (u64 i = m.get("pml_index"_f) + 1; i <= 511; ++i)
        logged |= m.peek<u64>(VmxMachine::pml_log + 8 * i) == 0x2005000;
    EXPECT_TRUE(logged);
    EXPECT_NE(m.peek<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16) & 0x200, 0u);
}

TEST(Intercepts, XsavesBitmap) {
    VmxMachine m;
    m.start();
    m.set("exception_bitmap"_f, 1u << 6);
    EXPECT_EQ(run(m, {0x0F, 0xC7, 0x2C, 0x25, 0, 0x40, 0, 0}), 0u) << "#UD without the control";
    m.enable("enable_xsaves_xrstors"_vmx);
    m.set("xss_exiting_bitmap"_f, 0x100);
    m.cpu.xss = 0x100;
    m.cpu.reg(Gpr::rax) = 0x100;
    m.cpu.reg(Gpr::rdx) = 0;
    EXPECT_EQ(run(m, {0x0F, 0xC7, 0x2C, 0x25, 0, 0x40, 0, 0}), "xsaves"_exit->number);
    EXPECT_EQ(m.qualification(), 0x4000u);
}

TEST(Intercepts, PauseLoops) {
    VmxMachine m;
    m.start();
    m.enable("pause_loop_exiting"_vmx);
    m.set("ple_gap"_f, 20);
    m.set("ple_window"_f, 100);
    // pause; jmp -4
    EXPECT_EQ(run(m, {0xF3, 0x90, 0xEB, 0xFC}), 40u);
    // pauses further apart than the gap never make a loop: mov ecx, 30; loop self; pause; jmp start
    EXPECT_EQ(run(m, {0xB9, 30, 0, 0, 0, 0xE2, 0xFE, 0xF3, 0x90, 0xEB, 0xF5}), 0xFFFFu);
}

TEST(Intercepts, EptpSwitching) {
    VmxMachine m;
    m.start();
    m.enable_ept();
    m.enable("enable_vm_functions"_vmx);
    m.set("vm_function_controls"_f, 1);
    m.poke<u64>(VmxMachine::eptp_list + 8 * 3, VmxMachine::ept_tables | 0x1E);
    // mov ecx, 3; xor eax, eax; vmfunc; cpuid
    EXPECT_EQ(run(m, {0xB9, 3, 0, 0, 0, 0x31, 0xC0, 0x0F, 0x01, 0xD4, 0x0F, 0xA2}), 10u);
    EXPECT_EQ(m.get("eptp"_f), VmxMachine::ept_tables | 0x1E);
    EXPECT_EQ(run(m, {0xB9, 4, 0, 0, 0, 0x31, 0xC0, 0x0F, 0x01, 0xD4}), "vmfunc"_exit->number)
        << "entry 4 is invalid";
}

TEST(Intercepts, TaskSwitch) {
    // Task switches exit before anything of the new task is loaded. A far jump through a TSS descriptor from
    // a 32-bit guest with PAE paging under EPT.
    VmxMachine m;
    m.start();
    m.enable_ept();
    m.enable("unrestricted_guest"_vmx);
    m.disable("ia32e_mode_guest"_vmx);
    m.drop("guest_cr0"_f, cr0_bits::pg);
    m.set("guest_cs_access_rights"_f, 0xC09B);
    m.poke<u64>(TestMachine::gdt + 8 * 6, 0x67ull | (0xC000ull << 16) | (0x89ull << 40));
    m.set("guest_gdtr_limit"_f, 63);
    EXPECT_EQ(run(m, {0xEA, 0, 0, 0, 0, 0x30, 0}), 9u);
    EXPECT_EQ(m.qualification(), 0x30u | 2u << 30);
    EXPECT_EQ(m.get("exit_instruction_length"_f), 7u);
    // The descriptor is checked before.
    m.poke<u64>(TestMachine::gdt + 8 * 6, 0x66ull | (0xC000ull << 16) | (0x89ull << 40));
    m.set("exception_bitmap"_f, 1u << 10);
    EXPECT_EQ(run(m, {0xEA, 0, 0, 0, 0, 0x30, 0}), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Au);
    EXPECT_EQ(m.get("exit_interruption_error_code"_f), 0x30u);
}

}  // namespace
}  // namespace droste::test
