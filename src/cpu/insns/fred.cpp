// SPDX-License-Identifier: Apache-2.0
// ERETS and ERETU, which return from FRED events to supervisor and user code; LKGS.
#include "cpu/fred.h"

#include "cpu/cet.h"
#include "cpu/debug.h"
#include "cpu/insns/far_return.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"

namespace droste {
namespace {

/// The return state: the frame above its error code.
struct ReturnState {
    u64 rip = 0, cs = 0, flags = 0, rsp = 0, ss = 0;
};
namespace ss_bits {
constexpr u64 sti = 1 << 16, software = 1 << 17, nmi = 1 << 18, selector_part = 0xFFF8FFFF;
}
/// Bits of RFLAGS that must be 0, and bit 1 that must be 1.
constexpr u64 flags_checked = ~0x3D7FD5ull;
constexpr u64 flags_checked_user = flags_checked | rflags_bits::iopl;

bool pop_state(Cpu& cpu, ReturnState& s) {
    constexpr unsigned ss = static_cast<unsigned>(Seg::ss);
    const u64 at = cpu.reg(Gpr::rsp) + 8;
    return cpu.load(ss, at, s.rip) && cpu.load(ss, at + 8, s.cs) && cpu.load(ss, at + 16, s.flags) &&
           cpu.load(ss, at + 24, s.rsp) && cpu.load(ss, at + 32, s.ss);
}

/// Blocking and traps that the frame hands on.
void finish_return(Cpu& cpu, const ReturnState& s, bool sti_allowed) {
    cpu.trap_suppressed = true;
    if ((s.ss & ss_bits::nmi) && !cpu.gates.closed(Gate::iret_nmi_unblocking))
        cpu.interruptibility &= ~interruptibility_bits::nmi;
    if (sti_allowed && (s.ss & ss_bits::sti) && (cpu.rflags & rflags_bits::if_))
        cpu.interruptibility |= interruptibility_bits::sti;
    // The trap of the system call or INT n itself, if it was single-stepped.
    if ((s.ss & ss_bits::software) && (cpu.rflags & rflags_bits::tf))
        cpu.pending_debug |= pending_debug_bits::bs;
    cpu.set_attention();
    cpu.charge(CostEvent::iret);
}

bool unusable(const Cpu& cpu) {
    return !(cpu.cr4 & cr4_bits::fred) || cpu.cpl != 0;
}

Outcome erets(Cpu& cpu, const Insn&) {
    using namespace fred_config_bits;
    if (unusable(cpu))
        return cpu.ud();
    ReturnState s;
    if (!pop_state(cpu, s))
        return cpu.failed();
    constexpr u64 cs_checked = ~(7ull << 16);
    if (!canonical(cpu, s.rip) || (s.cs & cs_checked) != cpu.segment(Seg::cs).selector ||
        (s.flags & flags_checked) != rflags_bits::fixed1 ||
        (s.ss & ss_bits::selector_part) != cpu.segment(Seg::ss).selector)
        return cpu.gp0();
    const u64 present = cpu.fred.config & stack_level;
    const u64 level = std::min<u64>(present, (s.cs >> 16) & 3);
    if (shadow_stack_enabled(cpu, 0)) {
        const Fault cp = Fault::of(Vector::cp, cp_code::far_ret_iret);
        const u64 ssp = cpu.cet.ssp;
        u64 cs = 0, rip = 0, back = 0;
        if (ssp & 7)
            return cpu.raise(cp);
        if (!shadow_load(cpu, ssp + 16, 8, cs, false) || !shadow_load(cpu, ssp + 8, 8, rip, false) ||
            !shadow_load(cpu, ssp, 8, back, false))
            return cpu.failed();
        if (cs != s.cs || rip != s.rip || (back & 3))
            return cpu.raise(cp);
        if (!canonical(cpu, back))
            return cpu.gp0();
        if (level < present && cpu.fred.ssp[present] != ssp + 24)
            return cpu.raise(cp);
        cpu.cet.ssp = back;
    }
    if (endbranch_enabled(cpu, 0) && bit(s.cs, 18) && !(cpu.cet.s_cet & cet_bits::suppress))
        cpu.cet.s_cet |= cet_bits::tracker;
    cpu.rip = s.rip;
    cpu.reg(Gpr::rsp) = s.rsp;
    cpu.fred.config = (cpu.fred.config & ~stack_level) | level;
    cpu.write_rflags(s.flags);
    cpu.segments_changed();
    finish_return(cpu, s, true);
    return Outcome::branch;
}

/// The segments of a return to user code: those of SYSCALL without a look at the tables, others as IRET loads
/// them.
struct UserSegments {
    Segment cs, ss;
};
bool user_segments(Cpu& cpu, const ReturnState& s, UserSegments& out) {
    const u16 cs = static_cast<u16>(s.cs), ss = static_cast<u16>(s.ss);
    const u16 base = static_cast<u16>(cpu.star >> 48);
    const auto flat = [](u16 selector, u32 access) {
        return Segment{selector, 0xFFFFFFFF, access | access_rights::dpl3, 0};
    };
    const u16 cs64 = static_cast<u16>((base + 16) | 3), cs32 = static_cast<u16>(base | 3),
              data = static_cast<u16>((base + 8) | 3);
    if (ss == data && (cs == cs64 || cs == cs32)) {
        out = {flat(cs, cs == cs64 ? access_rights::code64 : access_rights::code32),
               flat(ss, access_rights::data32)};
        return true;
    }
    DescriptorAt code;
    if (null_selector(cs))
        return refuse(cpu, Vector::gp, 0);
    if (!return_code(cpu, cs, code, LevelChange::allowed) || !mark_accessed(cpu, code))
        return false;
    out.cs = code.d.segment(cs);
    return return_stack(cpu, ss, 3, out.cs.l(), out.ss);
}

Outcome eretu(Cpu& cpu, const Insn&) {
    if (unusable(cpu))
        return cpu.ud();
    if (cpu.fred.config & fred_config_bits::stack_level)
        return cpu.gp0();
    ReturnState s;
    if (!pop_state(cpu, s))
        return cpu.failed();
    constexpr u64 cs_checked = ~0xFFFFull | 3, ss_checked = 0xFFF80003;
    if (!canonical(cpu, s.rip) || (s.cs & cs_checked) != 3 ||
        (s.flags & flags_checked_user) != rflags_bits::fixed1 || (s.ss & ss_checked) != 3)
        return cpu.gp0();
    UserSegments segments;
    if (!user_segments(cpu, s, segments))
        return cpu.failed();
    const bool to64 = segments.cs.l();
    if (!to64) {
        s.rip &= 0xFFFFFFFF;
        s.rsp &= 0xFFFFFFFF;
        if (s.rip > segments.cs.limit)
            return cpu.gp0();
    }
    const bool user_shadow = cet_at_level(cpu, 3) & cet_bits::sh_stk_en;
    if (user_shadow && !to64 && (cpu.cet.pl_ssp[3] >> 32))
        return cpu.gp0();
    if (shadow_stack_enabled(cpu, 0) && cpu.cet.pl_ssp[0] != cpu.cet.ssp)
        return cpu.raise(Fault::of(Vector::cp, cp_code::far_ret_iret));
    if (user_shadow)
        cpu.cet.ssp = cpu.cet.pl_ssp[3];
    cpu.segment(Seg::cs) = segments.cs;
    cpu.segment(Seg::ss) = segments.ss;
    cpu.cpl = 3;
    cpu.rip = s.rip;
    cpu.reg(Gpr::rsp) = s.rsp;
    std::swap(cpu.segment(Seg::gs).base, cpu.kernel_gs_base);
    cpu.unwatch_line();
    cpu.write_rflags(s.flags);
    cpu.segments_changed();
    finish_return(cpu, s, false);
    return Outcome::branch;
}

/// MOV to GS whose base goes to IA32_KERNEL_GS_BASE.
Outcome lkgs(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0)
        return cpu.gp0();
    u16 selector = static_cast<u16>(cpu.gpr[in.rm]);
    if (in.mem() && !cpu.load(in, selector))
        return cpu.failed();
    const u64 base = cpu.segment(Seg::gs).base;
    if (!cpu.load_segment(Seg::gs, selector))
        return cpu.failed();
    Segment& gs = cpu.segment(Seg::gs);
    cpu.kernel_gs_base = gs.base;
    gs.base = base;
    cpu.segments_changed();
    return done(cpu, in);
}

constexpr u32 returns = traits::not_user_fuzzed | traits::only64 | traits::ends_block | traits::force64;

constexpr u32 loads = traits::not_user_fuzzed | traits::only64 | traits::ends_block;

constexpr InsnRow rows[] = {
    {"ERETS", "F2 0F 01 CA"_op, ""_operands, code<erets>(), Feature::fred, returns, "w:OSZAPCDI"_flags},
    {"ERETU", "F3 0F 01 CA"_op, ""_operands, code<eretu>(), Feature::fred, returns, "w:OSZAPCDI"_flags},
    {"LKGS", "F2 0F 00 /6"_op, "Ew"_operands, code<lkgs>(), Feature::lkgs, loads},
};

}  // namespace

RowSpan fred_rows() {
    return rows;
}

}  // namespace droste
