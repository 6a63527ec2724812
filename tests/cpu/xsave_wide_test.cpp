// SPDX-License-Identifier: Apache-2.0
// The XSAVE components of AVX-512 and AMX, XCR0's rules for them, extended feature disable.
#include "cpu/cpuid.h"
#include "cpu/insns/tile_config.h"
#include "cpu/msr.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;
constexpr u64 area = 0x20000, header = area + 512;
constexpr u64 compacted = 1ull << 63;
constexpr u64 everything = 0x602E7;

bool any_host(Feature) { return true; }

struct WideMachine : SystemMachine {
    explicit WideMachine(Mode mode = Mode::long64)
        : SystemMachine(mode, 0, *make_cpu_model("sapphire-rapids", {}, any_host)) {
        cpu.cr4 |= cr4_bits::osxsave;
        cpu.xcr0 = everything;
        cpu.context_changed();
        wipe();
        cpu.reg(Gpr::rbx) = area;
        ask(everything);
    }
    void wipe() {
        for (u64 i = 0; i < 16384; i += 8) poke<u64>(area + i, i >= 512 && i < 576 ? 0 : 0xEEEEEEEEEEEEEEEE);
        poke<u32>(area + 24, 0x1F80);
    }
    void ask(u64 mask) {
        cpu.reg(Gpr::rax) = static_cast<u32>(mask);
        cpu.reg(Gpr::rdx) = mask >> 32;
    }
    Raised ae(u8 modrm) { return cpu.code64() ? fault_of({0x48, 0x0F, 0xAE, modrm}) : fault_of({0x0F, 0xAE, modrm}); }
    Raised xsave() { return ae(0x23); }
    Raised xrstor() { return ae(0x2B); }
    Raised xsavec() { return fault_of({0x48, 0x0F, 0xC7, 0x23}); }
    Raised xsetbv(u64 v) {
        cpu.reg(Gpr::rcx) = 0;
        ask(v);
        return fault_of({0x0F, 0x01, 0xD1});
    }
    u64 xinuse() {
        cpu.reg(Gpr::rcx) = 1;
        EXPECT_EQ(fault_of({0x0F, 0x01, 0xD0}), none);
        const u64 r = cpu.reg(Gpr::rax);
        ask(everything);
        return r;
    }
    void fill() {
        for (unsigned i = 0; i < 8; ++i) cpu.opmask[i] = 0x1111111111111111ull * (i + 1);
        for (unsigned i = 0; i < 32; ++i)
            for (unsigned k = 0; k < 8; ++k) cpu.vec[i].q[k] = 0x0101010101010101ull * (8 * i + k + 1);
        cpu.amx.config = {};
        cpu.amx.config[0] = 1;
        for (unsigned t = 0; t < 8; ++t) {
            cpu.amx.config[16 + 2 * t] = 64;
            cpu.amx.config[48 + t] = 16;
            for (unsigned i = 0; i < 1024; ++i) cpu.amx.tile[t][i] = static_cast<u8>(t * 31 + i);
        }
    }
    void clear() {
        cpu.opmask = {};
        for (Vec& v : cpu.vec) v = Vec{};
        cpu.amx.config = {};
        cpu.amx.tile = {};
    }
    bool same(const CpuState& b) const {
        for (unsigned i = 0; i < 32; ++i)
            if (cpu.vec[i].q != b.vec[i].q) return false;
        return cpu.opmask == b.opmask && cpu.amx.config == b.amx.config && cpu.amx.tile == b.amx.tile;
    }
};

TEST(XsaveWide, StandardLayoutAndRoundTrip) {
    WideMachine m;
    m.fill();
    const CpuState before = m.cpu;
    ASSERT_EQ(m.xsave(), none);
    EXPECT_EQ(m.peek<u64>(area + 1088 + 8), 0x2222222222222222u) << "k1";
    EXPECT_EQ(m.peek<u64>(area + 1152 + 32), before.vec[1].q[4]) << "upper half of ZMM1";
    EXPECT_EQ(m.peek<u64>(area + 1664 + 64 + 8), before.vec[17].q[1]);
    EXPECT_EQ(m.peek<u8>(area + 2752), 1) << "palette";
    EXPECT_EQ(m.peek<u8>(area + 2816 + 1024 * 7 + 5), static_cast<u8>(7 * 31 + 5));
    m.clear();
    ASSERT_EQ(m.xrstor(), none);
    EXPECT_TRUE(m.same(before));
}

