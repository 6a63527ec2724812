// SPDX-License-Identifier: Apache-2.0
// x87 instructions: the guest's x87 state is loaded, the instruction executed, the state taken back.
#include "cpu/thunk/x87_body.h"

#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/build.h"
#include "cpu/thunk/operand_memory.h"
#include "cpu/thunk/thunk.h"

namespace droste {

namespace {

/// The x87 part of the FXSAVE image: control and pointers, then the register stack.
constexpr std::size_t x87_bytes = offsetof(FxArea, rest);

/// Exceptions that suppress the store of a result to memory when they are unmasked: invalid operation, overflow,
/// underflow (SDM "Overflow exception", "Underflow exception"; after an inexact result the store happens).
constexpr unsigned store_suppressing = 1 | 8 | 16;

/// SDM "x87 FPU Instruction and Data (Operand) Pointers".
void update_pointers(Cpu& cpu, const Insn& in, const ThunkCall& t, FxArea& image) {
    if (image.fip != reinterpret_cast<u64>(t.entry) + x87_insn_offset) {
        // A control instruction: the pointers stay (FNINIT clears them, the host has done that).
        return;
    }
    const bool segments = !cpu.code64() && !cpu.has(Feature::fcs_fds_deprecated);
    image.fip = cpu.insn_rip(in);
    if (!cpu.code64()) image.fip &= 0xFFFFFFFF;
    if (segments) image.fip |= u64(cpu.segment(Seg::cs).selector) << 32;
    const bool unmasked = image.fsw & fsw_error_summary;
    image.fop = cpu.fx.fop;
    image.fdp = cpu.fx.fdp;
    if (unmasked) image.fop = static_cast<u16>((t.row->encoding.opcode & 7) << 8 | t.modrm);
    if (t.mem_size && (unmasked || !cpu.has(Feature::fdp_excptn_only))) {
        image.fdp = cpu.effective(in);
        if (segments) image.fdp |= u64(cpu.seg[in.seg()].selector) << 32;
    }
}

/// Eighty bits are written as eight bytes and two: with the second part in a page that faults the first is written.
bool store_result(Cpu& cpu, const Insn& in, const ThunkCall& t, u64 linear, const u8* from) {
    if (t.mem_size != 10) return store_sized(cpu, in.seg(), linear, from, t.mem_size);
    return store_sized(cpu, in.seg(), linear, from, 8) && store_sized(cpu, in.seg(), linear + 8, from + 8, 2);
}

Outcome run_x87(Cpu& cpu, const Insn& in) {
    const ThunkCall& t = *in.thunk;
    if (x87_blocked(cpu)) [[unlikely]] return raise_blocked(cpu, Domain::x87);
    const bool waits = !(t.row->traits & traits::control);
    if (waits && (cpu.fx.fsw & fsw_error_summary)) [[unlikely]] return raise_x87_pending(cpu);

    alignas(16) u8 bounce[16];
    void* operand = bounce;
    u64 linear = 0;
    if (t.mem_size) {
        if (!cpu.operand(in, t.mem_size, t.mem_read ? Access::read : Access::write, linear)) return cpu.failed();
        if (t.mem_read) operand = readable(cpu, in.seg(), linear, t.mem_size, bounce);
        if (!operand) return cpu.failed();
    }
    alignas(FxArea) std::array<u8, sizeof(FxArea)> image_bytes;  // what lies beyond the x87 part has no meaning
    FxArea& image = *reinterpret_cast<FxArea*>(image_bytes.data());
    std::memcpy(static_cast<void*>(&image), &cpu.fx, x87_bytes);
    image.mxcsr = 0x1F80;
    t.entry(&image, operand, nullptr, nullptr, &cpu);
    image.mxcsr = cpu.fx.mxcsr;
    image.mxcsr_mask = cpu.fx.mxcsr_mask;
    update_pointers(cpu, in, t, image);
    if (t.mem_written) {
        const bool suppressed = waits && (image.fsw & ~image.fcw & store_suppressing);
        if (!suppressed && !store_result(cpu, in, t, linear, bounce)) return cpu.failed();
    }
    std::memcpy(static_cast<void*>(&cpu.fx), &image, x87_bytes);
    return Outcome::next;
}

}  // namespace

Code x87_code() { return code<run_x87>(); }

}  // namespace droste
