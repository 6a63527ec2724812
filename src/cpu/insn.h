// SPDX-License-Identifier: Apache-2.0
// Insn and Block: the decoded forms that every engine executes. Layout shared by interpreter, JIT and timing.
#pragma once
#include <cstddef>

#include "base/types.h"
#include "cpu/fault.h"

namespace droste {

struct Cpu;
struct Insn;
struct Block;
struct ThunkCall;

/// Semantics of an instruction, written once; every engine derives its form from it.
/// Called with Cpu::rip NOT updated: use Cpu::insn_rip(in) and Cpu::next_rip(in).
using Body = Outcome (*)(Cpu&, const Insn&);
/// A body wrapped for the threaded interpreter: executes, then tail-calls the following handler.
using Handler = void (*)(Cpu&, const Insn*);

/// A body with its threaded form. Made by code<body>() (cpu/interp/handlers.h).
struct Code {
    Body body = nullptr;
    Handler fast = nullptr;
};

namespace insn_flags {
inline constexpr u8 mem = 1;         ///< the r/m operand is memory (base, index, scale, disp, seg are valid)
inline constexpr u8 lock = 2;
inline constexpr u8 segmented = 4;   ///< non-flat mode: memory accesses go through the segment checks
inline constexpr u8 rex = 8;
inline constexpr u8 vex = 16;
inline constexpr u8 l256 = 32;       ///< VEX.L
inline constexpr u8 cut = 64;        ///< addresses are cut to 16 or 32 bits
}  // namespace insn_flags

enum class Rep : u8 { none, repne, rep };  ///< F2, F3

/// One decoded instruction, 32 bytes.
struct Insn {
    Handler h;              ///< threaded entry; replaced by the stale handler when its bytes are overwritten
    union {
        u64 imm;            ///< immediate, sign-extended as the instruction uses it; relative branches: displacement;
                            ///< far pointers: selector << 32 | offset; ENTER: iw | ib << 16;
                            ///< VEX GPR forms with vvvv: the register index
        const ThunkCall* thunk;
    };
    i32 disp;               ///< for RIP-relative forms: relative to the start of the block (base = slot_rip)
    u16 op;                 ///< row of the table (Isa::row(op))
    u16 offset;             ///< from the start of the block, in bytes
    u8 reg;                 ///< ModRM.reg or opcode register: index, or byte offset in gpr[] for byte operands
    u8 rm;                  ///< ModRM.rm when a register: likewise
    u8 base, index;         ///< slots in gpr[]
    u8 sc_seg;              ///< scale 1:0, seg 4:2, log2(address size / 2) 6:5 (0 = 16, 1 = 32, 2 = 64)
    u8 osz_rep;             ///< log2(operand size) 1:0 (0 = 8 .. 3 = 64 bits), Rep 3:2, no-track prefix 4
    u8 len;
    u8 fl;                  ///< insn_flags

    unsigned scale() const { return sc_seg & 3; }
    unsigned seg() const { return (sc_seg >> 2) & 7; }
    unsigned asz() const { return (sc_seg >> 5) & 3; }
    unsigned osz() const { return osz_rep & 3; }
    Rep rep() const { return static_cast<Rep>((osz_rep >> 2) & 3); }
    /// The last segment prefix is 3EH: an indirect branch is not tracked, where software allows that.
    bool no_track() const { return osz_rep & 16; }
    bool mem() const { return fl & insn_flags::mem; }
    bool lock() const { return fl & insn_flags::lock; }
};
static_assert(sizeof(Insn) == 32);

/// What else than the bytes decides the decoding: the mode key of a block.
namespace mode_bits {
inline constexpr u32 code16 = 0, code32 = 1, code64 = 2, code_mask = 3;
inline constexpr u32 stack32 = 4;    ///< SS.B (or 64-bit mode)
inline constexpr u32 segmented = 8;  ///< some of CS, DS, ES, SS is not flat, or real / virtual-8086 mode
inline constexpr u32 user = 16;      ///< CPL 3
inline constexpr u32 step = 32;      ///< TF, breakpoints, MTF: never enter the fast path
inline constexpr u32 real = 64;      ///< real-address or virtual-8086 mode
inline constexpr u32 cet = 128;      ///< shadow stacks or indirect-branch tracking are on at this CPL
inline constexpr u32 endbranch = 256;  ///< the tracker waits: the first instruction must be ENDBR32 or ENDBR64
}  // namespace mode_bits

inline constexpr unsigned max_block_insns = 64;

/// Straight-line code within one page, ending at a branch, a page end, or an instruction that may change the mode.
struct Block {
    u64 phys;               ///< machine-physical address of the first byte; ~0 when invalidated
    u32 mode;               ///< mode_bits
    u16 n;                  ///< instructions, without the sentinel
    u16 bytes;
    u64 granules;           ///< 64-byte lines of the page that hold its bytes
    Block* next_in_frame;   ///< list of the blocks in the same frame
    u32 exec;               ///< times entered (for the JIT)
    void* host;             ///< JIT code
    Insn insn[1];           ///< n instructions, then the sentinel
};

}  // namespace droste
