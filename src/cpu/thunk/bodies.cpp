// SPDX-License-Identifier: Apache-2.0
// Bodies around thunks of MMX, SSE and AVX: availability, the memory operand, MXCSR, #XM.
#include "cpu/thunk/bodies.h"

#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/body_parts.h"
#include "cpu/thunk/evex_bodies.h"
#include "cpu/thunk/mmx_state.h"
#include "cpu/thunk/operand_memory.h"
#include "cpu/thunk/x87_body.h"

namespace droste {

namespace {

using namespace thunk_bodies;

template <Domain domain> bool blocked(const CpuState& s) {
    if constexpr (domain == Domain::avx) return avx_blocked(s);
    else if constexpr (domain == Domain::sse) return sse_blocked(s);
    else return mmx_blocked(s);
}

template <Domain domain, Memory memory, bool with_mxcsr> Outcome run_vector(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    CpuState& s = cpu;
    if (blocked<domain>(s)) [[unlikely]] return raise_blocked(cpu, domain);
    u8* const base = bytes_of(s);
    alignas(32) u8 bounce[32];
    void* rm = base + t.rm.at(in.rm);
    u64 linear = 0;
    if constexpr (memory != Memory::none) {
        if (!operand_address(cpu, in, t, memory == Memory::read ? Access::read : Access::write, linear))
            return cpu.failed();
        if constexpr (memory == Memory::read) {
            rm = readable(cpu, in.seg(), linear, t.mem_size, bounce);
            if (!rm) return cpu.failed();
        } else {
            rm = bounce;  // as on processors, MXCSR has its flags even when the store then faults
        }
    }
    const u32 result = t.entry(base + t.reg.at(in.reg), rm, base + t.vvvv, base + t.is4, &s);
    if constexpr (with_mxcsr) {
        restore_mxcsr(s.fx);
        if (result != 0) [[unlikely]] return raise_simd_exception(cpu);
    }
    if constexpr (memory == Memory::write) {
        if (!store_sized(cpu, in.seg(), linear, bounce, t.mem_size)) return cpu.failed();
    }
    return Outcome::next;
}

/// Any instruction with an MMX register.
template <Domain domain> Outcome run_mmx(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    CpuState& s = cpu;
    if (blocked<domain>(s)) [[unlikely]] return raise_blocked(cpu, domain);
    if (s.fx.fsw & fsw_error_summary) [[unlikely]] return raise_x87_pending(cpu);
    u8* const base = bytes_of(s);
    alignas(32) u8 bounce[32];
    void* rm = base + t.rm.at(in.rm);
    u64 linear = 0;
    if (t.mem_size) {
        if (!operand_address(cpu, in, t, t.mem_read ? Access::read : Access::write, linear))
            return cpu.failed();
        rm = t.mem_read ? readable(cpu, in.seg(), linear, t.mem_size, bounce) : bounce;
        if (!rm) return cpu.failed();
    }
    // Observed on Raptor Cove: the transition stays when #XM is raised; when a store faults, but for the
    // tags.
    const u8 tags = s.fx.ftw;
    mmx_transition(s.fx);
    const u32 result = t.entry(base + t.reg.at(in.reg), rm, base + t.vvvv, base + t.is4, &s);
    if (t.row->traits & traits::mxcsr) {
        restore_mxcsr(s.fx);
        if (result != 0) return raise_simd_exception(cpu);
    }
    if (t.mem_written && !store_sized(cpu, in.seg(), linear, bounce, t.mem_size)) {
        s.fx.ftw = tags;
        return cpu.failed();
    }
    if (t.mmx_written) mark_mmx_written(s.fx, t.mmx_written == 1 ? in.reg : in.rm);
    return Outcome::next;
}

template <Domain domain, Memory memory> Code choose(bool with_mxcsr) {
    return with_mxcsr ? code<run_vector<domain, memory, true>>() : code<run_vector<domain, memory, false>>();
}

template <Domain domain> Code choose(const ThunkCall& t) {
    const bool with_mxcsr = t.row->traits & traits::mxcsr;
    if (t.mem_read) return choose<domain, Memory::read>(with_mxcsr);
    if (t.mem_written) return choose<domain, Memory::write>(with_mxcsr);
    return choose<domain, Memory::none>(with_mxcsr);
}

}  // namespace

Code thunk_code(const ThunkCall& t) {
    switch (t.domain) {
    case Domain::x87: return x87_code(t);
    case Domain::avx: return choose<Domain::avx>(t);
    case Domain::avx512: return evex_code(t);
    case Domain::mmx: return code<run_mmx<Domain::mmx>>();
    case Domain::sse: return t.mmx_transition ? code<run_mmx<Domain::sse>>() : choose<Domain::sse>(t);
    case Domain::general: case Domain::amx: break;
    }
    ASSERT(!"a thunk belongs to a register domain");
    return {};
}

}  // namespace droste
