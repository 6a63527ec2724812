// SPDX-License-Identifier: Apache-2.0
// Integer operations by the host's own instructions, with the arithmetic flags as LAHF and SETO give them.
//
// Every function takes the flag image (state.h, flag_image) by reference and leaves in it exactly what the
// host's instruction leaves in its flags, the architecturally undefined ones included: one definition for all
// engines.
#pragma once
#include <type_traits>

#include "base/types.h"

// Text of asm statements has to be a literal, hence macros. AX holds the image: AH as LAHF, AL as SETO.
#define DROSTE_SAVE_FLAGS "\n\tlahf\n\tseto %%al"
#define DROSTE_LOAD_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"  // AL = 1: 1 + 0x7F overflows, so OF = 1
#define DROSTE_LOAD_CARRY "btw $8, %%ax\n\t"

namespace droste::host {

/// Binary operations; the value is the opcode group of 00..3F and of the immediate group 80..83.
enum class Alu : u8 { add, or_, adc, sbb, and_, sub, xor_, cmp, test };
constexpr bool writes(Alu op) { return op != Alu::cmp && op != Alu::test; }

/// a OP b. For cmp and test the result is `a` unchanged.
template <Alu op, class T> inline T binary(u16& flags, T a, T b) {
    u16 f = flags;
    if constexpr (op == Alu::add)
        asm("add %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::or_)
        asm("or %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::adc)
        asm(DROSTE_LOAD_CARRY "adc %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "+&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::sbb)
        asm(DROSTE_LOAD_CARRY "sbb %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "+&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::and_)
        asm("and %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::sub)
        asm("sub %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::xor_)
        asm("xor %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f) : [b] "r"(b));
    else if constexpr (op == Alu::cmp)
        asm("cmp %[b], %[a]" DROSTE_SAVE_FLAGS : "=&a"(f) : [a] "r"(a), [b] "r"(b));
    else
        asm("test %[b], %[a]" DROSTE_SAVE_FLAGS : "=&a"(f) : [a] "r"(a), [b] "r"(b));
    flags = f;
    return a;
}

enum class Unary : u8 { inc, dec, neg, not_ };

template <Unary op, class T> inline T unary(u16& flags, T a) {
    u16 f = flags;
    if constexpr (op == Unary::inc)
        asm(DROSTE_LOAD_CARRY "inc %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "+&a"(f));
    else if constexpr (op == Unary::dec)
        asm(DROSTE_LOAD_CARRY "dec %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "+&a"(f));
    else if constexpr (op == Unary::neg)
        asm("neg %[a]" DROSTE_SAVE_FLAGS : [a] "+r"(a), "=&a"(f));
    else
        return static_cast<T>(~a);
    flags = f;
    return a;
}

/// In the order of ModRM.reg of the shift group. Code 6 is an alias of SHL on every processor.
enum class Shift : u8 { rol, ror, rcl, rcr, shl, shr, sal, sar };

/// The count is masked by the instruction itself; a count of 0 leaves the flags as they are.
template <Shift op, class T> inline T shift(u16& flags, T a, u8 count) {
    u16 f = flags;
    if constexpr (op == Shift::rol)
        asm(DROSTE_LOAD_FLAGS "rol %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else if constexpr (op == Shift::ror)
        asm(DROSTE_LOAD_FLAGS "ror %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else if constexpr (op == Shift::rcl)
        asm(DROSTE_LOAD_FLAGS "rcl %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else if constexpr (op == Shift::rcr)
        asm(DROSTE_LOAD_FLAGS "rcr %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else if constexpr (op == Shift::shl || op == Shift::sal)
        asm(DROSTE_LOAD_FLAGS "shl %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else if constexpr (op == Shift::shr)
        asm(DROSTE_LOAD_FLAGS "shr %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    else
        asm(DROSTE_LOAD_FLAGS "sar %%cl, %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : "c"(count));
    flags = f;
    return a;
}

template <class T> inline T shld(u16& flags, T a, T fill, u8 count) {
    u16 f = flags;
    asm(DROSTE_LOAD_FLAGS "shld %%cl, %[b], %[a]" DROSTE_SAVE_FLAGS
        : [a] "+&r"(a), "+&a"(f) : [b] "r"(fill), "c"(count));
    flags = f;
    return a;
}
template <class T> inline T shrd(u16& flags, T a, T fill, u8 count) {
    u16 f = flags;
    asm(DROSTE_LOAD_FLAGS "shrd %%cl, %[b], %[a]" DROSTE_SAVE_FLAGS
        : [a] "+&r"(a), "+&a"(f) : [b] "r"(fill), "c"(count));
    flags = f;
    return a;
}

enum class BitTest : u8 { bt, bts, btr, btc };

/// Bit `index` modulo the width.
template <BitTest op, class T> inline T bit_test(u16& flags, T a, T index) {
    u16 f = flags;
    if constexpr (op == BitTest::bt)
        asm(DROSTE_LOAD_FLAGS "bt %[i], %[a]" DROSTE_SAVE_FLAGS : "+&a"(f) : [a] "r"(a), [i] "r"(index));
    else if constexpr (op == BitTest::bts)
        asm(DROSTE_LOAD_FLAGS "bts %[i], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [i] "r"(index));
    else if constexpr (op == BitTest::btr)
        asm(DROSTE_LOAD_FLAGS "btr %[i], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [i] "r"(index));
    else
        asm(DROSTE_LOAD_FLAGS "btc %[i], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [i] "r"(index));
    flags = f;
    return a;
}

/// Two-operand IMUL.
template <class T> inline T imul(u16& flags, T a, T b) {
    u16 f = flags;
    asm(DROSTE_LOAD_FLAGS "imul %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [b] "r"(b));
    flags = f;
    return a;
}

enum class Wide : u8 { mul, imul, div, idiv };

/// MUL, IMUL, DIV, IDIV with rDX:rAX in hi:lo. For bytes only `lo` counts (AX). The caller excludes #DE.
template <Wide op, class T> inline void wide(u16& flags, T value, u64& hi, u64& lo) {
    u16 f = flags;
    u64 d = hi, a = lo;
    if constexpr (op == Wide::mul)
        asm(DROSTE_LOAD_FLAGS "mov %[lo], %%rax\n\tmul %[v]\n\tmov %%rax, %[lo]" DROSTE_SAVE_FLAGS
            : [lo] "+&r"(a), "+&d"(d), "+&a"(f) : [v] "r"(value));
    else if constexpr (op == Wide::imul)
        asm(DROSTE_LOAD_FLAGS "mov %[lo], %%rax\n\timul %[v]\n\tmov %%rax, %[lo]" DROSTE_SAVE_FLAGS
            : [lo] "+&r"(a), "+&d"(d), "+&a"(f) : [v] "r"(value));
    else if constexpr (op == Wide::div)
        asm(DROSTE_LOAD_FLAGS "mov %[lo], %%rax\n\tdiv %[v]\n\tmov %%rax, %[lo]" DROSTE_SAVE_FLAGS
            : [lo] "+&r"(a), "+&d"(d), "+&a"(f) : [v] "r"(value));
    else
        asm(DROSTE_LOAD_FLAGS "mov %[lo], %%rax\n\tidiv %[v]\n\tmov %%rax, %[lo]" DROSTE_SAVE_FLAGS
            : [lo] "+&r"(a), "+&d"(d), "+&a"(f) : [v] "r"(value));
    flags = f;
    hi = d;
    lo = a;
}

enum class Scan : u8 { bsf, bsr, tzcnt, lzcnt, popcnt };

/// `old` is the destination before: BSF and BSR of 0 leave it, in the way of the host, hence the full
/// registers.
template <Scan op, class T> inline u64 scan(u16& flags, u64 old, u64 value) {
    u16 f = flags;
    constexpr auto w = sizeof(T);
#define DROSTE_SCAN(name)                                                                                    \
    if constexpr (w == 2)                                                                                    \
        asm(DROSTE_LOAD_FLAGS name " %w[v], %w[d]" DROSTE_SAVE_FLAGS                                         \
            : [d] "+&r"(old), "+&a"(f)                                                                       \
            : [v] "r"(value));                                                                               \
    else if constexpr (w == 4)                                                                               \
        asm(DROSTE_LOAD_FLAGS name " %k[v], %k[d]" DROSTE_SAVE_FLAGS                                         \
            : [d] "+&r"(old), "+&a"(f)                                                                       \
            : [v] "r"(value));                                                                               \
    else                                                                                                     \
        asm(DROSTE_LOAD_FLAGS name " %q[v], %q[d]" DROSTE_SAVE_FLAGS                                         \
            : [d] "+&r"(old), "+&a"(f)                                                                       \
            : [v] "r"(value))
    if constexpr (op == Scan::bsf) {
        DROSTE_SCAN("bsf");
    } else if constexpr (op == Scan::bsr) {
        DROSTE_SCAN("bsr");
    } else if constexpr (op == Scan::tzcnt) {
        DROSTE_SCAN("tzcnt");
    } else if constexpr (op == Scan::lzcnt) {
        DROSTE_SCAN("lzcnt");
    } else {
        DROSTE_SCAN("popcnt");
    }
#undef DROSTE_SCAN
    flags = f;
    return old;
}

/// CMPXCHG on full registers: dest and accumulator change as the host changes them (also their upper halves).
template <class T> inline void cmpxchg(u16& flags, u64& dest, u64& accumulator, u64 source) {
    u16 f = 0;
    u64 a = accumulator;
#define DROSTE_CMPXCHG(width)                                                                                \
    asm("mov %[acc], %%rax\n\tcmpxchg %" width "[s], %" width "[d]\n\tmov %%rax, %[acc]" DROSTE_SAVE_FLAGS   \
        : [d] "+&r"(dest), [acc] "+&r"(a), "=&a"(f)                                                          \
        : [s] "r"(source))
    if constexpr (sizeof(T) == 1) DROSTE_CMPXCHG("b");
    else if constexpr (sizeof(T) == 2) DROSTE_CMPXCHG("w");
    else if constexpr (sizeof(T) == 4) DROSTE_CMPXCHG("k");
    else DROSTE_CMPXCHG("q");
#undef DROSTE_CMPXCHG
    flags = f;
    accumulator = a;
}

/// ADCX and ADOX: one flag in and out, the others stay.
template <class T> inline T adcx(u16& flags, T a, T b) {
    u16 f = flags;
    asm(DROSTE_LOAD_FLAGS "adcx %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [b] "r"(b));
    flags = f;
    return a;
}
template <class T> inline T adox(u16& flags, T a, T b) {
    u16 f = flags;
    asm(DROSTE_LOAD_FLAGS "adox %[b], %[a]" DROSTE_SAVE_FLAGS : [a] "+&r"(a), "+&a"(f) : [b] "r"(b));
    flags = f;
    return a;
}

enum class Bmi : u8 { andn, blsi, blsr, blsmsk, bextr, bzhi };

/// ANDN a, b: ~a & b. BEXTR, BZHI: a = control, b = value. BLSx use b alone.
template <Bmi op, class T> inline T bmi(u16& flags, T a, T b) {
    u16 f = flags;
    T r;
    if constexpr (op == Bmi::andn)
        asm(DROSTE_LOAD_FLAGS "andn %[b], %[a], %[r]" DROSTE_SAVE_FLAGS
            : [r] "=&r"(r), "+&a"(f) : [a] "r"(a), [b] "r"(b));
    else if constexpr (op == Bmi::blsi)
        asm(DROSTE_LOAD_FLAGS "blsi %[b], %[r]" DROSTE_SAVE_FLAGS : [r] "=&r"(r), "+&a"(f) : [b] "r"(b));
    else if constexpr (op == Bmi::blsr)
        asm(DROSTE_LOAD_FLAGS "blsr %[b], %[r]" DROSTE_SAVE_FLAGS : [r] "=&r"(r), "+&a"(f) : [b] "r"(b));
    else if constexpr (op == Bmi::blsmsk)
        asm(DROSTE_LOAD_FLAGS "blsmsk %[b], %[r]" DROSTE_SAVE_FLAGS : [r] "=&r"(r), "+&a"(f) : [b] "r"(b));
    else if constexpr (op == Bmi::bextr)
        asm(DROSTE_LOAD_FLAGS "bextr %[a], %[b], %[r]" DROSTE_SAVE_FLAGS
            : [r] "=&r"(r), "+&a"(f) : [a] "r"(a), [b] "r"(b));
    else
        asm(DROSTE_LOAD_FLAGS "bzhi %[a], %[b], %[r]" DROSTE_SAVE_FLAGS
            : [r] "=&r"(r), "+&a"(f) : [a] "r"(a), [b] "r"(b));
    flags = f;
    return r;
}

}  // namespace droste::host
