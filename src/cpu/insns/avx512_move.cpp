// SPDX-License-Identifier: Apache-2.0
// AVX-512: moves, broadcasts, insertions, conversions between widths, gathers, scatters, compression.
#include "cpu/insns/tables.h"
#include "cpu/insns/thunk_rows.h"
#include "cpu/insns/avx512_memory.h"
#include "cpu/insns/vector_moves.h"

namespace droste {

namespace {

using namespace thunk_rows;
using namespace vector_moves;

constexpr Domain A = Domain::avx512;

/// Whole registers, without an opmask: hot in memory and string functions. With one, a thunk.
consteval InsnRow evex_load(std::string_view name, Encoding e, Operands o, Feature needs, Align align) {
    InsnRow r = evex(name, e, o, needs, {}, align == Align::natural ? traits::aligned : 0);
    const bool natural = align == Align::natural;
    r.run.by[0] = {code<move<A, 16>>(), code<move<A, 32>>(), code<move<A, 64>>()};
    r.run.by[1] = {natural ? code<load<A, 16, Align::natural>>() : code<load<A, 16, Align::any>>(),
                   natural ? code<load<A, 32, Align::natural>>() : code<load<A, 32, Align::any>>(),
                   natural ? code<load<A, 64, Align::natural>>() : code<load<A, 64, Align::any>>()};
    return r;
}
consteval InsnRow evex_store(std::string_view name, Encoding e, Operands o, Feature needs, Align align) {
    InsnRow r = evex(name, e, o, needs, {}, align == Align::natural ? traits::aligned : 0);
    const bool natural = align == Align::natural;
    r.run.by[0] = {code<move_back<A, 16>>(), code<move_back<A, 32>>(), code<move_back<A, 64>>()};
    r.run.by[1] = {natural ? code<store<A, 16, Align::natural>>() : code<store<A, 16, Align::any>>(),
                   natural ? code<store<A, 32, Align::natural>>() : code<store<A, 32, Align::any>>(),
                   natural ? code<store<A, 64, Align::natural>>() : code<store<A, 64, Align::any>>()};
    return r;
}
/// Gathers and scatters: a body for every length, which masks by itself.
consteval InsnRow vsib(std::string_view name, Encoding e, Operands o, Code body, Feature needs) {
    InsnRow r = evex(name, e, o, needs, {}, traits::own_masking);
    r.run = Bodies(Code{}, body);
    return r;
}
/// Compression to memory, expansion from it; thunks for registers.
consteval InsnRow packed(std::string_view name, Encoding e, Operands o, Code body, Feature needs) {
    InsnRow r = evex(name, e, o, needs, {}, traits::own_masking | traits::packed);
    r.run = Bodies(Code{}, body);
    return r;
}

constexpr auto rows = std::to_array<InsnRow>({
    // Moves
    evex_load("VMOVAPD", "EVEX.VL.66.0F.W1 28 /r"_op, "=Vx{kz8}, Wx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVAPD", "EVEX.VL.66.0F.W1 29 /r"_op, "=Wx{kz8}, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex_load("VMOVAPS", "EVEX.VL.NP.0F.W0 28 /r"_op, "=Vx{kz4}, Wx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVAPS", "EVEX.VL.NP.0F.W0 29 /r"_op, "=Wx{kz4}, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex("VMOVDDUP", "EVEX.128.F2.0F.W1 12 /r"_op, "=Vx{kz8}, Wq{nf}"_operands, Feature::avx512f),
    evex("VMOVDDUP", "EVEX.VL256.F2.0F.W1 12 /r"_op, "=Vx{kz8}, Wx{nf}"_operands, Feature::avx512f),
    evex_load("VMOVDQA32", "EVEX.VL.66.0F.W0 6F /r"_op, "=Vx{kz4}, Wx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVDQA32", "EVEX.VL.66.0F.W0 7F /r"_op, "=Wx{kz4}, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex_load("VMOVDQA64", "EVEX.VL.66.0F.W1 6F /r"_op, "=Vx{kz8}, Wx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVDQA64", "EVEX.VL.66.0F.W1 7F /r"_op, "=Wx{kz8}, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex_load("VMOVDQU16", "EVEX.VL.F2.0F.W1 6F /r"_op, "=Vx{kz2}, Wx"_operands,
        Feature::avx512bw, Align::any),
    evex_store("VMOVDQU16", "EVEX.VL.F2.0F.W1 7F /r"_op, "=Wx{kz2}, Vx"_operands,
        Feature::avx512bw, Align::any),
    evex_load("VMOVDQU32", "EVEX.VL.F3.0F.W0 6F /r"_op, "=Vx{kz4}, Wx"_operands,
        Feature::avx512f, Align::any),
    evex_store("VMOVDQU32", "EVEX.VL.F3.0F.W0 7F /r"_op, "=Wx{kz4}, Vx"_operands,
        Feature::avx512f, Align::any),
    evex_load("VMOVDQU64", "EVEX.VL.F3.0F.W1 6F /r"_op, "=Vx{kz8}, Wx"_operands,
        Feature::avx512f, Align::any),
    evex_store("VMOVDQU64", "EVEX.VL.F3.0F.W1 7F /r"_op, "=Wx{kz8}, Vx"_operands,
        Feature::avx512f, Align::any),
    evex_load("VMOVDQU8", "EVEX.VL.F2.0F.W0 6F /r"_op, "=Vx{kz1}, Wx"_operands,
        Feature::avx512bw, Align::any),
    evex_store("VMOVDQU8", "EVEX.VL.F2.0F.W0 7F /r"_op, "=Wx{kz1}, Vx"_operands,
        Feature::avx512bw, Align::any),
    evex_store("VMOVNTDQ", "EVEX.VL.66.0F.W0 E7 /r mem"_op, "=Mx, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex_load("VMOVNTDQA", "EVEX.VL.66.0F38.W0 2A /r mem"_op, "=Vx, Mx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVNTPD", "EVEX.VL.66.0F.W1 2B /r mem"_op, "=Mx, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex_store("VMOVNTPS", "EVEX.VL.NP.0F.W0 2B /r mem"_op, "=Mx, Vx"_operands,
        Feature::avx512f, Align::natural),
    evex("VMOVSHDUP", "EVEX.VL.F3.0F.W0 16 /r"_op, "=Vx{kz4}, Wx{nf}"_operands, Feature::avx512f),
    evex("VMOVSLDUP", "EVEX.VL.F3.0F.W0 12 /r"_op, "=Vx{kz4}, Wx{nf}"_operands, Feature::avx512f),
    evex_load("VMOVUPD", "EVEX.VL.66.0F.W1 10 /r"_op, "=Vx{kz8}, Wx"_operands, Feature::avx512f, Align::any),
    evex_store("VMOVUPD", "EVEX.VL.66.0F.W1 11 /r"_op, "=Wx{kz8}, Vx"_operands, Feature::avx512f, Align::any),
    evex_load("VMOVUPS", "EVEX.VL.NP.0F.W0 10 /r"_op, "=Vx{kz4}, Wx"_operands, Feature::avx512f, Align::any),
    evex_store("VMOVUPS", "EVEX.VL.NP.0F.W0 11 /r"_op, "=Wx{kz4}, Vx"_operands, Feature::avx512f, Align::any),
    evex("VMOVD", "EVEX.128.66.0F.WIG 6E /r"_op, "=Vx, Ey"_operands, Feature::avx512f),
    evex("VMOVD", "EVEX.128.66.0F.WIG 7E /r"_op, "=Ey, Vx"_operands, Feature::avx512f),
    evex("VMOVHLPS", "EVEX.128.NP.0F.W0 12 /r reg"_op, "=Vx, Hx, Ux"_operands, Feature::avx512f),
    evex("VMOVHPD", "EVEX.128.66.0F.W1 16 /r mem"_op, "=Vx, Hx, Mq"_operands, Feature::avx512f),
    evex("VMOVHPD", "EVEX.128.66.0F.W1 17 /r mem"_op, "=Mq, Vx"_operands, Feature::avx512f),
    evex("VMOVHPS", "EVEX.128.NP.0F.W0 16 /r mem"_op, "=Vx, Hx, Mq"_operands, Feature::avx512f),
    evex("VMOVHPS", "EVEX.128.NP.0F.W0 17 /r mem"_op, "=Mq, Vx"_operands, Feature::avx512f),
    evex("VMOVLHPS", "EVEX.128.NP.0F.W0 16 /r reg"_op, "=Vx, Hx, Ux"_operands, Feature::avx512f),
    evex("VMOVLPD", "EVEX.128.66.0F.W1 12 /r mem"_op, "=Vx, Hx, Mq"_operands, Feature::avx512f),
    evex("VMOVLPD", "EVEX.128.66.0F.W1 13 /r mem"_op, "=Mq, Vx"_operands, Feature::avx512f),
    evex("VMOVLPS", "EVEX.128.NP.0F.W0 12 /r mem"_op, "=Vx, Hx, Mq"_operands, Feature::avx512f),
    evex("VMOVLPS", "EVEX.128.NP.0F.W0 13 /r mem"_op, "=Mq, Vx"_operands, Feature::avx512f),
    evex("VMOVQ", "EVEX.128.F3.0F.W1 7E /r"_op, "=Vx, Wq"_operands, Feature::avx512f),
    evex("VMOVQ", "EVEX.128.66.0F.W1 D6 /r"_op, "=Wq, Vx"_operands, Feature::avx512f),
    evex("VMOVSD", "EVEX.LIG.F2.0F.W1 10 /r reg"_op, "=Vdq{kz8}, Hdq, Udq"_operands, Feature::avx512f),
    evex("VMOVSD", "EVEX.LIG.F2.0F.W1 10 /r mem"_op, "=Vdq{kz8}, Msd"_operands, Feature::avx512f),
    evex("VMOVSD", "EVEX.LIG.F2.0F.W1 11 /r reg"_op, "=Udq{kz8}, Hdq, Vdq"_operands, Feature::avx512f),
    evex("VMOVSD", "EVEX.LIG.F2.0F.W1 11 /r mem"_op, "=Msd{k8}, Vdq"_operands, Feature::avx512f),
    evex("VMOVSS", "EVEX.LIG.F3.0F.W0 10 /r reg"_op, "=Vdq{kz4}, Hdq, Udq"_operands, Feature::avx512f),
    evex("VMOVSS", "EVEX.LIG.F3.0F.W0 10 /r mem"_op, "=Vdq{kz4}, Mss"_operands, Feature::avx512f),
    evex("VMOVSS", "EVEX.LIG.F3.0F.W0 11 /r reg"_op, "=Udq{kz4}, Hdq, Vdq"_operands, Feature::avx512f),
    evex("VMOVSS", "EVEX.LIG.F3.0F.W0 11 /r mem"_op, "=Mss{k4}, Vdq"_operands, Feature::avx512f),
    // Broadcasts
    evex("VBROADCASTF32X2", "EVEX.VL256.66.0F38.W0 19 /r"_op, "=Vx{kz4}, Wq"_operands, Feature::avx512dq),
    evex("VBROADCASTF32X4", "EVEX.VL256.66.0F38.W0 1A /r mem"_op, "=Vx{kz4}, Mdq"_operands, Feature::avx512f),
    evex("VBROADCASTF32X8", "EVEX.512.66.0F38.W0 1B /r mem"_op, "=Vx{kz4}, Mqq"_operands, Feature::avx512dq),
    evex("VBROADCASTF64X2", "EVEX.VL256.66.0F38.W1 1A /r mem"_op, "=Vx{kz8}, Mdq"_operands,
        Feature::avx512dq),
    evex("VBROADCASTI32X2", "EVEX.VL.66.0F38.W0 59 /r"_op, "=Vx{kz4}, Wq"_operands, Feature::avx512dq),
    evex("VBROADCASTI32X4", "EVEX.VL256.66.0F38.W0 5A /r mem"_op, "=Vx{kz4}, Mdq"_operands, Feature::avx512f),
    evex("VBROADCASTI32X8", "EVEX.512.66.0F38.W0 5B /r mem"_op, "=Vx{kz4}, Mqq"_operands, Feature::avx512dq),
    evex("VBROADCASTI64X2", "EVEX.VL256.66.0F38.W1 5A /r mem"_op, "=Vx{kz8}, Mdq"_operands,
        Feature::avx512dq),
    evex("VBROADCASTSD", "EVEX.VL256.66.0F38.W1 19 /r"_op, "=Vx{kz8}, Wq"_operands, Feature::avx512f),
    evex("VBROADCASTSS", "EVEX.VL.66.0F38.W0 18 /r"_op, "=Vx{kz4}, Wd"_operands, Feature::avx512f),
    evex("VPBROADCASTB", "EVEX.VL.66.0F38.W0 78 /r"_op, "=Vx{kz1}, Wb"_operands, Feature::avx512bw),
    evex("VPBROADCASTB", "EVEX.VL.66.0F38.W0 7A /r reg"_op, "=Vx{kz1}, Rd"_operands, Feature::avx512bw),
    evex("VPBROADCASTD", "EVEX.VL.66.0F38.W0 58 /r"_op, "=Vx{kz4}, Wd"_operands, Feature::avx512f),
    evex("VPBROADCASTD", "EVEX.VL.66.0F38.WIG 7C /r reg"_op, "=Vx{kz4}, Rd"_operands, Feature::avx512f),
    evex("VPBROADCASTMB2Q", "EVEX.VL.F3.0F38.W1 2A /r reg"_op, "=Vx, KUq"_operands, Feature::avx512cd),
    evex("VPBROADCASTMW2D", "EVEX.VL.F3.0F38.W0 3A /r reg"_op, "=Vx, KUq"_operands, Feature::avx512cd),
    evex("VPBROADCASTQ", "EVEX.VL.66.0F38.W1 59 /r"_op, "=Vx{kz8}, Wq"_operands, Feature::avx512f),
    evex("VPBROADCASTQ", "EVEX.VL.66.0F38.W1 7C /r reg"_op, "=Vx{kz8}, Rq"_operands,
        Feature::avx512f, {}, traits::only64),
    evex("VPBROADCASTW", "EVEX.VL.66.0F38.W0 79 /r"_op, "=Vx{kz2}, Ww"_operands, Feature::avx512bw),
    evex("VPBROADCASTW", "EVEX.VL.66.0F38.W0 7B /r reg"_op, "=Vx{kz2}, Rd"_operands, Feature::avx512bw),
    evex("VBROADCASTF64X4", "EVEX.512.66.0F38.W1 1B /r mem"_op, "=Vx{kz8}, Mqq"_operands, Feature::avx512f),
    evex("VBROADCASTI64X4", "EVEX.512.66.0F38.W1 5B /r mem"_op, "=Vx{kz8}, Mqq"_operands, Feature::avx512f),
    // Parts of vectors
    evex("VEXTRACTF32X4", "EVEX.VL256.66.0F3A.W0 19 /r ib"_op, "=Wdq{nf}{kz4}, Vx, Ib"_operands,
        Feature::avx512f),
    evex("VEXTRACTF32X8", "EVEX.512.66.0F3A.W0 1B /r ib"_op, "=Wqq{nf}{kz4}, Vx, Ib"_operands,
        Feature::avx512dq),
    evex("VEXTRACTF64X2", "EVEX.VL256.66.0F3A.W1 19 /r ib"_op, "=Wdq{nf}{kz8}, Vx, Ib"_operands,
        Feature::avx512dq),
    evex("VEXTRACTI32X4", "EVEX.VL256.66.0F3A.W0 39 /r ib"_op, "=Wdq{nf}{kz4}, Vx, Ib"_operands,
        Feature::avx512f),
    evex("VEXTRACTI32X8", "EVEX.512.66.0F3A.W0 3B /r ib"_op, "=Wqq{nf}{kz4}, Vx, Ib"_operands,
        Feature::avx512dq),
    evex("VEXTRACTI64X2", "EVEX.VL256.66.0F3A.W1 39 /r ib"_op, "=Wdq{nf}{kz8}, Vx, Ib"_operands,
        Feature::avx512dq),
    evex("VINSERTF32X4", "EVEX.VL256.66.0F3A.W0 18 /r ib"_op, "=Vx{kz4}, Hx, Wdq{nf}, Ib"_operands,
        Feature::avx512f),
    evex("VINSERTF32X8", "EVEX.512.66.0F3A.W0 1A /r ib"_op, "=Vx{kz4}, Hx, Wqq{nf}, Ib"_operands,
        Feature::avx512dq),
    evex("VINSERTF64X2", "EVEX.VL256.66.0F3A.W1 18 /r ib"_op, "=Vx{kz8}, Hx, Wdq{nf}, Ib"_operands,
        Feature::avx512dq),
    evex("VINSERTI32X4", "EVEX.VL256.66.0F3A.W0 38 /r ib"_op, "=Vx{kz4}, Hx, Wdq{nf}, Ib"_operands,
        Feature::avx512f),
    evex("VINSERTI32X8", "EVEX.512.66.0F3A.W0 3A /r ib"_op, "=Vx{kz4}, Hx, Wqq{nf}, Ib"_operands,
        Feature::avx512dq),
    evex("VINSERTI64X2", "EVEX.VL256.66.0F3A.W1 38 /r ib"_op, "=Vx{kz8}, Hx, Wdq{nf}, Ib"_operands,
        Feature::avx512dq),
    evex("VPEXTRB", "EVEX.128.66.0F3A.WIG 14 /r ib reg"_op, "=Rd, Vx, Ib"_operands, Feature::avx512bw),
    evex("VPEXTRB", "EVEX.128.66.0F3A.WIG 14 /r ib mem"_op, "=Mb, Vx, Ib"_operands, Feature::avx512bw),
    evex("VPEXTRD", "EVEX.128.66.0F3A.WIG 16 /r ib"_op, "=Ey, Vx, Ib"_operands, Feature::avx512dq),
    evex("VPEXTRW", "EVEX.128.66.0F3A.WIG 15 /r ib"_op, "=Ew, Vx, Ib"_operands, Feature::avx512bw),
    evex("VPEXTRW", "EVEX.128.66.0F.WIG C5 /r ib reg"_op, "=Gd, Ux, Ib"_operands, Feature::avx512bw),
    evex("VPINSRB", "EVEX.128.66.0F3A.WIG 20 /r ib reg"_op, "=Vx, Hx, Rd, Ib"_operands, Feature::avx512bw),
    evex("VPINSRB", "EVEX.128.66.0F3A.WIG 20 /r ib mem"_op, "=Vx, Hx, Mb, Ib"_operands, Feature::avx512bw),
    evex("VPINSRD", "EVEX.128.66.0F3A.WIG 22 /r ib"_op, "=Vx, Hx, Ey, Ib"_operands, Feature::avx512dq),
    evex("VPINSRW", "EVEX.128.66.0F.WIG C4 /r ib"_op, "=Vx, Hx, Ew, Ib"_operands, Feature::avx512bw),
    evex("VEXTRACTF64X4", "EVEX.512.66.0F3A.W1 1B /r ib"_op, "=Wqq{nf}{kz8}, Vx, Ib"_operands,
        Feature::avx512f),
    evex("VEXTRACTI64X4", "EVEX.512.66.0F3A.W1 3B /r ib"_op, "=Wqq{nf}{kz8}, Vx, Ib"_operands,
        Feature::avx512f),
    evex("VEXTRACTPS", "EVEX.128.66.0F3A.WIG 17 /r ib"_op, "=Ed, Vx, Ib"_operands, Feature::avx512f),
    evex("VINSERTF64X4", "EVEX.512.66.0F3A.W1 1A /r ib"_op, "=Vx{kz8}, Hx, Wqq{nf}, Ib"_operands,
        Feature::avx512f),
    evex("VINSERTI64X4", "EVEX.512.66.0F3A.W1 3A /r ib"_op, "=Vx{kz8}, Hx, Wqq{nf}, Ib"_operands,
        Feature::avx512f),
    evex("VINSERTPS", "EVEX.128.66.0F3A.W0 21 /r ib"_op, "=Vx, Hx, Wd, Ib"_operands, Feature::avx512f),
    // Wider and narrower elements, opmasks
    evex("VPMOVB2M", "EVEX.VL.F3.0F38.W0 29 /r reg"_op, "=KGq, Ux"_operands, Feature::avx512bw),
    evex("VPMOVD2M", "EVEX.VL.F3.0F38.W0 39 /r reg"_op, "=KGq, Ux"_operands, Feature::avx512dq),
    evex("VPMOVDB", "EVEX.VL.F3.0F38.W0 31 /r"_op, "=Wf{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVDW", "EVEX.VL.F3.0F38.W0 33 /r"_op, "=Wh{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVM2B", "EVEX.VL.F3.0F38.W0 28 /r reg"_op, "=Vx, KUq"_operands, Feature::avx512bw),
    evex("VPMOVM2D", "EVEX.VL.F3.0F38.W0 38 /r reg"_op, "=Vx, KUq"_operands, Feature::avx512dq),
    evex("VPMOVM2Q", "EVEX.VL.F3.0F38.W1 38 /r reg"_op, "=Vx, KUq"_operands, Feature::avx512dq),
    evex("VPMOVM2W", "EVEX.VL.F3.0F38.W1 28 /r reg"_op, "=Vx, KUq"_operands, Feature::avx512bw),
    evex("VPMOVQ2M", "EVEX.VL.F3.0F38.W1 39 /r reg"_op, "=KGq, Ux"_operands, Feature::avx512dq),
    evex("VPMOVQB", "EVEX.VL.F3.0F38.W0 32 /r"_op, "=We{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVQD", "EVEX.VL.F3.0F38.W0 35 /r"_op, "=Wh{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVQW", "EVEX.VL.F3.0F38.W0 34 /r"_op, "=Wf{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSDB", "EVEX.VL.F3.0F38.W0 21 /r"_op, "=Wf{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSDW", "EVEX.VL.F3.0F38.W0 23 /r"_op, "=Wh{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSQB", "EVEX.VL.F3.0F38.W0 22 /r"_op, "=We{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSQD", "EVEX.VL.F3.0F38.W0 25 /r"_op, "=Wh{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSQW", "EVEX.VL.F3.0F38.W0 24 /r"_op, "=Wf{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVSWB", "EVEX.VL.F3.0F38.W0 20 /r"_op, "=Wh{kz2}, Vx"_operands, Feature::avx512bw),
    evex("VPMOVSXBD", "EVEX.VL.66.0F38.WIG 21 /r"_op, "=Vx{kz4}, Wf"_operands, Feature::avx512f),
    evex("VPMOVSXBQ", "EVEX.VL.66.0F38.WIG 22 /r"_op, "=Vx{kz8}, We"_operands, Feature::avx512f),
    evex("VPMOVSXBW", "EVEX.VL.66.0F38.WIG 20 /r"_op, "=Vx{kz2}, Wh"_operands, Feature::avx512bw),
    evex("VPMOVSXDQ", "EVEX.VL.66.0F38.W0 25 /r"_op, "=Vx{kz8}, Wh"_operands, Feature::avx512f),
    evex("VPMOVSXWD", "EVEX.VL.66.0F38.WIG 23 /r"_op, "=Vx{kz4}, Wh"_operands, Feature::avx512f),
    evex("VPMOVSXWQ", "EVEX.VL.66.0F38.WIG 24 /r"_op, "=Vx{kz8}, Wf"_operands, Feature::avx512f),
    evex("VPMOVUSDB", "EVEX.VL.F3.0F38.W0 11 /r"_op, "=Wf{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVUSDW", "EVEX.VL.F3.0F38.W0 13 /r"_op, "=Wh{kz4}, Vx"_operands, Feature::avx512f),
    evex("VPMOVUSQB", "EVEX.VL.F3.0F38.W0 12 /r"_op, "=We{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVUSQD", "EVEX.VL.F3.0F38.W0 15 /r"_op, "=Wh{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVUSQW", "EVEX.VL.F3.0F38.W0 14 /r"_op, "=Wf{kz8}, Vx"_operands, Feature::avx512f),
    evex("VPMOVUSWB", "EVEX.VL.F3.0F38.W0 10 /r"_op, "=Wh{kz2}, Vx"_operands, Feature::avx512bw),
    evex("VPMOVW2M", "EVEX.VL.F3.0F38.W1 29 /r reg"_op, "=KGq, Ux"_operands, Feature::avx512bw),
    evex("VPMOVWB", "EVEX.VL.F3.0F38.W0 30 /r"_op, "=Wh{kz2}, Vx"_operands, Feature::avx512bw),
    evex("VPMOVZXBD", "EVEX.VL.66.0F38.WIG 31 /r"_op, "=Vx{kz4}, Wf"_operands, Feature::avx512f),
    evex("VPMOVZXBQ", "EVEX.VL.66.0F38.WIG 32 /r"_op, "=Vx{kz8}, We"_operands, Feature::avx512f),
    evex("VPMOVZXBW", "EVEX.VL.66.0F38.WIG 30 /r"_op, "=Vx{kz2}, Wh"_operands, Feature::avx512bw),
    evex("VPMOVZXDQ", "EVEX.VL.66.0F38.W0 35 /r"_op, "=Vx{kz8}, Wh"_operands, Feature::avx512f),
    evex("VPMOVZXWD", "EVEX.VL.66.0F38.WIG 33 /r"_op, "=Vx{kz4}, Wh"_operands, Feature::avx512f),
    evex("VPMOVZXWQ", "EVEX.VL.66.0F38.WIG 34 /r"_op, "=Vx{kz8}, Wf"_operands, Feature::avx512f),
    // Gathers and scatters
    vsib("VGATHERDPD", "EVEX.VL.66.0F38.W1 92 /r mem"_op, "=Vx{k8}, VXh, Mq"_operands,
        code<gather_masked<i32, u64>>(), Feature::avx512f),
    vsib("VGATHERDPS", "EVEX.VL.66.0F38.W0 92 /r mem"_op, "=Vx{k4}, VXx, Md"_operands,
        code<gather_masked<i32, u32>>(), Feature::avx512f),
    vsib("VGATHERQPD", "EVEX.VL.66.0F38.W1 93 /r mem"_op, "=Vx{k8}, VXx, Mq"_operands,
        code<gather_masked<i64, u64>>(), Feature::avx512f),
    vsib("VGATHERQPS", "EVEX.VL.66.0F38.W0 93 /r mem"_op, "=Vh{k8}, VXx, Md"_operands,
        code<gather_masked<i64, u32>>(), Feature::avx512f),
    vsib("VPGATHERDD", "EVEX.VL.66.0F38.W0 90 /r mem"_op, "=Vx{k4}, VXx, Md"_operands,
        code<gather_masked<i32, u32>>(), Feature::avx512f),
    vsib("VPGATHERDQ", "EVEX.VL.66.0F38.W1 90 /r mem"_op, "=Vx{k8}, VXh, Mq"_operands,
        code<gather_masked<i32, u64>>(), Feature::avx512f),
    vsib("VPGATHERQD", "EVEX.VL.66.0F38.W0 91 /r mem"_op, "=Vh{k8}, VXx, Md"_operands,
        code<gather_masked<i64, u32>>(), Feature::avx512f),
    vsib("VPGATHERQQ", "EVEX.VL.66.0F38.W1 91 /r mem"_op, "=Vx{k8}, VXx, Mq"_operands,
        code<gather_masked<i64, u64>>(), Feature::avx512f),
    vsib("VPSCATTERDD", "EVEX.VL.66.0F38.W0 A0 /r mem"_op, "=Md{k4}, VXx, Vx"_operands,
        code<scatter_masked<i32, u32>>(), Feature::avx512f),
    vsib("VPSCATTERDQ", "EVEX.VL.66.0F38.W1 A0 /r mem"_op, "=Mq{k8}, VXh, Vx"_operands,
        code<scatter_masked<i32, u64>>(), Feature::avx512f),
    vsib("VPSCATTERQD", "EVEX.VL.66.0F38.W0 A1 /r mem"_op, "=Md{k8}, VXx, Vh"_operands,
        code<scatter_masked<i64, u32>>(), Feature::avx512f),
    vsib("VPSCATTERQQ", "EVEX.VL.66.0F38.W1 A1 /r mem"_op, "=Mq{k8}, VXx, Vx"_operands,
        code<scatter_masked<i64, u64>>(), Feature::avx512f),
    vsib("VSCATTERDPD", "EVEX.VL.66.0F38.W1 A2 /r mem"_op, "=Mq{k8}, VXh, Vx"_operands,
        code<scatter_masked<i32, u64>>(), Feature::avx512f),
    vsib("VSCATTERDPS", "EVEX.VL.66.0F38.W0 A2 /r mem"_op, "=Md{k4}, VXx, Vx"_operands,
        code<scatter_masked<i32, u32>>(), Feature::avx512f),
    vsib("VSCATTERQPD", "EVEX.VL.66.0F38.W1 A3 /r mem"_op, "=Mq{k8}, VXx, Vx"_operands,
        code<scatter_masked<i64, u64>>(), Feature::avx512f),
    vsib("VSCATTERQPS", "EVEX.VL.66.0F38.W0 A3 /r mem"_op, "=Md{k8}, VXx, Vh"_operands,
        code<scatter_masked<i64, u32>>(), Feature::avx512f),
    // Compression
    packed("VCOMPRESSPD", "EVEX.VL.66.0F38.W1 8A /r"_op, "=Wx{kz8}, Vx"_operands,
        code<compress_store<u64>>(), Feature::avx512f),
    packed("VCOMPRESSPS", "EVEX.VL.66.0F38.W0 8A /r"_op, "=Wx{kz4}, Vx"_operands,
        code<compress_store<u32>>(), Feature::avx512f),
    packed("VEXPANDPD", "EVEX.VL.66.0F38.W1 88 /r"_op, "=Vx{kz8}, Wx"_operands,
        code<expand_load<u64>>(), Feature::avx512f),
    packed("VEXPANDPS", "EVEX.VL.66.0F38.W0 88 /r"_op, "=Vx{kz4}, Wx"_operands,
        code<expand_load<u32>>(), Feature::avx512f),
    packed("VPCOMPRESSD", "EVEX.VL.66.0F38.W0 8B /r"_op, "=Wx{kz4}, Vx"_operands,
        code<compress_store<u32>>(), Feature::avx512f),
    packed("VPCOMPRESSQ", "EVEX.VL.66.0F38.W1 8B /r"_op, "=Wx{kz8}, Vx"_operands,
        code<compress_store<u64>>(), Feature::avx512f),
    packed("VPEXPANDD", "EVEX.VL.66.0F38.W0 89 /r"_op, "=Vx{kz4}, Wx"_operands,
        code<expand_load<u32>>(), Feature::avx512f),
    packed("VPEXPANDQ", "EVEX.VL.66.0F38.W1 89 /r"_op, "=Vx{kz8}, Wx"_operands,
        code<expand_load<u64>>(), Feature::avx512f),
    packed("VPCOMPRESSB", "EVEX.VL.66.0F38.W0 63 /r"_op, "=Wx{kz1}, Vx"_operands,
        code<compress_store<u8>>(), Feature::avx512vbmi2),
    packed("VPCOMPRESSW", "EVEX.VL.66.0F38.W1 63 /r"_op, "=Wx{kz2}, Vx"_operands,
        code<compress_store<u16>>(), Feature::avx512vbmi2),
    packed("VPEXPANDB", "EVEX.VL.66.0F38.W0 62 /r"_op, "=Vx{kz1}, Wx"_operands,
        code<expand_load<u8>>(), Feature::avx512vbmi2),
    packed("VPEXPANDW", "EVEX.VL.66.0F38.W1 62 /r"_op, "=Vx{kz2}, Wx"_operands,
        code<expand_load<u16>>(), Feature::avx512vbmi2),
});

}  // namespace

RowSpan avx512_move_rows() { return rows; }

}  // namespace droste