TEST(XsaveWide, CompactedLayoutAligns) {
    WideMachine m;
    m.fill();
    const CpuState before = m.cpu;
    m.ask(1u << 5 | 1u << 9 | 1u << 17 | 1u << 18);
    m.cpu.pkru = 4;
    ASSERT_EQ(m.xsavec(), none);
    EXPECT_EQ(m.peek<u64>(header + 8), compacted | 0x60220);
    EXPECT_EQ(m.peek<u64>(area + 576), before.opmask[0]);
    EXPECT_EQ(m.peek<u32>(area + 640), 4u) << "PKRU";
    EXPECT_EQ(m.peek<u8>(area + 704), 1) << "TILECFG at the next multiple of 64";
    EXPECT_EQ(m.peek<u64>(area + 648), 0xEEEEEEEEEEEEEEEEu);
    EXPECT_EQ(m.peek<u8>(area + 768 + 3), 3);
    m.clear();
    ASSERT_EQ(m.xrstor(), none);
    EXPECT_EQ(m.cpu.amx.tile, before.amx.tile);
    EXPECT_EQ(m.cpu.opmask, before.opmask);
}

TEST(XsaveWide, InUse) {
    WideMachine m;
    m.clear();
    m.cpu.fx = FxArea{};
    m.cpu.pkru = 0;
    struct Case { u64 bit; void (*use)(Cpu&); };
    const Case cases[] = {
        {1u << 5, [](Cpu& c) { c.opmask[7] = 1; }},
        {1u << 6, [](Cpu& c) { c.vec[15].q[7] = 1; }},
        {1u << 7, [](Cpu& c) { c.vec[31].q[0] = 1; }},
        {1u << 17, [](Cpu& c) { c.amx.config[0] = 1; }},
        {1u << 18, [](Cpu& c) { c.amx.tile[7][1023] = 1; }},
    };
    EXPECT_EQ(m.xinuse() & 0x600E0, 0u);
    for (const Case& k : cases) {
        m.clear();
        k.use(m.cpu);
        EXPECT_EQ(m.xinuse() & 0x600E0, k.bit);
    }
}

TEST(XsaveWide, InitialConfigurationIsRestored) {
    WideMachine m;
    m.fill();
    m.poke<u64>(header, 0);
    ASSERT_EQ(m.xrstor(), none);
    CpuState zero = m.cpu;
    zero.opmask = {};
    zero.amx.config = {};
    zero.amx.tile = {};
    for (Vec& v : zero.vec) v = Vec{};
    EXPECT_TRUE(m.same(zero));
}

TEST(XsaveWide, OutsideLongModeTheUpperRegistersStay) {
    WideMachine m(Mode::protected32);
    m.fill();
    const CpuState before = m.cpu;
    ASSERT_EQ(m.xsave(), none);
    EXPECT_EQ(m.peek<u64>(area + 1152 + 32 * 7), before.vec[7].q[4]);
    EXPECT_EQ(m.peek<u64>(area + 1152 + 32 * 8), 0xEEEEEEEEEEEEEEEEu);
    EXPECT_EQ(m.peek<u64>(area + 1664), 0xEEEEEEEEEEEEEEEEu);
    m.poke<u64>(header, 0);
    ASSERT_EQ(m.xrstor(), none);
    EXPECT_EQ(m.cpu.vec[7].q[4], 0u);
    EXPECT_EQ(m.cpu.vec[8].q[4], before.vec[8].q[4]);
    EXPECT_EQ(m.cpu.vec[16].q, before.vec[16].q);
}

TEST(XsaveWide, AnIllegalTileConfigurationLoadsAsZeros) {
    WideMachine m;
    m.fill();
    ASSERT_EQ(m.xsave(), none);
    m.poke<u8>(area + 2752 + 48, 17);  // rows
    ASSERT_EQ(m.xrstor(), none);
    EXPECT_EQ(m.cpu.amx.config, TileConfig{});
}

TEST(XsaveWide, Xcr0Combinations) {
    WideMachine m;
    for (const u64 good : {0x1ull, 0x3ull, 0x7ull, 0xE7ull, 0x60003ull, 0x602E7ull}) {
        EXPECT_EQ(m.xsetbv(good), none) << std::hex << good;
        EXPECT_EQ(m.cpu.xcr0, good);
    }
    for (const u64 bad : {0xE3ull, 0x27ull, 0x67ull, 0xA7ull, 0x20003ull, 0x40003ull, 0x5ull})
        EXPECT_EQ(m.xsetbv(bad), gp0) << std::hex << bad;
}

