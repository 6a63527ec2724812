// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, CLTS, LMSW, SMSW, TLB and cache invalidation, CLI, STI, HLT, STAC, CLAC,
// SWAPGS, FSGSBASE.
#include "cpu/control_registers.h"
#include "cpu/debug.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

/// Width of operands that ignore the operand-size prefix: 64 bits in 64-bit mode, else 32.
u64 native(const Cpu& cpu, u64 v) { return cpu.code64() ? v : v & 0xFFFFFFFF; }

// ---- control registers

CostEvent write_cost(unsigned cr) {
    switch (cr) {
    case 0: return CostEvent::mov_to_cr0;
    case 3: return CostEvent::mov_to_cr3;
    case 4: return CostEvent::mov_to_cr4;
    default: return CostEvent::mov_cr8;
    }
}

bool write_register(Cpu& cpu, unsigned cr, u64 v) {
    switch (cr) {
    case 0: return set_cr0(cpu, v);
    case 3: return set_cr3(cpu, v);
    case 4: return set_cr4(cpu, v);
    default: return set_cr8(cpu, v);
    }
}

bool write_gated(const Cpu& cpu, unsigned cr) {
    switch (cr) {
    case 0: return cpu.gates.closed(Gate::cr0_write);
    case 3: return cpu.gates.closed(Gate::cr3_load);
    case 4: return cpu.gates.closed(Gate::cr4_write);
    default: return cpu.gates.closed(Gate::cr8_load) || cpu.gates.closed(Gate::tpr_shadow);
    }
}

Outcome mov_to_cr(Cpu& cpu, const Insn& in) {
    const unsigned cr = in.reg;
    if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && !(cr == 8 && cpu.code64())) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    u64 value = native(cpu, cpu.gpr[in.rm]);
    const u64 next = cpu.next_rip(in);
    if (cr == 2) {
        cpu.cr2 = value;
        return Outcome::next;
    }
    if (write_gated(cpu, cr)) {
        cpu.rip = cpu.insn_rip(in);
        const Decision d = cpu.hooks->write_cr(cr, value, in);
        switch (d.kind) {
        case Decision::Kind::exited: return Outcome::vm_exit;
        case Decision::Kind::fault: return cpu.gp0();
        case Decision::Kind::done: return done_at(cpu, next);
        case Decision::Kind::proceed: value = d.value; break;
        }
    }
    if (!write_register(cpu, cr, value)) return cpu.failed();
    cpu.charge(write_cost(cr));
    return done_at(cpu, next);
}

bool read_gated(const Cpu& cpu, unsigned cr) {
    if (cr == 3) return cpu.gates.closed(Gate::cr3_store);
    return cr == 8 && (cpu.gates.closed(Gate::cr8_store) || cpu.gates.closed(Gate::tpr_shadow));
}

Outcome mov_from_cr(Cpu& cpu, const Insn& in) {
    const unsigned cr = in.reg;
    if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && !(cr == 8 && cpu.code64())) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    u64 value = 0;
    bool have = false;
    if (read_gated(cpu, cr)) {
        cpu.rip = cpu.insn_rip(in);
        const Decision d = cpu.hooks->read_cr(cr, in);
        if (d.kind == Decision::Kind::exited) return Outcome::vm_exit;
        if (d.kind == Decision::Kind::fault) return cpu.gp0();
        have = d.kind == Decision::Kind::done;
        value = d.value;
    }
    if (!have) switch (cr) {
        case 0: value = cpu.cr0; break;
        case 2: value = cpu.cr2; break;
        case 3: value = cpu.cr3; break;
        case 4: value = cpu.cr4; break;
        default: value = cpu.interrupts.cr8(); break;
        }
    if ((cr == 0 || cr == 4) && cpu.gates.closed(Gate::cr_read_shadow))
        value = cpu.hooks->shadowed_cr(cr, value);
    if (cpu.code64()) cpu.set_reg<u64>(in.rm, value);
    else cpu.set_reg<u32>(in.rm, static_cast<u32>(value));
    cpu.charge(cr == 8 ? CostEvent::mov_cr8 : CostEvent::mov_from_cr);
    return Outcome::next;
}

Outcome clts(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::cr0_write)) {
        cpu.rip = cpu.insn_rip(in);
        switch (cpu.hooks->clts(in).kind) {
        case Decision::Kind::exited: return Outcome::vm_exit;
        case Decision::Kind::fault: return cpu.gp0();
        case Decision::Kind::done: return Outcome::next;
        case Decision::Kind::proceed: break;
        }
    }
    cpu.cr0 &= ~cr0_bits::ts;
    cpu.charge(CostEvent::mov_to_cr0);
    return Outcome::next;
}

