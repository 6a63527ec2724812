// SPDX-License-Identifier: Apache-2.0
// The VMX instructions in root operation: what is undefined, what fails and how, what succeeds.
#include <gtest/gtest.h>

#include <map>

#include "vmx_machine.h"

namespace droste::test {
namespace {

// Each takes its pointer at [data].
constexpr u8 abs_data[] = {0x25, 0x00, 0x40, 0x00, 0x00};  // SIB, disp32 = TestMachine::data
std::vector<u8> with_pointer(std::initializer_list<u8> opcode, u8 modrm_reg) {
    std::vector<u8> b(opcode);
    b.push_back(static_cast<u8>(modrm_reg << 3 | 4));
    b.insert(b.end(), std::begin(abs_data), std::end(abs_data));
    return b;
}
const std::vector<u8> vmxon_bytes = with_pointer({0xF3, 0x0F, 0xC7}, 6);
const std::vector<u8> vmclear_bytes = with_pointer({0x66, 0x0F, 0xC7}, 6);
const std::vector<u8> vmptrld_bytes = with_pointer({0x0F, 0xC7}, 6);
const std::vector<u8> vmptrst_bytes = with_pointer({0x0F, 0xC7}, 7);
const std::vector<u8> vmread_rbx_rax = {0x0F, 0x78, 0xC3};   // vmread rbx, rax
const std::vector<u8> vmwrite_rax_rbx = {0x0F, 0x79, 0xC3};  // vmwrite rax, rbx
const std::vector<u8> invept_bytes = with_pointer({0x66, 0x0F, 0x38, 0x80}, 0);   // invept rax, [data]
const std::vector<u8> invvpid_bytes = with_pointer({0x66, 0x0F, 0x38, 0x81}, 0);  // invvpid rax, [data]
const std::vector<u8> vmcall_bytes = {0x0F, 0x01, 0xC1}, vmlaunch_bytes = {0x0F, 0x01, 0xC2},
                      vmresume_bytes = {0x0F, 0x01, 0xC3}, vmxoff_bytes = {0x0F, 0x01, 0xC4},
                      vmfunc_bytes = {0x0F, 0x01, 0xD4};

const std::vector<std::vector<u8>> all_bytes = {
    vmxon_bytes,     vmclear_bytes, vmptrld_bytes, vmptrst_bytes, vmread_rbx_rax,
    vmwrite_rax_rbx, invept_bytes,  invvpid_bytes, vmcall_bytes,  vmlaunch_bytes,
    vmresume_bytes,  vmxoff_bytes,  vmfunc_bytes};

enum class Result : u8 { success, invalid, valid, fault };
Result execute(VmxMachine& m, const std::vector<u8>& bytes, u64 operand = 0) {
    m.poke<u64>(TestMachine::data, operand);
    const u64 flags_before = m.cpu.read_rflags();
    m.cpu.write_rflags(flags_before | rflags_bits::arithmetic);
    const Outcome outcome = m.execute(bytes);
    if (outcome == Outcome::fault) return Result::fault;
    const u64 f = m.cpu.read_rflags() & rflags_bits::arithmetic;
    if (f == rflags_bits::cf) return Result::invalid;
    if (f == rflags_bits::zf) return Result::valid;
    EXPECT_EQ(f, 0u);
    return Result::success;
}

TEST(VmxInstructions, UndefinedOutsideVmxOperation) {
    VmxMachine m;
    for (const auto& bytes : all_bytes) {
        if (&bytes == &all_bytes[0]) continue;  // VMXON
        EXPECT_EQ(execute(m, bytes), Result::fault);
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::ud));
    }
    m.cpu.cr4 &= ~cr4_bits::vmxe;
    EXPECT_EQ(execute(m, vmxon_bytes, VmxMachine::vmxon_region), Result::fault);
    EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::ud));
}

TEST(VmxInstructions, UndefinedInCompatibilityAndVirtual8086Mode) {
    VmxMachine m;
    m.start();
    m.cpu.segment(Seg::cs).access = 0xC09B;
    m.cpu.context_changed();
    for (const auto& bytes : all_bytes) {
        EXPECT_EQ(execute(m, bytes), Result::fault);
        EXPECT_EQ(m.cpu.pending_fault, Fault::of(Vector::ud));
    }
}

TEST(VmxInstructions, PrivilegedInRoot) {
    VmxMachine m;
    m.start();
    m.cpu.cpl = 3;
    m.cpu.context_changed();
    for (const auto& bytes : all_bytes) {
        EXPECT_EQ(execute(m, bytes), Result::fault);
        EXPECT_EQ(m.cpu.pending_fault,
                  bytes == vmfunc_bytes ? Fault::of(Vector::ud) : Fault::of(Vector::gp, 0));
    }
}

