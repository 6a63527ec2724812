// SPDX-License-Identifier: Apache-2.0
// Memory operands of up to 64 bytes for bodies that learn the size at run time.
#pragma once
#include <array>

#include "cpu/cpu.h"

namespace droste {

/// Calls f with std::array<u8, size>{} for the sizes that vector and x87 operands have.
template <class F> bool with_size(unsigned size, F f) {
    switch (size) {
    case 1: return f(std::array<u8, 1>{});
    case 2: return f(std::array<u8, 2>{});
    case 4: return f(std::array<u8, 4>{});
    case 8: return f(std::array<u8, 8>{});
    case 10: return f(std::array<u8, 10>{});
    case 16: return f(std::array<u8, 16>{});
    case 32: return f(std::array<u8, 32>{});
    case 64: return f(std::array<u8, 64>{});
    default: ASSERT(!"operand size"); return false;
    }
}

inline bool load_sized(Cpu& cpu, unsigned seg, u64 linear, void* to, unsigned size) {
    return with_size(size, [&](auto v) {
        if (!cpu.load(seg, linear, v)) return false;
        std::memcpy(to, v.data(), v.size());
        return true;
    });
}

inline bool store_sized(Cpu& cpu, unsigned seg, u64 linear, const void* from, unsigned size) {
    return with_size(size, [&](auto v) {
        std::memcpy(v.data(), from, v.size());
        return cpu.store(seg, linear, v);
    });
}

/// Where a thunk may read the operand: in the guest's page when the TLB knows it, else a copy in `bounce`.
/// Null: the access failed.
inline void* readable(Cpu& cpu, unsigned seg, u64 linear, unsigned size, void* bounce) {
    const unsigned i = TlbClass::slot(linear);
    if (cpu.tlb->read_tag[i] + ((linear + size - 1) >> 12) == 0) [[likely]]
        return reinterpret_cast<void*>(linear + cpu.tlb->addend[i]);
    return load_sized(cpu, seg, linear, bounce, size) ? bounce : nullptr;
}

}  // namespace droste
