// SPDX-License-Identifier: Apache-2.0
// FXSAVE, the XSAVE family, XGETBV, XSETBV, RDPKRU, WRPKRU (SDM "Managing State Using the XSAVE Feature
// Set").
#include "cpu/control_registers.h"
#include "cpu/cpuid.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/insns/vector_state.h"
#include "cpu/interp/handlers.h"
#include "cpu/insns/supervisor_state.h"
#include "cpu/thunk/x87_state.h"

namespace droste {

namespace {

constexpr u64 x87 = 1, sse = 2, avx = 4, pkru_state = 1 << 9;
constexpr u32 initial_mxcsr = 0x1F80, mxcsr_reserved = 0xFFFF0000;
constexpr u16 initial_fcw = 0x37F;
constexpr u64 compacted_bit = 1ull << 63;

/// The first 160 bytes of an FXSAVE area: x87, MXCSR, ST0..ST7.
constexpr u32 x87_environment_size = 24, mxcsr_offset = 24, st_offset = 32, xmm_offset = 160;
constexpr u32 st_size = 128, xmm_size = 16;
constexpr u32 header_offset = xsave_legacy_size, extended_offset = xsave_legacy_size + xsave_header_size;

/// An area in memory: reads and writes of parts. All sizes are multiples of 4.
class Area {
public:
    Area(Cpu& cpu, unsigned segment, u64 linear) : cpu_(cpu), segment_(segment), linear_(linear) {}

