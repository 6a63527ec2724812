// SPDX-License-Identifier: Apache-2.0
// The VMX instructions (SDM "VMX Instruction Reference").
#include "vmx/insns.h"

#include "cpu/interp/handlers.h"
#include "vmx/instruction_info.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

/// What all but VMXON and VMFUNC check first: #UD outside VMX operation, in real-address and virtual-8086
/// mode, and in compatibility mode.
bool undefined(Cpu& cpu) {
    const Vmx* vmx = vmx_of(cpu);
    return vmx == nullptr || !vmx->operating() || cpu.real_or_v86() || (cpu.long_mode() && !cpu.code64());
}

/// In non-root operation, VMX instructions exit unless the level is one that executes them.
bool exits(Cpu& cpu) { return cpu.non_root && !vmx_of(cpu)->executes_vmx(); }

/// Reads the 64-bit operand without side effects, for whoever watches an attempt in non-root operation.
std::optional<u64> peek_operand(Cpu& cpu, const Insn& in) {
    u64 value = 0;
    const u64 linear = cpu.ea_base[in.seg()] + cpu.effective(in);
    for (unsigned i = 0; i < 8; ++i) {
        u64 machine = 0;
        const u64 at = cpu.code64() ? linear + i : (linear + i) & 0xFFFFFFFF;
        if (!cpu.mmu.peek(Linear(at), machine)) return std::nullopt;
        const u8* host = cpu.memory.host(machine);
        if (host == nullptr) return std::nullopt;
        value |= u64{*host} << (8 * i);
    }
    return value;
}

/// An attempt in non-root operation, with the operand for observers.
Outcome attempt(Cpu& cpu, const Insn& in, const ExitRow* row, std::optional<u64> operand = std::nullopt) {
    vmx_of(cpu)->exit_attempt(row, in, operand);
    return Outcome::vm_exit;
}

Outcome vmxon(Cpu& cpu, const Insn& in) {
    Vmx* vmx = vmx_of(cpu);
    // In non-root operation, the registers as the level sees them; VM entry has seen to what else VMX fixes in CR4,
    // and a hypervisor beneath may show bits there that the processor does not have.
    const bool native = vmx != nullptr && vmx->executes_vmx();
    const u64 cr0 = native ? vmx->shadowed_cr(0, cpu.cr0) : cpu.cr0;
    const u64 cr4 =
        native ? (vmx->shadowed_cr(4, cpu.cr4) & cr4_bits::vmxe) | (cpu.cr4 & ~cr4_bits::vmxe) : cpu.cr4;
    if (vmx == nullptr || cpu.real_or_v86() || (cr4 & cr4_bits::vmxe) == 0 ||
        (cpu.long_mode() && !cpu.code64()))
        return cpu.ud();
    if (!vmx->operating()) {
        const VmxCapabilities& caps = vmx->capabilities();
        const bool control_registers = (caps.cr0_fixed0 & ~cr0) == 0 && (cr0 & ~caps.cr0_fixed1) == 0 &&
                                       (caps.cr4_fixed0 & ~cr4) == 0 && (cr4 & ~caps.cr4_fixed1) == 0;
        constexpr u64 locked_and_vmx = 5;
        if (cpu.cpl != 0 || !control_registers || (cpu.feature_control & locked_and_vmx) != locked_and_vmx)
            return cpu.gp0();
        u64 pointer = 0;
        if (!cpu.load(in, pointer)) return cpu.failed();
        return vmx->executing(in, "VMXON").vmxon(pointer);
    }
    if (exits(cpu)) return attempt(cpu, in, "vmxon"_exit, peek_operand(cpu, in));
    if (cpu.cpl != 0) return cpu.gp0();
    return vmx->executing(in, "VMXON").fail(VmxError::vmxon_in_root);
}

Outcome vmxoff(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "vmxoff"_exit);
    if (cpu.cpl != 0) return cpu.gp0();
    return vmx_of(cpu)->vmxoff();
}

Outcome vmcall(Cpu& cpu, const Insn& in) {
    const Vmx* vmx = vmx_of(cpu);
    // In non-root operation it exits from every mode and privilege level.
    if (vmx != nullptr && cpu.non_root) return attempt(cpu, in, "vmcall"_exit);
    if (undefined(cpu)) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    cpu.charge(CostEvent::vmcall_fail);
    return vmx_of(cpu)->executing(in, "VMCALL").fail(VmxError::vmcall_in_root);
}

