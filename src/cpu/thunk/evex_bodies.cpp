// SPDX-License-Identifier: Apache-2.0
// Bodies around thunks of EVEX and opmask instructions: availability, memory under an opmask, MXCSR, #XM.
#include "cpu/thunk/evex_bodies.h"

#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/body_parts.h"
#include "cpu/thunk/masked_memory.h"

namespace droste {

namespace {

using namespace thunk_bodies;

/// The opmask's bits that count.
u64 selection(const CpuState& s, const ThunkCall& t) {
    const u64 mask = s.opmask[t.mask_number];
    return t.mask_bits == 64 ? mask : mask & ((1ull << t.mask_bits) - 1);
}

/// The elements of the memory operand that the selected elements of the result come from: a broadcast uses each of
/// its elements several times.
u64 elements_needed(u64 selected, const ThunkCall& t, unsigned count) {
    if (t.broadcast) return selected != 0;
    if (count >= t.mask_bits) return selected;
    u64 needed = 0;
    for (unsigned i = 0; i < t.mask_bits; i += count) needed |= selected >> i;
    return needed & ((1ull << count) - 1);
}

/// Alignment of the whole operand counts as soon as the opmask selects anything.
bool aligned(Cpu& cpu, const Insn& in, const ThunkCall& t, Access access) {
    if (t.align_mask == 0 || selection(cpu, t) == 0) return true;
    u64 linear;
    if (!element_address(cpu, in, cpu.effective(in), 0, 1, access, linear)) return false;
    if ((linear & t.align_mask) == 0) return true;
    (void)cpu.gp0();
    return false;
}

/// The operand in the guest's page, or a copy in `bounce`. Null: the access failed.
void* masked_source(Cpu& cpu, const Insn& in, const ThunkCall& t, u8* bounce) {
    if (!aligned(cpu, in, t, Access::read)) return nullptr;
    u64 linear;
    if (!(in.fl & insn_flags::segmented)) {
        linear = cpu.ea_base[in.seg()] + cpu.effective(in);
        const unsigned i = TlbClass::slot(linear);
        if (cpu.tlb->read_tag[i] + ((linear + t.mem_size - 1) >> 12) == 0) [[likely]]
            return reinterpret_cast<void*>(linear + cpu.tlb->addend[i]);
    }
    const unsigned element = t.broadcast ? t.mem_size : t.element;
    const unsigned count = t.mem_size / element;
    const u64 needed = elements_needed(selection(cpu, t), t, count);
    cpu.running = &in;
    return load_selected(cpu, in, cpu.effective(in), needed, element, count, bounce) ? bounce : nullptr;
}

bool masked_store(Cpu& cpu, const Insn& in, const ThunkCall& t, const u8* from) {
    if (!aligned(cpu, in, t, Access::write)) return false;
    if (!t.suppresses) {
        u64 linear;
        if (!operand_address(cpu, in, t, Access::write, linear) ||
            !cpu.probe_write(in.seg(), linear, t.mem_size))
            return false;
    }
    cpu.running = &in;
    return store_selected(cpu, in, cpu.effective(in), selection(cpu, t), t.element, t.mask_bits, from);
}

template <Memory memory, bool with_mxcsr> Outcome run_evex(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    CpuState& s = cpu;
    if (avx512_blocked(s)) [[unlikely]] return raise_blocked(cpu, Domain::avx512);
    u8* const base = bytes_of(s);
    alignas(64) u8 bounce[64];
    void* rm = base + t.rm.at(in.rm);
    u64 linear = 0;
    const bool masked = t.mask_number != 0 && t.mask_bits != 0;
    if constexpr (memory == Memory::read) {
        if (masked && t.suppresses) {
            rm = masked_source(cpu, in, t, bounce);
        } else {
            if (!operand_address(cpu, in, t, Access::read, linear)) return cpu.failed();
            rm = readable(cpu, in.seg(), linear, t.mem_size, bounce);
        }
        if (!rm) return cpu.failed();
    }
    if constexpr (memory == Memory::write) {
        if (!masked && !operand_address(cpu, in, t, Access::write, linear)) return cpu.failed();
        rm = bounce;  // as on processors, MXCSR has its flags even when the store then faults
    }
    const u32 result = t.entry(base + t.reg.at(in.reg), rm, base + t.vvvv, base + t.is4, &s);
    if constexpr (with_mxcsr) {
        restore_mxcsr(s.fx);
        if (result != 0) [[unlikely]] return raise_simd_exception(cpu);
    }
    if constexpr (memory == Memory::write) {
        const bool stored = masked ? masked_store(cpu, in, t, bounce)
                                   : store_sized(cpu, in.seg(), linear, bounce, t.mem_size);
        if (!stored) return cpu.failed();
    }
    return Outcome::next;
}

template <Memory memory> Code choose(bool with_mxcsr) {
    return with_mxcsr ? code<run_evex<memory, true>>() : code<run_evex<memory, false>>();
}

}  // namespace

Code evex_code(const ThunkCall& t) {
    const bool with_mxcsr = t.row->traits & traits::mxcsr;
    if (t.mem_read) return choose<Memory::read>(with_mxcsr);
    if (t.mem_written) return choose<Memory::write>(with_mxcsr);
    return choose<Memory::none>(with_mxcsr);
}

}  // namespace droste