    bool write(u32 offset, const void* from, u32 size) {
        const auto* p = static_cast<const u8*>(from);
        for (u32 i = 0; i < size;) {
            if (size - i >= 8) {
                u64 v;
                std::memcpy(&v, p + i, 8);
                if (!cpu_.store(segment_, linear_ + offset + i, v)) return false;
                i += 8;
            } else {
                u32 v;
                std::memcpy(&v, p + i, 4);
                if (!cpu_.store(segment_, linear_ + offset + i, v)) return false;
                i += 4;
            }
        }
        return true;
    }
    bool read(u32 offset, void* to, u32 size) {
        auto* p = static_cast<u8*>(to);
        for (u32 i = 0; i < size;) {
            if (size - i >= 8) {
                u64 v = 0;
                if (!cpu_.load(segment_, linear_ + offset + i, v)) return false;
                std::memcpy(p + i, &v, 8);
                i += 8;
            } else {
                u32 v = 0;
                if (!cpu_.load(segment_, linear_ + offset + i, v)) return false;
                std::memcpy(p + i, &v, 4);
                i += 4;
            }
        }
        return true;
    }

private:
    Cpu& cpu_;
    unsigned segment_;
    u64 linear_;
};

/// XMM and YMM registers that the mode can name.
unsigned vector_registers(const Cpu& cpu) { return cpu.code64() ? 16 : 8; }

/// What a restore has read, to be committed when all checks have passed.
struct LoadedState {
    FxArea fx{};
    std::array<std::array<u64, 2>, 16> xmm{}, ymm_high{};
    u32 pkru = 0;
    SupervisorState supervisor{};
    vector_state::Loaded wide;
};

// ---- parts in both directions

/// The environment: with 64-bit operands FIP and FDP are full, else 32 bits and selectors, which are 0
/// (CPUID.7.0:EBX[13]).
void environment_out(const FxArea& fx, bool wide, std::array<u8, x87_environment_size>& out) {
    std::memcpy(out.data(), &fx, out.size());
    if (!wide) {
        std::memset(out.data() + 12, 0, 4);
        std::memset(out.data() + 20, 0, 4);
    }
}

void environment_in(const std::array<u8, x87_environment_size>& from, bool wide, FxArea& fx) {
    std::memcpy(static_cast<void*>(&fx), from.data(), from.size());
    fx.reserved0 = 0;
    x87_canonicalise(fx);
    if (!wide) {
        fx.fip &= 0xFFFFFFFF;
        fx.fdp &= 0xFFFFFFFF;
    }
}

bool write_x87(Cpu& cpu, Area& area, bool wide) {
    std::array<u8, x87_environment_size> environment{};
    environment_out(cpu.fx, wide, environment);
    return area.write(0, environment.data(), x87_environment_size) &&
           area.write(st_offset, cpu.fx.st.data(), st_size);
}

bool read_x87(Area& area, bool wide, FxArea& fx) {
    std::array<u8, x87_environment_size> environment{};
    if (!area.read(0, environment.data(), x87_environment_size) ||
        !area.read(st_offset, fx.st.data(), st_size))
        return false;
    environment_in(environment, wide, fx);
    for (auto& st : fx.st) std::fill(st.begin() + 10, st.end(), u8{0});
    return true;
}

bool write_mxcsr(Cpu& cpu, Area& area) {
    const std::array<u32, 2> words{cpu.fx.mxcsr, 0xFFFF};
    return area.write(mxcsr_offset, words.data(), sizeof words);
}

bool write_xmm(Cpu& cpu, Area& area) {
    for (unsigned i = 0; i < vector_registers(cpu); ++i)
        if (!area.write(xmm_offset + i * xmm_size, cpu.vec[i].q.data(), xmm_size)) return false;
    return true;
}

bool read_xmm(Cpu& cpu, Area& area, LoadedState& s) {
    for (unsigned i = 0; i < vector_registers(cpu); ++i)
        if (!area.read(xmm_offset + i * xmm_size, s.xmm[i].data(), xmm_size)) return false;
    return true;
}

bool write_ymm(Cpu& cpu, Area& area, u32 offset) {
    for (unsigned i = 0; i < vector_registers(cpu); ++i)
        if (!area.write(offset + i * xmm_size, cpu.vec[i].q.data() + 2, xmm_size)) return false;
    return true;
}

bool read_ymm(Cpu& cpu, Area& area, u32 offset, LoadedState& s) {
    for (unsigned i = 0; i < vector_registers(cpu); ++i)
        if (!area.read(offset + i * xmm_size, s.ymm_high[i].data(), xmm_size)) return false;
    return true;
}

void commit_x87(Cpu& cpu, const FxArea& from) {
    const u32 mxcsr = cpu.fx.mxcsr;
    cpu.fx = from;
    cpu.fx.mxcsr = mxcsr;
    cpu.fx.mxcsr_mask = 0xFFFF;
}

void commit_vectors(Cpu& cpu, const std::array<std::array<u64, 2>, 16>& from, unsigned first_quadword) {
    for (unsigned i = 0; i < vector_registers(cpu); ++i)
        for (unsigned k = 0; k < 2; ++k) cpu.vec[i].q[first_quadword + k] = from[i][k];
}

// ---- FXSAVE and FXRSTOR

bool fpu_unavailable(const Cpu& cpu) { return cpu.cr0 & (cr0_bits::em | cr0_bits::ts); }

Outcome fxsave(Cpu& cpu, const Insn& in) {
    if (fpu_unavailable(cpu)) return cpu.raise(Fault::of(Vector::nm));
    u64 linear = 0;
    if (!cpu.operand(in, xsave_legacy_size, Access::write, linear)) return cpu.failed();
    if (linear & 15) return cpu.gp0();
    // Processors look at the far end first; nothing is stored when a page is missing.
    if (!cpu.probe_write(in.seg(), linear + xsave_legacy_size - 1, 1) ||
        !cpu.probe_write(in.seg(), linear, 1))
        return cpu.failed();
    cpu.running = &in;
    Area area(cpu, in.seg(), linear);
    if (!write_x87(cpu, area, in.osz() == 3) || !write_mxcsr(cpu, area)) return cpu.failed();
    if ((cpu.cr4 & cr4_bits::osfxsr) && !write_xmm(cpu, area)) return cpu.failed();
    cpu.charge(CostEvent::xsave);
    return Outcome::next;
}

Outcome fxrstor(Cpu& cpu, const Insn& in) {
    if (fpu_unavailable(cpu)) return cpu.raise(Fault::of(Vector::nm));
    u64 linear = 0;
    if (!cpu.operand(in, xsave_legacy_size, Access::read, linear)) return cpu.failed();
    if (linear & 15) return cpu.gp0();
    if (!cpu.probe_read(in.seg(), linear + xsave_legacy_size - 1, 1) || !cpu.probe_read(in.seg(), linear, 1))
        return cpu.failed();
    cpu.running = &in;
    Area area(cpu, in.seg(), linear);
    LoadedState s;
    u32 mxcsr = 0;
    if (!read_x87(area, in.osz() == 3, s.fx) || !area.read(mxcsr_offset, &mxcsr, 4) ||
        !read_xmm(cpu, area, s))
        return cpu.failed();
    const bool with_sse = cpu.cr4 & cr4_bits::osfxsr;
    if (with_sse && (mxcsr & mxcsr_reserved)) return cpu.gp0();
    commit_x87(cpu, s.fx);
    if (with_sse) {
        cpu.fx.mxcsr = mxcsr;
        commit_vectors(cpu, s.xmm, 0);
    }
    cpu.charge(CostEvent::xrstor);
    return Outcome::next;
}

// ---- the XSAVE family

/// SDM "Processor Tracking of XSAVE-Managed State": here XINUSE is exactly "not in the initial
/// configuration".
u64 xinuse(const Cpu& cpu) {
    u64 used = 0;
    const FxArea& f = cpu.fx;
    bool x87_used =
        f.fcw != initial_fcw || f.fsw != 0 || f.ftw != 0 || f.fop != 0 || f.fip != 0 || f.fdp != 0;
    for (const auto& st : f.st)
        for (const u8 b : st) x87_used |= b != 0;
    if (x87_used) used |= x87;
    u64 low = 0, high = 0;
    used |= vector_state::in_use(cpu);
    for (unsigned i = 0; i < 16; ++i) {
        low |= cpu.vec[i].q[0] | cpu.vec[i].q[1];
        high |= cpu.vec[i].q[2] | cpu.vec[i].q[3];
    }
    if (low != 0) used |= sse;
    if (high != 0) used |= avx;
    if (cpu.pkru != 0) used |= pkru_state;
    return used | supervisor_state_in_use(cpu);
}

u64 instruction_mask(Cpu& cpu) {
    return (cpu.reg(Gpr::rdx) << 32) | static_cast<u32>(cpu.reg(Gpr::rax));
}

/// Where component `number` lies.
u32 component_offset(unsigned number, u64 layout, bool compacted) {
    // What precedes it in the compacted layout.
    const u32 before = xsave_area_size(layout & ((1ull << number) - 1), true);
    for (const XstateComponent& x : xstate_components)
        if (x.number == number) return !compacted ? x.offset : x.aligned64 ? (before + 63) & ~63u : before;
    return before;
}

/// Checks before the area is looked at. True: `out` says how the instruction ended.
bool xsave_ends(Cpu& cpu, Outcome& out) {
    if (!(cpu.cr4 & cr4_bits::osxsave)) out = cpu.ud();
    else if (cpu.cr0 & cr0_bits::ts) out = cpu.raise(Fault::of(Vector::nm));
    else return false;
    return true;
}

enum class Flavour : u8 { xsave, xsaveopt, xsavec, xsaves };

bool write_components(Cpu& cpu, Area& area, u64 requested, u64 saved, bool compacted, bool wide) {
    const bool mxcsr = compacted ? (saved & sse) != 0 : (requested & (sse | avx)) != 0;
    if ((saved & x87) && !write_x87(cpu, area, wide)) return false;
    if (mxcsr && !write_mxcsr(cpu, area)) return false;
    if ((saved & sse) && !write_xmm(cpu, area)) return false;
    if ((saved & avx) && !write_ymm(cpu, area, component_offset(2, requested, compacted))) return false;
    const bool wide_written = vector_state::for_each(saved, [&](unsigned i) {
        const u32 at = component_offset(i, requested, compacted);
        return vector_state::for_each_piece(cpu, i, [&](const vector_state::Piece& p) {
            return area.write(at + p.offset, p.data, p.size);
        });
    });
    if (!wide_written) return false;
    if (saved & pkru_state) {
        const std::array<u32, 2> words{cpu.pkru, 0};
        if (!area.write(component_offset(9, requested, compacted), words.data(), sizeof words)) return false;
    }
    const SupervisorState s = supervisor_state(cpu);
    for (const SupervisorPart& part : supervisor_parts)
        if (bit(saved, part.number) &&
            !area.write(component_offset(part.number, requested, compacted), &s.q[part.first], 8 * part.count))
            return false;
    return true;
}

template <Flavour flavour> Outcome xsave(Cpu& cpu, const Insn& in) {
    constexpr bool supervisor = flavour == Flavour::xsaves;
    constexpr bool compacted = supervisor || flavour == Flavour::xsavec;
    constexpr bool skips_initial = flavour != Flavour::xsave;
    if (supervisor && cpu.gates.closed(Gate::xsaves_disabled)) return cpu.ud();
    if (!(cpu.cr4 & cr4_bits::osxsave)) return cpu.ud();
    if (supervisor && cpu.cpl != 0) return cpu.gp0();
    const u64 requested = instruction_mask(cpu) & (supervisor ? cpu.xcr0 | cpu.xss : cpu.xcr0);
    if (supervisor && cpu.gates.closed(Gate::xsave_bitmap)) {
        cpu.rip = cpu.insn_rip(in);
        if (cpu.hooks->xsaves(instruction_mask(cpu) & cpu.xss, false, in)) return Outcome::vm_exit;
    }
    Outcome ended{};
    if (xsave_ends(cpu, ended)) return ended;
    u64 linear = 0;
    const u32 size = xsave_area_size(requested, compacted);
    if (!cpu.operand(in, size, Access::write, linear)) return cpu.failed();
    if (linear & 63) return cpu.gp0();
    cpu.running = &in;
    Area area(cpu, in.seg(), linear);

    // SDM "Extended Feature Disable (XFD)": what is disabled counts as initial and is not touched.
    u64 used = xinuse(cpu) & ~cpu.amx.xfd;
    // MXCSR belongs to the SSE state in the compacted form only.
    if (compacted && cpu.fx.mxcsr != initial_mxcsr) used |= sse;
    const u64 saved = skips_initial ? requested & used : requested & ~cpu.amx.xfd;
    u64 header = requested & used;
    if (!compacted) {
        u64 before = 0;
        if (!area.read(header_offset, &before, 8)) return cpu.failed();
        header |= before & ~requested;
    }
    if (!write_components(cpu, area, requested, saved, compacted, in.osz() == 3)) return cpu.failed();
    if (!area.write(header_offset, &header, 8)) return cpu.failed();
    if (compacted) {
        const u64 layout = requested | compacted_bit;
        if (!area.write(header_offset + 8, &layout, 8)) return cpu.failed();
    }
    // SDM "User-Interrupt State Management": what is saved stops being notified.
    if (supervisor && bit(requested, uintr_component)) set_uinv(cpu, 0);
    cpu.charge(CostEvent::xsave);
    return Outcome::next;
}

/// SDM "XRSTOR", header checks. `enabled`: XCR0, for XRSTORS with IA32_XSS.
bool header_valid(const std::array<u64, 8>& header, u64 enabled, bool compacted) {
    const u64 present = header[0], layout = header[1] & ~compacted_bit;
    if (!compacted) return (present & ~enabled) == 0 && header[1] == 0 && header[2] == 0;
    for (unsigned i = 2; i < 8; ++i)
        if (header[i] != 0) return false;
    return (layout & ~enabled) == 0 && (present & ~layout) == 0;
}

template <Flavour flavour> Outcome xrstor(Cpu& cpu, const Insn& in) {
    constexpr bool supervisor = flavour == Flavour::xsaves;
    if (supervisor && cpu.gates.closed(Gate::xsaves_disabled)) return cpu.ud();
    if (!(cpu.cr4 & cr4_bits::osxsave)) return cpu.ud();
    if (supervisor && cpu.cpl != 0) return cpu.gp0();
    if (supervisor && cpu.gates.closed(Gate::xsave_bitmap)) {
        cpu.rip = cpu.insn_rip(in);
        if (cpu.hooks->xsaves(instruction_mask(cpu) & cpu.xss, true, in)) return Outcome::vm_exit;
    }
    Outcome ended{};
    if (xsave_ends(cpu, ended)) return ended;
    const u64 enabled = supervisor ? cpu.xcr0 | cpu.xss : cpu.xcr0;
    const u64 requested = instruction_mask(cpu) & enabled;
    u64 linear = 0;
    if (!cpu.operand(in, extended_offset, Access::read, linear)) return cpu.failed();
    if (linear & 63) return cpu.gp0();
    cpu.running = &in;
    Area area(cpu, in.seg(), linear);
    std::array<u64, 8> header{};
    if (!area.read(header_offset, header.data(), xsave_header_size)) return cpu.failed();
    const bool compacted = header[1] & compacted_bit;
    if (supervisor && !compacted) return cpu.gp0();
    if (compacted && !cpu.has(Feature::xsavec)) return cpu.gp0();
    if (!header_valid(header, enabled, compacted)) return cpu.gp0();
    const u64 layout = header[1] & ~compacted_bit;
    const u64 restored = requested & header[0];
    if (const u64 disabled = restored & cpu.amx.xfd) {
        cpu.amx.xfd_err = disabled;
        return cpu.raise(Fault::of(Vector::nm));
    }
    if (!cpu.operand(in, xsave_area_size(compacted ? layout : restored, compacted), Access::read, linear))
        return cpu.failed();

    // Everything is read before anything changes.
    LoadedState s;
    s.fx.fcw = initial_fcw;
    u32 mxcsr = initial_mxcsr;
    const bool reads_mxcsr = compacted ? (restored & sse) != 0 : (requested & (sse | avx)) != 0;
    if ((restored & x87) && !read_x87(area, in.osz() == 3, s.fx)) return cpu.failed();
    if (reads_mxcsr) {
        if (!area.read(mxcsr_offset, &mxcsr, 4)) return cpu.failed();
        if (mxcsr & mxcsr_reserved) return cpu.gp0();
    }
    if ((restored & sse) && !read_xmm(cpu, area, s)) return cpu.failed();
    if ((restored & avx) && !read_ymm(cpu, area, component_offset(2, layout, compacted), s))
        return cpu.failed();
    const bool wide_read = vector_state::for_each(restored, [&](unsigned i) {
        const u32 at = component_offset(i, layout, compacted);
        return vector_state::for_each_piece(cpu, i, [&](const vector_state::Piece& p) {
            return area.read(at + p.offset, s.wide.of(i) + p.offset, p.size);
        });
    });
    if (!wide_read) return cpu.failed();
    if ((restored & pkru_state) && !area.read(component_offset(9, layout, compacted), &s.pkru, 4))
        return cpu.failed();
    for (const SupervisorPart& part : supervisor_parts)
        if (bit(restored, part.number) &&
            !area.read(component_offset(part.number, layout, compacted), &s.supervisor.q[part.first], 8 * part.count))
            return cpu.failed();
    if (supervisor && !valid_supervisor_state(cpu, s.supervisor, restored)) return cpu.gp0();

    if (requested & x87) commit_x87(cpu, s.fx);
    if (reads_mxcsr || (compacted && (requested & sse))) cpu.fx.mxcsr = mxcsr;
    if (requested & sse) commit_vectors(cpu, s.xmm, 0);
    if (requested & avx) commit_vectors(cpu, s.ymm_high, 2);
    vector_state::commit(cpu, s.wide, requested, restored);
    if ((requested & pkru_state) && cpu.pkru != s.pkru) {
        cpu.pkru = s.pkru;
        cpu.paging_changed();
    }
    if (supervisor) load_supervisor_state(cpu, s.supervisor, requested);
    cpu.charge(CostEvent::xrstor);
    return Outcome::next;
}

// ---- XCR0, PKRU

Outcome xgetbv(Cpu& cpu, const Insn&) {
    if (!(cpu.cr4 & cr4_bits::osxsave)) return cpu.ud();
    const u32 index = static_cast<u32>(cpu.reg(Gpr::rcx));
    u64 value = cpu.xcr0;
    if (index == 1 && cpu.has(Feature::xgetbv_ecx1)) value &= xinuse(cpu);
    else if (index != 0) return cpu.gp0();
    cpu.reg(Gpr::rax) = static_cast<u32>(value);
    cpu.reg(Gpr::rdx) = value >> 32;
    return Outcome::next;
}

Outcome xsetbv(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4_bits::osxsave)) return cpu.ud();
    if (cpu.cpl != 0) return cpu.gp0();
    if (cpu.gates.closed(Gate::xsetbv)) return cpu.vm_exit(Gate::xsetbv, in);
    if (static_cast<u32>(cpu.reg(Gpr::rcx)) != 0) return cpu.gp0();
    if (!set_xcr0(cpu, instruction_mask(cpu))) return cpu.failed();
    return done(cpu, in);
}

