// SPDX-License-Identifier: Apache-2.0
// Instructions that do nothing or only fault: NOP and the hint space, PREFETCH, ENDBR; UD0, UD1, UD2; BOUND.
#include "cpu/cet.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

Outcome nothing(Cpu&, const Insn&) { return Outcome::next; }
Outcome undefined(Cpu& cpu, const Insn&) { return cpu.ud(); }

/// SDM "BOUND": signed index against a pair of signed bounds in memory. The upper one is read only when the
/// lower one holds.
template <class S> Outcome bound(Cpu& cpu, const Insn& in) {
    const S index = static_cast<S>(cpu.reg<std::make_unsigned_t<S>>(in.reg));
    const u64 ea = cpu.effective(in);
    u64 linear;
    S lower, upper;
    if (!operand_at(cpu, in, ea, sizeof(S), Access::read, linear) || !cpu.load(in.seg(), linear, lower))
        return cpu.failed();
    if (index < lower) return cpu.raise(Fault::of(Vector::br));
    if (!operand_at(cpu, in, (ea + sizeof(S)) & address_mask(in.asz()), sizeof(S), Access::read, linear) ||
        !cpu.load(in.seg(), linear, upper))
        return cpu.failed();
    if (index > upper) return cpu.raise(Fault::of(Vector::br));
    return Outcome::next;
}
constexpr std::array<Code, 4> bound_sizes{Code{}, code<bound<i16>>(), code<bound<i32>>(), Code{}};

/// SDM "ENDBR64": ends the wait for it, and the suppression that legacy code brought, in code of its own width.
template <bool wide> Outcome endbranch(Cpu& cpu, const Insn& in) {
    if (cpu.code64() != wide || !endbranch_enabled(cpu, cpu.cpl)) return Outcome::next;
    cet_control(cpu, cpu.cpl) &= ~(cet_bits::tracker | cet_bits::suppress);
    if (!(cpu.mode & mode_bits::endbranch)) return Outcome::next;
    cpu.mode &= ~mode_bits::endbranch;
    cpu.rip = cpu.next_rip(in);
    return Outcome::branch;
}
constexpr u32 tracked = traits::cet | traits::endbranch | traits::not_user_fuzzed;

// Memory operands of hints are not accessed. What 0F 19..1F mean elsewhere (MPX, CLDEMOTE, CET) is NOP on
// processors that do not enumerate it: SDM "NOP", "Reserved NOP".
constexpr InsnRow rows[] = {
    // clang-format off
    {"PREFETCHNTA", "0F 18 /0 mem"_op, "Mb"_operands, code<nothing>()},
    {"PREFETCHT0", "0F 18 /1 mem"_op, "Mb"_operands, code<nothing>()},
    {"PREFETCHT1", "0F 18 /2 mem"_op, "Mb"_operands, code<nothing>()},
    {"PREFETCHT2", "0F 18 /3 mem"_op, "Mb"_operands, code<nothing>()},
    {"PREFETCHW", "0F 0D /1 mem"_op, "Mb"_operands, code<nothing>()},
    {"PREFETCH", "0F 0D /r"_op, "Ev"_operands, code<nothing>()},
    {"ENDBR32", "F3 0F 1E FB"_op, ""_operands, code<nothing>(), Feature::base, traits::endbranch},
    {"ENDBR64", "F3 0F 1E FA"_op, ""_operands, code<nothing>(), Feature::base, traits::endbranch},
    {"ENDBR32", "F3 0F 1E FB"_op, ""_operands, code<endbranch<false>>(), Feature::base, tracked},
    {"ENDBR64", "F3 0F 1E FA"_op, ""_operands, code<endbranch<true>>(), Feature::base, tracked},
    {"CLDEMOTE", "NP 0F 1C /0 mem"_op, "Mb"_operands, code<nothing>(), Feature::cldemote, traits::hint},
    {"NOP", "NOB 90"_op, ""_operands, code<nothing>()},
    {"NOP", "0F 18 /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 19 /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1A /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1B /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1C /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1D /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1E /r"_op, "Ev"_operands, code<nothing>()},
    {"NOP", "0F 1F /r"_op, "Ev"_operands, code<nothing>()},
    {"UD0", "0F FF /r"_op, "Gy, Ey"_operands, code<undefined>()},
    {"UD1", "0F B9 /r"_op, "Gy, Ey"_operands, code<undefined>()},
    {"UD2", "0F 0B"_op, ""_operands, code<undefined>()},
    {"BOUND", "62 /r mem"_op, "Gv, Ma"_operands, Bodies{bound_sizes, bound_sizes}, Feature::base,
     traits::no64},
    // clang-format on
};

}  // namespace

RowSpan hint_rows() { return rows; }

}  // namespace droste