TEST(VmxInstructions, VmxonNeedsFeatureControlAndFixedBits) {
    const auto faults = [](auto change) {
        VmxMachine m;
        change(m);
        return execute(m, vmxon_bytes, VmxMachine::vmxon_region) == Result::fault &&
               m.cpu.pending_fault == Fault::of(Vector::gp, 0);
    };
    EXPECT_TRUE(faults([](VmxMachine& m) { m.cpu.feature_control = 4; })) << "not locked";
    EXPECT_TRUE(faults([](VmxMachine& m) { m.cpu.feature_control = 1; })) << "VMX disabled";
    EXPECT_TRUE(faults([](VmxMachine& m) { m.cpu.cr0 &= ~cr0_bits::ne; }));
    EXPECT_TRUE(faults([](VmxMachine& m) { m.cpu.cpl = 3; }));
    EXPECT_FALSE(faults([](VmxMachine&) {}));
}

TEST(VmxInstructions, VmxonPointers) {
    VmxMachine m;
    EXPECT_EQ(execute(m, vmxon_bytes, VmxMachine::vmxon_region + 8), Result::invalid);
    EXPECT_EQ(execute(m, vmxon_bytes, 1ull << 46), Result::invalid);
    m.poke<u32>(VmxMachine::vmxon_region, m.vmx.capabilities().revision | 0x80000000);
    EXPECT_EQ(execute(m, vmxon_bytes, VmxMachine::vmxon_region), Result::invalid);
    m.poke<u32>(VmxMachine::vmxon_region, m.vmx.capabilities().revision);
    EXPECT_EQ(execute(m, vmxon_bytes, VmxMachine::vmxon_region), Result::success);
    EXPECT_TRUE(m.vmx.in_operation());
    EXPECT_EQ(execute(m, vmptrst_bytes), Result::success);
    EXPECT_EQ(m.peek<u64>(TestMachine::data), ~0ull) << "no current VMCS";
    EXPECT_EQ(execute(m, vmxon_bytes, VmxMachine::vmxon_region), Result::invalid) << "VMfail without a VMCS";
    EXPECT_EQ(execute(m, vmxoff_bytes), Result::success);
    EXPECT_FALSE(m.vmx.in_operation());
}