Outcome rdpkru(Cpu& cpu, const Insn&) {
    if (!(cpu.cr4 & cr4_bits::pke)) return cpu.ud();
    if (static_cast<u32>(cpu.reg(Gpr::rcx)) != 0) return cpu.gp0();
    cpu.reg(Gpr::rax) = cpu.pkru;
    cpu.reg(Gpr::rdx) = 0;
    return Outcome::next;
}

Outcome wrpkru(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4_bits::pke)) return cpu.ud();
    if (static_cast<u32>(cpu.reg(Gpr::rcx)) != 0 || static_cast<u32>(cpu.reg(Gpr::rdx)) != 0)
        return cpu.gp0();
    cpu.pkru = static_cast<u32>(cpu.reg(Gpr::rax));
    cpu.paging_changed();
    return done(cpu, in);
}

constexpr u32 system = traits::not_user_fuzzed;
constexpr u32 system_block = traits::not_user_fuzzed | traits::ends_block;

constexpr InsnRow rows[] = {
    {"FXSAVE", "NP 0F AE /0 mem"_op, "=Mfx"_operands, code<fxsave>(), Feature::fxsr, system},
    {"FXRSTOR", "NP 0F AE /1 mem"_op, "Mfx"_operands, code<fxrstor>(), Feature::fxsr, system},
    {"XSAVE", "NP 0F AE /4 mem"_op, "=Mxs"_operands, code<xsave<Flavour::xsave>>(), Feature::xsave, system},
    {"XSAVEOPT", "NP 0F AE /6 mem"_op, "=Mxs"_operands, code<xsave<Flavour::xsaveopt>>(), Feature::xsaveopt,
     system},
    {"XSAVEC", "NP 0F C7 /4 mem"_op, "=Mxs"_operands, code<xsave<Flavour::xsavec>>(), Feature::xsavec,
     system},
    {"XSAVES", "NP 0F C7 /5 mem"_op, "=Mxs"_operands, code<xsave<Flavour::xsaves>>(), Feature::xsaves,
     system},
    {"XRSTOR", "NP 0F AE /5 mem"_op, "Mxs"_operands, code<xrstor<Flavour::xsave>>(), Feature::xsave, system},
    {"XRSTORS", "NP 0F C7 /3 mem"_op, "Mxs"_operands, code<xrstor<Flavour::xsaves>>(), Feature::xsaves,
     system},
    {"XGETBV", "NP 0F 01 D0"_op, ""_operands, code<xgetbv>(), Feature::xsave, system},
    {"XSETBV", "NP 0F 01 D1"_op, ""_operands, code<xsetbv>(), Feature::xsave, system_block},
    {"RDPKRU", "NP 0F 01 EE"_op, ""_operands, code<rdpkru>(), Feature::pku, system},
    {"WRPKRU", "NP 0F 01 EF"_op, ""_operands, code<wrpkru>(), Feature::pku, system_block},
};

}  // namespace

RowSpan xsave_rows() { return rows; }

}  // namespace droste
