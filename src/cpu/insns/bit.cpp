// SPDX-License-Identifier: Apache-2.0
// Bits: BT BTS BTR BTC, BSF BSR, LZCNT TZCNT POPCNT, BSWAP, CRC32.
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"

namespace droste {
namespace {

using host::BitTest;
using host::Scan;

template <BitTest op, class T> Outcome test_reg(Cpu& cpu, const Insn& in, T index) {
    const T r = host::bit_test<op, T>(cpu.flags, cpu.reg<T>(in.rm), index);
    if constexpr (op != BitTest::bt) cpu.set_reg<T>(in.rm, r);
    return Outcome::next;
}
template <BitTest op, class T> Outcome test_mem(Cpu& cpu, const Insn& in, u64 linear, T index) {
    if constexpr (op == BitTest::bt) {
        T v;
        if (!cpu.load(in.seg(), linear, v)) [[unlikely]] return cpu.failed();
        host::bit_test<op, T>(cpu.flags, v, index);
    } else {
        Rmw<T> m;
        if (!cpu.begin_rmw(in.seg(), linear, m)) [[unlikely]] return cpu.failed();
        u16 flags = cpu.flags;
        put(m, host::bit_test<op, T>(flags, get(m), index));
        if (!cpu.end_rmw(m)) [[unlikely]] return cpu.failed();
        cpu.flags = flags;
        charge_lock_at(cpu, in, linear, sizeof(T));
    }
    return Outcome::next;
}

template <BitTest op> constexpr Access access_of = op == BitTest::bt ? Access::read : Access::write;

template <BitTest op, class T> Outcome by_register(Cpu& cpu, const Insn& in) {
    return test_reg<op, T>(cpu, in, cpu.reg<T>(in.reg));
}
template <BitTest op, class T> Outcome by_immediate(Cpu& cpu, const Insn& in) {
    return test_reg<op, T>(cpu, in, static_cast<T>(in.imm));
}
// A register offset is signed and reaches beyond the operand: the operand-sized unit that holds the bit is
// accessed.
template <BitTest op, class T> Outcome memory_by_register(Cpu& cpu, const Insn& in) {
    const T index = cpu.reg<T>(in.reg);
    const i64 offset = static_cast<std::make_signed_t<T>>(index);
    constexpr unsigned log2_bits = std::countr_zero(sizeof(T) * 8);
    const u64 unit = static_cast<u64>(offset >> log2_bits) * sizeof(T);
    const u64 ea = (cpu.effective(in) + unit) & address_mask(in.asz());
    u64 linear;
    if (!operand_at(cpu, in, ea, sizeof(T), access_of<op>, linear)) [[unlikely]] return cpu.failed();
    return test_mem<op, T>(cpu, in, linear, index);
}
template <BitTest op, class T> Outcome memory_by_immediate(Cpu& cpu, const Insn& in) {
    u64 linear;
    if (!cpu.operand(in, sizeof(T), access_of<op>, linear)) [[unlikely]] return cpu.failed();
    return test_mem<op, T>(cpu, in, linear, static_cast<T>(in.imm));
}
template <BitTest op> consteval Bodies ev_gv() {
    return {
        {Code{}, code<by_register<op, u16>>(), code<by_register<op, u32>>(), code<by_register<op, u64>>()},
        {Code{}, code<memory_by_register<op, u16>>(), code<memory_by_register<op, u32>>(),
         code<memory_by_register<op, u64>>()}};
}
template <BitTest op> consteval Bodies ev_ib() {
    return {
        {Code{}, code<by_immediate<op, u16>>(), code<by_immediate<op, u32>>(), code<by_immediate<op, u64>>()},
        {Code{}, code<memory_by_immediate<op, u16>>(), code<memory_by_immediate<op, u32>>(),
         code<memory_by_immediate<op, u64>>()}};
}

// The full registers go through the host's instruction: BSF and BSR of 0 leave the destination its own way. A
// 16-bit form keeps bits 63:16 of the destination; a 32-bit form clears bits 63:32 as the host does.
template <Scan op, class T> Outcome scan_reg(Cpu& cpu, const Insn& in) {
    cpu.gpr[in.reg] = host::scan<op, T>(cpu.flags, cpu.gpr[in.reg], cpu.gpr[in.rm]);
    return Outcome::next;
}
template <Scan op, class T> Outcome scan_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.gpr[in.reg] = host::scan<op, T>(cpu.flags, cpu.gpr[in.reg], v);
    return Outcome::next;
}
template <Scan op> consteval Bodies scan_forms() {
    return {{Code{}, code<scan_reg<op, u16>>(), code<scan_reg<op, u32>>(), code<scan_reg<op, u64>>()},
            {Code{}, code<scan_mem<op, u16>>(), code<scan_mem<op, u32>>(), code<scan_mem<op, u64>>()}};
}

// SDM "BSWAP": undefined for 16 bits; Intel processors clear the register's low half.
Outcome bswap16(Cpu& cpu, const Insn& in) {
    cpu.set_reg<u16>(in.reg, 0);
    return Outcome::next;
}
Outcome bswap32(Cpu& cpu, const Insn& in) {
    cpu.set_reg<u32>(in.reg, __builtin_bswap32(cpu.reg<u32>(in.reg)));
    return Outcome::next;
}
Outcome bswap64(Cpu& cpu, const Insn& in) {
    cpu.gpr[in.reg] = __builtin_bswap64(cpu.gpr[in.reg]);
    return Outcome::next;
}
constexpr std::array<Code, 4> bswap_sizes{Code{}, code<bswap16>(), code<bswap32>(), code<bswap64>()};

// The result always clears bits 63:32 of the destination.
template <class T> u32 crc32(u32 crc, T v) {
    u64 r = crc;
    if constexpr (sizeof(T) == 1) asm("crc32b %[v], %k[r]" : [r] "+r"(r) : [v] "r"(v));
    else if constexpr (sizeof(T) == 2) asm("crc32w %[v], %k[r]" : [r] "+r"(r) : [v] "r"(v));
    else if constexpr (sizeof(T) == 4) asm("crc32l %[v], %k[r]" : [r] "+r"(r) : [v] "r"(v));
    else asm("crc32q %[v], %q[r]" : [r] "+r"(r) : [v] "r"(v));
    return static_cast<u32>(r);
}
template <class T> Outcome crc32_reg(Cpu& cpu, const Insn& in) {
    cpu.gpr[in.reg] = crc32<T>(cpu.reg<u32>(in.reg), cpu.reg<T>(in.rm));
    return Outcome::next;
}
template <class T> Outcome crc32_mem(Cpu& cpu, const Insn& in) {
    T v;
    if (!cpu.load(in, v)) [[unlikely]] return cpu.failed();
    cpu.gpr[in.reg] = crc32<T>(cpu.reg<u32>(in.reg), v);
    return Outcome::next;
}

// LZCNT and TZCNT are BSR and BSF with F3. Where a model does not enumerate them the prefix is ignored, so
// that the rows without prefix apply (traits::hint).
using traits::lockable;

constexpr InsnRow rows[] = {
    // clang-format off
    row("BT", "0F A3 /r"_op, "Ev, Gv"_operands, ev_gv<BitTest::bt>(), "w:C u:OSAP"_flags),
    row("BTS", "0F AB /r"_op, "+Ev, Gv"_operands, ev_gv<BitTest::bts>(), "w:C u:OSAP"_flags, lockable),
    row("BTR", "0F B3 /r"_op, "+Ev, Gv"_operands, ev_gv<BitTest::btr>(), "w:C u:OSAP"_flags, lockable),
    row("BTC", "0F BB /r"_op, "+Ev, Gv"_operands, ev_gv<BitTest::btc>(), "w:C u:OSAP"_flags, lockable),
    row("BT", "0F BA /4 ib"_op, "Ev, Ib"_operands, ev_ib<BitTest::bt>(), "w:C u:OSAP"_flags),
    row("BTS", "0F BA /5 ib"_op, "+Ev, Ib"_operands, ev_ib<BitTest::bts>(), "w:C u:OSAP"_flags, lockable),
    row("BTR", "0F BA /6 ib"_op, "+Ev, Ib"_operands, ev_ib<BitTest::btr>(), "w:C u:OSAP"_flags, lockable),
    row("BTC", "0F BA /7 ib"_op, "+Ev, Ib"_operands, ev_ib<BitTest::btc>(), "w:C u:OSAP"_flags, lockable),
    row("BSF", "0F BC /r"_op, "+Gv, Ev"_operands, scan_forms<Scan::bsf>(), "w:Z u:OSAPC"_flags),
    row("BSR", "0F BD /r"_op, "+Gv, Ev"_operands, scan_forms<Scan::bsr>(), "w:Z u:OSAPC"_flags),
    {"TZCNT", "F3 0F BC /r"_op, "=Gv, Ev"_operands, scan_forms<Scan::tzcnt>(), Feature::bmi1, traits::hint,
     "w:ZC u:OSAP"_flags},
    {"LZCNT", "F3 0F BD /r"_op, "=Gv, Ev"_operands, scan_forms<Scan::lzcnt>(), Feature::lzcnt, traits::hint,
     "w:ZC u:OSAP"_flags},
    {"POPCNT", "F3 0F B8 /r"_op, "=Gv, Ev"_operands, scan_forms<Scan::popcnt>(), Feature::popcnt, 0,
     "w:OSZAPC"_flags},
    {"BSWAP", "0F C8+r"_op, "+Zv"_operands, Bodies{bswap_sizes, bswap_sizes}},
    {"CRC32", "F2 0F 38 F0 /r"_op, "+Gy, Eb"_operands, Bodies{code<crc32_reg<u8>>(), code<crc32_mem<u8>>()},
     Feature::sse4_2},
    {"CRC32", "F2 0F 38 F1 /r"_op, "+Gy, Ev"_operands,
     Bodies{{Code{}, code<crc32_reg<u16>>(), code<crc32_reg<u32>>(), code<crc32_reg<u64>>()},
            {Code{}, code<crc32_mem<u16>>(), code<crc32_mem<u32>>(), code<crc32_mem<u64>>()}},
     Feature::sse4_2},
    // clang-format on
};

}  // namespace

RowSpan bit_rows() { return rows; }

}  // namespace droste