template <bool launch> Outcome vmenter(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, launch ? "vmlaunch"_exit : "vmresume"_exit);
    if (cpu.cpl != 0) return cpu.gp0();
    cpu.rip = cpu.insn_rip(in);
    cpu.running = &in;  // the VMX-preemption timer starts at the exact time
    return vmx_of(cpu)->executing(in, launch ? "VMLAUNCH" : "VMRESUME").enter(launch);
}

Outcome vmfunc(Cpu& cpu, const Insn& in) {
    if (!cpu.non_root || cpu.gates.closed(Gate::vmfunc_disabled)) return cpu.ud();
    cpu.rip = cpu.insn_rip(in);
    return vmx_of(cpu)->vmfunc(in);
}

Outcome vmptrld(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "vmptrld"_exit, peek_operand(cpu, in));
    if (cpu.cpl != 0) return cpu.gp0();
    u64 address = 0;
    if (!cpu.load(in, address)) return cpu.failed();
    return vmx_of(cpu)->executing(in, "VMPTRLD").vmptrld(address);
}

Outcome vmclear(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "vmclear"_exit, peek_operand(cpu, in));
    if (cpu.cpl != 0) return cpu.gp0();
    u64 address = 0;
    if (!cpu.load(in, address)) return cpu.failed();
    return vmx_of(cpu)->executing(in, "VMCLEAR").vmclear(address);
}

Outcome vmptrst(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "vmptrst"_exit);
    if (cpu.cpl != 0) return cpu.gp0();
    Vmx& vmx = *vmx_of(cpu);
    if (!cpu.store(in, vmx.vmcs_pointer())) return cpu.failed();
    cpu.charge(CostEvent::vmptrst);
    return vmx.succeed();
}

/// The register operand of VMREAD and VMWRITE: 64 bits in 64-bit mode, else 32.
u64 register_value(const Cpu& cpu, unsigned slot) {
    return cpu.code64() ? cpu.gpr[slot] : static_cast<u32>(cpu.gpr[slot]);
}

/// The field that VMREAD and VMWRITE name, in the VMCS that they act on.
enum class Found : u8 { yes, no_vmcs, unsupported };
Found find_field(const Vmx& vmx, u64 encoding, Field& field) {
    if (!vmx.accessed()) return Found::no_vmcs;
    return field_of(encoding, field) && vmx.capabilities().field_exists(field) ? Found::yes
                                                                               : Found::unsupported;
}

Outcome vmread(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    Vmx& vmx = *vmx_of(cpu);
    const u64 encoding = register_value(cpu, in.reg);
    if (cpu.non_root && vmx.vmcs_access_exits(encoding, false))
        return attempt(cpu, in, "vmread"_exit, encoding);
    if (cpu.cpl != 0) return cpu.gp0();
    if (!vmx.reach_own_vmcs()) return cpu.failed();
    Field field;
    switch (find_field(vmx, encoding, field)) {
    case Found::no_vmcs: return vmx.executing(in, "VMREAD").fail_invalid();
    case Found::unsupported: return vmx.executing(in, "VMREAD").fail_valid(VmxError::unsupported_field);
    case Found::yes: break;
    }
    u64 value = vmx.accessed()[field];
    if (encoding & 1) value >>= 32;
    if (in.mem()) {
        const bool ok = cpu.code64() ? cpu.store(in, value) : cpu.store(in, static_cast<u32>(value));
        if (!ok) return cpu.failed();
    } else {
        cpu.gpr[in.rm] = cpu.code64() ? value : static_cast<u32>(value);
    }
    cpu.charge(CostEvent::vmread);
    vmx.notify_vmread(field, value);
    return vmx.succeed();
}

Outcome vmwrite(Cpu& cpu, const Insn& in) {
    if (undefined(cpu)) return cpu.ud();
    Vmx& vmx = *vmx_of(cpu);
    const u64 encoding = register_value(cpu, in.reg);
    if (cpu.non_root && vmx.vmcs_access_exits(encoding, true))
        return attempt(cpu, in, "vmwrite"_exit, encoding);
    if (cpu.cpl != 0) return cpu.gp0();
    u64 value = 0;
    if (!in.mem()) {
        value = register_value(cpu, in.rm);
    } else if (cpu.code64()) {
        if (!cpu.load(in, value)) return cpu.failed();
    } else {
        u32 v = 0;
        if (!cpu.load(in, v)) return cpu.failed();
        value = v;
    }
    if (!vmx.reach_own_vmcs()) return cpu.failed();
    Field field;
    switch (find_field(vmx, encoding, field)) {
    case Found::no_vmcs: return vmx.executing(in, "VMWRITE").fail_invalid();
    case Found::unsupported: return vmx.executing(in, "VMWRITE").fail_valid(VmxError::unsupported_field);
    case Found::yes: break;
    }
    if (field->read_only() && !vmx.capabilities().has("vmwrite_any_field"_vmx))
        return vmx.executing(in, "VMWRITE").fail_valid(VmxError::read_only_field);
    const Vmcs& v = vmx.accessed();
    if (encoding & 1) v.set(field, (value << 32) | static_cast<u32>(v[field]));
    else if (!cpu.code64() && field->size() == FieldSize::w64)
        v.set(field, (v[field] & ~0xFFFFFFFFull) | value);
    else v.set(field, value);
    if (!exits(cpu)) vmx.written(field);
    else if (cpu.non_root) vmx.written_in_non_root(field);
    cpu.charge(CostEvent::vmwrite);
    vmx.notify_vmwrite(in, field, value);
    return vmx.succeed();
}

