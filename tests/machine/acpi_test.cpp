// SPDX-License-Identifier: Apache-2.0
// ACPI tables: signatures, checksums, the pointers between them, and a disassembler's opinion where there is
// one.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>

#include "machine/acpi/aml.h"
#include "machine/acpi/tables.h"

namespace droste {
namespace {

constexpr u64 base = 0xE'0000;

class Tables {
public:
    explicit Tables(const AcpiConfig& config) : block_(acpi_tables(config, base)) {
        const u64 xsdt = get<u64>(base + 24);
        const u32 size = get<u32>(xsdt + 4);
        add(xsdt);
        for (u64 at = xsdt + 36; at < xsdt + size; at += 8)
            add(get<u64>(at));
        const u64 rsdt = get<u32>(base + 16);
        add(rsdt);
        EXPECT_EQ(get<u32>(rsdt + 4), 36 + (size - 36) / 2);
        for (u64 i = 0; i < (size - 36) / 8; ++i) {
            EXPECT_EQ(get<u32>(rsdt + 36 + 4 * i), get<u64>(xsdt + 36 + 8 * i));
        }
        add(get<u64>(found_.at("FACP") + 132));
        add(get<u64>(found_.at("FACP") + 140));
    }
    template <class T> T get(u64 address) const {
        T v;
        EXPECT_LE(address - base + sizeof v, block_.size());
        std::memcpy(&v, block_.data() + (address - base), sizeof v);
        return v;
    }
    u8 sum(u64 address, u64 size) const {
        return static_cast<u8>(std::accumulate(&block_[address - base], &block_[address - base] + size, 0u));
    }
    const std::map<std::string, u64>& found() const { return found_; }
    u64 at(const char* name) const { return found_.at(name); }
    const std::vector<u8>& block() const { return block_; }

private:
    void add(u64 address) {
        found_[std::string(reinterpret_cast<const char*>(&block_[address - base]), 4)] = address;
    }
    std::vector<u8> block_;
    std::map<std::string, u64> found_;
};

TEST(Acpi, RootPointerAndAllTablesHaveGoodChecksums) {
    const Tables t(AcpiConfig{});
    EXPECT_EQ(std::memcmp(t.block().data(), "RSD PTR ", 8), 0);
    EXPECT_EQ(t.sum(base, 20), 0);
    EXPECT_EQ(t.sum(base, 36), 0);
    for (const char* name : {"XSDT", "RSDT", "FACP", "APIC", "HPET", "MCFG", "DSDT", "FACS"})
        ASSERT_TRUE(t.found().count(name)) << name;
    for (const auto& [name, at] : t.found()) {
        const u32 size = t.get<u32>(at + 4);
        EXPECT_LE(at - base + size, t.block().size()) << name;
        EXPECT_EQ(at % 64, 0u) << name;
        if (name != "FACS") {
            EXPECT_EQ(t.sum(at, size), 0) << name;
        }
    }
    EXPECT_LE(t.block().size(), 0x2'0000u);
}

TEST(Acpi, FixedDescriptionNamesTheBoard) {
    const Tables t(AcpiConfig{});
    const u64 f = t.at("FACP");
    EXPECT_EQ(t.get<u16>(f + 46), 9);        // SCI
    EXPECT_EQ(t.get<u32>(f + 48), 0xB2u);    // SMI_CMD
    EXPECT_EQ(t.get<u32>(f + 56), 0x600u);   // PM1a_EVT
    EXPECT_EQ(t.get<u32>(f + 64), 0x604u);   // PM1a_CNT
    EXPECT_EQ(t.get<u32>(f + 76), 0x608u);   // PM_TMR
    EXPECT_EQ(t.get<u64>(f + 120), 0xCF9u);  // reset register
    EXPECT_EQ(t.get<u8>(f + 128), 6);
    EXPECT_TRUE(t.get<u32>(f + 112) & 1 << 10);
    EXPECT_FALSE(t.get<u32>(f + 112) & 1 << 20);  // not hardware-reduced
    EXPECT_EQ(t.get<u32>(f + 40), t.at("DSDT"));
    EXPECT_EQ(t.at("FACS") % 64, 0u);
}

TEST(Acpi, MultipleApicTableHasTheOverridesThatTimersNeed) {
    const Tables t(AcpiConfig{.cpus = 2});
    const u64 a = t.at("APIC");
    EXPECT_EQ(t.get<u32>(a + 36), 0xFEE0'0000u);
    unsigned local = 0, io = 0, timer = 0, sci = 0, nmi = 0;
    for (u64 at = a + 44; at < a + t.get<u32>(a + 4); at += t.get<u8>(at + 1)) {
        ASSERT_GT(t.get<u8>(at + 1), 1);
        switch (t.get<u8>(at)) {
        case 0:
            ++local;
            break;
        case 1:
            ++io;
            EXPECT_EQ(t.get<u32>(at + 4), 0xFEC0'0000u);
            break;
        case 2:
            if (t.get<u8>(at + 3) == 0 && t.get<u32>(at + 4) == 2)
                ++timer;
            if (t.get<u8>(at + 3) == 9 && t.get<u16>(at + 8) == 0xD)
                ++sci;
            break;
        case 4:
            ++nmi;
            break;
        }
    }
    EXPECT_EQ(local, 2u);
    EXPECT_EQ(io, 1u);
    EXPECT_EQ(timer, 1u);
    EXPECT_EQ(sci, 1u);
    EXPECT_EQ(nmi, 1u);
}

TEST(Acpi, AbsentDevicesAreNotDescribed) {
    const Tables t(AcpiConfig{.hpet = false, .ecam = false, .keyboard = false});
    EXPECT_FALSE(t.found().count("HPET"));
    EXPECT_FALSE(t.found().count("MCFG"));
    EXPECT_LT(dsdt_body(AcpiConfig{.hpet = false}).size(), dsdt_body(AcpiConfig{}).size());
    EXPECT_FALSE(t.get<u16>(t.at("FACP") + 109) & 2);
}

/// How often `part` occurs in `whole`.
unsigned occurrences(const std::vector<u8>& whole, const std::vector<u8>& part) {
    unsigned n = 0;
    const auto next = [&](auto from) { return std::search(from, whole.end(), part.begin(), part.end()); };
    for (auto at = next(whole.begin()); at != whole.end(); at = next(at + 1))
        ++n;
    return n;
}

TEST(Acpi, EachProcessorIsDescribedTwice) {
    using namespace aml;
    for (const unsigned cpus : {1u, 2u, 64u}) {
        const Tables t(AcpiConfig{.cpus = cpus});
        std::vector<u32> ids;
        const u64 a = t.at("APIC");
        for (u64 at = a + 44; at < a + t.get<u32>(a + 4); at += t.get<u8>(at + 1))
            if (t.get<u8>(at) == 0) {
                EXPECT_EQ(t.get<u8>(at + 2), t.get<u8>(at + 3)) << "processor UID and APIC ID";
                EXPECT_EQ(t.get<u32>(at + 4), 1u) << "enabled";
                ids.push_back(t.get<u8>(at + 3));
            }
        ASSERT_EQ(ids.size(), cpus);
        const std::vector<u8> dsdt = dsdt_body(AcpiConfig{.cpus = cpus});
        EXPECT_EQ(occurrences(dsdt, name("_HID", text("ACPI0007"))), cpus);
        for (unsigned i = 0; i < cpus; ++i) {
            EXPECT_EQ(ids[i], i);
            constexpr std::string_view digits = "0123456789ABCDEF";
            const std::string segment = {'C', 'P', digits[i >> 4], digits[i & 15]};
            const Code described = device(segment, {name("_HID", text("ACPI0007")), name("_UID", integer(i))});
            EXPECT_EQ(occurrences(dsdt, described), 1u);
        }
    }
}

TEST(Acpi, HighPrecisionTimerHasItsInterrupts) {
    const std::vector<u8> dsdt = dsdt_body(AcpiConfig{});
    const std::vector<u8> irqs = {0x22, 0x01, 0x00, 0x22, 0x00, 0x01, 0x86, 9, 0, 1, 0x00, 0x00, 0xD0, 0xFE};
    EXPECT_EQ(occurrences(dsdt, irqs), 1u);
}

TEST(Aml, Encodings) {
    using namespace aml;
    EXPECT_EQ(text("AB"), (Code{0x0D, 'A', 'B', 0}));
    EXPECT_EQ(integer(0), (Code{0}));
    EXPECT_EQ(integer(1), (Code{1}));
    EXPECT_EQ(integer(0xFF), (Code{0x0A, 0xFF}));
    EXPECT_EQ(integer(0x1234), (Code{0x0B, 0x34, 0x12}));
    EXPECT_EQ(eisa_id("PNP0A03"), (Code{0x0C, 0x41, 0xD0, 0x0A, 0x03}));
    EXPECT_EQ(name("_UID", integer(2)), (Code{0x08, '_', 'U', 'I', 'D', 0x0A, 2}));
    EXPECT_EQ(buffer(Code(2, 7)), (Code{0x11, 5, 0x0A, 2, 7, 7}));
    const Code large = buffer(Code(100, 7));  // content 102, length in two bytes: 104 = 0x68
    EXPECT_EQ(large[1], 0x48);
    EXPECT_EQ(large[2], 0x06);
    EXPECT_EQ(large.size(), 105u);
}

TEST(Aml, DisassemblerAcceptsTheTables) {
    if (std::system("command -v iasl >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "iasl (package acpica-tools) is not here";
    const auto folder = std::filesystem::temp_directory_path() / ("droste-acpi-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    const Tables t(AcpiConfig{});
    for (const char* name : {"DSDT", "FACP", "APIC", "HPET", "MCFG", "FACS"}) {
        const u64 at = t.at(name);
        const std::string file = (folder / (std::string(name) + ".dat")).string();
        std::FILE* f = std::fopen(file.c_str(), "wb");
        ASSERT_NE(f, nullptr);
        std::fwrite(&t.block()[at - base], 1, t.get<u32>(at + 4), f);
        std::fclose(f);
        const std::string log = file + ".log";
        EXPECT_EQ(std::system(("iasl -d " + file + " >" + log + " 2>&1").c_str()), 0) << name;
        EXPECT_NE(std::system(("grep -qiE 'error|warning|invalid' " + log).c_str()), 0) << name;
    }
    const std::string source = (folder / "DSDT").string();
    EXPECT_EQ(std::system(("iasl " + source + ".dsl >" + source + ".out 2>&1").c_str()), 0);
    EXPECT_EQ(std::system(("grep -q '0 Errors, 0 Warnings' " + source + ".out").c_str()), 0);
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace droste
