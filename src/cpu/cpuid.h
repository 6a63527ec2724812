// SPDX-License-Identifier: Apache-2.0
// CPUID: leaves derived from the model, the feature table and the few bits that follow the processor's state.
#pragma once
#include <array>

#include "base/types.h"
#include "cpu/model.h"

namespace droste {

struct CpuState;

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    friend constexpr bool operator==(const CpuidResult&, const CpuidResult&) = default;
};

/// IA32_MISC_ENABLE: three of its bits change what CPUID tells.
namespace misc_enable_bits {
inline constexpr u64 fast_strings = 1, thermal_control = 1 << 3, performance_monitoring = 1 << 7,
                     no_bts = 1 << 11, no_pebs = 1 << 12, speed_step = 1 << 16, monitor = 1 << 18,
                     limit_cpuid = 1 << 22, xtpr_disable = 1 << 23, xd_disable = 1ull << 34;
inline constexpr u64 read_only = performance_monitoring | no_bts | no_pebs;
inline constexpr u64 writable =
    fast_strings | thermal_control | speed_step | monitor | limit_cpuid | xtpr_disable | xd_disable;
}  // namespace misc_enable_bits

/// What a leaf depends on beside the model.
struct CpuidContext {
    u64 cr4 = 0;
    u64 xcr0 = 1, xss = 0;
    u32 apic_id = 0;
    u32 processors = 1;  ///< in the package
    bool apic_enabled = true;
    u64 misc_enable = misc_enable_bits::fast_strings | misc_enable_bits::monitor;
};

CpuidResult cpuid(const CpuModel& model, const CpuidContext& context, u32 leaf, u32 subleaf);

/// State components that XSAVE manages (SDM "XSAVE-Supported Features and State-Component Bitmaps").
struct XstateComponent {
    u8 number;
    u32 size;
    u32 offset;   ///< in the standard format
    bool supervisor, aligned64;
    bool xfd = false;  ///< IA32_XFD can disable it
};
inline constexpr u32 xsave_legacy_size = 512, xsave_header_size = 64;
inline constexpr std::array<XstateComponent, 10> xstate_components{{
    {.number = 2, .size = 256, .offset = 576, .supervisor = false, .aligned64 = false},   // AVX
    {.number = 5, .size = 64, .offset = 1088, .supervisor = false, .aligned64 = false},   // opmask
    {.number = 6, .size = 512, .offset = 1152, .supervisor = false, .aligned64 = false},  // ZMM_Hi256
    {.number = 7, .size = 1024, .offset = 1664, .supervisor = false, .aligned64 = false}, // Hi16_ZMM
    {.number = 9, .size = 8, .offset = 2688, .supervisor = false, .aligned64 = false},    // PKRU
    {.number = 11, .size = 16, .offset = 0, .supervisor = true, .aligned64 = false},      // CET_U
    {.number = 12, .size = 24, .offset = 0, .supervisor = true, .aligned64 = false},      // CET_S
    {.number = 14, .size = 48, .offset = 0, .supervisor = true, .aligned64 = false},      // UINTR
    {.number = 17, .size = 64, .offset = 2752, .supervisor = false, .aligned64 = true},   // TILECFG
    {.number = 18, .size = 8192, .offset = 2816, .supervisor = false, .aligned64 = true, .xfd = true},  // TILEDATA
}};
/// Size of an area that holds the components of `mask`: standard or compacted format.
u32 xsave_area_size(u64 mask, bool compacted);

}  // namespace droste
