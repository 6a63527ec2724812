// SPDX-License-Identifier: Apache-2.0
// Bodies of the SIMD moves and of PXOR: hot in every guest's memory and string functions, so no thunks.
#pragma once
#include <array>

#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/thunk.h"

namespace droste::vector_moves {

template <unsigned bytes> using Datum = std::array<u64, bytes / 8>;

enum class Align : bool { any, natural };

template <Domain domain> bool blocked(const Cpu& cpu) {
    if constexpr (domain == Domain::avx512) return avx512_blocked(cpu);
    else return domain == Domain::avx ? avx_blocked(cpu) : sse_blocked(cpu);
}

/// Writes the low `bytes` of a vector register; a VEX or EVEX instruction clears the rest, a legacy one keeps it.
template <Domain domain, unsigned bytes> void write(Vec& v, const Datum<bytes>& d) {
    for (unsigned i = 0; i < bytes / 8; ++i) v.q[i] = d[i];
    if constexpr (domain != Domain::sse)
        for (unsigned i = bytes / 8; i < 8; ++i) v.q[i] = 0;
}

template <unsigned bytes> Datum<bytes> read(const Vec& v) {
    Datum<bytes> d;
    for (unsigned i = 0; i < bytes / 8; ++i) d[i] = v.q[i];
    return d;
}

/// Linear address of the operand. False: raised.
template <unsigned bytes, Align align> bool address(Cpu& cpu, const Insn& in, Access access, u64& linear) {
    if (!cpu.operand(in, bytes, access, linear)) return false;
    if (align == Align::natural && (linear & (bytes - 1))) [[unlikely]] {
        (void)cpu.gp0();
        return false;
    }
    return true;
}

/// reg <- memory, the whole datum.
template <Domain domain, unsigned bytes, Align align> Outcome load(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    u64 linear;
    Datum<bytes> d;
    if (!address<bytes, align>(cpu, in, Access::read, linear) || !cpu.load(in.seg(), linear, d))
        return cpu.failed();
    write<domain, bytes>(cpu.vec[in.reg], d);
    return Outcome::next;
}

/// memory <- reg.
template <Domain domain, unsigned bytes, Align align> Outcome store(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    u64 linear;
    if (!address<bytes, align>(cpu, in, Access::write, linear) ||
        !cpu.store(in.seg(), linear, read<bytes>(cpu.vec[in.reg])))
        return cpu.failed();
    return Outcome::next;
}

/// reg <- rm, both registers.
template <Domain domain, unsigned bytes> Outcome move(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    write<domain, bytes>(cpu.vec[in.reg], read<bytes>(cpu.vec[in.rm]));
    return Outcome::next;
}

/// rm <- reg, both registers: the opcode of the store.
template <Domain domain, unsigned bytes> Outcome move_back(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    write<domain, bytes>(cpu.vec[in.rm], read<bytes>(cpu.vec[in.reg]));
    return Outcome::next;
}

/// reg <- T from memory, zero-extended to 128 bits (MOVSS, MOVSD, MOVD, MOVQ loads).
template <Domain domain, class T> Outcome load_low(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    T v;
    if (!cpu.load(in, v)) return cpu.failed();
    write<domain, 16>(cpu.vec[in.reg], {v, 0});
    return Outcome::next;
}

/// memory <- low T of reg.
template <Domain domain, class T> Outcome store_low(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    if (!cpu.store(in, static_cast<T>(cpu.vec[in.reg].q[0]))) return cpu.failed();
    return Outcome::next;
}

/// MOVQ xmm, xmm in both directions.
template <Domain domain> Outcome move_low(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    write<domain, 16>(cpu.vec[in.reg], {cpu.vec[in.rm].q[0], 0});
    return Outcome::next;
}
template <Domain domain> Outcome move_low_back(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    write<domain, 16>(cpu.vec[in.rm], {cpu.vec[in.reg].q[0], 0});
    return Outcome::next;
}

/// MOVD, MOVQ between a general register and a vector register.
template <Domain domain, class T> Outcome from_gpr(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    write<domain, 16>(cpu.vec[in.reg], {static_cast<T>(cpu.gpr[in.rm]), 0});
    return Outcome::next;
}
template <Domain domain, class T> Outcome to_gpr(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    cpu.gpr[in.rm] = static_cast<T>(cpu.vec[in.reg].q[0]);
    return Outcome::next;
}

/// MOVD and MOVQ are one row; the body goes by REX.W.
consteval std::array<Code, 4> by_w(Code w0, Code w1) { return {w0, w0, w0, w1}; }
template <Domain d> consteval Bodies movd_load() {
    return {by_w(code<from_gpr<d, u32>>(), code<from_gpr<d, u64>>()),
            by_w(code<load_low<d, u32>>(), code<load_low<d, u64>>())};
}
template <Domain d> consteval Bodies movd_store() {
    return {by_w(code<to_gpr<d, u32>>(), code<to_gpr<d, u64>>()),
            by_w(code<store_low<d, u32>>(), code<store_low<d, u64>>())};
}

/// MOVLPS, MOVLPD, MOVHPS, MOVHPD from memory: one half of the low 128 bits. VEX: the other half from vvvv.
template <unsigned half> Outcome load_half(Cpu& cpu, const Insn& in) {
    if (sse_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::sse);
    u64 v;
    if (!cpu.load(in, v)) return cpu.failed();
    cpu.vec[in.reg].q[half] = v;
    return Outcome::next;
}
template <unsigned half> Outcome load_half_vex(Cpu& cpu, const Insn& in) {
    if (avx_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::avx);
    u64 v;
    if (!cpu.load(in, v)) return cpu.failed();
    Datum<16> d = read<16>(cpu.vec[in.thunk->vvvv_number]);
    d[half] = v;
    write<Domain::avx, 16>(cpu.vec[in.reg], d);
    return Outcome::next;
}
/// memory <- one half.
template <Domain domain, unsigned half> Outcome store_half(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) [[unlikely]] return raise_blocked(cpu, domain);
    if (!cpu.store(in, cpu.vec[in.reg].q[half])) return cpu.failed();
    return Outcome::next;
}

enum class Bitwise : u8 { and_, andn, or_, xor_ };
template <Bitwise f> u64 combine(u64 a, u64 b) {
    if constexpr (f == Bitwise::and_) return a & b;
    else if constexpr (f == Bitwise::andn) return ~a & b;
    else if constexpr (f == Bitwise::or_) return a | b;
    else return a ^ b;
}

/// PXOR and its relatives on registers.
template <Bitwise f> Outcome bitwise(Cpu& cpu, const Insn& in) {
    if (sse_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::sse);
    const Datum<16> b = read<16>(cpu.vec[in.rm]);
    auto& a = cpu.vec[in.reg].q;
    a[0] = combine<f>(a[0], b[0]);
    a[1] = combine<f>(a[1], b[1]);
    return Outcome::next;
}
template <Bitwise f, unsigned bytes> Outcome bitwise_vex(Cpu& cpu, const Insn& in) {
    if (avx_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::avx);
    Datum<bytes> a = read<bytes>(cpu.vec[in.thunk->vvvv_number]);
    const Datum<bytes> b = read<bytes>(cpu.vec[in.rm]);
    for (unsigned i = 0; i < bytes / 8; ++i) a[i] = combine<f>(a[i], b[i]);
    write<Domain::avx, bytes>(cpu.vec[in.reg], a);
    return Outcome::next;
}

}  // namespace droste::vector_moves
