// SPDX-License-Identifier: Apache-2.0
// Gathers and scatters complete element by element; compression and expansion touch consecutive elements.
#include "cpu/insns/avx512_memory.h"

#include <algorithm>
#include <bit>

#include "cpu/decode/row.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/masked_memory.h"
#include "cpu/thunk/thunk.h"

namespace droste {

namespace {

template <class T> T* elements(Vec& v) { return reinterpret_cast<T*>(v.q.data()); }

void clear_above(Vec& v, unsigned bytes) {
    std::memset(reinterpret_cast<u8*>(v.q.data()) + bytes, 0, sizeof v.q - bytes);
}

/// Linear address of element i of a gather or scatter.
template <class I> bool indexed(Cpu& cpu, const Insn& in, unsigned i, unsigned size, Access access, u64& linear) {
    const I index = elements<I>(cpu.vec[in.index])[i];
    const u64 ea = cpu.gpr[in.base] + static_cast<u64>(static_cast<i64>(in.disp)) +
                   (static_cast<u64>(static_cast<i64>(index)) << in.scale());
    return element_address(cpu, in, ea, 0, size, access, linear);
}

/// The elements that the opmask selects; all without one.
u64 selected_of(const Cpu& cpu, const ThunkCall& t) {
    const u64 all = t.mask_bits == 64 ? ~0ull : (1ull << t.mask_bits) - 1;
    return t.mask_number == 0 ? all : cpu.opmask[t.mask_number] & all;
}

}  // namespace

template <class I, class T> Outcome gather_masked(Cpu& cpu, const Insn& in) {
    if (avx512_blocked(cpu)) return raise_blocked(cpu, Domain::avx512);
    const ThunkCall& t = *in.thunk;
    const unsigned n = t.vector_bytes / std::max(sizeof(I), sizeof(T));
    Vec& result = cpu.vec[in.reg];
    u64& mask = cpu.opmask[t.mask_number];
    // SDM "VGATHERDPS": elements complete from the lowest; a fault leaves the mask telling what is still to do.
    for (unsigned i = 0; i < n; ++i) {
        if (!bit(mask, i)) continue;
        u64 linear;
        T v;
        if (!indexed<I>(cpu, in, i, sizeof(T), Access::read, linear) || !cpu.load(in.seg(), linear, v))
            return cpu.failed();
        elements<T>(result)[i] = v;
        mask &= ~(1ull << i);
        clear_above(result, t.vector_bytes);  // each element is an EVEX write of its own
    }
    mask = 0;
    clear_above(result, n * sizeof(T));
    return Outcome::next;
}

template <class I, class T> Outcome scatter_masked(Cpu& cpu, const Insn& in) {
    if (avx512_blocked(cpu)) return raise_blocked(cpu, Domain::avx512);
    const ThunkCall& t = *in.thunk;
    const unsigned n = t.vector_bytes / std::max(sizeof(I), sizeof(T));
    u64& mask = cpu.opmask[t.mask_number];
    for (unsigned i = 0; i < n; ++i) {
        if (!bit(mask, i)) continue;
        u64 linear;
        if (!indexed<I>(cpu, in, i, sizeof(T), Access::write, linear) ||
            !cpu.store(in.seg(), linear, elements<T>(cpu.vec[in.reg])[i]))
            return cpu.failed();
        mask &= ~(1ull << i);
    }
    mask = 0;
    return Outcome::next;
}

template <class T> Outcome compress_store(Cpu& cpu, const Insn& in) {
    if (avx512_blocked(cpu)) return raise_blocked(cpu, Domain::avx512);
    const u64 selected = selected_of(cpu, *in.thunk);
    std::array<T, 64 / sizeof(T)> packed{};
    unsigned n = 0;
    for (u64 left = selected; left != 0; left &= left - 1)
        packed[n++] = elements<T>(cpu.vec[in.reg])[std::countr_zero(left)];
    cpu.running = &in;
    const u64 ea = cpu.effective(in);
    const u64 first_n = n == 64 ? ~0ull : (1ull << n) - 1;
    const auto* from = reinterpret_cast<const u8*>(packed.data());
    if (in.thunk->mask_number != 0) {
        if (!store_selected(cpu, in, ea, first_n, sizeof(T), in.thunk->mask_bits, from)) return cpu.failed();
    } else {
        u64 linear;
        if (!element_address(cpu, in, ea, 0, in.thunk->mem_size, Access::write, linear) ||
            !store_sized(cpu, in.seg(), linear, from, in.thunk->mem_size))
            return cpu.failed();
    }
    return Outcome::next;
}

template <class T> Outcome expand_load(Cpu& cpu, const Insn& in) {
    if (avx512_blocked(cpu)) return raise_blocked(cpu, Domain::avx512);
    const ThunkCall& t = *in.thunk;
    const u64 selected = selected_of(cpu, t);
    std::array<T, 64 / sizeof(T)> packed{};
    const unsigned n = static_cast<unsigned>(std::popcount(selected));
    cpu.running = &in;
    if (!load_selected(cpu, in, cpu.effective(in), ~0ull, sizeof(T), n, reinterpret_cast<u8*>(packed.data())))
        return cpu.failed();
    Vec result = t.zeroing ? Vec{} : cpu.vec[in.reg];
    clear_above(result, t.vector_bytes);
    unsigned next = 0;
    for (u64 left = selected; left != 0; left &= left - 1)
        elements<T>(result)[std::countr_zero(left)] = packed[next++];
    cpu.vec[in.reg] = result;
    return Outcome::next;
}

template Outcome gather_masked<i32, u32>(Cpu&, const Insn&);
template Outcome gather_masked<i32, u64>(Cpu&, const Insn&);
template Outcome gather_masked<i64, u32>(Cpu&, const Insn&);
template Outcome gather_masked<i64, u64>(Cpu&, const Insn&);
template Outcome scatter_masked<i32, u32>(Cpu&, const Insn&);
template Outcome scatter_masked<i32, u64>(Cpu&, const Insn&);
template Outcome scatter_masked<i64, u32>(Cpu&, const Insn&);
template Outcome scatter_masked<i64, u64>(Cpu&, const Insn&);
template Outcome compress_store<u8>(Cpu&, const Insn&);
template Outcome compress_store<u16>(Cpu&, const Insn&);
template Outcome compress_store<u32>(Cpu&, const Insn&);
template Outcome compress_store<u64>(Cpu&, const Insn&);
template Outcome expand_load<u8>(Cpu&, const Insn&);
template Outcome expand_load<u16>(Cpu&, const Insn&);
template Outcome expand_load<u32>(Cpu&, const Insn&);
template Outcome expand_load<u64>(Cpu&, const Insn&);

}  // namespace droste
