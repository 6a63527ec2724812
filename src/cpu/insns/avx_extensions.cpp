// SPDX-License-Identifier: Apache-2.0
// AVX-VNNI, GFNI, and the 256-bit forms of AES and PCLMULQDQ.
#include "cpu/insns/tables.h"
#include "cpu/insns/thunk_rows.h"

namespace droste {

namespace {

using namespace thunk_rows;

constexpr auto rows = std::to_array<InsnRow>({
    // Dot products
    avx("VPDPBUSD", "VEX.128.66.0F38.W0 50 /r"_op, "+Vx, Hx, Wdq"_operands, Feature::avx_vnni),
    avx("VPDPBUSD", "VEX.256.66.0F38.W0 50 /r"_op, "+Vx, Hx, Wqq"_operands, Feature::avx_vnni),
    avx("VPDPBUSDS", "VEX.128.66.0F38.W0 51 /r"_op, "+Vx, Hx, Wdq"_operands, Feature::avx_vnni),
    avx("VPDPBUSDS", "VEX.256.66.0F38.W0 51 /r"_op, "+Vx, Hx, Wqq"_operands, Feature::avx_vnni),
    avx("VPDPWSSD", "VEX.128.66.0F38.W0 52 /r"_op, "+Vx, Hx, Wdq"_operands, Feature::avx_vnni),
    avx("VPDPWSSD", "VEX.256.66.0F38.W0 52 /r"_op, "+Vx, Hx, Wqq"_operands, Feature::avx_vnni),
    avx("VPDPWSSDS", "VEX.128.66.0F38.W0 53 /r"_op, "+Vx, Hx, Wdq"_operands, Feature::avx_vnni),
    avx("VPDPWSSDS", "VEX.256.66.0F38.W0 53 /r"_op, "+Vx, Hx, Wqq"_operands, Feature::avx_vnni),
    // Galois fields
    avx("VGF2P8AFFINEINVQB", "VEX.128.66.0F3A.W1 CF /r ib"_op, "=Vx, Hx, Wdq, Ib"_operands, Feature::gfni),
    avx("VGF2P8AFFINEINVQB", "VEX.256.66.0F3A.W1 CF /r ib"_op, "=Vx, Hx, Wqq, Ib"_operands, Feature::gfni),
    avx("VGF2P8AFFINEQB", "VEX.128.66.0F3A.W1 CE /r ib"_op, "=Vx, Hx, Wdq, Ib"_operands, Feature::gfni),
    avx("VGF2P8AFFINEQB", "VEX.256.66.0F3A.W1 CE /r ib"_op, "=Vx, Hx, Wqq, Ib"_operands, Feature::gfni),
    avx("VGF2P8MULB", "VEX.128.66.0F38.W0 CF /r"_op, "=Vx, Hx, Wdq"_operands, Feature::gfni),
    avx("VGF2P8MULB", "VEX.256.66.0F38.W0 CF /r"_op, "=Vx, Hx, Wqq"_operands, Feature::gfni),
    sse("GF2P8AFFINEQB", "66 0F 3A CE /r ib"_op, "+Vdq, Wdq, Ib"_operands, Feature::gfni),
    sse("GF2P8AFFINEINVQB", "66 0F 3A CF /r ib"_op, "+Vdq, Wdq, Ib"_operands, Feature::gfni),
    sse("GF2P8MULB", "66 0F 38 CF /r"_op, "+Vdq, Wdq"_operands, Feature::gfni),
    // AES, carry-less multiplication
    avx("VAESDEC", "VEX.256.66.0F38.WIG DE /r"_op, "=Vx, Hx, Wqq"_operands, Feature::vaes),
    avx("VAESDECLAST", "VEX.256.66.0F38.WIG DF /r"_op, "=Vx, Hx, Wqq"_operands, Feature::vaes),
    avx("VAESENC", "VEX.256.66.0F38.WIG DC /r"_op, "=Vx, Hx, Wqq"_operands, Feature::vaes),
    avx("VAESENCLAST", "VEX.256.66.0F38.WIG DD /r"_op, "=Vx, Hx, Wqq"_operands, Feature::vaes),
    avx("VPCLMULQDQ", "VEX.256.66.0F3A.WIG 44 /r ib"_op, "=Vx, Hx, Wqq, Ib"_operands, Feature::vpclmulqdq),
});

}  // namespace

RowSpan avx_extension_rows() { return rows; }

}  // namespace droste
