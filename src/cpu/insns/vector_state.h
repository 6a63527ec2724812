// SPDX-License-Identifier: Apache-2.0
// The XSAVE components of AVX-512 and AMX: where each lies in the processor's state, and whether it is in use.
#pragma once
#include <cstring>

#include "cpu/cpu.h"
#include "cpu/insns/tile_config.h"

namespace droste::vector_state {

inline constexpr unsigned opmask = 5, zmm_hi256 = 6, hi16_zmm = 7, tilecfg = 17, tiledata = 18;
inline constexpr u64 avx512 = 1u << opmask | 1u << zmm_hi256 | 1u << hi16_zmm;
inline constexpr u64 amx = 1u << tilecfg | 1u << tiledata;
inline constexpr u64 all = avx512 | amx;

/// A run of bytes of the processor's state within a component.
struct Piece {
    void* data;
    u32 offset, size;
};

/// Calls f(Piece) for what the mode lets the component hold; f returns false to stop.
/// SDM "ZMM_Hi256 State", "Hi16_ZMM State": outside 64-bit mode the registers from 8 on are left alone.
template <class F> bool for_each_piece(Cpu& cpu, unsigned component, F f) {
    const unsigned registers = cpu.code64() ? 16 : 8;
    switch (component) {
    case opmask: return f(Piece{cpu.opmask.data(), 0, 64});
    case zmm_hi256:
        for (unsigned i = 0; i < registers; ++i)
            if (!f(Piece{cpu.vec[i].q.data() + 4, 32 * i, 32})) return false;
        return true;
    case hi16_zmm: return !cpu.code64() || f(Piece{cpu.vec[16].q.data(), 0, 1024});
    case tilecfg: return f(Piece{cpu.amx.config.data(), 0, 64});
    case tiledata: return f(Piece{cpu.amx.tile[0].data(), 0, 8192});
    default: return true;
    }
}

/// Calls f(number) for each of these components in `mask`.
template <class F> bool for_each(u64 mask, F f) {
    for (const unsigned i : {opmask, zmm_hi256, hi16_zmm, tilecfg, tiledata})
        if (bit(mask, i) && !f(i)) return false;
    return true;
}

inline bool any_byte(const void* data, std::size_t size) {
    const u8* p = static_cast<const u8*>(data);
    u64 seen = 0;
    for (std::size_t i = 0; i < size; i += 8) {
        u64 v;
        std::memcpy(&v, p + i, 8);
        seen |= v;
    }
    return seen != 0;
}

/// XINUSE of these components: exactly "not in the initial configuration".
inline u64 in_use(const Cpu& cpu) {
    u64 used = 0;
    if (cpu.xcr0 & avx512) {
        if (any_byte(cpu.opmask.data(), 64)) used |= 1u << opmask;
        u64 high = 0;
        for (unsigned i = 0; i < 16; ++i)
            high |= cpu.vec[i].q[4] | cpu.vec[i].q[5] | cpu.vec[i].q[6] | cpu.vec[i].q[7];
        if (high != 0) used |= 1u << zmm_hi256;
        if (any_byte(&cpu.vec[16], 1024)) used |= 1u << hi16_zmm;
    }
    if (cpu.xcr0 & amx) {
        if (any_byte(cpu.amx.config.data(), 64)) used |= 1u << tilecfg;
        if (any_byte(cpu.amx.tile[0].data(), 8192)) used |= 1u << tiledata;
    }
    return used;
}

/// What a restore has read, to be committed when all checks have passed. Not initialised: it is large.
struct Loaded {
    std::array<u8, 64> opmask, tilecfg;
    std::array<u8, 512> zmm_hi256;
    std::array<u8, 1024> hi16_zmm;
    std::array<u8, 8192> tiledata;
    u8* of(unsigned component) {
        switch (component) {
        case vector_state::opmask: return opmask.data();
        case vector_state::zmm_hi256: return zmm_hi256.data();
        case vector_state::hi16_zmm: return hi16_zmm.data();
        case vector_state::tilecfg: return tilecfg.data();
        default: return tiledata.data();
        }
    }
};

/// `requested` components take what was `restored`, the others of them their initial configuration.
inline void commit(Cpu& cpu, Loaded& from, u64 requested, u64 restored) {
    (void)for_each(requested, [&](unsigned i) {
        const u8* source = bit(restored, i) ? from.of(i) : nullptr;
        // SDM "TILECFG State": a configuration that LDTILECFG would refuse is loaded as zeros.
        if (i == tilecfg && source != nullptr && !tile_config_valid(from.tilecfg)) source = nullptr;
        return for_each_piece(cpu, i, [&](const Piece& p) {
            if (source != nullptr) std::memcpy(p.data, source + p.offset, p.size);
            else std::memset(p.data, 0, p.size);
            return true;
        });
    });
}

}  // namespace droste::vector_state
