// SPDX-License-Identifier: Apache-2.0
// MMX, and the extensions that SSE, SSE2 and SSSE3 made to it.
#include "cpu/insns/tables.h"
#include "cpu/insns/thunk_rows.h"
#include "cpu/insns/vector_control.h"
#include "cpu/interp/handlers.h"
#include "cpu/thunk/availability.h"
#include "cpu/thunk/mmx_state.h"

namespace droste {

namespace {

using namespace thunk_rows;

Outcome emms(Cpu& cpu, const Insn&) {
    if (mmx_blocked(cpu)) return raise_blocked(cpu, Domain::mmx);
    if (cpu.fx.fsw & fsw_error_summary) return raise_x87_pending(cpu);
    mmx_transition(cpu.fx);
    cpu.fx.ftw = 0;
    return Outcome::next;
}

constexpr auto rows = std::to_array<InsnRow>({
    // Moves
    mmx("MOVD", "NP 0F 6E /r"_op, "=Pq, Ey"_operands),
    mmx("MOVD", "NP 0F 7E /r"_op, "=Ey, Pq"_operands),
    mmx("MOVQ", "NP 0F 6F /r"_op, "=Pq, Qq"_operands),
    mmx("MOVQ", "NP 0F 7F /r"_op, "=Qq, Pq"_operands),
    mmx("MOVNTQ", "NP 0F E7 /r mem"_op, "=Mq, Pq"_operands, Feature::sse),
    {"MASKMOVQ", "NP 0F F7 /r reg"_op, "Pq, Nq"_operands, code<maskmovq>(), Feature::sse,
     0, {}, Domain::mmx},
    {"EMMS", "NP 0F 77"_op, ""_operands, code<emms>(), Feature::mmx, 0, {}, Domain::mmx},
    // Arithmetic, comparisons, packing
    mmx("PUNPCKLBW", "NP 0F 60 /r"_op, "+Pq, Qd"_operands),
    mmx("PUNPCKLWD", "NP 0F 61 /r"_op, "+Pq, Qd"_operands),
    mmx("PUNPCKLDQ", "NP 0F 62 /r"_op, "+Pq, Qd"_operands),
    mmx("PACKSSWB", "NP 0F 63 /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPGTB", "NP 0F 64 /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPGTW", "NP 0F 65 /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPGTD", "NP 0F 66 /r"_op, "+Pq, Qq"_operands),
    mmx("PACKUSWB", "NP 0F 67 /r"_op, "+Pq, Qq"_operands),
    mmx("PUNPCKHBW", "NP 0F 68 /r"_op, "+Pq, Qq"_operands),
    mmx("PUNPCKHWD", "NP 0F 69 /r"_op, "+Pq, Qq"_operands),
    mmx("PUNPCKHDQ", "NP 0F 6A /r"_op, "+Pq, Qq"_operands),
    mmx("PACKSSDW", "NP 0F 6B /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPEQB", "NP 0F 74 /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPEQW", "NP 0F 75 /r"_op, "+Pq, Qq"_operands),
    mmx("PCMPEQD", "NP 0F 76 /r"_op, "+Pq, Qq"_operands),
    mmx("PSRLW", "NP 0F D1 /r"_op, "+Pq, Qq"_operands),
    mmx("PSRLD", "NP 0F D2 /r"_op, "+Pq, Qq"_operands),
    mmx("PSRLQ", "NP 0F D3 /r"_op, "+Pq, Qq"_operands),
    mmx("PADDQ", "NP 0F D4 /r"_op, "+Pq, Qq"_operands, Feature::sse2),
    mmx("PMULLW", "NP 0F D5 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBUSB", "NP 0F D8 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBUSW", "NP 0F D9 /r"_op, "+Pq, Qq"_operands),
    mmx("PMINUB", "NP 0F DA /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PAND", "NP 0F DB /r"_op, "+Pq, Qq"_operands),
    mmx("PADDUSB", "NP 0F DC /r"_op, "+Pq, Qq"_operands),
    mmx("PADDUSW", "NP 0F DD /r"_op, "+Pq, Qq"_operands),
    mmx("PMAXUB", "NP 0F DE /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PANDN", "NP 0F DF /r"_op, "+Pq, Qq"_operands),
    mmx("PAVGB", "NP 0F E0 /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PSRAW", "NP 0F E1 /r"_op, "+Pq, Qq"_operands),
    mmx("PSRAD", "NP 0F E2 /r"_op, "+Pq, Qq"_operands),
    mmx("PAVGW", "NP 0F E3 /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PMULHUW", "NP 0F E4 /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PMULHW", "NP 0F E5 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBSB", "NP 0F E8 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBSW", "NP 0F E9 /r"_op, "+Pq, Qq"_operands),
    mmx("PMINSW", "NP 0F EA /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("POR", "NP 0F EB /r"_op, "+Pq, Qq"_operands),
    mmx("PADDSB", "NP 0F EC /r"_op, "+Pq, Qq"_operands),
    mmx("PADDSW", "NP 0F ED /r"_op, "+Pq, Qq"_operands),
    mmx("PMAXSW", "NP 0F EE /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PXOR", "NP 0F EF /r"_op, "+Pq, Qq"_operands),
    mmx("PSLLW", "NP 0F F1 /r"_op, "+Pq, Qq"_operands),
    mmx("PSLLD", "NP 0F F2 /r"_op, "+Pq, Qq"_operands),
    mmx("PSLLQ", "NP 0F F3 /r"_op, "+Pq, Qq"_operands),
    mmx("PMULUDQ", "NP 0F F4 /r"_op, "+Pq, Qq"_operands, Feature::sse2),
    mmx("PMADDWD", "NP 0F F5 /r"_op, "+Pq, Qq"_operands),
    mmx("PSADBW", "NP 0F F6 /r"_op, "+Pq, Qq"_operands, Feature::sse),
    mmx("PSUBB", "NP 0F F8 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBW", "NP 0F F9 /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBD", "NP 0F FA /r"_op, "+Pq, Qq"_operands),
    mmx("PSUBQ", "NP 0F FB /r"_op, "+Pq, Qq"_operands, Feature::sse2),
    mmx("PADDB", "NP 0F FC /r"_op, "+Pq, Qq"_operands),
    mmx("PADDW", "NP 0F FD /r"_op, "+Pq, Qq"_operands),
    mmx("PADDD", "NP 0F FE /r"_op, "+Pq, Qq"_operands),
    // Shifts by an immediate
    mmx("PSRLW", "NP 0F 71 /2 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSRAW", "NP 0F 71 /4 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSLLW", "NP 0F 71 /6 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSRLD", "NP 0F 72 /2 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSRAD", "NP 0F 72 /4 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSLLD", "NP 0F 72 /6 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSRLQ", "NP 0F 73 /2 ib reg"_op, "+Nq, Ib"_operands),
    mmx("PSLLQ", "NP 0F 73 /6 ib reg"_op, "+Nq, Ib"_operands),
    // Shuffles, insertions
    mmx("PSHUFW", "NP 0F 70 /r ib"_op, "=Pq, Qq, Ib"_operands, Feature::sse),
    mmx("PINSRW", "NP 0F C4 /r ib reg"_op, "+Pq, Rd, Ib"_operands, Feature::sse),
    mmx("PINSRW", "NP 0F C4 /r ib mem"_op, "+Pq, Mw, Ib"_operands, Feature::sse),
    mmx("PEXTRW", "NP 0F C5 /r ib reg"_op, "=Gd, Nq, Ib"_operands, Feature::sse),
    mmx("PMOVMSKB", "NP 0F D7 /r reg"_op, "=Gd, Nq"_operands, Feature::sse),
    // SSSE3
    mmx("PSHUFB", "NP 0F 38 00 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PALIGNR", "NP 0F 3A 0F /r ib"_op, "+Pq, Qq, Ib"_operands, Feature::ssse3),
    mmx("PHADDW", "NP 0F 38 01 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PHADDD", "NP 0F 38 02 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PHADDSW", "NP 0F 38 03 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PMADDUBSW", "NP 0F 38 04 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PHSUBW", "NP 0F 38 05 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PHSUBD", "NP 0F 38 06 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PHSUBSW", "NP 0F 38 07 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PSIGNB", "NP 0F 38 08 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PSIGNW", "NP 0F 38 09 /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PSIGND", "NP 0F 38 0A /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PMULHRSW", "NP 0F 38 0B /r"_op, "+Pq, Qq"_operands, Feature::ssse3),
    mmx("PABSB", "NP 0F 38 1C /r"_op, "=Pq, Qq"_operands, Feature::ssse3),
    mmx("PABSW", "NP 0F 38 1D /r"_op, "=Pq, Qq"_operands, Feature::ssse3),
    mmx("PABSD", "NP 0F 38 1E /r"_op, "=Pq, Qq"_operands, Feature::ssse3),
});

}  // namespace

RowSpan mmx_rows() { return rows; }

}  // namespace droste
