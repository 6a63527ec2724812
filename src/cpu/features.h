// SPDX-License-Identifier: Apache-2.0
// Feature: what CPUID enumerates, one row each: name, leaf, register, bit. Decides #UD of instruction rows.
#pragma once
#include <array>
#include <bitset>
#include <string_view>

#include "base/types.h"

namespace droste {

enum class Feature : u16 {
    base,  ///< always there
    // CPUID.1:EDX
    fpu, vme, de, pse, tsc, msr, pae, mce, cx8, apic, sep, mtrr, pge, mca, cmov, pat, pse36, clfsh, mmx, fxsr, sse, sse2,
    ss, 
    // CPUID.1:ECX
    sse3, pclmulqdq, monitor, vmx, ssse3, fma, cmpxchg16b, pdcm, pcid, sse4_1, sse4_2, x2apic, movbe, popcnt,
    tsc_deadline, aes, xsave, avx, f16c, rdrand, hypervisor,
    // CPUID.7.0:EBX
    fsgsbase, tsc_adjust, bmi1, avx2, fdp_excptn_only, smep, bmi2, erms, invpcid, fcs_fds_deprecated, rdseed, adx, smap, clflushopt,
    clwb, mpx, avx512f, avx512dq, avx512ifma, intel_pt, avx512cd, sha, avx512bw, avx512vl,
    // CPUID.7.0:ECX
    avx512vbmi, umip, pku, waitpkg, avx512vbmi2, cet_ss, gfni, vaes, vpclmulqdq, avx512vnni, avx512bitalg,
    avx512vpopcntdq, la57, rdpid, bus_lock_detect, cldemote, movdiri, movdir64b, pks,
    // CPUID.7.0:EDX
    fsrm, uintr, avx512vp2intersect, md_clear, serialize, pconfig, arch_lbr, cet_ibt, amx_bf16, avx512fp16, amx_tile,
    amx_int8, ibrs_ibpb, stibp, l1d_flush, arch_capabilities, core_capabilities, ssbd,
    // CPUID.7.1:EAX and EDX
    avx_vnni, avx512bf16, lass, fzrm, fsrs, fsrc, fred, lkgs, wrmsrns, amx_fp16, avx_ifma, lam, msrlist, cet_sss,
    // CPUID.D.1:EAX
    xsaveopt, xsavec, xgetbv_ecx1, xsaves, xfd,
    // CPUID.80000001
    lahf_lm, lzcnt, prefetchw, syscall, nx, page1gb, rdtscp, lm,
    // CPUID.80000007:EDX, CPUID.6:EAX
    invariant_tsc, arat,
    // CPUID.80000008:EBX
    wbnoinvd,
    count
};
inline constexpr std::size_t feature_count = static_cast<std::size_t>(Feature::count);

enum class CpuidReg : u8 { eax, ebx, ecx, edx };

struct FeatureRow {
    Feature feature;
    std::string_view name;  ///< lower snake case, as the configuration writes it
    u32 leaf;
    u32 subleaf;
    CpuidReg reg;
    u8 bit;
};

/// One row for each feature but `base`, in the order of the enum (src/cpu/features.cpp).
const std::array<FeatureRow, feature_count - 1>& feature_rows();

class FeatureSet {
public:
    bool has(Feature f) const { return f == Feature::base || bits_[static_cast<std::size_t>(f)]; }
    void set(Feature f, bool on = true) { bits_[static_cast<std::size_t>(f)] = on; }

private:
    std::bitset<feature_count> bits_;
};

}  // namespace droste
