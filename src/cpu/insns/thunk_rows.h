// SPDX-License-Identifier: Apache-2.0
// Makers of rows for the instructions that thunks execute: what a class has in common is said once.
#pragma once
#include "cpu/decode/row.h"

namespace droste::thunk_rows {

consteval bool has_operand_type(const Operands& o, Type t) {
    for (unsigned i = 0; i < o.count; ++i) {
        const Where w = o.op[i].where;
        if (o.op[i].type == t && (w == Where::vec_rm || w == Where::memory)) return true;
    }
    return false;
}

// SDM Table "Exceptions Type 4" and its like: legacy instructions want a 128-bit memory operand aligned, VEX
// forms do not. The few that differ are moves, which say so in their rows.
consteval InsnRow sse(std::string_view name, Encoding e, Operands o, Feature needs, FlagUse flags = {}) {
    const u32 aligned = has_operand_type(o, Type::dq) ? traits::aligned : 0;
    return {name, e, o, {}, needs, traits::host_thunk | aligned, flags, Domain::sse};
}
/// Floating-point arithmetic: reads and sets MXCSR.
consteval InsnRow sse_fp(std::string_view name, Encoding e, Operands o, Feature needs, FlagUse flags = {}) {
    InsnRow r = sse(name, e, o, needs, flags);
    r.traits |= traits::mxcsr;
    return r;
}
/// With a C++ body.
consteval InsnRow sse_body(std::string_view name, Encoding e, Operands o, Bodies run, Feature needs,
                           u32 more = 0) {
    return {name, e, o, run, needs, more, {}, Domain::sse};
}
/// With a C++ body for registers and a thunk for memory.
consteval InsnRow sse_mixed(std::string_view name, Encoding e, Operands o, Code reg, Feature needs) {
    InsnRow r = sse(name, e, o, needs);
    r.run = Bodies(reg, Code{});
    return r;
}

consteval InsnRow avx(std::string_view name, Encoding e, Operands o, Feature needs = Feature::avx,
                      FlagUse flags = {}) {
    return {name, e, o, {}, needs, traits::host_thunk, flags, Domain::avx};
}
consteval InsnRow avx_fp(std::string_view name, Encoding e, Operands o, Feature needs = Feature::avx,
                         FlagUse flags = {}) {
    return {name, e, o, {}, needs, traits::host_thunk | traits::mxcsr, flags, Domain::avx};
}
consteval InsnRow avx_body(std::string_view name, Encoding e, Operands o, Bodies run,
                           Feature needs = Feature::avx, u32 more = 0) {
    return {name, e, o, run, needs, more, {}, Domain::avx};
}
/// A C++ body that learns vvvv from Insn::thunk.
consteval InsnRow avx_body_vvvv(std::string_view name, Encoding e, Operands o, Bodies run,
                                Feature needs = Feature::avx) {
    return {name, e, o, run, needs, traits::host_thunk, {}, Domain::avx};
}

/// A C++ body for registers and a thunk for memory.
consteval InsnRow avx_mixed(std::string_view name, Encoding e, Operands o, Code reg,
                            Feature needs = Feature::avx) {
    InsnRow r = avx(name, e, o, needs);
    r.run = Bodies(reg, Code{});
    return r;
}

consteval InsnRow evex(std::string_view name, Encoding e, Operands o, Feature needs, FlagUse flags = {},
                       u32 more = 0) {
    return {name, e, o, {}, needs, traits::host_thunk | more, flags, Domain::avx512};
}
/// Floating-point arithmetic.
consteval InsnRow evex_fp(std::string_view name, Encoding e, Operands o, Feature needs, FlagUse flags = {},
                          u32 more = 0) {
    return {name, e, o, {}, needs, traits::host_thunk | traits::mxcsr | more, flags, Domain::avx512};
}
/// VEX instructions on opmask registers.
consteval InsnRow opmask(std::string_view name, Encoding e, Operands o, Feature needs, FlagUse flags = {},
                         u32 more = 0) {
    return evex(name, e, o, needs, flags, more);
}

consteval InsnRow mmx(std::string_view name, Encoding e, Operands o, Feature needs = Feature::mmx) {
    return {name, e, o, {}, needs, traits::host_thunk, {}, Domain::mmx};
}

}  // namespace droste::thunk_rows
