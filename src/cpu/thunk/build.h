// SPDX-License-Identifier: Apache-2.0
// Builds a thunk's code: load the operands, the guest's instruction with other registers, store back.
#pragma once
#include "cpu/decode/decoder.h"
#include "cpu/thunk/emitter.h"

namespace droste {

/// What of a decoded instruction selects different machine code.
struct ThunkForm {
    const InsnRow* row = nullptr;
    bool w = false;    ///< REX.W or VEX.W as the host instruction needs it
    u8 l = 0;          ///< VEX.L, EVEX.L'L
    bool mem = false;
    bool b = false, z = false, masked = false;  ///< EVEX.b, EVEX.z, EVEX.aaa is not 0
    u8 imm = 0;        ///< immediate byte; is4 forms: only its low four bits
    u8 vector_bytes = 16;
    u8 modrm = 0;      ///< x87: the guest's ModRM
};

ThunkForm thunk_form(const Decoded& d);
/// MMX, SSE and AVX.
void build_vector_thunk(const ThunkForm& form, Emitter& e);
/// x87: the instruction stands at x87_insn_offset, to be recognised in the saved instruction pointer.
void build_x87_thunk(const ThunkForm& form, Emitter& e);
inline constexpr unsigned x87_insn_offset = 13;

}  // namespace droste
