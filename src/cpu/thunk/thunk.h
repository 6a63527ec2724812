// SPDX-License-Identifier: Apache-2.0
// ThunkCall: how a decoded MMX, SSE, AVX or x87 instruction is executed by code that ThunkCache generates.
#pragma once
#include <memory>
#include <unordered_map>

#include "cpu/decode/decoder.h"
#include "cpu/insn.h"
#include "cpu/state.h"
#include "cpu/thunk/code_buffer.h"
#include "cpu/thunk/x87_fast.h"

namespace droste {

/// Generated code around one host instruction. Operands are given by address: a register's place in CpuState,
/// or for memory a bounce buffer or the guest's page itself. Returns 0, or 1 when the instruction raised an
/// unmasked SIMD floating-point exception; then only MXCSR was written. x87 thunks: `reg` is the FXSAVE image
/// that is loaded and saved around the instruction, `rm` the memory operand.
using ThunkEntry = u32 (*)(void* reg, void* rm, void* vvvv, void* is4, CpuState* state);

/// Where the register numbered n of an operand stands: offset + ((n & mask) << shift), in CpuState.
struct RegisterFile {
    u32 offset = 0;
    u8 mask = 15;
    u8 shift = 0;
    std::size_t at(unsigned n) const { return offset + (std::size_t(n & mask) << shift); }
};

struct ThunkCall {
    ThunkEntry entry = nullptr;
    ThunkEntry fast_entry = nullptr;  ///< x87: the short code, or null
    X87Fast fast;
    Code code;                 ///< what Insn::h is made from
    RegisterFile reg, rm;
    u32 vvvv = 0;              ///< offset in CpuState
    u32 is4 = 0;               ///< offset in CpuState; EVEX: of the opmask register
    u8 vvvv_number = 0;        ///< for bodies written in C++
    u8 mask_number = 0;        ///< EVEX.aaa
    u8 vector_bytes = 0;       ///< EVEX
    u8 mask_bits = 0;          ///< EVEX: bits of the opmask that take part
    u8 element = 0;            ///< EVEX: bytes of an element of the memory operand
    bool zeroing = false, broadcast = false, suppresses = false;  ///< EVEX; the last: see Operands
    u8 imm = 0;
    u8 modrm = 0;              ///< x87: for FOP and the register number
    u8 mem_size = 0;           ///< bytes of the memory operand
    u8 align_mask = 0;         ///< linear address bits that must be 0, else #GP(0)
    bool mem_read = false, mem_written = false;
    bool mmx_transition = false;  ///< touches an MMX register: TOP becomes 0, all tags valid
    u8 mmx_written = 0;        ///< 1: `reg` is a written MMX register, 2: `rm` is
    Domain domain = Domain::sse;
    const InsnRow* row = nullptr;
};

/// All thunks of an instruction set; one for each processor, so that it needs no lock.
class ThunkCache {
public:
    /// Needs executable memory: host_allows() says beforehand whether the host gives it.
    ThunkCache();
    /// To be asked when a machine is made: a user's host may forbid generated code.
    static Status host_allows();

    /// For rows with traits::host_thunk: the call to put into Insn::thunk; its `code` is the Insn's Code
    /// (also when the row has a C++ body that needs what Insn cannot hold: vvvv beside a memory operand).
    /// Lives as long as the cache. `mode`: mode_bits. The number of different calls is bounded by the
    /// instruction set, not by the guest.
    const ThunkCall* call_for(const Decoded& d, u32 mode);

    /// The next call_for() may find no room: reset() first, when no block refers to calls any more.
    bool full() const;
    void reset();

    std::size_t code_bytes() const { return buffer_.used(); }
    std::size_t calls() const { return calls_.size(); }

private:
    CodeBuffer buffer_;
    ThunkEntry place(const Emitter& e) { return reinterpret_cast<ThunkEntry>(buffer_.place(e.code())); }
    std::unordered_map<u64, ThunkEntry> entries_;
    std::unordered_map<u64, std::unique_ptr<ThunkCall>> calls_;
};

}  // namespace droste
