// SPDX-License-Identifier: Apache-2.0
// Shadow-stack management: INCSSP, RDSSP, SAVEPREVSSP, RSTORSSP, WRSS, WRUSS, SETSSBSY, CLRSSBSY.
#include "cpu/cet.h"
#include "cpu/fred.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/linear_address.h"

namespace droste {
namespace {

constexpr u64 previous_ssp_bit = 2;  ///< of a previous-SSP token

bool user(const Cpu& cpu) {
    return cpu.cpl == 3;
}
/// Bit 0 of restore tokens: the mode of the stack.
u64 mode64(const Cpu& cpu) {
    return cpu.code64();
}

/// Linear address of the memory operand, which is no ordinary data. False: a segment refused it.
bool operand_address(Cpu& cpu, const Insn& in, unsigned size, Access access, u64& linear) {
    if (!cpu.operand(in, size, access, linear))
        return false;
    linear = cpu.code64() ? without_metadata(cpu, linear) : linear & 0xFFFFFFFF;
    return true;
}

Outcome incssp(Cpu& cpu, const Insn& in) {
    if (!shadow_stack_enabled(cpu, cpu.cpl))
        return cpu.ud();
    const unsigned size = in.osz() == 3 ? 8 : 4;
    const u64 count = cpu.gpr[in.rm] & 0xFF;
    // The first and the last element are read, so that no guard page can be jumped over.
    const u64 last = cpu.cet.ssp + (count == 0 ? 0 : count - 1) * size;
    u64 v = 0;
    if (!shadow_load(cpu, cpu.cet.ssp, size, v, user(cpu)) || !shadow_load(cpu, last, size, v, user(cpu)))
        return cpu.failed();
    cpu.cet.ssp += count * size;
    return Outcome::next;
}

Outcome rdssp(Cpu& cpu, const Insn& in) {
    if (!shadow_stack_enabled(cpu, cpu.cpl))
        return Outcome::next;
    if (in.osz() == 3)
        cpu.set_reg<u64>(in.rm, cpu.cet.ssp);
    else
        cpu.set_reg<u32>(in.rm, static_cast<u32>(cpu.cet.ssp));
    return Outcome::next;
}

Outcome saveprevssp(Cpu& cpu, const Insn&) {
    if (!shadow_stack_enabled(cpu, cpu.cpl))
        return cpu.ud();
    u64 ssp = cpu.cet.ssp, token = 0;
    if (ssp & 7)
        return cpu.gp0();
    if (!shadow_load(cpu, ssp, 8, token, user(cpu)))
        return cpu.failed();
    ssp += 8;
    if (cpu.flags & flag_image::cf) {
        // RSTORSSP told of a hole of four bytes, which 64-bit stacks do not have.
        u64 hole = 0;
        if (cpu.code64())
            return cpu.gp0();
        if (!shadow_load(cpu, ssp, 4, hole, user(cpu)))
            return cpu.failed();
        if (hole != 0)
            return cpu.gp0();
        ssp += 4;
    }
    if (!(token & previous_ssp_bit) || (!cpu.code64() && (token >> 32)))
        return cpu.gp0();
    const u64 old = token & ~3ull;
    if (!shadow_store(cpu, old - 4, 4, 0, user(cpu)) ||
        !shadow_store(cpu, (old & ~7ull) - 8, 8, old | mode64(cpu), user(cpu)))
        return cpu.failed();
    cpu.cet.ssp = ssp;
    return Outcome::next;
}

Outcome rstorssp(Cpu& cpu, const Insn& in) {
    if (!shadow_stack_enabled(cpu, cpu.cpl))
        return cpu.ud();
    u64 at = 0, token = 0;
    if (!operand_address(cpu, in, 8, Access::write, at))
        return cpu.failed();
    if (at & 7)
        return cpu.gp0();
    // A locked read: it needs what a write needs.
    bool same = false;
    if (!shadow_exchange(cpu, at, 0, 0, user(cpu), same) || !shadow_load(cpu, at, 8, token, user(cpu)))
        return cpu.failed();
    const bool valid = (token & 3) == mode64(cpu) && (cpu.code64() || (token >> 32) == 0) &&
                       (((token & ~1ull) - 8) & ~7ull) == at;
    if (!valid)
        return cpu.raise(Fault::of(Vector::cp, cp_code::rstorssp));
    if (!shadow_store(cpu, at, 8, cpu.cet.ssp | mode64(cpu) | previous_ssp_bit, user(cpu)))
        return cpu.failed();
    cpu.cet.ssp = at;
    set_arithmetic(cpu, token & 4 ? rflags_bits::cf : 0);
    return Outcome::next;
}

/// WRSS writes to the stacks of the present privilege, WRUSS in the name of the user.
template <bool for_user> Outcome write_shadow_stack(Cpu& cpu, const Insn& in) {
    if constexpr (for_user) {
        if (!(cpu.cr4 & cr4_bits::cet))
            return cpu.ud();
        if (cpu.cpl != 0)
            return cpu.gp0();
    } else {
        constexpr u64 both = cet_bits::sh_stk_en | cet_bits::wr_shstk_en;
        if ((cet_now(cpu, cpu.cpl) & both) != both)
            return cpu.ud();
    }
    const unsigned size = in.osz() == 3 ? 8 : 4;
    u64 at = 0;
    if (!operand_address(cpu, in, size, Access::write, at))
        return cpu.failed();
    if (at & (size - 1))
        return cpu.gp0();
    return shadow_store(cpu, at, size, cpu.gpr[in.reg], for_user || user(cpu)) ? Outcome::next : cpu.failed();
}

/// What both token instructions check. True: `out` says how the instruction ended.
bool token_ends(Cpu& cpu, Outcome& out) {
    // FRED's stack levels take the place of busy bits.
    if (!(cet_now(cpu, 0) & cet_bits::sh_stk_en) || fred_enabled(cpu))
        out = cpu.ud();
    else if (cpu.cpl != 0)
        out = cpu.gp0();
    else
        return false;
    return true;
}

Outcome setssbsy(Cpu& cpu, const Insn&) {
    Outcome ended{};
    if (token_ends(cpu, ended))
        return ended;
    const u64 at = cpu.cet.pl_ssp[0];
    if (at & 7)
        return cpu.gp0();
    bool found = false;
    if (!shadow_exchange(cpu, at, at, at | shadow_token_busy, false, found))
        return cpu.failed();
    if (!found)
        return cpu.raise(Fault::of(Vector::cp, cp_code::setssbsy));
    cpu.cet.ssp = at;
    return Outcome::next;
}

Outcome clrssbsy(Cpu& cpu, const Insn& in) {
    Outcome ended{};
    if (token_ends(cpu, ended))
        return ended;
    u64 at = 0;
    if (!operand_address(cpu, in, 8, Access::write, at))
        return cpu.failed();
    if (at & 7)
        return cpu.gp0();
    bool found = false;
    if (!shadow_exchange(cpu, at, at | shadow_token_busy, at, false, found))
        return cpu.failed();
    set_arithmetic(cpu, found ? 0 : rflags_bits::cf);
    cpu.cet.ssp = 0;
    return Outcome::next;
}

constexpr u32 shadow = traits::not_user_fuzzed | traits::protected_only;

constexpr InsnRow rows[] = {
    {"INCSSP", "F3 0F AE /5 reg"_op, "Ry"_operands, code<incssp>(), Feature::cet_ss, shadow},
    {"RDSSP", "F3 0F 1E /1 reg"_op, "+Ry"_operands, code<rdssp>(), Feature::cet_ss,
     traits::not_user_fuzzed | traits::hint},
    {"SAVEPREVSSP", "F3 0F 01 EA"_op, ""_operands, code<saveprevssp>(), Feature::cet_ss, shadow, "r:C"_flags},
    {"RSTORSSP", "F3 0F 01 /5 mem"_op, "+Mq"_operands, code<rstorssp>(), Feature::cet_ss, shadow,
     "w:OSZAPC"_flags},
    {"WRSS", "NP 0F 38 F6 /r mem"_op, "=My, Gy"_operands, code<write_shadow_stack<false>>(), Feature::cet_ss,
     shadow},
    {"WRUSS", "66 0F 38 F5 /r mem"_op, "=My, Gy"_operands, code<write_shadow_stack<true>>(), Feature::cet_ss,
     shadow},
    {"SETSSBSY", "F3 0F 01 E8"_op, ""_operands, code<setssbsy>(), Feature::cet_ss, shadow},
    {"CLRSSBSY", "F3 0F AE /6 mem"_op, "+Mq"_operands, code<clrssbsy>(), Feature::cet_ss, shadow,
     "w:OSZAPC"_flags},
};

}  // namespace

RowSpan shadow_stack_rows() {
    return rows;
}

}  // namespace droste
