// SPDX-License-Identifier: Apache-2.0
// Instruction information of VM exits, one layout for each group of instructions.
#include "vmx/instruction_info.h"

#include <string_view>

#include "cpu/decode/decoder.h"

namespace droste {

namespace {

// Fields that the layouts share, at the same bits in all of them.
u32 address_size(const Insn& in) { return in.asz() << 7; }
u32 segment(const Insn& in) { return in.seg() << 15; }
constexpr u32 reg1(unsigned r) { return r << 3; }
constexpr u32 reg2(unsigned r) { return r << 28; }
constexpr u32 register_operand = 1u << 10;

/// Scaling, address size, segment, index, base; SDM: invalid registers are marked, not numbered.
u32 memory_operand(const Insn& in) {
    constexpr u32 index_invalid = 1u << 22, base_invalid = 1u << 27;
    u32 info = address_size(in) | segment(in);
    info |= in.index < slot_zero ? in.scale() | u32{in.index} << 18 : index_invalid;
    info |= in.base < slot_zero ? u32{in.base} << 23 : base_invalid;
    return info;
}

/// Position of the mnemonic in a list; what the field calls the instruction identity.
u32 identity(const Cpu& cpu, const Insn& in, std::initializer_list<std::string_view> names) {
    u32 n = 0;
    for (const std::string_view name : names) {
        if (cpu.isa.row(in.op).mnemonic == name) return n;
        ++n;
    }
    return 0;
}

}  // namespace

u32 instruction_information(const Cpu& cpu, const Insn& in, InfoFormat format) {
    switch (format) {
    case InfoFormat::none: case InfoFormat::ins_outs: return 0;  // INS and OUTS: from the I/O access
    case InfoFormat::inv: return memory_operand(in) | reg2(in.reg);
    case InfoFormat::gdtr_idtr:
        return memory_operand(in) | (in.osz() == 1 ? 0 : 1u << 11) |
               identity(cpu, in, {"SGDT", "SIDT", "LGDT", "LIDT"}) << 28;
    case InfoFormat::ldtr_tr:
        return (in.mem() ? memory_operand(in) : register_operand | reg1(in.rm)) |
               identity(cpu, in, {"SLDT", "STR", "LLDT", "LTR"}) << 28;
    case InfoFormat::rdrand: return reg1(in.rm) | (in.osz() - 1) << 11;
    case InfoFormat::memory: return memory_operand(in);
    case InfoFormat::vmread_vmwrite:
        return (in.mem() ? memory_operand(in) : register_operand | reg1(in.rm)) | reg2(in.reg);
    // SDM Table "Format of the VM-Exit Instruction-Information Field as Used for TPAUSE and UMWAIT"
    case InfoFormat::wait: return reg1(in.rm) | (in.osz() - 1) << 11;
    case InfoFormat::loadiwkey: return reg1(in.reg) | reg2(in.rm);
    }
    return 0;
}

u64 exit_displacement(const Cpu& cpu, const Insn& in) {
    if (!in.mem()) return 0;
    const u64 d = static_cast<u64>(static_cast<i64>(in.disp));
    return in.base == slot_rip ? cpu.gpr[slot_rip] + d : d;
}

}  // namespace droste
