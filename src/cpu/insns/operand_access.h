// SPDX-License-Identifier: Apache-2.0
// Helpers of instruction bodies for operands: addresses that are not simply ModRM's, unaligned host access,
// sizes.
#pragma once
#include "cpu/cpu.h"
#include "cpu/decode/row.h"
#include "cpu/interp/handlers.h"

namespace droste {

/// A row of an instruction that every processor has.
consteval InsnRow row(std::string_view name, Encoding encoding, Operands operands, Bodies run,
                      FlagUse flags = {}, u32 traits = 0) {
    return {name, encoding, operands, run, Feature::base, traits, flags};
}

/// Bits of an effective address of log2(address size / 2) = `asz`.
constexpr u64 address_mask(unsigned asz) { return asz == 0 ? 0xFFFF : asz == 1 ? 0xFFFFFFFF : ~0ull; }

/// Linear address of offset `ea` in the segment of the instruction's memory operand; `ea` is already cut.
inline bool operand_at(Cpu& cpu, const Insn& in, u64 ea, unsigned size, Access access, u64& linear) {
    if (in.fl & insn_flags::segmented) [[unlikely]] return cpu.segmented(in.seg(), ea, size, access, linear);
    linear = cpu.ea_base[in.seg()] + ea;
    return true;
}

template <class T> T get(const Rmw<T>& m) {
    T v;
    std::memcpy(&v, m.p, sizeof v);
    return v;
}
template <class T> void put(Rmw<T>& m, T v) { std::memcpy(static_cast<void*>(m.p), &v, sizeof v); }

/// The access at `linear` was locked.
inline void lock_asserted(Cpu& cpu, u64 linear, unsigned size) {
    cpu.charge(CostEvent::lock);
    if (cpu.watch_bus_locks) [[unlikely]] cpu.locked_access(linear, size);
}
/// After a read-modify-write, before the registers of its address change.
inline void charge_lock(Cpu& cpu, const Insn& in, unsigned size) {
    if (in.lock()) [[unlikely]] lock_asserted(cpu, cpu.ea_base[in.seg()] + cpu.effective(in), size);
}
inline void charge_lock_at(Cpu& cpu, const Insn& in, u64 linear, unsigned size) {
    if (in.lock()) [[unlikely]] lock_asserted(cpu, linear, size);
}

template <class T, class F> [[gnu::noinline]] Outcome modify_elsewhere(Cpu& cpu, const Insn& in, F f) {
    Rmw<T> m;
    if (!cpu.begin_rmw(in, m)) return cpu.failed();
    u16 flags = cpu.flags;
    put(m, f(flags, get(m)));
    if (!cpu.end_rmw(m)) return cpu.failed();
    cpu.flags = flags;
    charge_lock(cpu, in, sizeof(T));
    return Outcome::next;
}
/// Read-modify-write of the memory operand: f(flags, old) gives the new value. A fault changes nothing.
template <class T, class F> [[gnu::always_inline]] inline Outcome modify(Cpu& cpu, const Insn& in, F f) {
    T* const p = cpu.writable<T>(in);
    if (p == nullptr) [[unlikely]] return modify_elsewhere<T>(cpu, in, f);
    T v;
    std::memcpy(&v, static_cast<const void*>(p), sizeof v);
    v = f(cpu.flags, v);
    std::memcpy(static_cast<void*>(p), &v, sizeof v);
    charge_lock(cpu, in, sizeof(T));
    return Outcome::next;
}

/// Cpu::push and pop with the knowledge that stack operations of 64 bits exist in 64-bit mode alone.
template <class T> bool push(Cpu& cpu, T v) {
    if constexpr (sizeof(T) == 8) {
        const u64 sp = cpu.reg(Gpr::rsp) - 8;
        if (!cpu.store(static_cast<unsigned>(Seg::ss), sp, v)) [[unlikely]] return false;
        cpu.reg(Gpr::rsp) = sp;
        return true;
    } else {
        return cpu.push(v);
    }
}
template <class T> bool pop(Cpu& cpu, T& v) {
    if constexpr (sizeof(T) == 8) {
        const u64 sp = cpu.reg(Gpr::rsp);
        if (!cpu.load(static_cast<unsigned>(Seg::ss), sp, v)) [[unlikely]] return false;
        cpu.reg(Gpr::rsp) = sp + 8;
        return true;
    } else {
        return cpu.pop(v);
    }
}

/// Writes a register that counts or addresses, in the width of the address size (a 32-bit write clears the
/// rest).
inline void set_by_address_size(Cpu& cpu, const Insn& in, Gpr r, u64 v) {
    if (in.asz() == 0) cpu.set_reg<u16>(static_cast<unsigned>(r), static_cast<u16>(v));
    else cpu.reg(r) = v & address_mask(in.asz());
}

}  // namespace droste