/// SDM Table "VM-Instruction Error Numbers".
TEST(VmxInstructions, ErrorNumbers) {
    const auto fails = [](VmxMachine& m, const std::vector<u8>& bytes, u64 operand, VmxError error) {
        EXPECT_EQ(execute(m, bytes, operand), Result::valid) << static_cast<u32>(error);
        EXPECT_EQ(m.error(), error);
    };
    VmxMachine m;
    m.start();
    fails(m, vmcall_bytes, 0, VmxError::vmcall_in_root);
    fails(m, vmclear_bytes, 0x1001, VmxError::vmclear_address);
    fails(m, vmclear_bytes, 1ull << 46, VmxError::vmclear_address);
    fails(m, vmclear_bytes, VmxMachine::vmxon_region, VmxError::vmclear_vmxon_pointer);
    fails(m, vmresume_bytes, 0, VmxError::vmresume_not_launched);
    fails(m, vmptrld_bytes, 0x80, VmxError::vmptrld_address);
    fails(m, vmptrld_bytes, VmxMachine::vmxon_region, VmxError::vmptrld_vmxon_pointer);
    fails(m, vmptrld_bytes, 0x30'0000, VmxError::vmptrld_revision);
    fails(m, vmptrld_bytes, 1ull << 40, VmxError::vmptrld_revision);  // no RAM there
    fails(m, vmxon_bytes, VmxMachine::vmxon_region, VmxError::vmxon_in_root);
    m.cpu.reg(Gpr::rax) = 0x6830;
    fails(m, vmread_rbx_rax, 0, VmxError::unsupported_field);
    fails(m, vmwrite_rax_rbx, 0, VmxError::unsupported_field);
    m.cpu.reg(Gpr::rax) = 1ull << 32 | 0x681E;
    fails(m, vmread_rbx_rax, 0, VmxError::unsupported_field);
    m.cpu.reg(Gpr::rax) = 0x4002 | 1;  // the high half of a 32-bit field
    fails(m, vmread_rbx_rax, 0, VmxError::unsupported_field);
    m.cpu.reg(Gpr::rax) = 3;
    fails(m, invept_bytes, 0, VmxError::invalid_operand);
    m.cpu.reg(Gpr::rax) = 1;
    fails(m, invept_bytes, 0x1003, VmxError::invalid_operand);
    m.cpu.reg(Gpr::rax) = 4;
    fails(m, invvpid_bytes, 1, VmxError::invalid_operand);
    m.cpu.reg(Gpr::rax) = 1;
    fails(m, invvpid_bytes, 0, VmxError::invalid_operand);
    fails(m, invvpid_bytes, 0x10001, VmxError::invalid_operand);
    // launched: VMLAUNCH fails
    m.enable("hlt_exiting"_vmx);
    m.run_guest({0xF4});
    m.cpu.activity = Activity::active;
    fails(m, vmlaunch_bytes, 0, VmxError::vmlaunch_not_clear);
}

TEST(VmxInstructions, ReadOnlyFieldsWithoutTheCapability) {
    VmxMachine m({"-vmwrite_any_field"});
    m.start();
    m.cpu.reg(Gpr::rax) = 0x4402;
    EXPECT_EQ(execute(m, vmwrite_rax_rbx), Result::valid);
    EXPECT_EQ(m.error(), VmxError::read_only_field);
    VmxMachine any;
    any.start();
    any.cpu.reg(Gpr::rax) = 0x4402;
    any.cpu.reg(Gpr::rbx) = 0x1234;
    EXPECT_EQ(execute(any, vmwrite_rax_rbx), Result::success);
    EXPECT_EQ(any.get("exit_reason"_f), 0x1234u);
}

TEST(VmxInstructions, EveryFieldKeepsItsWidth) {
    VmxMachine m;
    m.start();
    for (u16 row = 0; row < vmcs_fields.size(); ++row) {
        const VmcsField& f = vmcs_fields[row];
        SCOPED_TRACE(f.name);
        const bool exists = m.vmx.capabilities().field_exists({row});
        m.cpu.reg(Gpr::rax) = f.encoding;
        m.cpu.reg(Gpr::rbx) = 0x1122334455667788 + row;
        EXPECT_EQ(execute(m, vmwrite_rax_rbx), exists ? Result::success : Result::valid);
        m.cpu.reg(Gpr::rbx) = 0;
        EXPECT_EQ(execute(m, vmread_rbx_rax), exists ? Result::success : Result::valid);
        if (!exists) continue;
        if (f.name == "vm_instruction_error") continue;
        EXPECT_EQ(m.cpu.reg(Gpr::rbx), (0x1122334455667788 + row) & f.mask());
        m.cpu.reg(Gpr::rax) = f.encoding | 1u;
        if (f.size() != FieldSize::w64) {
            EXPECT_EQ(execute(m, vmread_rbx_rax), Result::valid);
            continue;
        }
        EXPECT_EQ(execute(m, vmread_rbx_rax), Result::success);
        EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x11223344u);
        m.cpu.reg(Gpr::rbx) = 0xAABBCCDD;
        EXPECT_EQ(execute(m, vmwrite_rax_rbx), Result::success);
        EXPECT_EQ(m.get({row}), (0xAABBCCDDull << 32) | static_cast<u32>(0x55667788 + row));
    }
}

TEST(VmxInstructions, MemoryOperands) {
    VmxMachine m;
    m.start();
    m.set("guest_rsp"_f, 0xABCD);
    m.cpu.reg(Gpr::rax) = 0x681C;
    EXPECT_EQ(execute(m, with_pointer({0x0F, 0x78}, 0)), Result::success);  // vmread [data], rax
    EXPECT_EQ(m.peek<u64>(TestMachine::data), 0xABCDu);
    EXPECT_EQ(execute(m, with_pointer({0x0F, 0x79}, 0), 0x777), Result::success);  // vmwrite rax, [data]
    EXPECT_EQ(m.get("guest_rsp"_f), 0x777u);
}

