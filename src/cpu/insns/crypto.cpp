// SPDX-License-Identifier: Apache-2.0
// AES, PCLMULQDQ and SHA, all executed by thunks.
#include "cpu/insns/tables.h"
#include "cpu/insns/thunk_rows.h"

namespace droste {

namespace {

using namespace thunk_rows;

constexpr auto rows = std::to_array<InsnRow>({
    // AES
    sse("AESIMC", "66 0F 38 DB /r"_op, "=Vdq, Wdq"_operands, Feature::aes),
    sse("AESENC", "66 0F 38 DC /r"_op, "+Vdq, Wdq"_operands, Feature::aes),
    sse("AESENCLAST", "66 0F 38 DD /r"_op, "+Vdq, Wdq"_operands, Feature::aes),
    sse("AESDEC", "66 0F 38 DE /r"_op, "+Vdq, Wdq"_operands, Feature::aes),
    sse("AESDECLAST", "66 0F 38 DF /r"_op, "+Vdq, Wdq"_operands, Feature::aes),
    sse("AESKEYGENASSIST", "66 0F 3A DF /r ib"_op, "=Vdq, Wdq, Ib"_operands, Feature::aes),
    avx("VAESIMC", "VEX.128.66.0F38.WIG DB /r"_op, "=Vdq, Wdq"_operands, Feature::aes),
    avx("VAESENC", "VEX.128.66.0F38.WIG DC /r"_op, "=Vdq, Hdq, Wdq"_operands, Feature::aes),
    avx("VAESENCLAST", "VEX.128.66.0F38.WIG DD /r"_op, "=Vdq, Hdq, Wdq"_operands, Feature::aes),
    avx("VAESDEC", "VEX.128.66.0F38.WIG DE /r"_op, "=Vdq, Hdq, Wdq"_operands, Feature::aes),
    avx("VAESDECLAST", "VEX.128.66.0F38.WIG DF /r"_op, "=Vdq, Hdq, Wdq"_operands, Feature::aes),
    avx("VAESKEYGENASSIST", "VEX.128.66.0F3A.WIG DF /r ib"_op, "=Vdq, Wdq, Ib"_operands, Feature::aes),
    // Carry-less multiplication
    sse("PCLMULQDQ", "66 0F 3A 44 /r ib"_op, "+Vdq, Wdq, Ib"_operands, Feature::pclmulqdq),
    avx("VPCLMULQDQ", "VEX.128.66.0F3A.WIG 44 /r ib"_op, "=Vdq, Hdq, Wdq, Ib"_operands, Feature::pclmulqdq),
    // SHA
    sse("SHA1NEXTE", "NP 0F 38 C8 /r"_op, "+Vdq, Wdq"_operands, Feature::sha),
    sse("SHA1MSG1", "NP 0F 38 C9 /r"_op, "+Vdq, Wdq"_operands, Feature::sha),
    sse("SHA1MSG2", "NP 0F 38 CA /r"_op, "+Vdq, Wdq"_operands, Feature::sha),
    sse("SHA256RNDS2", "NP 0F 38 CB /r"_op, "+Vdq, Wdq, XMM0"_operands, Feature::sha),
    sse("SHA256MSG1", "NP 0F 38 CC /r"_op, "+Vdq, Wdq"_operands, Feature::sha),
    sse("SHA256MSG2", "NP 0F 38 CD /r"_op, "+Vdq, Wdq"_operands, Feature::sha),
    sse("SHA1RNDS4", "NP 0F 3A CC /r ib"_op, "+Vdq, Wdq, Ib"_operands, Feature::sha),
});

}  // namespace

RowSpan crypto_rows() { return rows; }

}  // namespace droste
