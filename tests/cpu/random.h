// SPDX-License-Identifier: Apache-2.0
// Random numbers of the fuzz tests, and the values at which arithmetic tends to go wrong.
#pragma once
#include <bit>

#include "base/types.h"

namespace droste::test {

/// splitmix64: one word of state, so that a case is repeated from its seed alone.
class Random {
public:
    explicit Random(u64 seed) : state_(seed) {}
    u64 next() {
        u64 z = (state_ += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    u64 below(u64 n) { return static_cast<u64>(u128(next()) * n >> 64); }
    bool chance(unsigned percent) { return below(100) < percent; }

    /// Boundary values of all widths, sparse and dense patterns, small and plain numbers.
    u64 value() {
        const u64 r = next();
        const unsigned n = static_cast<unsigned>(r >> 8) & 63;
        switch (r & 15) {
        case 0: return 0;
        case 1: return ~0ull;
        case 2: return 1ull << n;
        case 3: return (1ull << n) - 1;
        case 4: return ~(1ull << n);
        case 5: return 0 - (1ull << n);
        case 6: return below(256);
        case 7: return 0 - below(256);
        case 8: return next() >> n;
        case 9: return static_cast<u64>(static_cast<i64>(next()) >> n);
        case 10: return 0x0101010101010101ull * (r >> 56);
        case 11: return (0x8000000080008080ull << (n & 1)) + below(3) - 1;
        case 12: return (0x7FFFFFFF7FFF7F7Full) + below(3) - 1;
        default: return next();
        }
    }
    u16 float16() {
        const u64 r = next();
        const u16 sign = static_cast<u16>((r >> 63) << 15);
        const u16 fraction = static_cast<u16>(value() & 0x3FF);
        switch ((r >> 8) & 15) {
        case 0: return sign;
        case 1: return sign | 0x3C00;
        case 2: return sign | 0x7C00;
        case 3: return sign | 0x7E00 | fraction;
        case 4: return static_cast<u16>(sign | 0x7C00 | (fraction & 0x1FF) | 1);
        case 5: return sign | fraction;
        case 6: return sign | 0x7BFF;
        case 7: return sign | 0x0400;
        case 8: return static_cast<u16>(r >> 16);
        default: return static_cast<u16>(sign | ((10 + (r >> 16 & 7)) << 10) | fraction);
        }
    }
    u64 float16x4() {
        u64 v = 0;
        for (unsigned i = 0; i < 4; ++i) v = v << 16 | float16();
        return v;
    }
    u32 float32() {
        const u64 r = next();
        const u32 sign = static_cast<u32>(r >> 63) << 31;
        const u32 fraction = static_cast<u32>(value()) & 0x7FFFFF;
        switch ((r >> 8) & 15) {
        case 0: return sign;
        case 1: return sign | 0x3F800000;
        case 2: return sign | 0x7F800000;
        case 3: return sign | 0x7FC00000 | fraction;
        case 4: return sign | 0x7F800000 | (fraction & 0x3FFFFF) | 1;
        case 5: return sign | fraction;
        case 6: return sign | 0x7F7FFFFF;
        case 7: return sign | 0x00800000;
        case 8: return static_cast<u32>(r >> 16);
        case 9: return sign | ((127 + 31u) << 23) | fraction;
        default: return sign | static_cast<u32>((120 + (r >> 16 & 31)) << 23) | fraction;
        }
    }
    u64 float64() {
        const u64 r = next();
        const u64 sign = (r >> 63) << 63;
        const u64 fraction = value() & 0xFFFFFFFFFFFFF;
        switch ((r >> 8) & 15) {
        case 0: return sign;
        case 1: return sign | 0x3FF0000000000000;
        case 2: return sign | 0x7FF0000000000000;
        case 3: return sign | 0x7FF8000000000000 | fraction;
        case 4: return sign | 0x7FF0000000000000 | (fraction & 0x7FFFFFFFFFFFF) | 1;
        case 5: return sign | fraction;
        case 6: return sign | 0x7FEFFFFFFFFFFFFF;
        case 7: return sign | 0x0010000000000000;
        case 8: return next();
        case 9: return sign | ((1023ull + 31 + (r >> 16 & 1) * 32) << 52) | fraction;
        case 10: return sign | ((1023ull - 160 + (r >> 16 & 63)) << 52) | fraction;
        default: return sign | ((1015 + (r >> 16 & 31)) << 52) | fraction;
        }
    }
    /// x87 extended format: the significand, then sign and exponent in the low 16 bits of `top`.
    u64 float80(u16& top) {
        const u64 r = next();
        const u16 sign = static_cast<u16>((r >> 63) << 15);
        const u64 fraction = value() & ~(1ull << 63);
        constexpr u64 integer = 1ull << 63;
        switch ((r >> 8) & 15) {
        case 0: top = sign; return 0;
        case 1: top = sign | 0x3FFF; return integer;
        case 2: top = sign | 0x7FFF; return integer;
        case 3: top = sign | 0x7FFF; return integer | (1ull << 62) | fraction;
        case 4: top = sign | 0x7FFF; return integer | (fraction >> 2) | 1;
        case 5: top = sign; return fraction;                                  // denormal
        case 6: top = sign; return integer | fraction;                        // pseudo-denormal
        case 7: top = static_cast<u16>(sign | (r >> 16 & 0x7FFF)); return fraction;  // mostly unnormal
        case 8: top = static_cast<u16>(sign | (r >> 16 & 0x7FFF)); return integer | fraction;
        case 9: top = static_cast<u16>(sign | (0x3FFF + 52 + (r >> 16 & 15))); return integer | fraction;
        default: top = static_cast<u16>(sign | (0x3FFF - 8 + (r >> 16 & 31))); return integer | fraction;
        }
    }

private:
    u64 state_;
};

}  // namespace droste::test