Outcome lmsw(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    const u64 next = cpu.next_rip(in);
    u16 source = static_cast<u16>(cpu.gpr[in.rm]);
    u64 linear = 0;
    if (in.mem()) {
        // The access comes before the exit, which reports the operand.
        if (!cpu.operand(in, 2, Access::read, linear) || !cpu.load(in.seg(), linear, source))
            return cpu.failed();
    }
    if (cpu.gates.closed(Gate::cr0_write)) {
        cpu.rip = cpu.insn_rip(in);
        const Decision d = cpu.hooks->lmsw(source, in, linear);
        switch (d.kind) {
        case Decision::Kind::exited: return Outcome::vm_exit;
        case Decision::Kind::fault: return cpu.gp0();
        case Decision::Kind::done: return done_at(cpu, next);
        case Decision::Kind::proceed: source = static_cast<u16>(d.value); break;
        }
    }
    // LMSW sets PE but never clears it.
    const u64 value = (cpu.cr0 & ~0xEull) | (source & 0xF);
    if (!set_cr0(cpu, value)) return cpu.failed();
    cpu.charge(CostEvent::mov_to_cr0);
    return done_at(cpu, next);
}

Outcome smsw(Cpu& cpu, const Insn& in) {
    if (umip_forbids(cpu)) return cpu.gp0();
    u64 value = cpu.cr0;
    if (cpu.gates.closed(Gate::cr_read_shadow)) value = cpu.hooks->shadowed_cr(0, value);
    if (in.mem()) return cpu.store(in, static_cast<u16>(value)) ? Outcome::next : cpu.failed();
    set_reg_sized(cpu, in, in.rm, value);
    return Outcome::next;
}

// ---- debug registers

/// DR4 and DR5 are DR6 and DR7 unless CR4.DE. False: #UD.
bool debug_register(const Cpu& cpu, unsigned& dr) {
    if (dr > 7) return false;
    if (dr == 4 || dr == 5) {
        if (cpu.cr4 & cr4_bits::de) return false;
        dr += 2;
    }
    return true;
}

/// What both directions check. True: `out` says how the instruction ended. SDM "Relative Priority of Faults and VM
/// Exits": the exit goes before the checks of CPL and of CR4.DE.
bool debug_access_ends(Cpu& cpu, const Insn& in, unsigned& dr, bool from, Outcome& out) {
    if (dr < 8 && cpu.gates.closed(Gate::mov_dr)) {
        out = cpu.vm_exit(Gate::mov_dr, in, dr | (from ? 16u : 0u) | (u64(in.rm) << 8));
    } else if (!debug_register(cpu, dr)) {
        out = cpu.ud();
    } else if (cpu.cpl != 0) {
        out = cpu.gp0();
    } else if (cpu.dr7 & dr7_bits::gd) {
        cpu.debug_cause = dr6_bits::bd;
        out = cpu.raise(Fault::of(Vector::db));
    } else {
        return false;
    }
    return true;
}

Outcome mov_to_dr(Cpu& cpu, const Insn& in) {
    unsigned dr = in.reg;
    Outcome ended{};
    if (debug_access_ends(cpu, in, dr, false, ended)) return ended;
    const u64 value = native(cpu, cpu.gpr[in.rm]);
    if (dr >= 6 && (value >> 32)) return cpu.gp0();
    if (dr < 4) {
        cpu.dr[dr] = value;
    } else if (dr == 6) {
        const u64 bus_lock = cpu.has(Feature::bus_lock_detect) ? u64{dr6_bits::bld} : 0;
        const u64 writable = dr6_bits::b | dr6_bits::bd | dr6_bits::bs | dr6_bits::bt | bus_lock;
        cpu.dr6 = (dr6_bits::fixed1 & ~bus_lock) | (value & writable);
    } else {
        cpu.dr7 = dr7_value(value);
        cpu.segments_changed();
    }
    cpu.charge(CostEvent::mov_dr);
    return done(cpu, in);
}

Outcome mov_from_dr(Cpu& cpu, const Insn& in) {
    unsigned dr = in.reg;
    Outcome ended{};
    if (debug_access_ends(cpu, in, dr, true, ended)) return ended;
    const u64 value = dr < 4 ? cpu.dr[dr] : dr == 6 ? cpu.dr6 : cpu.dr7;
    cpu.gpr[in.rm] = native(cpu, value);
    cpu.charge(CostEvent::mov_dr);
    return Outcome::next;
}

// ---- translations and caches

