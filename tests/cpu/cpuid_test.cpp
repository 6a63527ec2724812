// SPDX-License-Identifier: Apache-2.0
// CPUID against the feature table, the XSAVE code and the MSRs; the models and their refusals.
#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "system_machine.h"

namespace droste::test {
namespace {

CpuModel model(std::string_view name, const std::vector<std::string>& changes = {}) {
    auto m = make_cpu_model(name, changes);
    EXPECT_TRUE(m) << m.error().text;
    return *m;
}

class EveryModel : public testing::TestWithParam<std::string_view> {};

u32 part(const CpuidResult& r, CpuidReg which) {
    switch (which) {
    case CpuidReg::eax: return r.eax;
    case CpuidReg::ebx: return r.ebx;
    case CpuidReg::ecx: return r.ecx;
    default: return r.edx;
    }
}

TEST_P(EveryModel, ShowsExactlyItsFeatures) {
    const CpuModel m = model(GetParam());
    for (const FeatureRow& f : feature_rows())
        EXPECT_EQ(bit(part(cpuid(m, {}, f.leaf, f.subleaf), f.reg), f.bit), m.features.has(f.feature))
            << f.name;
}

TEST_P(EveryModel, IdentifiesAsIntel) {
    const CpuModel m = model(GetParam());
    const CpuidResult r = cpuid(m, {}, 0, 0);
    EXPECT_EQ(r.ebx, 0x756E6547u);
    EXPECT_EQ(r.edx, 0x49656E69u);
    EXPECT_EQ(r.ecx, 0x6C65746Eu);
    const u32 signature = cpuid(m, {}, 1, 0).eax;
    EXPECT_EQ(signature >> 8 & 0xF, 6u);
    EXPECT_EQ((signature >> 4 & 0xF) | (signature >> 12 & 0xF0), m.model);
    EXPECT_EQ(signature & 0xF, m.stepping);
    EXPECT_EQ(cpuid(m, {}, 0x80000008, 0).eax, m.maxphyaddr | u32{m.linear_bits} << 8);
}

/// Signature and physical-address width of the real parts.
TEST(CpuModels, IdentityOfTheRealPart) {
    struct Real { std::string_view name; u32 signature; u8 maxphyaddr; };
    constexpr Real real[] = {{"nehalem", 0x106A5, 40}, {"haswell", 0x306F2, 46}, {"skylake-sp", 0x50654, 46},
                             {"icelake-sp", 0x606A6, 46}, {"sapphire-rapids", 0x806F8, 52}};
    for (const Real& r : real) {
        const CpuModel m = model(r.name);
        EXPECT_EQ(cpuid(m, {}, 1, 0).eax, r.signature) << r.name;
        EXPECT_EQ(cpuid(m, {}, 0x80000008, 0).eax & 0xFF, r.maxphyaddr) << r.name;
    }
}

/// A generation has what the one before it had.
TEST(CpuModels, GenerationsGrow) {
    for (std::size_t i = 1; i < cpu_model_names().size(); ++i) {
        const CpuModel older = model(cpu_model_names()[i - 1]), newer = model(cpu_model_names()[i]);
        for (const FeatureRow& f : feature_rows())
            EXPECT_TRUE(!older.features.has(f.feature) || newer.features.has(f.feature)) << newer.name << f.name;
    }
    const auto has = [](std::string_view name, Feature f) { return model(name).features.has(f); };
    EXPECT_FALSE(has("nehalem", Feature::x2apic) || has("nehalem", Feature::xsave) ||
                 has("nehalem", Feature::page1gb) || has("nehalem", Feature::aes));
    EXPECT_FALSE(has("haswell", Feature::smap) || has("haswell", Feature::rdseed) ||
                 has("haswell", Feature::xsavec) || has("haswell", Feature::prefetchw));
    EXPECT_FALSE(has("skylake-sp", Feature::umip) || has("icelake-sp", Feature::serialize));
}

TEST_P(EveryModel, ClockIsCoherent) {
    const CpuModel m = model(GetParam());
    const CpuidResult r = cpuid(m, {}, 0x15, 0);
    EXPECT_EQ(u64(r.ecx) * r.ebx / r.eax, m.tsc_hz);
    EXPECT_EQ(r.ecx, 1'000'000'000u) << "kernels take the crystal for the local APIC's clock";
    EXPECT_EQ(cpuid(m, {}, 0x16, 0).eax, m.tsc_hz / 1'000'000);
}

TEST_P(EveryModel, EnumeratedMsrsExist) {
    const CpuModel m = model(GetParam());
    const MsrTable table({cpu_msr_rows()});
    struct Needed { Feature feature; u32 msr; };
    constexpr Needed needed[] = {{Feature::arch_capabilities, 0x10A}, {Feature::ibrs_ibpb, 0x48},
                                 {Feature::ssbd, 0x48},
                                 {Feature::l1d_flush, 0x10B}, {Feature::xsaves, 0xDA0},
                                 {Feature::tsc_adjust, 0x3B},
                                 {Feature::tsc_deadline, 0x6E0}, {Feature::mtrr, 0xFE}, {Feature::pat, 0x277},
                                 {Feature::mca, 0x179}, {Feature::rdtscp, 0xC0000103},
                                 {Feature::syscall, 0xC0000082},
                                 {Feature::x2apic, 0x802}, {Feature::sep, 0x174}, {Feature::apic, 0x1B}};
    for (const Needed& n : needed)
        if (m.features.has(n.feature)) {
            const MsrRow* row = table.find(n.msr);
            ASSERT_NE(row, nullptr) << std::hex << n.msr;
            EXPECT_TRUE(m.features.has(row->needs)) << row->name;
        }
}

INSTANTIATE_TEST_SUITE_P(All, EveryModel,
                         testing::ValuesIn(cpu_model_names().begin(), cpu_model_names().end()));

TEST(Cpuid, StateBits) {
    const CpuModel m = model("skylake-sp");
    CpuidContext c{.cr4 = cr4_bits::osxsave | cr4_bits::pke, .apic_id = 5};
    EXPECT_TRUE(bit(cpuid(m, c, 1, 0).ecx, 27));
    EXPECT_FALSE(bit(cpuid(m, {}, 1, 0).ecx, 27));
    EXPECT_TRUE(bit(cpuid(m, c, 7, 0).ecx, 4));
    EXPECT_EQ(cpuid(m, c, 1, 0).ebx >> 24, 5u);
    EXPECT_EQ(cpuid(m, c, 0xB, 0).edx, 5u);
    c.apic_enabled = false;
    EXPECT_FALSE(bit(cpuid(m, c, 1, 0).edx, 9));
    EXPECT_FALSE(bit(cpuid(m, c, 1, 0).ecx, 31)) << "no hypervisor bit by default";
    EXPECT_TRUE(bit(cpuid(model("skylake-sp", {"+hypervisor"}), c, 1, 0).ecx, 31));
}

// SDM "Hierarchical Mapping of Shared Resources": one package with a core for each processor.
TEST(Cpuid, Topology) {
    const CpuModel m = *make_cpu_model("skylake-sp", {});
    struct Case {
        u32 processors, addressable, core_bits;
    };
    for (const Case& x : {Case{1, 1, 0}, {2, 2, 1}, {3, 4, 2}, {4, 4, 2}, {5, 8, 3}, {64, 64, 6}}) {
        const CpuidContext c{.apic_id = x.processors - 1, .processors = x.processors};
        const CpuidResult one = cpuid(m, c, 1, 0);
        EXPECT_EQ(one.ebx >> 24, x.processors - 1);
        EXPECT_EQ(one.ebx >> 16 & 0xFF, x.addressable);
        EXPECT_EQ(one.edx >> 28 & 1, x.processors > 1 ? 1u : 0u);
        for (u32 cache = 0; cache < 4; ++cache) {
            const u32 eax = cpuid(m, c, 4, cache).eax;
            EXPECT_EQ(eax >> 26, x.addressable - 1);
            EXPECT_EQ(eax >> 14 & 0xFFF, cache == 3 ? x.addressable - 1 : 0) << "level 3 is shared";
        }
        for (const u32 leaf : {0xBu, 0x1Fu}) {
            const CpuidResult threads = cpuid(m, c, leaf, 0), cores = cpuid(m, c, leaf, 1), none = cpuid(m, c, leaf, 2);
            EXPECT_EQ(threads.eax, 0u);
            EXPECT_EQ(threads.ebx, 1u);
            EXPECT_EQ(threads.ecx, 0x100u);
            EXPECT_EQ(cores.eax, x.core_bits);
            EXPECT_EQ(cores.ebx, x.processors);
            EXPECT_EQ(cores.ecx, 0x201u);
            EXPECT_EQ(none.ebx, 0u);
            EXPECT_EQ(none.ecx, 2u);
            for (const CpuidResult& r : {threads, cores, none})
                EXPECT_EQ(r.edx, x.processors - 1);
        }
    }
}

TEST(Cpuid, BeyondTheLastLeaf) {
    const CpuModel m = model("max");
    const u32 last = cpuid(m, {}, 0, 0).eax;
    EXPECT_EQ(cpuid(m, {}, 0x40000000, 1), cpuid(m, {}, last, 1));
    EXPECT_EQ(cpuid(m, {}, 0x80000009, 0), cpuid(m, {}, last, 0));
    EXPECT_EQ(cpuid(m, {}, 0x80000000, 0).eax, 0x80000008u);
}

TEST(Cpuid, XsaveSizes) {
    const CpuModel m = model("skylake-sp");
    EXPECT_EQ(cpuid(m, {.xcr0 = 1}, 0xD, 0).ebx, 576u);
    EXPECT_EQ(cpuid(m, {.xcr0 = 7}, 0xD, 0).ebx, 832u);
    EXPECT_EQ(cpuid(m, {.xcr0 = 0x207}, 0xD, 0).ebx, 2696u);
    EXPECT_EQ(cpuid(m, {}, 0xD, 0).ecx, 2696u);
    EXPECT_EQ(cpuid(m, {.xcr0 = 0x207}, 0xD, 1).ebx, 840u);
    // Each component lies within the size, and as the sub-leaves say.
    u32 end = 576;
    for (u32 i = 2; i < 63; ++i) {
        const CpuidResult r = cpuid(m, {}, 0xD, i);
        EXPECT_EQ(r.eax != 0, bit(m.valid_xcr0, i)) << i;
        end = std::max(end, r.eax + r.ebx);
    }
    EXPECT_EQ(end, cpuid(m, {}, 0xD, 0).ecx);
}

TEST(Cpuid, CachesDescribeThemselves) {
    const CpuModel m = model("skylake-sp");
    const auto bytes = [&](u32 i) {
        const CpuidResult r = cpuid(m, {}, 4, i);
        return u64((r.ebx >> 22) + 1) * ((r.ebx >> 12 & 0x3FF) + 1) * ((r.ebx & 0xFFF) + 1) * (r.ecx + 1);
    };
    EXPECT_EQ(bytes(0), 32u << 10);
    EXPECT_EQ(bytes(2), 1u << 20);
    EXPECT_EQ(cpuid(m, {}, 4, 4).eax & 0x1F, 0u) << "the list ends";
}

TEST(Models, RefuseWhatIsNotThere) {
    const auto unknown = make_cpu_model("pentium");
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().text.find("skylake-sp"), std::string::npos);
    const auto typo = make_cpu_model("max", {"+avx3"});
    ASSERT_FALSE(typo);
    EXPECT_NE(typo.error().text.find("+avx3"), std::string::npos);
    const auto unimplemented = make_cpu_model("max", {"+pdcm"});
    ASSERT_FALSE(unimplemented);
    EXPECT_NE(unimplemented.error().text.find("pdcm"), std::string::npos);
    const auto dependency = make_cpu_model("max", {"-avx"});
    ASSERT_FALSE(dependency);
    EXPECT_NE(dependency.error().text.find("avx"), std::string::npos);
    EXPECT_TRUE(make_cpu_model("max", {"-avx", "-avx2", "-fma", "-f16c", "-bmi1", "-bmi2"}));
}

/// A processor of the time of Haswell, and one that has everything.
bool old_host(Feature f) {
    const auto& row = feature_rows()[static_cast<std::size_t>(f) - 1];
    return !row.name.starts_with("avx512") && f != Feature::gfni && f != Feature::vaes &&
           f != Feature::vpclmulqdq && f != Feature::avx_vnni;
}
bool new_host(Feature) { return true; }

TEST(Models, VectorExtensionsAreThereWhereTheHostHasThem) {
    const auto skylake = make_cpu_model("skylake-sp", {}, old_host);
    ASSERT_TRUE(skylake);
    EXPECT_FALSE(skylake->features.has(Feature::avx512f));
    EXPECT_EQ(skylake->valid_xcr0 & 0xE0, 0u);
    EXPECT_EQ(skylake->left_out, (std::vector<std::string>{"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"}));
    const auto asked = make_cpu_model("skylake-sp", {"+avx512f"}, old_host);
    ASSERT_FALSE(asked) << "what is asked for by name must be there";
    EXPECT_NE(asked.error().text.find("avx512f"), std::string::npos);
    EXPECT_TRUE(make_cpu_model("haswell", {}, old_host)->left_out.empty());

    struct Needed { std::string_view model; Feature last, next; };
    for (const Needed& n : {Needed{"skylake-sp", Feature::avx512vl, Feature::avx512ifma},
                            Needed{"icelake-sp", Feature::vpclmulqdq, Feature::amx_tile},
                            Needed{"sapphire-rapids", Feature::amx_bf16, Feature::amx_fp16}}) {
        const auto m = make_cpu_model(n.model, {}, new_host);
        ASSERT_TRUE(m) << n.model;
        EXPECT_TRUE(m->features.has(n.last)) << n.model;
        EXPECT_FALSE(m->features.has(n.next)) << n.model;
        EXPECT_TRUE(m->left_out.empty());
    }
    EXPECT_EQ(make_cpu_model("sapphire-rapids", {}, new_host)->valid_xcr0, 0x602E7u);
}

TEST(Models, VectorExtensionsGoWithWhatTheyNeed) {
    const auto m = make_cpu_model("sapphire-rapids", {"-avx512f", "-amx_tile"}, new_host);
    ASSERT_TRUE(m) << m.error().text;
    for (const Feature f : {Feature::avx512vl, Feature::avx512fp16, Feature::avx512bitalg, Feature::amx_int8,
                            Feature::xfd})
        EXPECT_FALSE(m->features.has(f)) << feature_rows()[static_cast<std::size_t>(f) - 1].name;
    EXPECT_TRUE(m->features.has(Feature::vaes)) << "its VEX forms need AVX only";
    EXPECT_TRUE(m->features.has(Feature::avx2));
    EXPECT_FALSE(make_cpu_model("sapphire-rapids", {"-avx512f", "+avx512vl"}, new_host));
}

TEST(Cpuid, Tiles) {
    const CpuModel m = *make_cpu_model("sapphire-rapids", {}, new_host);
    EXPECT_EQ(cpuid(m, {}, 0x1D, 0).eax, 1u);
    EXPECT_EQ(cpuid(m, {}, 0x1D, 1), (CpuidResult{0x04002000, 0x00080040, 0x00000010, 0}));
    EXPECT_EQ(cpuid(m, {}, 0x1D, 2), CpuidResult{});
    EXPECT_EQ(cpuid(m, {}, 0x1E, 0), (CpuidResult{0, 0x00004010, 0, 0}));
    EXPECT_EQ(cpuid(m, {}, 0xD, 5), (CpuidResult{64, 1088, 0, 0}));
    EXPECT_EQ(cpuid(m, {}, 0xD, 6), (CpuidResult{512, 1152, 0, 0}));
    EXPECT_EQ(cpuid(m, {}, 0xD, 7), (CpuidResult{1024, 1664, 0, 0}));
    EXPECT_EQ(cpuid(m, {}, 0xD, 17), (CpuidResult{64, 2752, 2, 0}));
    EXPECT_EQ(cpuid(m, {}, 0xD, 18), (CpuidResult{8192, 2816, 6, 0}));
    EXPECT_EQ(cpuid(m, {.xcr0 = 0x602E7}, 0xD, 0).ebx, 11008u);
    const CpuModel none = *make_cpu_model("icelake-sp", {}, new_host);
    EXPECT_EQ(cpuid(none, {}, 0x1D, 1), CpuidResult{});
    EXPECT_EQ(cpuid(none, {}, 0x1E, 0), CpuidResult{});
}

TEST(Models, RegisterBitsFollowFeatures) {
    const CpuModel m = model("skylake-sp", {"-pku", "-smap"});
    EXPECT_EQ(m.valid_cr4 & (cr4_bits::pke | cr4_bits::smap), 0u);
    EXPECT_EQ(m.valid_xcr0 & ~0xE0u, 7u);
    EXPECT_EQ(m.valid_xcr0 & 0xE0, m.features.has(Feature::avx512f) ? 0xE0u : 0u);
    EXPECT_TRUE(m.valid_cr4 & cr4_bits::vmxe);
    EXPECT_EQ(model("skylake-sp", {"+la57"}).linear_bits, 57);
}

TEST(Models, FeaturesDecideUndefinedOpcodes) {
    SystemMachine m(TestMachine::Mode::long64, 0, model("skylake-sp"));
    m.install_exception_stops();
    m.run({0xF3, 0x0F, 0xC7, 0xF8});  // rdpid rax
    EXPECT_EQ(m.stopped_at(), 6);
    SystemMachine n(TestMachine::Mode::long64, 0, model("icelake-sp"));
    n.cpu.tsc_aux = 9;
    n.run({0xF3, 0x0F, 0xC7, 0xF8});
    EXPECT_EQ(n.cpu.reg(Gpr::rax), 9u);
}

}  // namespace
}  // namespace droste::test
