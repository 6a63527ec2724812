// SPDX-License-Identifier: Apache-2.0
// AVX-512: the instructions on opmask registers.
#include "cpu/insns/tables.h"
#include "cpu/insns/thunk_rows.h"

namespace droste {

namespace {

using namespace thunk_rows;

constexpr auto rows = std::to_array<InsnRow>({
    // Moves
    opmask("KMOVB", "VEX.128.66.0F.W0 90 /r"_op, "=KGq, KEb"_operands, Feature::avx512dq),
    opmask("KMOVB", "VEX.128.66.0F.W0 91 /r mem"_op, "=Mb, KGq"_operands, Feature::avx512dq),
    opmask("KMOVB", "VEX.128.66.0F.W0 92 /r reg"_op, "=KGq, Rd"_operands, Feature::avx512dq),
    opmask("KMOVB", "VEX.128.66.0F.W0 93 /r reg"_op, "=Gd, KUq"_operands, Feature::avx512dq),
    opmask("KMOVD", "VEX.128.66.0F.W1 90 /r"_op, "=KGq, KEd"_operands, Feature::avx512bw),
    opmask("KMOVD", "VEX.128.66.0F.W1 91 /r mem"_op, "=Md, KGq"_operands, Feature::avx512bw),
    opmask("KMOVD", "VEX.128.F2.0F.WIG 92 /r reg"_op, "=KGq, Rd"_operands, Feature::avx512bw),
    opmask("KMOVD", "VEX.128.F2.0F.WIG 93 /r reg"_op, "=Gd, KUq"_operands, Feature::avx512bw),
    opmask("KMOVQ", "VEX.128.NP.0F.W1 90 /r"_op, "=KGq, KEq"_operands, Feature::avx512bw),
    opmask("KMOVQ", "VEX.128.NP.0F.W1 91 /r mem"_op, "=Mq, KGq"_operands, Feature::avx512bw),
    opmask("KMOVQ", "VEX.128.F2.0F.W1 92 /r reg"_op, "=KGq, Rq"_operands,
        Feature::avx512bw, {}, traits::only64),
    opmask("KMOVQ", "VEX.128.F2.0F.W1 93 /r reg"_op, "=Gq, KUq"_operands,
        Feature::avx512bw, {}, traits::only64),
    opmask("KMOVW", "VEX.128.NP.0F.W0 90 /r"_op, "=KGq, KEw"_operands, Feature::avx512f),
    opmask("KMOVW", "VEX.128.NP.0F.W0 91 /r mem"_op, "=Mw, KGq"_operands, Feature::avx512f),
    opmask("KMOVW", "VEX.128.NP.0F.W0 92 /r reg"_op, "=KGq, Rd"_operands, Feature::avx512f),
    opmask("KMOVW", "VEX.128.NP.0F.W0 93 /r reg"_op, "=Gd, KUq"_operands, Feature::avx512f),
    // Tests
    opmask("KORTESTB", "VEX.128.66.0F.W0 98 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512dq, "w:OSZAPC"_flags),
    opmask("KORTESTD", "VEX.128.66.0F.W1 98 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512bw, "w:OSZAPC"_flags),
    opmask("KORTESTQ", "VEX.128.NP.0F.W1 98 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512bw, "w:OSZAPC"_flags),
    opmask("KTESTB", "VEX.128.66.0F.W0 99 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512dq, "w:OSZAPC"_flags),
    opmask("KTESTD", "VEX.128.66.0F.W1 99 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512bw, "w:OSZAPC"_flags),
    opmask("KTESTQ", "VEX.128.NP.0F.W1 99 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512bw, "w:OSZAPC"_flags),
    opmask("KTESTW", "VEX.128.NP.0F.W0 99 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512dq, "w:OSZAPC"_flags),
    opmask("KORTESTW", "VEX.128.NP.0F.W0 98 /r reg"_op, "KGq, KUq"_operands,
        Feature::avx512f, "w:OSZAPC"_flags),
    // Logic, shifts, addition
    opmask("KADDB", "VEX.256.66.0F.W0 4A /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KADDD", "VEX.256.66.0F.W1 4A /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KADDQ", "VEX.256.NP.0F.W1 4A /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KADDW", "VEX.256.NP.0F.W0 4A /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KANDB", "VEX.256.66.0F.W0 41 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KANDD", "VEX.256.66.0F.W1 41 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KANDNB", "VEX.256.66.0F.W0 42 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KANDND", "VEX.256.66.0F.W1 42 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KANDNQ", "VEX.256.NP.0F.W1 42 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KANDQ", "VEX.256.NP.0F.W1 41 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KNOTB", "VEX.128.66.0F.W0 44 /r reg"_op, "=KGq, KUq"_operands, Feature::avx512dq),
    opmask("KNOTD", "VEX.128.66.0F.W1 44 /r reg"_op, "=KGq, KUq"_operands, Feature::avx512bw),
    opmask("KNOTQ", "VEX.128.NP.0F.W1 44 /r reg"_op, "=KGq, KUq"_operands, Feature::avx512bw),
    opmask("KORB", "VEX.256.66.0F.W0 45 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KORD", "VEX.256.66.0F.W1 45 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KORQ", "VEX.256.NP.0F.W1 45 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KSHIFTLB", "VEX.128.66.0F3A.W0 32 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512dq),
    opmask("KSHIFTLD", "VEX.128.66.0F3A.W0 33 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512bw),
    opmask("KSHIFTLQ", "VEX.128.66.0F3A.W1 33 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512bw),
    opmask("KSHIFTRB", "VEX.128.66.0F3A.W0 30 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512dq),
    opmask("KSHIFTRD", "VEX.128.66.0F3A.W0 31 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512bw),
    opmask("KSHIFTRQ", "VEX.128.66.0F3A.W1 31 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512bw),
    opmask("KUNPCKDQ", "VEX.256.NP.0F.W1 4B /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KUNPCKWD", "VEX.256.NP.0F.W0 4B /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KXNORB", "VEX.256.66.0F.W0 46 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KXNORD", "VEX.256.66.0F.W1 46 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KXNORQ", "VEX.256.NP.0F.W1 46 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KXORB", "VEX.256.66.0F.W0 47 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512dq),
    opmask("KXORD", "VEX.256.66.0F.W1 47 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KXORQ", "VEX.256.NP.0F.W1 47 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512bw),
    opmask("KANDNW", "VEX.256.NP.0F.W0 42 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
    opmask("KANDW", "VEX.256.NP.0F.W0 41 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
    opmask("KNOTW", "VEX.128.NP.0F.W0 44 /r reg"_op, "=KGq, KUq"_operands, Feature::avx512f),
    opmask("KORW", "VEX.256.NP.0F.W0 45 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
    opmask("KSHIFTLW", "VEX.128.66.0F3A.W1 32 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512f),
    opmask("KSHIFTRW", "VEX.128.66.0F3A.W1 30 /r ib reg"_op, "=KGq, KUq, Ib"_operands, Feature::avx512f),
    opmask("KUNPCKBW", "VEX.256.66.0F.W0 4B /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
    opmask("KXNORW", "VEX.256.NP.0F.W0 46 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
    opmask("KXORW", "VEX.256.NP.0F.W0 47 /r reg"_op, "=KGq, KHq, KUq"_operands, Feature::avx512f),
});

}  // namespace

RowSpan avx512_mask_rows() { return rows; }

}  // namespace droste
