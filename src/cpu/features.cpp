// SPDX-License-Identifier: Apache-2.0
// The feature table: where CPUID tells each feature.
#include "cpu/features.h"

namespace droste {

namespace {

constexpr CpuidReg eax = CpuidReg::eax, ebx = CpuidReg::ebx, ecx = CpuidReg::ecx, edx = CpuidReg::edx;

constexpr std::array<FeatureRow, feature_count - 1> rows{{
    {Feature::fpu, "fpu", 1, 0, edx, 0},
    {Feature::vme, "vme", 1, 0, edx, 1},
    {Feature::de, "de", 1, 0, edx, 2},
    {Feature::pse, "pse", 1, 0, edx, 3},
    {Feature::tsc, "tsc", 1, 0, edx, 4},
    {Feature::msr, "msr", 1, 0, edx, 5},
    {Feature::pae, "pae", 1, 0, edx, 6},
    {Feature::mce, "mce", 1, 0, edx, 7},
    {Feature::cx8, "cx8", 1, 0, edx, 8},
    {Feature::apic, "apic", 1, 0, edx, 9},
    {Feature::sep, "sep", 1, 0, edx, 11},
    {Feature::mtrr, "mtrr", 1, 0, edx, 12},
    {Feature::pge, "pge", 1, 0, edx, 13},
    {Feature::mca, "mca", 1, 0, edx, 14},
    {Feature::cmov, "cmov", 1, 0, edx, 15},
    {Feature::pat, "pat", 1, 0, edx, 16},
    {Feature::pse36, "pse36", 1, 0, edx, 17},
    {Feature::clfsh, "clfsh", 1, 0, edx, 19},
    {Feature::mmx, "mmx", 1, 0, edx, 23},
    {Feature::fxsr, "fxsr", 1, 0, edx, 24},
    {Feature::sse, "sse", 1, 0, edx, 25},
    {Feature::sse2, "sse2", 1, 0, edx, 26},
    {Feature::ss, "ss", 1, 0, edx, 27},
    {Feature::sse3, "sse3", 1, 0, ecx, 0},
    {Feature::pclmulqdq, "pclmulqdq", 1, 0, ecx, 1},
    {Feature::monitor, "monitor", 1, 0, ecx, 3},
    {Feature::vmx, "vmx", 1, 0, ecx, 5},
    {Feature::ssse3, "ssse3", 1, 0, ecx, 9},
    {Feature::fma, "fma", 1, 0, ecx, 12},
    {Feature::cmpxchg16b, "cmpxchg16b", 1, 0, ecx, 13},
    {Feature::pdcm, "pdcm", 1, 0, ecx, 15},
    {Feature::pcid, "pcid", 1, 0, ecx, 17},
    {Feature::sse4_1, "sse4_1", 1, 0, ecx, 19},
    {Feature::sse4_2, "sse4_2", 1, 0, ecx, 20},
    {Feature::x2apic, "x2apic", 1, 0, ecx, 21},
    {Feature::movbe, "movbe", 1, 0, ecx, 22},
    {Feature::popcnt, "popcnt", 1, 0, ecx, 23},
    {Feature::tsc_deadline, "tsc_deadline", 1, 0, ecx, 24},
    {Feature::aes, "aes", 1, 0, ecx, 25},
    {Feature::xsave, "xsave", 1, 0, ecx, 26},
    {Feature::avx, "avx", 1, 0, ecx, 28},
    {Feature::f16c, "f16c", 1, 0, ecx, 29},
    {Feature::rdrand, "rdrand", 1, 0, ecx, 30},
    {Feature::hypervisor, "hypervisor", 1, 0, ecx, 31},
    {Feature::fsgsbase, "fsgsbase", 7, 0, ebx, 0},
    {Feature::tsc_adjust, "tsc_adjust", 7, 0, ebx, 1},
    {Feature::bmi1, "bmi1", 7, 0, ebx, 3},
    {Feature::avx2, "avx2", 7, 0, ebx, 5},
    {Feature::fdp_excptn_only, "fdp_excptn_only", 7, 0, ebx, 6},
    {Feature::smep, "smep", 7, 0, ebx, 7},
    {Feature::bmi2, "bmi2", 7, 0, ebx, 8},
    {Feature::erms, "erms", 7, 0, ebx, 9},
    {Feature::invpcid, "invpcid", 7, 0, ebx, 10},
    {Feature::fcs_fds_deprecated, "fcs_fds_deprecated", 7, 0, ebx, 13},
    {Feature::rdseed, "rdseed", 7, 0, ebx, 18},
    {Feature::adx, "adx", 7, 0, ebx, 19},
    {Feature::smap, "smap", 7, 0, ebx, 20},
    {Feature::clflushopt, "clflushopt", 7, 0, ebx, 23},
    {Feature::clwb, "clwb", 7, 0, ebx, 24},
    {Feature::sha, "sha", 7, 0, ebx, 29},
    {Feature::umip, "umip", 7, 0, ecx, 2},
    {Feature::pku, "pku", 7, 0, ecx, 3},
    {Feature::la57, "la57", 7, 0, ecx, 16},
    {Feature::rdpid, "rdpid", 7, 0, ecx, 22},
    {Feature::fsrm, "fsrm", 7, 0, edx, 4},
    {Feature::md_clear, "md_clear", 7, 0, edx, 10},
    {Feature::serialize, "serialize", 7, 0, edx, 14},
    {Feature::ibrs_ibpb, "ibrs_ibpb", 7, 0, edx, 26},
    {Feature::stibp, "stibp", 7, 0, edx, 27},
    {Feature::l1d_flush, "l1d_flush", 7, 0, edx, 28},
    {Feature::arch_capabilities, "arch_capabilities", 7, 0, edx, 29},
    {Feature::ssbd, "ssbd", 7, 0, edx, 31},
    {Feature::xsaveopt, "xsaveopt", 0xD, 1, eax, 0},
    {Feature::xsavec, "xsavec", 0xD, 1, eax, 1},
    {Feature::xgetbv_ecx1, "xgetbv_ecx1", 0xD, 1, eax, 2},
    {Feature::xsaves, "xsaves", 0xD, 1, eax, 3},
    {Feature::lahf_lm, "lahf_lm", 0x80000001, 0, ecx, 0},
    {Feature::lzcnt, "lzcnt", 0x80000001, 0, ecx, 5},
    {Feature::prefetchw, "prefetchw", 0x80000001, 0, ecx, 8},
    {Feature::syscall, "syscall", 0x80000001, 0, edx, 11},
    {Feature::nx, "nx", 0x80000001, 0, edx, 20},
    {Feature::page1gb, "page1gb", 0x80000001, 0, edx, 26},
    {Feature::rdtscp, "rdtscp", 0x80000001, 0, edx, 27},
    {Feature::lm, "lm", 0x80000001, 0, edx, 29},
    {Feature::invariant_tsc, "invariant_tsc", 0x80000007, 0, edx, 8},
    {Feature::arat, "arat", 6, 0, eax, 2},
}};

constexpr bool in_order() {
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (static_cast<std::size_t>(rows[i].feature) != i + 1) return false;
    return true;
}
static_assert(in_order(), "one row for each feature, in the order of the enum");

}  // namespace

const std::array<FeatureRow, feature_count - 1>& feature_rows() { return rows; }

}  // namespace droste