/// INVEPT and INVVPID: a type in a register, a descriptor of two quadwords in memory.
bool load_descriptor(Cpu& cpu, const Insn& in, u64& low, u64& high) {
    u64 linear = 0;
    return cpu.operand(in, 16, Access::read, linear) && cpu.load(in.seg(), linear, low) &&
           cpu.load(in.seg(), linear + 8, high);
}

Outcome invept(Cpu& cpu, const Insn& in) {
    if (undefined(cpu) || !vmx_of(cpu)->capabilities().has("invept"_vmx)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "invept"_exit);
    if (cpu.cpl != 0) return cpu.gp0();
    u64 eptp = 0, reserved = 0;
    if (!load_descriptor(cpu, in, eptp, reserved)) return cpu.failed();
    return vmx_of(cpu)->executing(in, "INVEPT").invept(register_value(cpu, in.reg), eptp, reserved);
}

Outcome invvpid(Cpu& cpu, const Insn& in) {
    if (undefined(cpu) || !vmx_of(cpu)->capabilities().has("invvpid"_vmx)) return cpu.ud();
    if (exits(cpu)) return attempt(cpu, in, "invvpid"_exit);
    if (cpu.cpl != 0) return cpu.gp0();
    u64 descriptor = 0, linear = 0;
    if (!load_descriptor(cpu, in, descriptor, linear)) return cpu.failed();
    return vmx_of(cpu)->executing(in, "INVVPID").invvpid(register_value(cpu, in.reg), descriptor, linear);
}

constexpr u32 system = traits::ends_block | traits::not_user_fuzzed;
/// VMREAD and VMWRITE are frequent and change no context.
constexpr u32 field_access = traits::not_user_fuzzed | traits::force64;

// clang-format off
constexpr InsnRow rows[] = {
    {"VMCALL", "NP 0F 01 C1"_op, ""_operands, code<vmcall>(), Feature::vmx, system},
    {"VMLAUNCH", "NP 0F 01 C2"_op, ""_operands, code<vmenter<true>>(), Feature::vmx, system},
    {"VMRESUME", "NP 0F 01 C3"_op, ""_operands, code<vmenter<false>>(), Feature::vmx, system},
    {"VMXOFF", "NP 0F 01 C4"_op, ""_operands, code<vmxoff>(), Feature::vmx, system},
    {"VMFUNC", "NP 0F 01 D4"_op, ""_operands, code<vmfunc>(), Feature::vmx, system},
    {"VMPTRLD", "NP 0F C7 /6 mem"_op, "Mq"_operands, code<vmptrld>(), Feature::vmx, system},
    {"VMCLEAR", "66 0F C7 /6 mem"_op, "Mq"_operands, code<vmclear>(), Feature::vmx, system},
    {"VMXON", "F3 0F C7 /6 mem"_op, "Mq"_operands, code<vmxon>(), Feature::vmx, system},
    {"VMPTRST", "NP 0F C7 /7 mem"_op, "=Mq"_operands, code<vmptrst>(), Feature::vmx, system},
    {"VMREAD", "NP 0F 78 /r"_op, "=Ev, Gv"_operands, code<vmread>(),
     Feature::vmx, field_access, "w:OSZAPC"_flags},
    {"VMWRITE", "NP 0F 79 /r"_op, "Gv, Ev"_operands, code<vmwrite>(),
     Feature::vmx, field_access, "w:OSZAPC"_flags},
    {"INVEPT", "66 0F 38 80 /r mem"_op, "Gv, Mdq"_operands, code<invept>(),
     Feature::vmx, system | traits::force64},
    {"INVVPID", "66 0F 38 81 /r mem"_op, "Gv, Mdq"_operands, code<invvpid>(),
     Feature::vmx, system | traits::force64},
};
// clang-format on

}  // namespace

RowSpan vmx_instruction_rows() { return rows; }

}  // namespace droste
