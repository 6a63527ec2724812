// SPDX-License-Identifier: Apache-2.0
// x87 instructions: the guest's x87 state is loaded, the instruction executed, the state taken back.
#include "cpu/thunk/x87_body.h"

#include <algorithm>
#include <bit>

#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/build.h"
#include "cpu/thunk/mmx_state.h"
#include "cpu/thunk/operand_memory.h"
#include "cpu/thunk/thunk.h"

namespace droste {

namespace {

/// The x87 part of the FXSAVE image: control and pointers, then the register stack.
constexpr std::size_t x87_bytes = offsetof(FxArea, rest);

/// Exceptions that suppress the store of a result to memory when they are unmasked: invalid operation,
/// overflow, underflow (SDM "Overflow exception", "Underflow exception"; after an inexact result the store
/// happens).
constexpr unsigned store_suppressing = 1 | 8 | 16;

constexpr u16 exception_masks = 0x3F, exception_flags = 0x3F;
constexpr u16 host_control_word = 0x37F;

/// SDM "x87 FPU Instruction and Data (Operand) Pointers".
void update_pointers(Cpu& cpu, const Insn& in, const ThunkCall& t, FxArea& fx, bool unmasked) {
    const bool segments = !cpu.code64() && !cpu.has(Feature::fcs_fds_deprecated);
    fx.fip = cpu.insn_rip(in);
    if (!cpu.code64()) fx.fip &= 0xFFFFFFFF;
    if (segments) fx.fip |= u64(cpu.segment(Seg::cs).selector) << 32;
    if (unmasked) fx.fop = static_cast<u16>((t.row->encoding.opcode & 7) << 8 | t.modrm);
    if (t.mem_size && (unmasked || !cpu.has(Feature::fdp_excptn_only))) {
        fx.fdp = cpu.effective(in);
        if (segments) fx.fdp |= u64(cpu.seg[in.seg()].selector) << 32;
    }
}

/// Eighty bits are written as eight bytes and two: with the second part in a page that faults the first is
/// written.
bool store_result(Cpu& cpu, const Insn& in, const ThunkCall& t, u64 linear, const u8* from) {
    if (t.mem_size != 10) return store_sized(cpu, in.seg(), linear, from, t.mem_size);
    return store_sized(cpu, in.seg(), linear, from, 8) && store_sized(cpu, in.seg(), linear + 8, from + 8, 2);
}

/// The memory operand: where the thunk finds or leaves it. False: the access failed.
bool operand_memory(Cpu& cpu, const Insn& in, const ThunkCall& t, u8* bounce, void*& operand, u64& linear) {
    operand = bounce;
    if (!t.mem_size) return true;
    if (!cpu.operand(in, t.mem_size, t.mem_read ? Access::read : Access::write, linear)) return false;
    if (t.mem_read) operand = readable(cpu, in.seg(), linear, t.mem_size, bounce);
    return operand != nullptr;
}

/// Any x87 instruction: the whole state goes to the host and back.
Outcome run_x87(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    if (x87_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::x87);
    const bool waits = !(t.row->traits & traits::control);
    if (waits && (cpu.fx.fsw & fsw_error_summary)) [[unlikely]] return raise_x87_pending(cpu);

    alignas(16) u8 bounce[16];
    void* operand;
    u64 linear;
    if (!operand_memory(cpu, in, t, bounce, operand, linear)) return cpu.failed();
    alignas(FxArea) std::array<u8, sizeof(FxArea)>
        image_bytes;  // what lies beyond the x87 part has no meaning
    FxArea& image = *reinterpret_cast<FxArea*>(image_bytes.data());
    std::memcpy(static_cast<void*>(&image), &cpu.fx, x87_bytes);
    image.mxcsr = 0x1F80;
    t.entry(&image, operand, nullptr, nullptr, &cpu);
    image.mxcsr = cpu.fx.mxcsr;
    image.mxcsr_mask = cpu.fx.mxcsr_mask;
    // A control instruction leaves the pointers (FNINIT clears them; the host has done that).
    if (image.fip == reinterpret_cast<u64>(t.entry) + x87_insn_offset) {
        image.fop = cpu.fx.fop;
        image.fdp = cpu.fx.fdp;
        update_pointers(cpu, in, t, image, image.fsw & fsw_error_summary);
    }
    if (t.mem_written) {
        const bool suppressed = waits && (image.fsw & ~image.fcw & store_suppressing);
        if (!suppressed && !store_result(cpu, in, t, linear, bounce)) return cpu.failed();
    }
    std::memcpy(static_cast<void*>(&cpu.fx), &image, x87_bytes);
    return Outcome::next;
}

void push(FxArea& fx) {
    std::rotate(fx.st.begin(), fx.st.begin() + 7, fx.st.end());
    const unsigned top = (x87_top(fx) - 1) & 7;
    fx.fsw = static_cast<u16>((fx.fsw & ~0x3800) | top << 11);
    fx.ftw = static_cast<u8>(fx.ftw | 1u << top);
}

void pop(FxArea& fx) {
    std::rotate(fx.st.begin(), fx.st.begin() + 1, fx.st.end());
    const unsigned top = x87_top(fx);
    fx.ftw = static_cast<u8>(fx.ftw & ~(1u << top));
    fx.fsw = static_cast<u16>((fx.fsw & ~0x3800) | ((top + 1) & 7) << 11);
}

/// The host's sticky flags are read as the instruction's: none may be there that the guest does not have
/// already.
void forget_host_exceptions(const FxArea& fx) {
    u16 host;
    asm volatile("fnstsw %0" : "=a"(host));
    if (host & ~fx.fsw & exception_flags) asm volatile("fnclex");
}

/// Instructions with short code, when nothing unusual can happen; else as any other.
Outcome run_x87_fast(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    FxArea& fx = cpu.fx;
    const u8 valid = std::rotr(fx.ftw, static_cast<int>(x87_top(fx)));  // bit i: ST(i)
    const bool usual = !x87_blocked(cpu) && !(fx.fsw & fsw_error_summary) &&
                       (fx.fcw & exception_masks) == exception_masks &&
                       (valid & t.fast.valid) == t.fast.valid && !(valid & t.fast.empty);
    if (!usual) [[unlikely]] return run_x87(cpu, in);
    alignas(16) u8 bounce[16];
    void* operand;
    u64 linear;
    if (!operand_memory(cpu, in, t, bounce, operand, linear)) return cpu.failed();
    forget_host_exceptions(fx);
    const bool other_control = fx.fcw != host_control_word;
    if (other_control) asm volatile("fldcw %0" : : "m"(fx.fcw));
    const u32 fsw = t.fast_entry(&fx, operand, nullptr, nullptr, &cpu);
    if (other_control) asm volatile("fldcw %0" : : "m"(host_control_word));
    if (t.mem_written && !store_result(cpu, in, t, linear, bounce)) return cpu.failed();
    fx.fsw = static_cast<u16>((fx.fsw & ~t.fast.condition_codes) |
                              (fsw & (t.fast.condition_codes | exception_flags)));
    update_pointers(cpu, in, t, fx, false);
    if (t.fast.fills < 8) fx.ftw = static_cast<u8>(fx.ftw | 1u << ((x87_top(fx) + t.fast.fills) & 7));
    if (t.fast.push) push(fx);
    for (unsigned i = 0; i < t.fast.pops; ++i) pop(fx);
    return Outcome::next;
}

}  // namespace

Code x87_code(const ThunkCall& t) { return t.fast_entry ? code<run_x87_fast>() : code<run_x87>(); }

}  // namespace droste
