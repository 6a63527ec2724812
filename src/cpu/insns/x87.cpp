// SPDX-License-Identifier: Apache-2.0
// The x87 FPU. Register forms that the SDM's opcode map leaves blank but processors execute (FFREEP, second
// encodings of FXCH, FCOM, FSTP) are rows like the others.
#include "cpu/insns/tables.h"
#include "cpu/insns/x87_environment.h"
#include "cpu/interp/handlers.h"

namespace droste {

namespace {

consteval InsnRow x87(std::string_view name, Encoding e, Operands o) {
    return {name, e, o, {}, Feature::fpu, traits::host_thunk, {}, Domain::x87};
}
/// Executes although an exception waits.
consteval InsnRow x87_control(std::string_view name, Encoding e, Operands o) {
    return {name, e, o, {}, Feature::fpu, traits::host_thunk | traits::control, {}, Domain::x87};
}
consteval InsnRow x87_cmov(std::string_view name, Encoding e, Operands o, FlagUse flags) {
    return {name, e, o, {}, Feature::cmov, traits::host_thunk, flags, Domain::x87};
}
consteval InsnRow x87_comi(std::string_view name, Encoding e, Operands o) {
    return {name, e, o, {}, Feature::cmov, traits::host_thunk, "w:OSZAPC"_flags, Domain::x87};
}
consteval InsnRow x87_sse3(std::string_view name, Encoding e, Operands o) {
    return {name, e, o, {}, Feature::sse3, traits::host_thunk, {}, Domain::x87};
}
consteval InsnRow x87_body(std::string_view name, Encoding e, Operands o, Code run, u32 more = 0) {
    return {name, e, o, run, Feature::fpu, more, {}, Domain::x87};
}

constexpr auto rows = std::to_array<InsnRow>({
    // D8: single
    x87("FADD", "D8 /0 mem"_op, "+ST0, Md"_operands),
    x87("FMUL", "D8 /1 mem"_op, "+ST0, Md"_operands),
    x87("FCOM", "D8 /2 mem"_op, "ST0, Md"_operands),
    x87("FCOMP", "D8 /3 mem"_op, "ST0, Md"_operands),
    x87("FSUB", "D8 /4 mem"_op, "+ST0, Md"_operands),
    x87("FSUBR", "D8 /5 mem"_op, "+ST0, Md"_operands),
    x87("FDIV", "D8 /6 mem"_op, "+ST0, Md"_operands),
    x87("FDIVR", "D8 /7 mem"_op, "+ST0, Md"_operands),
    x87("FADD", "D8 /0 reg"_op, "+ST0, STi"_operands),
    x87("FMUL", "D8 /1 reg"_op, "+ST0, STi"_operands),
    x87("FCOM", "D8 /2 reg"_op, "ST0, STi"_operands),
    x87("FCOMP", "D8 /3 reg"_op, "ST0, STi"_operands),
    x87("FSUB", "D8 /4 reg"_op, "+ST0, STi"_operands),
    x87("FSUBR", "D8 /5 reg"_op, "+ST0, STi"_operands),
    x87("FDIV", "D8 /6 reg"_op, "+ST0, STi"_operands),
    x87("FDIVR", "D8 /7 reg"_op, "+ST0, STi"_operands),
    // DA: 32-bit integers, FCMOVcc
    x87("FIADD", "DA /0 mem"_op, "+ST0, Mi32"_operands),
    x87("FIMUL", "DA /1 mem"_op, "+ST0, Mi32"_operands),
    x87("FICOM", "DA /2 mem"_op, "ST0, Mi32"_operands),
    x87("FICOMP", "DA /3 mem"_op, "ST0, Mi32"_operands),
    x87("FISUB", "DA /4 mem"_op, "+ST0, Mi32"_operands),
    x87("FISUBR", "DA /5 mem"_op, "+ST0, Mi32"_operands),
    x87("FIDIV", "DA /6 mem"_op, "+ST0, Mi32"_operands),
    x87("FIDIVR", "DA /7 mem"_op, "+ST0, Mi32"_operands),
    x87_cmov("FCMOVB", "DA /0 reg"_op, "+ST0, STi"_operands, "r:C"_flags),
    x87_cmov("FCMOVE", "DA /1 reg"_op, "+ST0, STi"_operands, "r:Z"_flags),
    x87_cmov("FCMOVBE", "DA /2 reg"_op, "+ST0, STi"_operands, "r:ZC"_flags),
    x87_cmov("FCMOVU", "DA /3 reg"_op, "+ST0, STi"_operands, "r:P"_flags),
    x87("FUCOMPP", "DA E9"_op, ""_operands),
    // DC: double
    x87("FADD", "DC /0 mem"_op, "+ST0, Mq"_operands),
    x87("FMUL", "DC /1 mem"_op, "+ST0, Mq"_operands),
    x87("FCOM", "DC /2 mem"_op, "ST0, Mq"_operands),
    x87("FCOMP", "DC /3 mem"_op, "ST0, Mq"_operands),
    x87("FSUB", "DC /4 mem"_op, "+ST0, Mq"_operands),
    x87("FSUBR", "DC /5 mem"_op, "+ST0, Mq"_operands),
    x87("FDIV", "DC /6 mem"_op, "+ST0, Mq"_operands),
    x87("FDIVR", "DC /7 mem"_op, "+ST0, Mq"_operands),
    x87("FADD", "DC /0 reg"_op, "+STi, ST0"_operands),
    x87("FMUL", "DC /1 reg"_op, "+STi, ST0"_operands),
    x87("FCOM", "DC /2 reg"_op, "ST0, STi"_operands),
    x87("FCOMP", "DC /3 reg"_op, "ST0, STi"_operands),
    x87("FSUBR", "DC /4 reg"_op, "+STi, ST0"_operands),
    x87("FSUB", "DC /5 reg"_op, "+STi, ST0"_operands),
    x87("FDIVR", "DC /6 reg"_op, "+STi, ST0"_operands),
    x87("FDIV", "DC /7 reg"_op, "+STi, ST0"_operands),
    // DE: 16-bit integers, popping forms
    x87("FIADD", "DE /0 mem"_op, "+ST0, Mi16"_operands),
    x87("FIMUL", "DE /1 mem"_op, "+ST0, Mi16"_operands),
    x87("FICOM", "DE /2 mem"_op, "ST0, Mi16"_operands),
    x87("FICOMP", "DE /3 mem"_op, "ST0, Mi16"_operands),
    x87("FISUB", "DE /4 mem"_op, "+ST0, Mi16"_operands),
    x87("FISUBR", "DE /5 mem"_op, "+ST0, Mi16"_operands),
    x87("FIDIV", "DE /6 mem"_op, "+ST0, Mi16"_operands),
    x87("FIDIVR", "DE /7 mem"_op, "+ST0, Mi16"_operands),
    x87("FADDP", "DE /0 reg"_op, "+STi, ST0"_operands),
    x87("FMULP", "DE /1 reg"_op, "+STi, ST0"_operands),
    x87("FCOMP", "DE /2 reg"_op, "ST0, STi"_operands),
    x87("FSUBRP", "DE /4 reg"_op, "+STi, ST0"_operands),
    x87("FSUBP", "DE /5 reg"_op, "+STi, ST0"_operands),
    x87("FDIVRP", "DE /6 reg"_op, "+STi, ST0"_operands),
    x87("FDIVP", "DE /7 reg"_op, "+STi, ST0"_operands),
    x87("FCOMPP", "DE D9"_op, ""_operands),
    // D9
    x87("FLD", "D9 /0 mem"_op, "=ST0, Md"_operands),
    x87("FST", "D9 /2 mem"_op, "=Md, ST0"_operands),
    x87("FSTP", "D9 /3 mem"_op, "=Md, ST0"_operands),
    x87_body("FLDENV", "D9 /4 mem"_op, "Menv"_operands, code<fldenv>()),
    x87("FLDCW", "D9 /5 mem"_op, "Mw"_operands),
    x87_body("FNSTENV", "D9 /6 mem"_op, "=Menv"_operands, code<fnstenv>(), traits::control),
    x87_control("FNSTCW", "D9 /7 mem"_op, "=Mw"_operands),
    x87("FLD", "D9 /0 reg"_op, "=ST0, STi"_operands),
    x87("FXCH", "D9 /1 reg"_op, "+ST0, +STi"_operands),
    x87("FNOP", "D9 D0"_op, ""_operands),
    x87("FSTP", "D9 /3 reg"_op, "=STi, ST0"_operands),
    x87("FCHS", "D9 E0"_op, "+ST0"_operands),
    x87("FABS", "D9 E1"_op, "+ST0"_operands),
    x87("FTST", "D9 E4"_op, "ST0"_operands),
    x87("FXAM", "D9 E5"_op, "ST0"_operands),
    x87("FLD1", "D9 E8"_op, "=ST0"_operands),
    x87("FLDL2T", "D9 E9"_op, "=ST0"_operands),
    x87("FLDL2E", "D9 EA"_op, "=ST0"_operands),
    x87("FLDPI", "D9 EB"_op, "=ST0"_operands),
    x87("FLDLG2", "D9 EC"_op, "=ST0"_operands),
    x87("FLDLN2", "D9 ED"_op, "=ST0"_operands),
    x87("FLDZ", "D9 EE"_op, "=ST0"_operands),
    x87("F2XM1", "D9 F0"_op, "+ST0"_operands),
    x87("FYL2X", "D9 F1"_op, "+ST0"_operands),
    x87("FPTAN", "D9 F2"_op, "+ST0"_operands),
    x87("FPATAN", "D9 F3"_op, "+ST0"_operands),
    x87("FXTRACT", "D9 F4"_op, "+ST0"_operands),
    x87("FPREM1", "D9 F5"_op, "+ST0"_operands),
    x87("FDECSTP", "D9 F6"_op, ""_operands),
    x87("FINCSTP", "D9 F7"_op, ""_operands),
    x87("FPREM", "D9 F8"_op, "+ST0"_operands),
    x87("FYL2XP1", "D9 F9"_op, "+ST0"_operands),
    x87("FSQRT", "D9 FA"_op, "+ST0"_operands),
    x87("FSINCOS", "D9 FB"_op, "+ST0"_operands),
    x87("FRNDINT", "D9 FC"_op, "+ST0"_operands),
    x87("FSCALE", "D9 FD"_op, "+ST0"_operands),
    x87("FSIN", "D9 FE"_op, "+ST0"_operands),
    x87("FCOS", "D9 FF"_op, "+ST0"_operands),
    // DB
    x87("FILD", "DB /0 mem"_op, "=ST0, Mi32"_operands),
    x87_sse3("FISTTP", "DB /1 mem"_op, "=Mi32, ST0"_operands),
    x87("FIST", "DB /2 mem"_op, "=Mi32, ST0"_operands),
    x87("FISTP", "DB /3 mem"_op, "=Mi32, ST0"_operands),
    x87("FLD", "DB /5 mem"_op, "=ST0, Mt"_operands),
    x87("FSTP", "DB /7 mem"_op, "=Mt, ST0"_operands),
    x87_cmov("FCMOVNB", "DB /0 reg"_op, "+ST0, STi"_operands, "r:C"_flags),
    x87_cmov("FCMOVNE", "DB /1 reg"_op, "+ST0, STi"_operands, "r:Z"_flags),
    x87_cmov("FCMOVNBE", "DB /2 reg"_op, "+ST0, STi"_operands, "r:ZC"_flags),
    x87_cmov("FCMOVNU", "DB /3 reg"_op, "+ST0, STi"_operands, "r:P"_flags),
    x87_control("FENI", "DB E0"_op, ""_operands),
    x87_control("FDISI", "DB E1"_op, ""_operands),
    x87_control("FNCLEX", "DB E2"_op, ""_operands),
    x87_control("FNINIT", "DB E3"_op, ""_operands),
    x87_control("FSETPM", "DB E4"_op, ""_operands),
    x87_comi("FUCOMI", "DB /5 reg"_op, "ST0, STi"_operands),
    x87_comi("FCOMI", "DB /6 reg"_op, "ST0, STi"_operands),
    // DD
    x87("FLD", "DD /0 mem"_op, "=ST0, Mq"_operands),
    x87_sse3("FISTTP", "DD /1 mem"_op, "=Mi64, ST0"_operands),
    x87("FST", "DD /2 mem"_op, "=Mq, ST0"_operands),
    x87("FSTP", "DD /3 mem"_op, "=Mq, ST0"_operands),
    x87_body("FRSTOR", "DD /4 mem"_op, "Mfst"_operands, code<frstor>()),
    x87_body("FNSAVE", "DD /6 mem"_op, "=Mfst"_operands, code<fnsave>(), traits::control),
    x87_control("FNSTSW", "DD /7 mem"_op, "=Mw"_operands),
    x87("FFREE", "DD /0 reg"_op, "STi"_operands),
    x87("FXCH", "DD /1 reg"_op, "+ST0, +STi"_operands),
    x87("FST", "DD /2 reg"_op, "=STi, ST0"_operands),
    x87("FSTP", "DD /3 reg"_op, "=STi, ST0"_operands),
    x87("FUCOM", "DD /4 reg"_op, "ST0, STi"_operands),
    x87("FUCOMP", "DD /5 reg"_op, "ST0, STi"_operands),
    // DF
    x87("FILD", "DF /0 mem"_op, "=ST0, Mi16"_operands),
    x87_sse3("FISTTP", "DF /1 mem"_op, "=Mi16, ST0"_operands),
    x87("FIST", "DF /2 mem"_op, "=Mi16, ST0"_operands),
    x87("FISTP", "DF /3 mem"_op, "=Mi16, ST0"_operands),
    x87("FBLD", "DF /4 mem"_op, "=ST0, Mbcd"_operands),
    x87("FILD", "DF /5 mem"_op, "=ST0, Mi64"_operands),
    x87("FBSTP", "DF /6 mem"_op, "=Mbcd, ST0"_operands),
    x87("FISTP", "DF /7 mem"_op, "=Mi64, ST0"_operands),
    x87("FFREEP", "DF /0 reg"_op, "STi"_operands),
    x87("FXCH", "DF /1 reg"_op, "+ST0, +STi"_operands),
    x87("FSTP", "DF /2 reg"_op, "=STi, ST0"_operands),
    x87("FSTP", "DF /3 reg"_op, "=STi, ST0"_operands),
    x87_body("FNSTSW", "DF E0"_op, "=AX"_operands, code<fnstsw_ax>(), traits::control),
    x87_comi("FUCOMIP", "DF /5 reg"_op, "ST0, STi"_operands),
    x87_comi("FCOMIP", "DF /6 reg"_op, "ST0, STi"_operands),
    // 9B
    {"FWAIT", "9B"_op, ""_operands, code<fwait>(), Feature::fpu},
});

}  // namespace

RowSpan x87_rows() { return rows; }

}  // namespace droste
