// SPDX-License-Identifier: Apache-2.0
// The tables of features and models against literal ones: where CPUID tells each feature (SDM "CPUID-CPU
// Identification"), what each needs, and who the models are.
#include <map>
#include <set>

#include "cpu/cpuid.h"
#include "cpu/features.h"
#include "cpu/model.h"
#include "system_machine.h"

namespace droste::test {
namespace {

bool any_host(Feature) { return true; }

struct Place {
    std::string_view name;
    u32 leaf, subleaf;
    CpuidReg reg;
    unsigned bit;
};
// clang-format off
constexpr Place places[] = {
    // CPUID.1H.0H:EDX
    {"fpu", 1, 0, CpuidReg::edx, 0}, {"vme", 1, 0, CpuidReg::edx, 1}, {"de", 1, 0, CpuidReg::edx, 2},
    {"pse", 1, 0, CpuidReg::edx, 3}, {"tsc", 1, 0, CpuidReg::edx, 4}, {"msr", 1, 0, CpuidReg::edx, 5},
    {"pae", 1, 0, CpuidReg::edx, 6}, {"mce", 1, 0, CpuidReg::edx, 7}, {"cx8", 1, 0, CpuidReg::edx, 8},
    {"apic", 1, 0, CpuidReg::edx, 9}, {"sep", 1, 0, CpuidReg::edx, 11}, {"mtrr", 1, 0, CpuidReg::edx, 12},
    {"pge", 1, 0, CpuidReg::edx, 13}, {"mca", 1, 0, CpuidReg::edx, 14}, {"cmov", 1, 0, CpuidReg::edx, 15},
    {"pat", 1, 0, CpuidReg::edx, 16}, {"pse36", 1, 0, CpuidReg::edx, 17},
    {"clfsh", 1, 0, CpuidReg::edx, 19}, {"mmx", 1, 0, CpuidReg::edx, 23},
    {"fxsr", 1, 0, CpuidReg::edx, 24}, {"sse", 1, 0, CpuidReg::edx, 25},
    {"sse2", 1, 0, CpuidReg::edx, 26}, {"ss", 1, 0, CpuidReg::edx, 27},
    // CPUID.1H.0H:ECX
    {"sse3", 1, 0, CpuidReg::ecx, 0}, {"pclmulqdq", 1, 0, CpuidReg::ecx, 1},
    {"monitor", 1, 0, CpuidReg::ecx, 3}, {"vmx", 1, 0, CpuidReg::ecx, 5},
    {"ssse3", 1, 0, CpuidReg::ecx, 9}, {"fma", 1, 0, CpuidReg::ecx, 12},
    {"cmpxchg16b", 1, 0, CpuidReg::ecx, 13}, {"pdcm", 1, 0, CpuidReg::ecx, 15},
    {"pcid", 1, 0, CpuidReg::ecx, 17}, {"sse4_1", 1, 0, CpuidReg::ecx, 19},
    {"sse4_2", 1, 0, CpuidReg::ecx, 20}, {"x2apic", 1, 0, CpuidReg::ecx, 21},
    {"movbe", 1, 0, CpuidReg::ecx, 22}, {"popcnt", 1, 0, CpuidReg::ecx, 23},
    {"tsc_deadline", 1, 0, CpuidReg::ecx, 24}, {"aes", 1, 0, CpuidReg::ecx, 25},
    {"xsave", 1, 0, CpuidReg::ecx, 26}, {"avx", 1, 0, CpuidReg::ecx, 28},
    {"f16c", 1, 0, CpuidReg::ecx, 29}, {"rdrand", 1, 0, CpuidReg::ecx, 30},
    {"hypervisor", 1, 0, CpuidReg::ecx, 31},
    // CPUID.7H.0H:EBX
    {"fsgsbase", 7, 0, CpuidReg::ebx, 0}, {"tsc_adjust", 7, 0, CpuidReg::ebx, 1},
    {"bmi1", 7, 0, CpuidReg::ebx, 3}, {"avx2", 7, 0, CpuidReg::ebx, 5},
    {"fdp_excptn_only", 7, 0, CpuidReg::ebx, 6}, {"smep", 7, 0, CpuidReg::ebx, 7},
    {"bmi2", 7, 0, CpuidReg::ebx, 8}, {"erms", 7, 0, CpuidReg::ebx, 9},
    {"invpcid", 7, 0, CpuidReg::ebx, 10}, {"fcs_fds_deprecated", 7, 0, CpuidReg::ebx, 13},
    {"rdseed", 7, 0, CpuidReg::ebx, 18}, {"adx", 7, 0, CpuidReg::ebx, 19},
    {"smap", 7, 0, CpuidReg::ebx, 20}, {"clflushopt", 7, 0, CpuidReg::ebx, 23},
    {"clwb", 7, 0, CpuidReg::ebx, 24}, {"mpx", 7, 0, CpuidReg::ebx, 14},
    {"avx512f", 7, 0, CpuidReg::ebx, 16}, {"avx512dq", 7, 0, CpuidReg::ebx, 17},
    {"avx512ifma", 7, 0, CpuidReg::ebx, 21}, {"intel_pt", 7, 0, CpuidReg::ebx, 25},
    {"avx512cd", 7, 0, CpuidReg::ebx, 28}, {"sha", 7, 0, CpuidReg::ebx, 29},
    {"avx512bw", 7, 0, CpuidReg::ebx, 30}, {"avx512vl", 7, 0, CpuidReg::ebx, 31},
    // CPUID.7H.0H:ECX
    {"avx512vbmi", 7, 0, CpuidReg::ecx, 1}, {"umip", 7, 0, CpuidReg::ecx, 2},
    {"pku", 7, 0, CpuidReg::ecx, 3}, {"waitpkg", 7, 0, CpuidReg::ecx, 5},
    {"avx512vbmi2", 7, 0, CpuidReg::ecx, 6}, {"cet_ss", 7, 0, CpuidReg::ecx, 7},
    {"gfni", 7, 0, CpuidReg::ecx, 8}, {"vaes", 7, 0, CpuidReg::ecx, 9},
    {"vpclmulqdq", 7, 0, CpuidReg::ecx, 10}, {"avx512vnni", 7, 0, CpuidReg::ecx, 11},
    {"avx512bitalg", 7, 0, CpuidReg::ecx, 12}, {"avx512vpopcntdq", 7, 0, CpuidReg::ecx, 14},
    {"la57", 7, 0, CpuidReg::ecx, 16}, {"rdpid", 7, 0, CpuidReg::ecx, 22},
    {"bus_lock_detect", 7, 0, CpuidReg::ecx, 24}, {"cldemote", 7, 0, CpuidReg::ecx, 25},
    {"movdiri", 7, 0, CpuidReg::ecx, 27}, {"movdir64b", 7, 0, CpuidReg::ecx, 28},
    {"pks", 7, 0, CpuidReg::ecx, 31},
    // CPUID.7H.0H:EDX
    {"fsrm", 7, 0, CpuidReg::edx, 4}, {"uintr", 7, 0, CpuidReg::edx, 5},
    {"avx512vp2intersect", 7, 0, CpuidReg::edx, 8}, {"md_clear", 7, 0, CpuidReg::edx, 10},
    {"serialize", 7, 0, CpuidReg::edx, 14}, {"pconfig", 7, 0, CpuidReg::edx, 18},
    {"arch_lbr", 7, 0, CpuidReg::edx, 19}, {"cet_ibt", 7, 0, CpuidReg::edx, 20},
    {"amx_bf16", 7, 0, CpuidReg::edx, 22}, {"avx512fp16", 7, 0, CpuidReg::edx, 23},
    {"amx_tile", 7, 0, CpuidReg::edx, 24}, {"amx_int8", 7, 0, CpuidReg::edx, 25},
    {"ibrs_ibpb", 7, 0, CpuidReg::edx, 26}, {"stibp", 7, 0, CpuidReg::edx, 27},
    {"l1d_flush", 7, 0, CpuidReg::edx, 28}, {"arch_capabilities", 7, 0, CpuidReg::edx, 29},
    {"core_capabilities", 7, 0, CpuidReg::edx, 30}, {"ssbd", 7, 0, CpuidReg::edx, 31},
    // CPUID.7H.1H:EAX
    {"avx_vnni", 7, 1, CpuidReg::eax, 4}, {"avx512bf16", 7, 1, CpuidReg::eax, 5},
    {"lass", 7, 1, CpuidReg::eax, 6}, {"fzrm", 7, 1, CpuidReg::eax, 10},
    {"fsrs", 7, 1, CpuidReg::eax, 11}, {"fsrc", 7, 1, CpuidReg::eax, 12},
    {"fred", 7, 1, CpuidReg::eax, 17}, {"lkgs", 7, 1, CpuidReg::eax, 18},
    {"wrmsrns", 7, 1, CpuidReg::eax, 19}, {"amx_fp16", 7, 1, CpuidReg::eax, 21},
    {"avx_ifma", 7, 1, CpuidReg::eax, 23}, {"lam", 7, 1, CpuidReg::eax, 26},
    {"msrlist", 7, 1, CpuidReg::eax, 27},
    // CPUID.7H.1H:EDX
    {"cet_sss", 7, 1, CpuidReg::edx, 18},
    // CPUID.DH.1H:EAX
    {"xsaveopt", 0xD, 1, CpuidReg::eax, 0}, {"xsavec", 0xD, 1, CpuidReg::eax, 1},
    {"xgetbv_ecx1", 0xD, 1, CpuidReg::eax, 2}, {"xsaves", 0xD, 1, CpuidReg::eax, 3},
    {"xfd", 0xD, 1, CpuidReg::eax, 4},
    // CPUID.80000001H.0H:ECX
    {"lahf_lm", 0x80000001, 0, CpuidReg::ecx, 0}, {"lzcnt", 0x80000001, 0, CpuidReg::ecx, 5},
    {"prefetchw", 0x80000001, 0, CpuidReg::ecx, 8},
    // CPUID.80000001H.0H:EDX
    {"syscall", 0x80000001, 0, CpuidReg::edx, 11}, {"nx", 0x80000001, 0, CpuidReg::edx, 20},
    {"page1gb", 0x80000001, 0, CpuidReg::edx, 26}, {"rdtscp", 0x80000001, 0, CpuidReg::edx, 27},
    {"lm", 0x80000001, 0, CpuidReg::edx, 29},
    // CPUID.80000007H.0H:EDX
    {"invariant_tsc", 0x80000007, 0, CpuidReg::edx, 8},
    // CPUID.6H.0H:EAX
    {"arat", 6, 0, CpuidReg::eax, 2},
    // CPUID.80000008H.0H:EBX
    {"wbnoinvd", 0x80000008, 0, CpuidReg::ebx, 9},
};

constexpr std::pair<std::string_view, std::string_view> needs[] = {
    {"sse", "fxsr"}, {"sse2", "sse"}, {"sse3", "sse2"}, {"ssse3", "sse3"}, {"sse4_1", "ssse3"},
    {"sse4_2", "sse4_1"}, {"aes", "sse2"}, {"pclmulqdq", "sse2"}, {"sha", "sse2"}, {"avx", "xsave"},
    {"avx", "sse4_2"}, {"avx2", "avx"}, {"fma", "avx"}, {"f16c", "avx"}, {"bmi1", "avx"}, {"bmi2", "avx"},
    {"xsave", "fxsr"}, {"xsaveopt", "xsave"}, {"xsavec", "xsave"}, {"xgetbv_ecx1", "xsave"},
    {"xsaves", "xsavec"}, {"pku", "xsave"}, {"x2apic", "apic"}, {"tsc_deadline", "apic"},
    {"tsc_deadline", "tsc"}, {"tsc_adjust", "tsc"}, {"rdtscp", "tsc"}, {"lm", "pae"}, {"lm", "msr"},
    {"lm", "sse2"}, {"syscall", "lm"}, {"la57", "lm"}, {"page1gb", "lm"}, {"pcid", "lm"},
    {"fsgsbase", "lm"}, {"nx", "pae"}, {"invariant_tsc", "tsc"}, {"vmx", "msr"}, {"mca", "mce"},
    {"ssbd", "ibrs_ibpb"}, {"stibp", "ibrs_ibpb"}, {"arch_capabilities", "msr"}, {"lass", "lm"},
    {"lass", "smap"}, {"lam", "lm"}, {"pks", "lm"}, {"waitpkg", "tsc"}, {"wrmsrns", "msr"},
    {"msrlist", "wrmsrns"}, {"cet_ss", "msr"}, {"cet_ibt", "msr"}, {"uintr", "lm"}, {"uintr", "apic"},
    {"fred", "lkgs"}, {"fred", "wrmsrns"}, {"lkgs", "lm"}, {"avx512f", "avx2"}, {"avx512f", "fma"},
    {"avx512f", "f16c"}, {"avx512dq", "avx512f"}, {"avx512cd", "avx512f"}, {"avx512bw", "avx512f"},
    {"avx512vl", "avx512f"}, {"avx512ifma", "avx512f"}, {"avx512vbmi", "avx512bw"},
    {"avx512vbmi2", "avx512bw"}, {"avx512vnni", "avx512f"}, {"avx512bitalg", "avx512bw"},
    {"avx512vpopcntdq", "avx512f"}, {"avx512bf16", "avx512bw"}, {"avx512fp16", "avx512bw"},
    {"avx512fp16", "avx512dq"}, {"avx512fp16", "avx512vl"}, {"gfni", "sse2"}, {"vaes", "avx"},
    {"vaes", "aes"}, {"vpclmulqdq", "avx"}, {"vpclmulqdq", "pclmulqdq"}, {"avx_vnni", "avx2"},
    {"amx_tile", "xsavec"}, {"amx_tile", "lm"}, {"amx_int8", "amx_tile"}, {"amx_bf16", "amx_tile"},
    {"xfd", "amx_tile"},
};
// clang-format on

TEST(FeatureRows, StandWhereTheManualHasThem) {
    ASSERT_EQ(std::size(places), feature_rows().size());
    std::map<std::string_view, const FeatureRow*> rows;
    for (const FeatureRow& r : feature_rows())
        EXPECT_TRUE(rows.emplace(r.name, &r).second) << r.name;
    for (const Place& p : places) {
        SCOPED_TRACE(p.name);
        ASSERT_TRUE(rows.contains(p.name));
        const FeatureRow& r = *rows[p.name];
        EXPECT_EQ(r.leaf, p.leaf);
        EXPECT_EQ(r.subleaf, p.subleaf);
        EXPECT_EQ(r.reg, p.reg);
        EXPECT_EQ(r.bit, p.bit);
    }
}

std::string change(char sign, std::string_view name) {
    std::string text(1, sign);
    return text.append(name);
}

/// Everything that is switched off so that `feature` alone lacks `what`.
std::set<std::string_view> dependents(std::string_view feature, std::string_view what) {
    std::set<std::string_view> off{what};
    for (std::size_t before = 0; before != off.size();) {
        before = off.size();
        for (const auto& [dependent, on] : needs)
            if (dependent != feature && off.contains(on))
                off.insert(dependent);
    }
    return off;
}

TEST(FeatureRows, AreRefusedWithoutWhatTheyNeed) {
    for (const auto& [feature, what] : needs) {
        SCOPED_TRACE(testing::Message() << feature << " needs " << what);
        std::vector<std::string> changes{change('+', feature)};
        for (const std::string_view off : dependents(feature, what))
            changes.push_back(change('-', off));
        const auto m = make_cpu_model("max", changes, any_host);
        ASSERT_FALSE(m);
        std::string sentence("the feature ");
        sentence.append(feature).append(" needs ").append(what).append(";");
        EXPECT_NE(m.error().text.find(sentence), std::string::npos) << m.error().text;
    }
}

TEST(ModelRows, AreWhoTheySay) {
    struct Known {
        std::string_view name, brand;
        u32 signature, microcode;
        u8 maxphyaddr;
        Feature has, lacks;  ///< of the generation, of the next
    };
    constexpr Known known[] = {
        {"nehalem", "Droste Virtual Processor (Nehalem)", 0x106A5, 0x1D, 40, Feature::sse4_2,
         Feature::avx2},
        {"haswell", "Droste Virtual Processor (Haswell)", 0x306F2, 0x49, 46, Feature::avx2, Feature::adx},
        {"skylake-sp", "Droste Virtual Processor (Skylake-SP)", 0x50654, 0x02006E05, 46, Feature::adx,
         Feature::sha},
        {"icelake-sp", "Droste Virtual Processor (Ice Lake-SP)", 0x606A6, 0x0D0003A5, 46, Feature::sha,
         Feature::uintr},
        {"sapphire-rapids", "Droste Virtual Processor (Sapphire Rapids)", 0x806F8, 0x2B0004B1, 52,
         Feature::uintr, Feature::fred},
        {"max", "Droste Virtual Processor (max)", 0x606A6, 0x0D0003A5, 46, Feature::fred, Feature::mpx},
    };
    for (const Known& k : known) {
        SCOPED_TRACE(k.name);
        const auto m = make_cpu_model(k.name, {}, any_host);
        ASSERT_TRUE(m) << m.error().text;
        EXPECT_EQ(cpuid(*m, {}, 1, 0).eax, k.signature);
        EXPECT_EQ(m->microcode, k.microcode);
        EXPECT_EQ(cpuid(*m, {}, 0x80000008, 0).eax & 0xFF, k.maxphyaddr);
        EXPECT_TRUE(m->features.has(k.has));
        EXPECT_FALSE(m->features.has(k.lacks));
        std::string brand;
        for (u32 leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
            const CpuidResult r = cpuid(*m, {}, leaf, 0);
            for (const u32 v : {r.eax, r.ebx, r.ecx, r.edx})
                for (unsigned i = 0; i < 32; i += 8)
                    brand.push_back(static_cast<char>(v >> i));
        }
        EXPECT_STREQ(brand.c_str(), std::string(k.brand).c_str());
    }
}

}  // namespace
}  // namespace droste::test
