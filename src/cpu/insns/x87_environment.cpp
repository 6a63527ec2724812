// SPDX-License-Identifier: Apache-2.0
// FLDENV, FNSTENV, FRSTOR, FNSAVE in the four layouts of the SDM, FNSTSW AX, WAIT.
#include "cpu/insns/x87_environment.h"

#include "cpu/thunk/availability.h"
#include "cpu/thunk/mmx_state.h"
#include "cpu/thunk/x87_state.h"

namespace droste {

namespace {

/// SDM "x87 FPU Environment": seven words or doublewords; then, for FSAVE, ST0 to ST7 of ten bytes each.
constexpr unsigned words = 7, register_bytes = 80;

struct Image {
    std::array<u8, words * 4 + register_bytes> bytes{};
    bool wide;   ///< 32-bit layout
    bool real;   ///< real-address and virtual-8086 layout
    unsigned environment_bytes() const { return words * (wide ? 4u : 2u); }

    void put(unsigned word, u32 low, u32 high_half = 0) {
        if (wide) {
            const u32 v = low | high_half << 16;
            std::memcpy(&bytes[word * 4], &v, 4);
        } else {
            std::memcpy(&bytes[word * 2], &low, 2);
        }
    }
    u32 get(unsigned word) const {
        u32 v = 0;
        std::memcpy(&v, &bytes[word * (wide ? 4 : 2)], wide ? 4 : 2);
        return v;
    }
};

Image image_for(const Cpu& cpu, const Insn& in) {
    Image i;
    i.wide = in.osz() >= 2;
    i.real = cpu.real_or_v86();
    return i;
}

/// Two-bit tags of the physical registers: SDM "x87 FPU Tag Word". Only "empty" is kept; the rest is what the
/// value is.
u16 full_tag_word(const FxArea& fx) {
    u16 tags = 0;
    for (unsigned physical = 0; physical < 8; ++physical) {
        unsigned tag = 3;
        if ((fx.ftw >> physical) & 1) {
            u64 significand;
            u16 exponent;
            const auto& st = fx.st[(physical - x87_top(fx)) & 7];
            std::memcpy(&significand, st.data(), 8);
            std::memcpy(&exponent, st.data() + 8, 2);
            exponent &= 0x7FFF;
            if (exponent == 0 && significand == 0) tag = 1;
            else if (exponent == 0 || exponent == 0x7FFF || !(significand >> 63)) tag = 2;
            else tag = 0;
        }
        tags = static_cast<u16>(tags | tag << (2 * physical));
    }
    return tags;
}

u8 abridged_tag_word(u16 tags) {
    unsigned ftw = 0;
    for (unsigned i = 0; i < 8; ++i)
        if (((tags >> (2 * i)) & 3) != 3) ftw |= 1u << i;
    return static_cast<u8>(ftw);
}

/// Whether FCS and FDS are kept at all; then they are bits 47:32 of the pointers, as in FXSAVE without REX.W.
bool has_segments(const Cpu& cpu) { return !cpu.has(Feature::fcs_fds_deprecated); }

void write_environment(const FxArea& fx, Image& i, bool segments) {
    const u32 fip = static_cast<u32>(fx.fip), fdp = static_cast<u32>(fx.fdp);
    const u32 fcs = segments ? static_cast<u16>(fx.fip >> 32) : 0,
              fds = segments ? static_cast<u16>(fx.fdp >> 32) : 0;
    // The unused upper halves of the 32-bit layouts read as ones.
    i.put(0, fx.fcw, 0xFFFF);
    i.put(1, fx.fsw, 0xFFFF);
    i.put(2, full_tag_word(fx), 0xFFFF);
    if (!i.real) {
        i.put(3, i.wide ? fip : fip & 0xFFFF);
        i.put(4, fcs, fx.fop);
        i.put(5, i.wide ? fdp : fdp & 0xFFFF);
        i.put(6, fds, 0xFFFF);
        return;
    }
    const u32 linear_ip = fip + (fcs << 4), linear_dp = fdp + (fds << 4);
    const u32 high_mask = i.wide ? 0xFFFF : 0xF;
    i.put(3, linear_ip & 0xFFFF, 0xFFFF);
    i.put(4, fx.fop | (linear_ip >> 16 & high_mask) << 12);
    i.put(5, linear_dp & 0xFFFF, 0xFFFF);
    i.put(6, (linear_dp >> 16 & high_mask) << 12);
}

void read_environment(const Image& i, FxArea& fx, bool segments) {
    fx.fcw = static_cast<u16>(i.get(0));
    fx.fsw = static_cast<u16>(i.get(1));
    fx.ftw = abridged_tag_word(static_cast<u16>(i.get(2)));
    if (!i.real) {
        fx.fip = i.get(3);
        fx.fdp = i.get(5);
        fx.fop = i.wide ? static_cast<u16>(i.get(4) >> 16) : u16{0};  // the 16-bit layout has no opcode
        if (segments) {
            fx.fip |= u64(i.get(4) & 0xFFFF) << 32;
            fx.fdp |= u64(i.get(6) & 0xFFFF) << 32;
        }
    } else {
        const u32 high_mask = i.wide ? 0xFFFF : 0xF;
        fx.fip = (i.get(3) & 0xFFFF) | (i.get(4) >> 12 & high_mask) << 16;
        fx.fdp = (i.get(5) & 0xFFFF) | (i.get(6) >> 12 & high_mask) << 16;
        fx.fop = static_cast<u16>(i.get(4));
    }
    x87_canonicalise(fx);
}

bool load_image(Cpu& cpu, const Insn& in, Image& i, unsigned size) {
    u64 linear;
    // Observed order, seen in the address of page faults: the control word, the last byte, the rest.
    if (!cpu.operand(in, size, Access::read, linear) || !cpu.probe_read(in.seg(), linear, i.wide ? 4 : 2) ||
        !cpu.probe_read(in.seg(), linear + size - 1, 1))
        return false;
    for (unsigned at = 0; at < size; at += 2) {
        std::array<u8, 2> v;
        if (!cpu.load(in.seg(), linear + at, v)) return false;
        i.bytes[at] = v[0];
        i.bytes[at + 1] = v[1];
    }
    return true;
}

bool store_image(Cpu& cpu, const Insn& in, const Image& i, unsigned size) {
    u64 linear;
    if (!cpu.operand(in, size, Access::write, linear) || !cpu.probe_write(in.seg(), linear, i.wide ? 4 : 2) ||
        !cpu.probe_write(in.seg(), linear + size - 1, 1) ||
        !cpu.probe_write(in.seg(), linear, size))
        return false;
    for (unsigned at = 0; at < size; at += 2)
        if (!cpu.store(in.seg(), linear + at, std::array<u8, 2>{i.bytes[at], i.bytes[at + 1]})) return false;
    return true;
}

bool waiting_exception(const Cpu& cpu) { return cpu.fx.fsw & fsw_error_summary; }

}  // namespace

Outcome fldenv(Cpu& cpu, const Insn& in) {
    if (x87_blocked(cpu)) return raise_blocked(cpu, Domain::x87);
    if (waiting_exception(cpu)) return raise_x87_pending(cpu);
    Image i = image_for(cpu, in);
    if (!load_image(cpu, in, i, i.environment_bytes())) return cpu.failed();
    // The registers keep their physical places while TOP moves.
    const unsigned before = x87_top(cpu.fx);
    read_environment(i, cpu.fx, has_segments(cpu));
    const unsigned shift = (x87_top(cpu.fx) - before) & 7;
    std::rotate(cpu.fx.st.begin(), cpu.fx.st.begin() + shift, cpu.fx.st.end());
    return Outcome::next;
}

Outcome fnstenv(Cpu& cpu, const Insn& in) {
    if (x87_blocked(cpu)) return raise_blocked(cpu, Domain::x87);
    Image i = image_for(cpu, in);
    write_environment(cpu.fx, i, has_segments(cpu));
    if (!store_image(cpu, in, i, i.environment_bytes())) return cpu.failed();
    cpu.fx.fcw |= 0x3F;
    cpu.fx.fsw = x87_status_word(cpu.fx.fsw, cpu.fx.fcw);
    return Outcome::next;
}

Outcome frstor(Cpu& cpu, const Insn& in) {
    if (x87_blocked(cpu)) return raise_blocked(cpu, Domain::x87);
    if (waiting_exception(cpu)) return raise_x87_pending(cpu);
    Image i = image_for(cpu, in);
    const unsigned environment = i.environment_bytes();
    if (!load_image(cpu, in, i, environment + register_bytes)) return cpu.failed();
    read_environment(i, cpu.fx, has_segments(cpu));
    for (unsigned n = 0; n < 8; ++n) {
        cpu.fx.st[n] = {};
        std::copy_n(i.bytes.begin() + environment + 10 * n, 10, cpu.fx.st[n].begin());
    }
    return Outcome::next;
}

Outcome fnsave(Cpu& cpu, const Insn& in) {
    if (x87_blocked(cpu)) return raise_blocked(cpu, Domain::x87);
    Image i = image_for(cpu, in);
    const unsigned environment = i.environment_bytes();
    write_environment(cpu.fx, i, has_segments(cpu));
    for (unsigned n = 0; n < 8; ++n)
        std::copy_n(cpu.fx.st[n].begin(), 10, i.bytes.begin() + environment + 10 * n);
    if (!store_image(cpu, in, i, environment + register_bytes)) return cpu.failed();
    // As FNINIT: control and status words, tags and pointers; the registers stay, seen with TOP = 0.
    FxArea& fx = cpu.fx;
    mmx_transition(fx);
    fx.ftw = 0;
    fx.fcw = 0x37F;
    fx.fsw = 0;
    fx.fop = 0;
    fx.fip = fx.fdp = 0;
    return Outcome::next;
}

Outcome fnstsw_ax(Cpu& cpu, const Insn&) {
    if (x87_blocked(cpu)) return raise_blocked(cpu, Domain::x87);
    cpu.set_reg<u16>(static_cast<unsigned>(Gpr::rax), cpu.fx.fsw);
    return Outcome::next;
}

Outcome fwait(Cpu& cpu, const Insn&) {
    // SDM "WAIT/FWAIT": #NM when both MP and TS are set; EM does not matter.
    if ((cpu.cr0 & (cr0_bits::mp | cr0_bits::ts)) == (cr0_bits::mp | cr0_bits::ts))
        return cpu.raise(Fault::of(Vector::nm));
    if (waiting_exception(cpu)) return raise_x87_pending(cpu);
    return Outcome::next;
}

}  // namespace droste
