// SPDX-License-Identifier: Apache-2.0
// SIMD instructions whose memory accesses go element by element, and those of MXCSR and the upper halves.
#include "cpu/insns/vector_control.h"

#include <algorithm>

#include "cpu/thunk/availability.h"
#include "cpu/thunk/mmx_state.h"
#include "cpu/thunk/thunk.h"

namespace droste {

namespace {

template <Domain domain> bool blocked(const Cpu& cpu) {
    return domain == Domain::avx ? avx_blocked(cpu) : sse_blocked(cpu);
}

constexpr u64 address_mask[4] = {0xFFFF, 0xFFFFFFFF, ~0ull, ~0ull};

/// Linear address of `size` bytes `element` bytes behind offset `ea` in the instruction's segment. The offset is cut
/// to the address size, the sum is not: an operand runs on beyond 64 KiB or 4 GiB.
bool linear_at(Cpu& cpu, const Insn& in, u64 ea, unsigned element, unsigned size, Access access, u64& linear) {
    ea = (ea & address_mask[in.asz()]) + element;
    if (in.fl & insn_flags::segmented) return cpu.segmented(in.seg(), ea, size, access, linear);
    linear = cpu.ea_base[in.seg()] + ea;
    return true;
}

/// Stores the selected ones of n elements at `ea`, all or none. Observed order of the checks, seen in the
/// address of page faults: the first selected byte, then the last.
template <class T, class Selected>
bool store_selected(Cpu& cpu, const Insn& in, u64 ea, const T* from, unsigned n, Selected selected) {
    std::array<u64, 16> linear;
    unsigned first = n, last = n;
    for (unsigned i = 0; i < n; ++i) {
        if (!selected(i)) continue;
        if (!linear_at(cpu, in, ea, i * sizeof(T), sizeof(T), Access::write, linear[i])) return false;
        if (first == n) first = i;
        last = i;
    }
    if (first == n) return true;
    if (!cpu.probe_write(in.seg(), linear[first], 1) ||
        !cpu.probe_write(in.seg(), linear[last] + sizeof(T) - 1, 1))
        return false;
    for (unsigned i = first; i <= last; ++i)
        if (selected(i) && !cpu.store(in.seg(), linear[i], from[i])) return false;
    return true;
}

template <class T> T* elements(Vec& v) { return reinterpret_cast<T*>(v.q.data()); }
template <class T> bool sign(T v) { return (v >> (8 * sizeof(T) - 1)) & 1; }

void clear_above(Vec& v, unsigned bytes) {
    for (unsigned i = bytes / 8; i < 8; ++i) v.q[i] = 0;
}

/// Vector registers that the mode can name: SDM "VZEROALL", in 64-bit mode 16, else 8.
unsigned registers(const Cpu& cpu) { return cpu.code64() ? 16 : 8; }

}  // namespace

template <Domain domain> Outcome ldmxcsr(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) return raise_blocked(cpu, domain);
    u32 v;
    if (!cpu.load(in, v)) return cpu.failed();
    if (v & ~cpu.fx.mxcsr_mask) return cpu.gp0();
    cpu.fx.mxcsr = v;
    return Outcome::next;
}

template <Domain domain> Outcome stmxcsr(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) return raise_blocked(cpu, domain);
    if (!cpu.store(in, cpu.fx.mxcsr)) return cpu.failed();
    return Outcome::next;
}

template <Domain domain> Outcome maskmovdqu(Cpu& cpu, const Insn& in) {
    if (blocked<domain>(cpu)) return raise_blocked(cpu, domain);
    const u8* const mask = elements<u8>(cpu.vec[in.rm]);
    if (!store_selected(cpu, in, cpu.reg(Gpr::rdi), elements<u8>(cpu.vec[in.reg]), 16,
                        [&](unsigned i) { return sign(mask[i]); }))
        return cpu.failed();
    return Outcome::next;
}

Outcome maskmovq(Cpu& cpu, const Insn& in) {
    if (mmx_blocked(cpu)) return raise_blocked(cpu, Domain::mmx);
    if (cpu.fx.fsw & fsw_error_summary) return raise_x87_pending(cpu);
    FxArea after = cpu.fx;
    mmx_transition(after);
    const u8* const mask = after.st[in.rm & 7].data();
    if (!store_selected(cpu, in, cpu.reg(Gpr::rdi), after.st[in.reg & 7].data(), 8,
                        [&](unsigned i) { return sign(mask[i]); }))
        return cpu.failed();
    cpu.fx = after;
    return Outcome::next;
}

Outcome vzeroupper(Cpu& cpu, const Insn&) {
    if (avx_blocked(cpu)) return raise_blocked(cpu, Domain::avx);
    for (unsigned i = 0; i < registers(cpu); ++i) clear_above(cpu.vec[i], 16);
    return Outcome::next;
}

Outcome vzeroall(Cpu& cpu, const Insn&) {
    if (avx_blocked(cpu)) return raise_blocked(cpu, Domain::avx);
    for (unsigned i = 0; i < registers(cpu); ++i) clear_above(cpu.vec[i], 0);
    return Outcome::next;
}

