// SPDX-License-Identifier: Apache-2.0
// Direct stores: MOVDIRI and MOVDIR64B.
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

Outcome movdiri(Cpu& cpu, const Insn& in) {
    const bool stored =
        in.osz() == 3 ? cpu.store(in, cpu.gpr[in.reg]) : cpu.store(in, static_cast<u32>(cpu.gpr[in.reg]));
    return stored ? Outcome::next : cpu.failed();
}

/// 64 bytes from the memory operand to ES:register, whose address must be a multiple of 64.
Outcome movdir64b(Cpu& cpu, const Insn& in) {
    constexpr unsigned size = 64, es = static_cast<unsigned>(Seg::es);
    std::array<u64, size / 8> line{};
    u64 from = 0, to = 0;
    if (!cpu.operand(in, size, Access::read, from))
        return cpu.failed();
    if (!cpu.linear_of(es, cpu.gpr[in.reg] & address_mask(in.asz()), size, Access::write, to))
        return cpu.failed();
    if (to % size != 0)
        return cpu.gp0();
    for (unsigned i = 0; i < line.size(); ++i)
        if (!cpu.load(in.seg(), from + 8 * i, line[i]))
            return cpu.failed();
    // Within one page: when the first part can be stored, all can.
    for (unsigned i = 0; i < line.size(); ++i)
        if (!cpu.store(es, to + 8 * i, line[i]))
            return cpu.failed();
    return Outcome::next;
}

constexpr InsnRow rows[] = {
    {"MOVDIRI", "NP 0F 38 F9 /r mem"_op, "=My, Gy"_operands, code<movdiri>(), Feature::movdiri},
    {"MOVDIR64B", "66 0F 38 F8 /r mem"_op, "Gy, Mx"_operands, code<movdir64b>(), Feature::movdir64b,
     traits::not_user_fuzzed},
};

}  // namespace

RowSpan direct_store_rows() {
    return rows;
}

}  // namespace droste
