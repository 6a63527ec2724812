// SPDX-License-Identifier: Apache-2.0
// InsnRow: everything that is stated about an instruction form, once. Decoder, #UD rules, CPUID bits, names, fuzz
// generator and timing derive from it.
#pragma once
#include <array>
#include <span>
#include <string_view>

#include "cpu/decode/encoding.h"
#include "cpu/decode/operands.h"
#include "cpu/features.h"
#include "cpu/insn.h"

namespace droste {

/// Bodies by form: [0] register r/m, [1] memory r/m; then by log2(operand size).
/// Built by the helpers below; most rows have one body for everything.
struct Bodies {
    std::array<std::array<Code, 4>, 2> by{};
    constexpr Bodies() = default;
    /// One body for all forms and sizes.
    constexpr Bodies(Code all) : by{{{all, all, all, all}, {all, all, all, all}}} {}
    /// One for registers, one for memory.
    constexpr Bodies(Code reg, Code mem) : by{{{reg, reg, reg, reg}, {mem, mem, mem, mem}}} {}
    constexpr Bodies(std::array<Code, 4> reg, std::array<Code, 4> mem) : by{reg, mem} {}
};

/// Which state an instruction belongs to: decides the #UD and #NM checks on CR0, CR4 and XCR0 that come before it.
enum class Domain : u8 { general, x87, mmx, sse, avx, avx512, amx };

/// Bits of InsnRow::traits.
namespace traits {
inline constexpr u32 ends_block = 1;       ///< branches, mode changes, events may be recognised after it
inline constexpr u32 lockable = 2;         ///< LOCK is allowed with a memory destination; else LOCK gives #UD
inline constexpr u32 only64 = 4;           ///< #UD outside 64-bit mode
inline constexpr u32 no64 = 8;             ///< #UD in 64-bit mode
inline constexpr u32 default64 = 16;       ///< operand size 64 by default in 64-bit mode (66 still gives 16)
inline constexpr u32 force64 = 32;         ///< operand size 64 in 64-bit mode whatever the prefixes
inline constexpr u32 protected_only = 64;  ///< #UD in real-address and virtual-8086 mode
inline constexpr u32 rep = 128;            ///< a string instruction: F2/F3 repeat
inline constexpr u32 aligned = 256;        ///< the memory operand must be aligned to its size, else #GP(0)
inline constexpr u32 host_thunk = 512;     ///< executed by a generated thunk with the host's own instruction
inline constexpr u32 mxcsr = 1024;         ///< reads or sets MXCSR (may raise #XM)
inline constexpr u32 privileged = 2048;    ///< #GP(0) when CPL > 0
inline constexpr u32 not_user_fuzzed = 4096;  ///< no host-CPU oracle (system instruction, or not deterministic)
inline constexpr u32 no_rep_prefix = 8192;   ///< F2 and F3 give #UD although 66 selects the operand size
inline constexpr u32 control = 16384;      ///< x87: does not check for pending exceptions first (FNxxx)
inline constexpr u32 packed = 1 << 25;       ///< VCOMPRESS, VEXPAND: memory holds the selected elements alone
inline constexpr u32 own_masking = 1 << 27;  ///< EVEX: the bodies do the masking themselves
inline constexpr u32 distinct = 1 << 26;     ///< EVEX: #UD when the destination is also a source
/// The form that code under control-flow enforcement executes: matches in mode_bits::cet alone, before plain rows.
inline constexpr u32 cet = 1 << 15;
/// Without the feature the prefix is ignored or the encoding is a NOP: another row is meant (TZCNT and BSF).
inline constexpr u32 hint = 1 << 17;
inline constexpr u32 endbranch = 1 << 16;    ///< ENDBR32, ENDBR64: what a tracked indirect branch must meet
}  // namespace traits

struct InsnRow {
    std::string_view mnemonic;             ///< SDM name: "ADD"
    Encoding encoding;                     ///< "01 /r"_op
    Operands operands;                     ///< "+Ev, Gv"_operands (opcode-map codes; + read-write, = written)
    Bodies run{};                          ///< null for host_thunk rows
    Feature needs = Feature::base;         ///< #UD unless enumerated
    u32 traits = 0;
    FlagUse flags{};                       ///< "w:OSZAPC u:A r:C"_flags
    Domain domain = Domain::general;
};

/// A folder's contribution to the instruction set; vmx hands in its own at start-up.
using RowSpan = std::span<const InsnRow>;

}  // namespace droste
