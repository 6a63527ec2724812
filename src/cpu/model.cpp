// SPDX-License-Identifier: Apache-2.0
// The CPU models by name, and the check that a model claims only what is there.
#include "cpu/model.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "cpu/decode/decoder.h"
#include "cpu/msr.h"
#include "cpu/state.h"

namespace droste {

namespace {

/// What a generation added to the one before, as far as Droste has it. Every model has the microcode's controls
/// of speculation.
constexpr Feature nehalem_features[] = {
    Feature::fpu, Feature::vme, Feature::de, Feature::pse, Feature::tsc, Feature::msr, Feature::pae,
    Feature::mce, Feature::cx8, Feature::apic, Feature::sep, Feature::mtrr, Feature::pge, Feature::mca,
    Feature::cmov, Feature::pat, Feature::pse36, Feature::clfsh, Feature::mmx, Feature::fxsr, Feature::sse,
    Feature::sse2, Feature::ss, Feature::sse3, Feature::monitor, Feature::vmx, Feature::ssse3, Feature::cmpxchg16b,
    Feature::sse4_1, Feature::sse4_2, Feature::popcnt, Feature::md_clear, Feature::ibrs_ibpb, Feature::stibp,
    Feature::l1d_flush, Feature::arch_capabilities, Feature::ssbd, Feature::lahf_lm, Feature::syscall,
    Feature::nx, Feature::rdtscp, Feature::lm, Feature::invariant_tsc};
constexpr Feature haswell_adds[] = {
    Feature::pclmulqdq, Feature::fma, Feature::pcid, Feature::x2apic, Feature::movbe, Feature::tsc_deadline,
    Feature::aes, Feature::xsave, Feature::avx, Feature::f16c, Feature::rdrand, Feature::fsgsbase,
    Feature::tsc_adjust, Feature::bmi1, Feature::avx2, Feature::smep, Feature::bmi2, Feature::erms,
    Feature::invpcid, Feature::fcs_fds_deprecated, Feature::xsaveopt, Feature::lzcnt, Feature::page1gb,
    Feature::arat};
constexpr Feature skylake_adds[] = {
    Feature::fdp_excptn_only, Feature::rdseed, Feature::adx, Feature::smap, Feature::clflushopt, Feature::clwb,
    Feature::pku, Feature::xsavec, Feature::xgetbv_ecx1, Feature::xsaves, Feature::prefetchw};
constexpr Feature icelake_adds[] = {Feature::umip, Feature::rdpid, Feature::sha, Feature::fsrm, Feature::wbnoinvd,
                                    Feature::la57};
constexpr Feature sapphire_rapids_adds[] = {
    Feature::serialize, Feature::waitpkg, Feature::cldemote, Feature::movdiri, Feature::movdir64b, Feature::pks,
    Feature::cet_ss, Feature::cet_ibt, Feature::uintr, Feature::fzrm, Feature::fsrs, Feature::fsrc,
    Feature::bus_lock_detect};
constexpr Feature max_adds[] = {Feature::lass, Feature::lam,  Feature::wrmsrns, Feature::msrlist,
                                Feature::fred, Feature::lkgs};

/// Vector extensions by generation, which a model has where the host has them.
constexpr Feature skylake_vectors[] = {Feature::avx512f, Feature::avx512dq, Feature::avx512cd,
                                       Feature::avx512bw, Feature::avx512vl};
constexpr Feature icelake_vectors[] = {
    Feature::avx512ifma, Feature::avx512vbmi, Feature::avx512vbmi2, Feature::avx512vnni, Feature::avx512bitalg,
    Feature::avx512vpopcntdq, Feature::gfni, Feature::vaes, Feature::vpclmulqdq};
constexpr Feature sapphire_rapids_vectors[] = {Feature::avx512bf16, Feature::avx512fp16, Feature::avx_vnni,
                                               Feature::amx_tile,   Feature::amx_int8,   Feature::amx_bf16,
                                               Feature::xfd};
constexpr std::span<const Feature> vectors[] = {{}, {}, skylake_vectors, icelake_vectors,
                                                sapphire_rapids_vectors, {}};
bool is_optional(Feature f) {
    for (const auto& list : vectors)
        if (std::find(list.begin(), list.end(), f) != list.end()) return true;
    return false;
}

struct ModelRow {
    std::string_view name, brand;
    u8 model, stepping;  ///< of family 6
    u32 microcode;
    u8 maxphyaddr;
    unsigned generations;  ///< so many of the lists above
};
constexpr std::span<const Feature> generations[] = {nehalem_features, haswell_adds,         skylake_adds,
                                                    icelake_adds,     sapphire_rapids_adds, max_adds};
constexpr ModelRow models[] = {
    {"nehalem", "Droste Virtual Processor (Nehalem)", 0x1A, 5, 0x0000001D, 40, 1},
    {"haswell", "Droste Virtual Processor (Haswell)", 0x3F, 2, 0x00000049, 46, 2},
    {"skylake-sp", "Droste Virtual Processor (Skylake-SP)", 0x55, 4, 0x02006E05, 46, 3},
    {"icelake-sp", "Droste Virtual Processor (Ice Lake-SP)", 0x6A, 6, 0x0D0003A5, 46, 4},
    {"sapphire-rapids", "Droste Virtual Processor (Sapphire Rapids)", 0x8F, 8, 0x2B0004B1, 52, 5},
    {"max", "Droste Virtual Processor (max)", 0x6A, 6, 0x0D0003A5, 46, 6},
};
constexpr auto names = [] {
    std::array<std::string_view, std::size(models)> list;
    for (std::size_t i = 0; i < std::size(models); ++i) list[i] = models[i].name;
    return list;
}();

/// Features that are no instruction row and no MSR row of this folder: they change how others behave.
constexpr Feature behaviours[] = {
    Feature::fpu, Feature::vme, Feature::de, Feature::pse, Feature::pae, Feature::mce, Feature::apic,
    Feature::pge,
    Feature::cmov, Feature::pse36, Feature::ss, Feature::mmx, Feature::fxsr, Feature::sse, Feature::sse2,
    Feature::vmx,         // rows in vmx
    Feature::pcid, Feature::hypervisor, Feature::fdp_excptn_only, Feature::smep, Feature::erms,
    Feature::fcs_fds_deprecated, Feature::umip, Feature::pku, Feature::la57, Feature::fsrm,
    Feature::md_clear,    // VERW, which has no buffers to clear
    Feature::stibp, Feature::ssbd,  // bits of IA32_SPEC_CTRL
    Feature::xgetbv_ecx1, Feature::lahf_lm, Feature::prefetchw, Feature::nx, Feature::page1gb,
    Feature::invariant_tsc, Feature::arat,
    Feature::lass, Feature::lam, Feature::cet_ibt, Feature::bus_lock_detect,
    Feature::fzrm, Feature::fsrs, Feature::fsrc,  // string instructions are fast whatever their length
    Feature::avx512vl};   // the shorter lengths of AVX-512's rows

struct Dependency {
    Feature feature, needs;
};
constexpr Dependency dependencies[] = {
    {Feature::sse, Feature::fxsr}, {Feature::sse2, Feature::sse}, {Feature::sse3, Feature::sse2},
    {Feature::ssse3, Feature::sse3}, {Feature::sse4_1, Feature::ssse3}, {Feature::sse4_2, Feature::sse4_1},
    {Feature::aes, Feature::sse2}, {Feature::pclmulqdq, Feature::sse2}, {Feature::sha, Feature::sse2},
    {Feature::avx, Feature::xsave}, {Feature::avx, Feature::sse4_2}, {Feature::avx2, Feature::avx},
    {Feature::fma, Feature::avx}, {Feature::f16c, Feature::avx}, {Feature::bmi1, Feature::avx},
    {Feature::bmi2, Feature::avx}, {Feature::xsave, Feature::fxsr}, {Feature::xsaveopt, Feature::xsave},
    {Feature::xsavec, Feature::xsave}, {Feature::xgetbv_ecx1, Feature::xsave},
    {Feature::xsaves, Feature::xsavec},
    {Feature::pku, Feature::xsave}, {Feature::x2apic, Feature::apic}, {Feature::tsc_deadline, Feature::apic},
    {Feature::tsc_deadline, Feature::tsc}, {Feature::tsc_adjust, Feature::tsc},
    {Feature::rdtscp, Feature::tsc},
    {Feature::lm, Feature::pae}, {Feature::lm, Feature::msr}, {Feature::lm, Feature::sse2},
    {Feature::syscall, Feature::lm}, {Feature::la57, Feature::lm}, {Feature::page1gb, Feature::lm},
    {Feature::pcid, Feature::lm}, {Feature::fsgsbase, Feature::lm}, {Feature::nx, Feature::pae},
    {Feature::invariant_tsc, Feature::tsc}, {Feature::vmx, Feature::msr}, {Feature::mca, Feature::mce},
    {Feature::ssbd, Feature::ibrs_ibpb}, {Feature::stibp, Feature::ibrs_ibpb},
    {Feature::arch_capabilities, Feature::msr}, {Feature::lass, Feature::lm}, {Feature::lass, Feature::smap},
    {Feature::lam, Feature::lm}, {Feature::pks, Feature::lm}, {Feature::waitpkg, Feature::tsc},
    {Feature::wrmsrns, Feature::msr}, {Feature::msrlist, Feature::wrmsrns}, {Feature::cet_ss, Feature::msr},
    {Feature::cet_ibt, Feature::msr}, {Feature::uintr, Feature::lm}, {Feature::uintr, Feature::apic},
    {Feature::fred, Feature::lkgs}, {Feature::fred, Feature::wrmsrns}, {Feature::lkgs, Feature::lm},
    {Feature::avx512f, Feature::avx2}, {Feature::avx512f, Feature::fma}, {Feature::avx512f, Feature::f16c},
    {Feature::avx512dq, Feature::avx512f}, {Feature::avx512cd, Feature::avx512f},
    {Feature::avx512bw, Feature::avx512f}, {Feature::avx512vl, Feature::avx512f},
    {Feature::avx512ifma, Feature::avx512f}, {Feature::avx512vbmi, Feature::avx512bw},
    {Feature::avx512vbmi2, Feature::avx512bw}, {Feature::avx512vnni, Feature::avx512f},
    {Feature::avx512bitalg, Feature::avx512bw}, {Feature::avx512vpopcntdq, Feature::avx512f},
    {Feature::avx512bf16, Feature::avx512bw}, {Feature::avx512fp16, Feature::avx512bw},
    {Feature::avx512fp16, Feature::avx512dq}, {Feature::avx512fp16, Feature::avx512vl},
    {Feature::gfni, Feature::sse2}, {Feature::vaes, Feature::avx}, {Feature::vaes, Feature::aes},
    {Feature::vpclmulqdq, Feature::avx}, {Feature::vpclmulqdq, Feature::pclmulqdq},
    {Feature::avx_vnni, Feature::avx2}, {Feature::amx_tile, Feature::xsavec},
    {Feature::amx_tile, Feature::lm}, {Feature::amx_int8, Feature::amx_tile},
    {Feature::amx_bf16, Feature::amx_tile}, {Feature::xfd, Feature::amx_tile}};

std::string_view name_of(Feature f) {
    for (const FeatureRow& r : feature_rows())
        if (r.feature == f) return r.name;
    return "base";
}

std::optional<Feature> feature_of(std::string_view name) {
    for (const FeatureRow& r : feature_rows())
        if (r.name == name) return r.feature;
    return std::nullopt;
}

/// Switches off the optional features that lack one that they need; all of them, whatever the order of the rows.
void drop_dependents(FeatureSet& f, const FeatureSet& asked) {
    for (bool again = true; again;) {
        again = false;
        for (const Dependency& d : dependencies) {
            if (!f.has(d.feature) || f.has(d.needs) || !is_optional(d.feature) || asked.has(d.feature)) continue;
            f.set(d.feature, false);
            again = true;
        }
    }
}

bool implemented(Feature f) {
    if (std::find(std::begin(behaviours), std::end(behaviours), f) != std::end(behaviours)) return true;
    for (const MsrRow& r : cpu_msr_rows())
        if (r.needs == f) return true;
    for (const RowSpan table : cpu_instruction_tables())
        for (const InsnRow& r : table)
            if (r.needs == f) return true;
    return false;
}

Status check(const CpuModel& m, bool (*host)(Feature)) {
    for (const FeatureRow& r : feature_rows()) {
        if (!m.features.has(r.feature)) continue;
        const std::string feature(r.name);
        if (!implemented(r.feature))
            return Error{"cpu model " + m.name + ": the feature " + feature +
                         " is not implemented; remove it with \"-" + feature + "\"."};
        if (!host(r.feature))
            return Error{"cpu model " + m.name + ": the host processor has no " + feature +
                         ", whose instructions run on it; remove it with \"-" + feature +
                         "\" (and what depends on it)."};
    }
    for (const Dependency& d : dependencies)
        if (m.features.has(d.feature) && !m.features.has(d.needs))
            return Error{"cpu model " + m.name + ": the feature " + std::string(name_of(d.feature)) +
                         " needs " + std::string(name_of(d.needs)) + "; add \"+" +
                         std::string(name_of(d.needs)) + "\" or remove \"" + std::string(name_of(d.feature)) +
                         "\"."};
    return {};
}

struct BitOf {
    Feature feature;
    u64 bit;
};
u64 collect(const FeatureSet& f, std::initializer_list<BitOf> rows) {
    u64 v = 0;
    for (const BitOf& r : rows)
        if (f.has(r.feature)) v |= r.bit;
    return v;
}

/// The bits of registers that follow from the features.
void finish(CpuModel& m) {
    using namespace cr4_bits;
    m.valid_cr4 = collect(m.features, {{Feature::vme, vme | pvi}, {Feature::tsc, tsd}, {Feature::de, de},
                                       {Feature::pse, pse}, {Feature::pae, pae}, {Feature::mce, mce},
                                       {Feature::pge, pge}, {Feature::base, pce}, {Feature::fxsr, osfxsr},
                                       {Feature::sse, osxmmexcpt}, {Feature::umip, umip},
                                       {Feature::la57, la57},
                                       {Feature::vmx, vmxe}, {Feature::fsgsbase, fsgsbase},
                                       {Feature::pcid, pcide},
                                       {Feature::xsave, osxsave}, {Feature::smep, smep},
                                       {Feature::smap, smap},
                                       {Feature::pku, pke}, {Feature::pks, pks}, {Feature::cet_ss, cet},
                                       {Feature::cet_ibt, cet}, {Feature::uintr, uintr}, {Feature::lass, lass},
                                       {Feature::lam, lam_sup}, {Feature::fred, fred}});
    m.valid_efer = collect(m.features, {{Feature::syscall, efer_bits::sce}, {Feature::lm, efer_bits::lme},
                                        {Feature::nx, efer_bits::nxe}});
    m.valid_xcr0 = collect(m.features, {{Feature::xsave, 3}, {Feature::avx, 4}, {Feature::avx512f, 7 << 5},
                                        {Feature::pku, 1 << 9}, {Feature::amx_tile, 3 << 17}});
    m.valid_xss = !m.features.has(Feature::xsaves) ? 0
                                                   : collect(m.features, {{Feature::cet_ss, 3 << 11},
                                                                          {Feature::cet_ibt, 3 << 11},
                                                                          {Feature::uintr, 1 << 14}});
    m.linear_bits = m.features.has(Feature::la57) ? 57 : 48;
}

/// Not vulnerable to anything: else kernels spend their time on mitigations of what an emulator does not
/// have. RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
/// FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
constexpr u64 no_vulnerabilities = 1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 |
                                   1ull << 8 | 1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 |
                                   1ull << 24 | 1ull << 26 | 1ull << 27 | 1ull << 62;

}  // namespace

/// What runs as the host's own instruction must be there.
bool host_processor_has(Feature f) {
    __builtin_cpu_init();
    switch (f) {
    case Feature::sse3: return __builtin_cpu_supports("sse3");
    case Feature::ssse3: return __builtin_cpu_supports("ssse3");
    case Feature::sse4_1: return __builtin_cpu_supports("sse4.1");
    case Feature::sse4_2: return __builtin_cpu_supports("sse4.2");
    case Feature::popcnt: return __builtin_cpu_supports("popcnt");
    case Feature::aes: return __builtin_cpu_supports("aes");
    case Feature::pclmulqdq: return __builtin_cpu_supports("pclmul");
    case Feature::avx: return __builtin_cpu_supports("avx");
    case Feature::avx2: return __builtin_cpu_supports("avx2");
    case Feature::fma: return __builtin_cpu_supports("fma");
    case Feature::f16c: return __builtin_cpu_supports("f16c");
    case Feature::bmi1: return __builtin_cpu_supports("bmi");
    case Feature::bmi2: return __builtin_cpu_supports("bmi2");
    case Feature::lzcnt: return __builtin_cpu_supports("lzcnt");
    case Feature::adx: return __builtin_cpu_supports("adx");
    case Feature::sha: return __builtin_cpu_supports("sha");
    // Thunks of AVX-512 move opmasks of 64 bits; no server processor has F without these.
    case Feature::avx512f:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Feature::avx512cd: return __builtin_cpu_supports("avx512cd");
    case Feature::avx512ifma: return __builtin_cpu_supports("avx512ifma");
    case Feature::avx512vbmi: return __builtin_cpu_supports("avx512vbmi");
    case Feature::avx512vbmi2: return __builtin_cpu_supports("avx512vbmi2");
    case Feature::avx512vnni: return __builtin_cpu_supports("avx512vnni");
    case Feature::avx512bitalg: return __builtin_cpu_supports("avx512bitalg");
    case Feature::avx512vpopcntdq: return __builtin_cpu_supports("avx512vpopcntdq");
    case Feature::avx512bf16: return __builtin_cpu_supports("avx512bf16");
    case Feature::avx512fp16: return __builtin_cpu_supports("avx512fp16");
    case Feature::gfni: return __builtin_cpu_supports("gfni");
    case Feature::vaes: return __builtin_cpu_supports("vaes");
    case Feature::vpclmulqdq: return __builtin_cpu_supports("vpclmulqdq");
    case Feature::avx_vnni: return __builtin_cpu_supports("avxvnni");
    default: return true;
    }
}

std::span<const std::string_view> cpu_model_names() { return names; }

Result<CpuModel> make_cpu_model(std::string_view name, const std::vector<std::string>& changes,
                                bool (*host)(Feature)) {
    const auto row =
        std::find_if(std::begin(models), std::end(models), [&](const ModelRow& r) { return r.name == name; });
    if (row == std::end(models)) {
        std::string known;
        for (const std::string_view n : names) known += (known.empty() ? "" : ", ") + std::string(n);
        return Error{"cpu model \"" + std::string(name) + "\" is not known; choose one of " + known + "."};
    }
    CpuModel m;
    m.name = name;
    m.brand = row->brand;
    m.model = row->model;
    m.stepping = row->stepping;
    m.microcode = row->microcode;
    m.maxphyaddr = row->maxphyaddr;
    m.arch_capabilities = no_vulnerabilities;
    for (unsigned i = 0; i < row->generations; ++i)
        for (const Feature f : generations[i]) m.features.set(f);
    for (unsigned i = 0; i < row->generations; ++i)
        for (const Feature f : vectors[i]) {
            if (host(f)) m.features.set(f);
            else m.left_out.emplace_back(name_of(f));
        }
    FeatureSet asked;
    for (const std::string& change : changes) {
        const bool on = change.starts_with('+');
        const auto f = change.size() > 1 && (on || change.starts_with('-'))
                           ? feature_of(std::string_view(change).substr(1))
                           : std::nullopt;
        if (!f)
            return Error{
                "cpu model " + m.name + ": \"" + change +
                "\" switches no known feature; write \"+name\" or \"-name\" with a name such as \"avx2\"."};
        m.features.set(*f, on);
        asked.set(*f, on);
    }
    drop_dependents(m.features, asked);
    finish(m);
    const Status ok = check(m, host);
    if (!ok) return ok.error();
    return m;
}

}  // namespace droste