template <class T, unsigned bytes> Outcome vmaskmov_load(Cpu& cpu, const Insn& in) {
    if (avx_blocked(cpu)) return raise_blocked(cpu, Domain::avx);
    const T* const mask = elements<T>(cpu.vec[in.thunk->vvvv_number]);
    const u64 ea = cpu.effective(in);
    Vec result{};
    for (unsigned i = 0; i < bytes / sizeof(T); ++i) {
        if (!sign(mask[i])) continue;
        u64 linear;
        if (!linear_at(cpu, in, ea, i * sizeof(T), sizeof(T), Access::read, linear) ||
            !cpu.load(in.seg(), linear, elements<T>(result)[i]))
            return cpu.failed();
    }
    cpu.vec[in.reg] = result;
    return Outcome::next;
}

template <class T, unsigned bytes> Outcome vmaskmov_store(Cpu& cpu, const Insn& in) {
    if (avx_blocked(cpu)) return raise_blocked(cpu, Domain::avx);
    const T* const mask = elements<T>(cpu.vec[in.thunk->vvvv_number]);
    if (!store_selected(cpu, in, cpu.effective(in), elements<T>(cpu.vec[in.reg]), bytes / sizeof(T),
                        [&](unsigned i) { return sign(mask[i]); }))
        return cpu.failed();
    return Outcome::next;
}

template <class I, class T, unsigned bytes> Outcome gather(Cpu& cpu, const Insn& in) {
    if (avx_blocked(cpu)) return raise_blocked(cpu, Domain::avx);
    const unsigned mask_number = in.thunk->vvvv_number;
    if (in.reg == mask_number || in.reg == in.index || mask_number == in.index) return cpu.ud();
    constexpr unsigned n = bytes / (sizeof(I) > sizeof(T) ? sizeof(I) : sizeof(T));
    Vec& result = cpu.vec[in.reg];
    Vec& mask = cpu.vec[mask_number];
    const I* const index = elements<I>(cpu.vec[in.index]);
    T* const m = elements<T>(mask);
    const u64 base = cpu.gpr[in.base] + static_cast<u64>(static_cast<i64>(in.disp));
    // SDM "VPGATHERDD": elements complete from the lowest; a fault leaves the mask telling what is still to
    // do. The mask is made whole first: every element all ones or zero, nothing beyond the vector length.
    for (unsigned i = 0; i < bytes / sizeof(T); ++i) m[i] = sign(m[i]) ? static_cast<T>(~T{0}) : T{0};
    clear_above(mask, bytes);
    for (unsigned i = 0; i < n; ++i) {
        if (m[i] == 0) continue;
        const u64 ea = base + (static_cast<u64>(static_cast<i64>(index[i])) << in.scale());
        u64 linear;
        if (!linear_at(cpu, in, ea, 0, sizeof(T), Access::read, linear) ||
            !cpu.load(in.seg(), linear, elements<T>(result)[i]))
            return cpu.failed();
        m[i] = 0;
        clear_above(result, bytes);  // each element is a VEX write of its own, of the full vector length
    }
    mask = Vec{};
    clear_above(result, n * sizeof(T));
    return Outcome::next;
}

template Outcome ldmxcsr<Domain::sse>(Cpu&, const Insn&);
template Outcome ldmxcsr<Domain::avx>(Cpu&, const Insn&);
template Outcome stmxcsr<Domain::sse>(Cpu&, const Insn&);
template Outcome stmxcsr<Domain::avx>(Cpu&, const Insn&);
template Outcome maskmovdqu<Domain::sse>(Cpu&, const Insn&);
template Outcome maskmovdqu<Domain::avx>(Cpu&, const Insn&);
template Outcome vmaskmov_load<u32, 16>(Cpu&, const Insn&);
template Outcome vmaskmov_load<u32, 32>(Cpu&, const Insn&);
template Outcome vmaskmov_load<u64, 16>(Cpu&, const Insn&);
template Outcome vmaskmov_load<u64, 32>(Cpu&, const Insn&);
template Outcome vmaskmov_store<u32, 16>(Cpu&, const Insn&);
template Outcome vmaskmov_store<u32, 32>(Cpu&, const Insn&);
template Outcome vmaskmov_store<u64, 16>(Cpu&, const Insn&);
template Outcome vmaskmov_store<u64, 32>(Cpu&, const Insn&);
template Outcome gather<i32, u32, 16>(Cpu&, const Insn&);
template Outcome gather<i32, u32, 32>(Cpu&, const Insn&);
template Outcome gather<i32, u64, 16>(Cpu&, const Insn&);
template Outcome gather<i32, u64, 32>(Cpu&, const Insn&);
template Outcome gather<i64, u32, 16>(Cpu&, const Insn&);
template Outcome gather<i64, u32, 32>(Cpu&, const Insn&);
template Outcome gather<i64, u64, 16>(Cpu&, const Insn&);
template Outcome gather<i64, u64, 32>(Cpu&, const Insn&);

}  // namespace droste