TEST(Xfd, DisabledComponents) {
    WideMachine m;
    constexpr u64 tiles = 1u << 18;
    const MsrTable msrs{cpu_msr_rows()};
    EXPECT_TRUE(msrs.write(m.cpu, 0x1C4, tiles));
    EXPECT_FALSE(msrs.write(m.cpu, 0x1C4, 1u << 17)) << "only TILEDATA can be disabled";
    EXPECT_FALSE(msrs.write(m.cpu, 0x1C5, 1));
    EXPECT_EQ(msrs.read(m.cpu, 0x1C4), tiles);
    m.fill();
    EXPECT_EQ(m.fault_of({0xC4, 0xE2, 0x7B, 0x49, 0xC0}), nm) << "TILEZERO";
    EXPECT_EQ(m.cpu.amx.xfd_err, tiles);
    EXPECT_EQ(m.fault_of({0xC4, 0xE2, 0x79, 0x49, 0x03}), none) << "STTILECFG";
    // Saved as initial; loaded only as initial.
    m.wipe();
    ASSERT_EQ(m.xsavec(), none);
    EXPECT_EQ(m.peek<u64>(header) & tiles, 0u);
    EXPECT_EQ(m.xrstor(), none);
    m.poke<u64>(header, m.peek<u64>(header) | tiles);
    m.cpu.amx.xfd_err = 0;
    EXPECT_EQ(m.xrstor(), nm);
    EXPECT_EQ(m.cpu.amx.xfd_err, tiles);
}

TEST(Avx512, Availability) {
    if (!host_processor_has(Feature::avx512f)) GTEST_SKIP() << "the host has no AVX-512";
    WideMachine m;
    const std::initializer_list<u8> vpaddd = {0x62, 0xF1, 0x7D, 0x48, 0xFE, 0xC1}, kmovw = {0xC5, 0xF8, 0x90, 0xC1},
                                    vmovups = {0x62, 0xF1, 0x7C, 0x48, 0x10, 0xC1};
    for (const auto& insn : {vpaddd, kmovw, vmovups}) {
        m.cpu.xcr0 = everything;
        EXPECT_EQ(m.fault_of(insn), none);
        m.cpu.xcr0 = 7;
        EXPECT_EQ(m.fault_of(insn), ud);
        m.cpu.xcr0 = everything;
        m.cpu.cr0 |= cr0_bits::ts;
        EXPECT_EQ(m.fault_of(insn), nm);
        m.cpu.xcr0 = 7;
        EXPECT_EQ(m.fault_of(insn), ud) << "#UD comes first";
        m.cpu.cr0 &= ~cr0_bits::ts;
        m.cpu.xcr0 = everything;
        m.cpu.cr4 &= ~cr4_bits::osxsave;
        EXPECT_EQ(m.fault_of(insn), ud);
        m.cpu.cr4 |= cr4_bits::osxsave;
    }
}

TEST(Amx, Availability) {
    WideMachine m;
    m.fill();
    for (const auto& insn : {std::initializer_list<u8>{0xC4, 0xE2, 0x78, 0x49, 0xC0},      // TILERELEASE
                             std::initializer_list<u8>{0xC4, 0xE2, 0x79, 0x49, 0x03}}) {  // STTILECFG
        m.cpu.xcr0 = everything;
        EXPECT_EQ(m.fault_of(insn), none);
        m.cpu.xcr0 = 0xE7;
        EXPECT_EQ(m.fault_of(insn), ud);
    }
    m.cpu.xcr0 = everything;
    EXPECT_EQ(m.fault_of({0xC4, 0xE2, 0x7B, 0x49, 0xC0}), ud) << "TILEZERO, no configuration";
    WideMachine compatibility(Mode::protected32);
    EXPECT_EQ(compatibility.fault_of({0xC4, 0xE2, 0x78, 0x49, 0xC0}), ud);
}

/// Any number of forms and immediates: the generated code stays within its bounds.
TEST(Thunks, CacheIsBounded) {
    if (!host_processor_has(Feature::avx512f)) GTEST_SKIP() << "the host has no AVX-512";
    const auto tables = cpu_instruction_tables();
    const Isa isa(tables);
    ThunkCache cache;
    const u32 mode = mode_bits::code64 | mode_bits::stack32;
    unsigned resets = 0;
    for (u32 i = 0; i < 900'000 && resets < 2; ++i) {
        if (cache.full()) {
            cache.reset();
            ++resets;
            EXPECT_EQ(cache.calls(), 0u);
        }
        // VPTERNLOGD with every immediate, vvvv, opmask, zeroing.
        const u8 vvvv = static_cast<u8>(i >> 8 & 15), aaa = static_cast<u8>(i >> 12 & 7), top = i >> 15 & 1;
        const std::array<u8, 7> bytes{0x62, 0xF3, static_cast<u8>(0x05 | vvvv << 3),
                                      static_cast<u8>((aaa != 0 ? 0x80 * (i >> 16 & 1) : 0) | 0x40 | top << 3 | aaa),
                                      0x25, 0xC1, static_cast<u8>(i)};
        Decoded d;
        ASSERT_EQ(isa.decode(bytes, mode, d), DecodeStatus::ok);
        ASSERT_NE(cache.call_for(d, mode), nullptr);
        if (i == 399'999) break;
    }
    EXPECT_LT(cache.code_bytes(), 32u << 20);
    EXPECT_LT(cache.calls(), 200'001u);
}

}  // namespace
}  // namespace droste::test