Outcome invlpg(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    const u64 sum = cpu.ea_base[in.seg()] + cpu.effective(in);
    const u64 linear = cpu.code64() ? sum : sum & 0xFFFFFFFF;
    if (cpu.gates.closed(Gate::invlpg)) return cpu.vm_exit(Gate::invlpg, in, linear);
    if (canonical(cpu, linear)) cpu.mmu.invlpg(Linear(linear));
    cpu.charge(CostEvent::invlpg);
    return done(cpu, in);
}

/// SDM "INVPCID", types of INVPCID.
enum class InvpcidType : u8 { address, single_context, all_with_global, all_but_global };

Outcome invpcid(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::invpcid_disabled)) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::invpcid_exits))
        return cpu.vm_exit(Gate::invpcid_exits, in, displacement(cpu, in));
    u64 linear = 0, low = 0, address = 0;
    if (!cpu.operand(in, 16, Access::read, linear) || !cpu.load(in.seg(), linear, low) ||
        !cpu.load(in.seg(), linear + 8, address))
        return cpu.failed();
    const u64 type = native(cpu, cpu.gpr[in.reg]);
    if (type > 3) return cpu.gp0();
    const u16 pcid = static_cast<u16>(low & 0xFFF);
    const auto kind = static_cast<InvpcidType>(type);
    if (kind == InvpcidType::address || kind == InvpcidType::single_context) {
        if ((low >> 12) != 0) return cpu.gp0();
        if (!(cpu.cr4 & cr4_bits::pcide) && pcid != 0) return cpu.gp0();
    }
    switch (kind) {
    case InvpcidType::address:
        if (!holds_linear_address(cpu, address)) return cpu.gp0();
        cpu.mmu.invpcid_address(pcid, Linear(address));
        break;
    case InvpcidType::single_context: cpu.mmu.flush_pcid(pcid); break;
    case InvpcidType::all_with_global: cpu.mmu.flush_current(false); break;
    case InvpcidType::all_but_global: cpu.mmu.flush_all_but_global(); break;
    }
    cpu.charge(CostEvent::invpcid);
    return done(cpu, in);
}

template <Gate gate> Outcome invalidate_caches(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(gate)) return cpu.vm_exit(gate, in);
    cpu.charge(CostEvent::wbinvd);
    return Outcome::next;
}

// ---- interrupt flag, halt

enum class IfTarget : u8 { flag, virtual_flag, forbidden };

/// Which flag CLI and STI change (SDM Table "Decision Table for CLI Results").
IfTarget interrupt_flag(const Cpu& cpu) {
    if (!cpu.protected_mode()) return IfTarget::flag;
    if (cpu.v86()) {
        if (cpu.iopl() == 3) return IfTarget::flag;
        return (cpu.cr4 & cr4_bits::vme) ? IfTarget::virtual_flag : IfTarget::forbidden;
    }
    if (cpu.cpl <= cpu.iopl()) return IfTarget::flag;
    return cpu.cpl == 3 && (cpu.cr4 & cr4_bits::pvi) ? IfTarget::virtual_flag : IfTarget::forbidden;
}

Outcome cli(Cpu& cpu, const Insn&) {
    switch (interrupt_flag(cpu)) {
    case IfTarget::flag: cpu.rflags &= ~rflags_bits::if_; break;
    case IfTarget::virtual_flag: cpu.rflags &= ~rflags_bits::vif; break;
    case IfTarget::forbidden: return cpu.gp0();
    }
    return Outcome::next;
}

Outcome sti(Cpu& cpu, const Insn& in) {
    switch (interrupt_flag(cpu)) {
    case IfTarget::flag:
        if (!(cpu.rflags & rflags_bits::if_)) {
            cpu.rflags |= rflags_bits::if_;
            cpu.interruptibility |= interruptibility_bits::sti;
            cpu.set_attention();
        }
        break;
    case IfTarget::virtual_flag:
        if (cpu.rflags & rflags_bits::vip) return cpu.gp0();
        cpu.rflags |= rflags_bits::vif;
        break;
    case IfTarget::forbidden: return cpu.gp0();
    }
    return done(cpu, in);
}

Outcome hlt(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::hlt)) return cpu.vm_exit(Gate::hlt, in);
    cpu.rip = cpu.next_rip(in);
    cpu.activity = Activity::hlt;
    cpu.set_attention();
    return Outcome::halt;
}

// ---- SMAP, segment bases

template <bool on> Outcome set_ac(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0) return cpu.ud();
    const u64 before = cpu.rflags;
    cpu.rflags = on ? before | rflags_bits::ac : before & ~rflags_bits::ac;
    if (cpu.rflags != before) cpu.segments_changed();
    return Outcome::next;
}

