// SPDX-License-Identifier: Apache-2.0
// CPUID leaves.
#include "cpu/cpuid.h"

#include <bit>
#include <cstring>
#include <numeric>

#include "cpu/insns/tile_config.h"
#include "cpu/state.h"

namespace droste {

namespace {

constexpr u32 max_basic_leaf = 0x1F;
constexpr u32 max_extended_leaf = 0x80000008;

u32& part(CpuidResult& r, CpuidReg which) {
    switch (which) {
    case CpuidReg::eax: return r.eax;
    case CpuidReg::ebx: return r.ebx;
    case CpuidReg::ecx: return r.ecx;
    default: return r.edx;
    }
}

void add_features(const CpuModel& m, u32 leaf, u32 subleaf, CpuidResult& r) {
    for (const FeatureRow& f : feature_rows())
        if (f.leaf == leaf && f.subleaf == subleaf && m.features.has(f.feature))
            part(r, f.reg) |= 1u << f.bit;
}

void set_bit(u32& word, unsigned n, bool on) { word = on ? word | (1u << n) : word & ~(1u << n); }

CpuidResult vendor(u32 max_leaf) { return {max_leaf, 0x756E6547, 0x6C65746E, 0x49656E69}; }  // GenuineIntel

u32 signature(const CpuModel& m) {
    const u32 extended_family = m.family > 15 ? m.family - 15u : 0u;
    const u32 family = m.family > 15 ? 15u : m.family;
    return m.stepping | (m.model & 0xFu) << 4 | family << 8 | (m.model >> 4) << 16 | extended_family << 20;
}

/// Bits of an APIC ID that tell the package's cores apart.
u32 core_bits(const CpuidContext& c) { return static_cast<u32>(std::bit_width(c.processors - 1)); }

CpuidResult version(const CpuModel& m, const CpuidContext& c) {
    CpuidResult r;
    r.eax = signature(m);
    constexpr u32 clflush_line_in_qwords = 8;
    r.ebx = (c.apic_id & 0xFF) << 24 | (1u << core_bits(c)) << 16 | clflush_line_in_qwords << 8;
    add_features(m, 1, 0, r);
    set_bit(r.ecx, 27, c.cr4 & cr4_bits::osxsave);
    if (!c.apic_enabled) set_bit(r.edx, 9, false);
    if (!(c.misc_enable & misc_enable_bits::monitor)) set_bit(r.ecx, 3, false);
    set_bit(r.edx, 28, c.processors > 1);
    return r;
}

struct Cache {
    u8 type;  ///< 1 data, 2 instruction, 3 unified
    u8 level;
    u32 ways, sets;
    u32 edx;
};
constexpr Cache caches[] = {{1, 1, 8, 64, 0}, {2, 1, 8, 64, 0}, {3, 2, 16, 1024, 0}, {3, 3, 16, 16384, 4}};
constexpr u32 line = 64;
constexpr u32 shared_level = 3;  ///< by all cores; the others are a core's own

/// EAX tells addressable IDs, not processors: of those that share the cache, of the cores of the package.
CpuidResult cache_parameters(const CpuidContext& context, u32 subleaf) {
    if (subleaf >= std::size(caches)) return {};
    const Cache& c = caches[subleaf];
    constexpr u32 self_initializing = 1 << 8;
    const u32 cores = (1u << core_bits(context)) - 1, sharing = c.level == shared_level ? cores : 0;
    return {c.type | u32{c.level} << 5 | self_initializing | sharing << 14 | cores << 26, (line - 1) | (c.ways - 1) << 22, c.sets - 1,
            c.edx};
}

CpuidResult monitor_leaf(const CpuModel& m) {
    if (!m.features.has(Feature::monitor)) return {};
    constexpr u32 extensions_and_break_events = 3, one_c1_substate = 0x10;
    return {line, line, extensions_and_break_events, one_c1_substate};
}

/// One package with a core for each processor, of one thread each.
CpuidResult topology(const CpuidContext& c, u32 subleaf) {
    if (subleaf == 0) return {0, 1, 1 << 8, c.apic_id};
    if (subleaf == 1) return {core_bits(c), c.processors, 2 << 8 | 1, c.apic_id};
    return {0, 0, subleaf & 0xFF, c.apic_id};
}

CpuidResult extended_state(const CpuModel& m, const CpuidContext& c, u32 subleaf) {
    if (!m.features.has(Feature::xsave)) return {};
    if (subleaf == 0)
        return {static_cast<u32>(m.valid_xcr0), xsave_area_size(c.xcr0, false),
                xsave_area_size(m.valid_xcr0, false), static_cast<u32>(m.valid_xcr0 >> 32)};
    if (subleaf == 1) {
        CpuidResult r;
        add_features(m, 0xD, 1, r);
        if (m.features.has(Feature::xsavec)) r.ebx = xsave_area_size(c.xcr0 | c.xss, true);
        r.ecx = static_cast<u32>(m.valid_xss);
        r.edx = static_cast<u32>(m.valid_xss >> 32);
        return r;
    }
    for (const XstateComponent& x : xstate_components)
        if (x.number == subleaf && bit(m.valid_xcr0 | m.valid_xss, x.number))
            return {x.size, x.supervisor ? 0 : x.offset, u32{x.supervisor} | u32{x.aligned64} << 1 | u32{x.xfd} << 2, 0};
    return {};
}

/// Tile information: the palettes, and the tiles of palette 1.
CpuidResult tile_information(const CpuModel& m, u32 subleaf) {
    if (!m.features.has(Feature::amx_tile)) return {};
    if (subleaf == 0) return {1, 0, 0, 0};
    if (subleaf != 1) return {};
    using namespace palette1;
    return {total_bytes | bytes_per_tile << 16, bytes_per_row | tiles << 16, rows, 0};
}

CpuidResult tile_multiplier(const CpuModel& m, u32 subleaf) {
    if (!m.features.has(Feature::amx_tile) || subleaf != 0) return {};
    return {0, tmul::max_k | tmul::max_n << 8, 0, 0};
}

CpuidResult time_stamp_counter(const CpuModel& m) {
    const u64 divisor = std::gcd(m.tsc_hz, m.crystal_hz);
    return {static_cast<u32>(m.crystal_hz / divisor), static_cast<u32>(m.tsc_hz / divisor),
            static_cast<u32>(m.crystal_hz), 0};
}

CpuidResult frequencies(const CpuModel& m) {
    const u32 mhz = static_cast<u32>(m.tsc_hz / 1'000'000);
    return {mhz, mhz, 100, 0};
}

CpuidResult brand(const CpuModel& m, u32 part_number) {
    std::array<char, 48> text{};
    std::memcpy(text.data(), m.brand.data(), std::min<std::size_t>(m.brand.size(), text.size() - 1));
    CpuidResult r;
    const char* from = text.data() + 16 * part_number;
    for (u32* word : {&r.eax, &r.ebx, &r.ecx, &r.edx}) {
        std::memcpy(word, from, 4);
        from += 4;
    }
    return r;
}

/// CPUID.7.0:EAX tells the highest sub-leaf of leaf 7.
bool has_subleaf_1(const CpuModel& m) {
    for (const FeatureRow& f : feature_rows())
        if (f.leaf == 7 && f.subleaf == 1 && m.features.has(f.feature)) return true;
    return false;
}

CpuidResult basic(const CpuModel& m, const CpuidContext& c, u32 leaf, u32 subleaf) {
    CpuidResult r;
    switch (leaf) {
    case 0: return vendor(c.misc_enable & misc_enable_bits::limit_cpuid ? 2 : max_basic_leaf);
    case 1: return version(m, c);
    // TLB descriptors; FFH: cache information is in leaf 4.
    case 2: return {0x76036301, 0x00F0B5FF, 0, 0x00C30000};
    case 4: return cache_parameters(c, subleaf);
    case 5: return monitor_leaf(m);
    case 7:
        add_features(m, 7, subleaf, r);
        if (subleaf != 0) return r;
        r.eax = has_subleaf_1(m) ? 1 : 0;
        set_bit(r.ecx, 4, m.features.has(Feature::pku) && (c.cr4 & cr4_bits::pke));
        return r;
    case 0xB: case 0x1F: return topology(c, subleaf);
    case 0xD: return extended_state(m, c, subleaf);
    case 0x15: return time_stamp_counter(m);
    case 0x16: return frequencies(m);
    case 0x1D: return tile_information(m, subleaf);
    case 0x1E: return tile_multiplier(m, subleaf);
    default: add_features(m, leaf, 0, r); return r;
    }
}

CpuidResult extended(const CpuModel& m, const CpuidContext& c, u32 leaf) {
    CpuidResult r;
    switch (leaf) {
    case 0x80000000: return {max_extended_leaf, 0, 0, 0};
    case 0x80000002: case 0x80000003: case 0x80000004: return brand(m, leaf - 0x80000002);
    case 0x80000006: return {0, 0, 1024u << 16 | 6u << 12 | line, 0};
    case 0x80000008:
        add_features(m, leaf, 0, r);
        r.eax = m.maxphyaddr | u32{m.linear_bits} << 8;
        return r;
    case 0x80000001:
        add_features(m, leaf, 0, r);
        if (c.misc_enable & misc_enable_bits::xd_disable) set_bit(r.edx, 20, false);
        return r;
    default: add_features(m, leaf, 0, r); return r;
    }
}

}  // namespace

u32 xsave_area_size(u64 mask, bool compacted) {
    u32 end = xsave_legacy_size + xsave_header_size;
    for (const XstateComponent& x : xstate_components) {
        if (!bit(mask, x.number)) continue;
        if (!compacted) {
            end = std::max(end, x.offset + x.size);
        } else {
            if (x.aligned64) end = (end + 63) & ~63u;
            end += x.size;
        }
    }
    return end;
}

CpuidResult cpuid(const CpuModel& model, const CpuidContext& context, u32 leaf, u32 subleaf) {
    if (leaf >= 0x80000000 && leaf <= max_extended_leaf) return extended(model, context, leaf);
    // SDM "CPUID": beyond the last leaf the data of the highest basic leaf are returned.
    return basic(model, context, std::min(leaf, max_basic_leaf), subleaf);
}

}  // namespace droste
