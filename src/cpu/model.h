// SPDX-License-Identifier: Apache-2.0
// CpuModel: what a configured processor claims: identity, features, limits. Bodies and CPUID read it.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cpu/features.h"

namespace droste {

struct CpuModel {
    std::string name;
    std::string brand;            ///< CPUID 80000002..4
    u8 family = 6, model = 0, stepping = 0;
    u32 microcode = 0;            ///< IA32_BIOS_SIGN_ID[63:32]
    u8 maxphyaddr = 46;
    u8 linear_bits = 48;
    FeatureSet features;
    /// Vector extensions of the model that the host lacks, so that they are not enumerated.
    std::vector<std::string> left_out;
    u64 arch_capabilities = 0;    ///< IA32_ARCH_CAPABILITIES
    u64 crystal_hz = 1'000'000'000;
    u64 tsc_hz = 2'000'000'000;
    u64 valid_cr4 = 0;            ///< derived by finish(): bits that may be 1
    u64 valid_xcr0 = 0, valid_xss = 0, valid_efer = 0;
};

/// False: the feature's instructions run on the host, which lacks them.
bool host_processor_has(Feature f);

/// Known names, for the configuration ("nehalem" ... "sapphire-rapids", "max"), oldest first.
std::span<const std::string_view> cpu_model_names();
/// Builds a model by name, with features switched ("+name", "-name"); checks that everything enumerated is there
/// (instruction rows, MSRs, CPUID dependencies, host support of what runs on the host). The error names the feature.
/// AVX-512, AMX and their like run on the host; a model has of them what the host has (see left_out), but what is
/// asked for by name must be there. They go with a feature that they need when that is switched off.
/// @param host who tells what the host has: tests say otherwise.
Result<CpuModel> make_cpu_model(std::string_view name, const std::vector<std::string>& changes = {},
                                bool (*host)(Feature) = host_processor_has);

}  // namespace droste