TEST(VmxInstructions, DataStayWithTheRegion) {
    VmxMachine m;
    m.start(VmxMachine::vmcs_a);
    m.set("guest_rsp"_f, 1);
    EXPECT_EQ(execute(m, vmptrld_bytes, VmxMachine::vmcs_b), Result::success);
    EXPECT_EQ(m.vmx.current().address(), VmxMachine::vmcs_b);
    m.set("guest_rsp"_f, 2);
    EXPECT_EQ(execute(m, vmptrst_bytes), Result::success);
    EXPECT_EQ(m.peek<u64>(TestMachine::data), VmxMachine::vmcs_b);
    EXPECT_EQ(execute(m, vmclear_bytes, VmxMachine::vmcs_b), Result::success);
    EXPECT_FALSE(m.vmx.current()) << "VMCLEAR of the current VMCS leaves none";
    EXPECT_EQ(execute(m, vmread_rbx_rax), Result::invalid);
    EXPECT_EQ(execute(m, vmlaunch_bytes), Result::invalid);
    EXPECT_EQ(execute(m, vmptrld_bytes, VmxMachine::vmcs_a), Result::success);
    EXPECT_EQ(m.get("guest_rsp"_f), 1u);
    EXPECT_EQ(execute(m, vmptrld_bytes, VmxMachine::vmcs_b), Result::success);
    EXPECT_EQ(m.get("guest_rsp"_f), 2u);
}

TEST(VmxInstructions, ShadowVmcsIsNotEntered) {
    VmxMachine m;
    m.start();
    EXPECT_EQ(execute(m, vmptrld_bytes, VmxMachine::shadow_vmcs), Result::success);
    EXPECT_EQ(execute(m, vmlaunch_bytes), Result::invalid);
    VmxMachine without({"-vmcs_shadowing"});
    without.start();
    EXPECT_EQ(execute(without, vmptrld_bytes, VmxMachine::shadow_vmcs), Result::valid);
    EXPECT_EQ(without.error(), VmxError::vmptrld_revision);
}

TEST(VmxInstructions, Invalidations) {
    VmxMachine m;
    m.start();
    for (const u64 type : {1, 2}) {
        m.cpu.reg(Gpr::rax) = type;
        EXPECT_EQ(execute(m, invept_bytes, VmxMachine::ept_tables | 0x1E), Result::success) << type;
    }
    for (const u64 type : {0, 1, 2, 3}) {
        m.cpu.reg(Gpr::rax) = type;
        EXPECT_EQ(execute(m, invvpid_bytes, 1), Result::success) << type;
    }
    VmxMachine without({"-invept", "-invvpid"});
    without.start();
    EXPECT_EQ(execute(without, invept_bytes), Result::fault);
    EXPECT_EQ(execute(without, invvpid_bytes), Result::fault);
}

TEST(VmxInstructions, FaultsOfTheOperandComeFirst) {
    VmxMachine m;
    m.start();
    // vmptrld [0x7FFFFFFF]: not mapped
    EXPECT_EQ(m.execute({0x0F, 0xC7, 0x34, 0x25, 0xFF, 0xFF, 0xFF, 0x7F}), Outcome::fault);
    EXPECT_EQ(m.cpu.pending_fault.vector(), Vector::pf);
}

TEST(VmxInstructions, FieldTableAgreesWithItsDecoder) {
    unsigned found = 0;
    for (u32 encoding = 0; encoding < 0x10000; ++encoding) {
        Field f;
        if (!field_of(encoding, f)) continue;
        ++found;
        EXPECT_EQ(f->encoding, encoding & ~1u);
        if (encoding & 1) { EXPECT_EQ(f->size(), FieldSize::w64); }
    }
    unsigned expected = 0;
    for (const VmcsField& f : vmcs_fields) expected += f.size() == FieldSize::w64 ? 2 : 1;
    EXPECT_EQ(found, expected);
}

// ---- how the rows are executed

TEST(VmxInstructions, EndTheirBlockUnlessTheyTouchAFieldAlone) {
    constexpr u32 changes_context = traits::ends_block | traits::not_user_fuzzed;
    constexpr u32 field = traits::not_user_fuzzed | traits::force64;
    const std::map<std::string_view, u32> expected = {
        {"VMCALL", changes_context},   {"VMLAUNCH", changes_context},
        {"VMRESUME", changes_context}, {"VMXOFF", changes_context},
        {"VMFUNC", changes_context},   {"VMPTRLD", changes_context},
        {"VMCLEAR", changes_context},  {"VMXON", changes_context},
        {"VMPTRST", changes_context},  {"VMREAD", field},
        {"VMWRITE", field},            {"INVEPT", changes_context | traits::force64},
        {"INVVPID", changes_context | traits::force64},
    };
    ASSERT_EQ(vmx_instruction_rows().size(), expected.size());
    for (const InsnRow& row : vmx_instruction_rows()) {
        SCOPED_TRACE(row.mnemonic);
        ASSERT_TRUE(expected.contains(row.mnemonic));
        EXPECT_EQ(row.traits, expected.at(row.mnemonic));
        EXPECT_EQ(row.needs, Feature::vmx);
    }
}

}  // namespace
}  // namespace droste::test