Outcome swapgs(Cpu& cpu, const Insn&) {
    if (cpu.cr4 & cr4_bits::fred) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    Segment& gs = cpu.segment(Seg::gs);
    std::swap(gs.base, cpu.kernel_gs_base);
    cpu.ea_base[static_cast<unsigned>(Seg::gs)] = gs.base;
    cpu.charge(CostEvent::swapgs);
    return Outcome::next;
}

template <Seg s> Outcome read_base(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4_bits::fsgsbase)) return cpu.ud();
    set_reg_sized(cpu, in, in.rm, cpu.segment(s).base);
    return Outcome::next;
}

template <Seg s> Outcome write_base(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4_bits::fsgsbase)) return cpu.ud();
    const u64 v = in.osz() == 3 ? cpu.gpr[in.rm] : cpu.gpr[in.rm] & 0xFFFFFFFF;
    if (!canonical(cpu, v)) return cpu.gp0();
    cpu.segment(s).base = v;
    cpu.ea_base[static_cast<unsigned>(s)] = v;
    return Outcome::next;
}

constexpr u32 system = traits::not_user_fuzzed;
constexpr u32 kernel = traits::not_user_fuzzed | traits::privileged;
constexpr u32 user_block = traits::not_user_fuzzed | traits::ends_block;
constexpr u32 kernel_block = kernel | traits::ends_block;
constexpr u32 base_traits = traits::not_user_fuzzed | traits::only64;

constexpr InsnRow rows[] = {
    {"MOV", "0F 20 /r"_op, "=Ry, Cy"_operands, code<mov_from_cr>(), Feature::base, system | traits::force64},
    {"MOV", "0F 22 /r"_op, "=Cy, Ry"_operands, code<mov_to_cr>(), Feature::base,
     user_block | traits::force64},
    {"MOV", "0F 21 /r"_op, "=Ry, Dy"_operands, code<mov_from_dr>(), Feature::base, system | traits::force64},
    {"MOV", "0F 23 /r"_op, "=Dy, Ry"_operands, code<mov_to_dr>(), Feature::base,
     user_block | traits::force64},
    {"CLTS", "0F 06"_op, ""_operands, code<clts>(), Feature::base, kernel},
    {"LMSW", "0F 01 /6"_op, "Ew"_operands, code<lmsw>(), Feature::base, kernel_block},
    {"SMSW", "0F 01 /4"_op, "=Ev"_operands, code<smsw>(), Feature::base, system},
    {"INVLPG", "0F 01 /7 mem"_op, "Mb"_operands, code<invlpg>(), Feature::base, kernel_block},
    {"INVPCID", "66 0F 38 82 /r mem"_op, "Gy, Mdq"_operands, code<invpcid>(), Feature::invpcid,
     user_block | traits::force64},
    {"INVD", "0F 08"_op, ""_operands, code<invalidate_caches<Gate::invd>>(), Feature::base, kernel},
    {"WBINVD", "0F 09"_op, ""_operands, code<invalidate_caches<Gate::wbinvd>>(), Feature::base, kernel},
    {"WBNOINVD", "F3 0F 09"_op, ""_operands, code<invalidate_caches<Gate::wbinvd>>(), Feature::wbnoinvd,
     kernel | traits::hint},
    {"CLI", "FA"_op, ""_operands, code<cli>(), Feature::base, system, "w:I"_flags},
    {"STI", "FB"_op, ""_operands, code<sti>(), Feature::base, user_block, "w:I"_flags},
    {"HLT", "F4"_op, ""_operands, code<hlt>(), Feature::base, kernel_block},
    {"CLAC", "NP 0F 01 CA"_op, ""_operands, code<set_ac<false>>(), Feature::smap, system},
    {"STAC", "NP 0F 01 CB"_op, ""_operands, code<set_ac<true>>(), Feature::smap, system},
    {"SWAPGS", "0F 01 F8"_op, ""_operands, code<swapgs>(), Feature::lm, system | traits::only64},
    {"RDFSBASE", "F3 0F AE /0 reg"_op, "=Ry"_operands, code<read_base<Seg::fs>>(), Feature::fsgsbase,
     base_traits},
    {"RDGSBASE", "F3 0F AE /1 reg"_op, "=Ry"_operands, code<read_base<Seg::gs>>(), Feature::fsgsbase,
     base_traits},
    {"WRFSBASE", "F3 0F AE /2 reg"_op, "Ry"_operands, code<write_base<Seg::fs>>(), Feature::fsgsbase,
     base_traits},
    {"WRGSBASE", "F3 0F AE /3 reg"_op, "Ry"_operands, code<write_base<Seg::gs>>(), Feature::fsgsbase,
     base_traits},
};

}  // namespace

RowSpan control_rows() { return rows; }

}  // namespace droste
