// SPDX-License-Identifier: Apache-2.0
// The devices for test kernels, on a whole board: where they are, when they are there, what they do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine/machine.h"
#include "machine/quiet_console.h"
#include "machine/tiny_guest.h"

namespace droste {
namespace {

using ::testing::HasSubstr;

/// Moves the value that `in` reads at `port` to the debug-exit port.
TinyGuest& tell(TinyGuest& g, u16 port, std::initializer_list<u8> in) {
    return g.mov_eax(0).mov_edx(port).bytes(in).mov_edx(0xF4).bytes({0xEF}).hlt();
}
constexpr std::initializer_list<u8> in_al = {0xEC}, in_ax = {0x66, 0xED}, in_eax = {0xED};

TEST(TestDevices, EchoPortKeepsEachByte) {
    TinyGuest g;
    g.out_eax(0xE0, 0x1122'3344).out_al(0xE1, 0x55).out_eax(0xE4, 0x1000);
    EXPECT_EQ(code_of(tell(g, 0xE0, in_eax)), 0x1122'5544u);
    TinyGuest word;
    word.out_eax(0xE0, 0x1122'3344);
    EXPECT_EQ(code_of(tell(word, 0xE2, in_ax)), 0x1122u);
    TinyGuest byte;
    byte.out_ax(0xE2, 0xABCD);
    EXPECT_EQ(code_of(tell(byte, 0xE3, in_al)), 0xABu);
}

TEST(TestDevices, ConsoleAndShutdownWord) {
    TinyGuest g;
    g.out_al(0xF1, 'h').out_al(0xF1, 'i');
    for (const char c : std::string_view("Shutdown"))
        g.out_al(0x8900, static_cast<u8>(c));
    const QuietRun r = run_quietly(g.hlt());
    EXPECT_EQ(r.printed, "hi");
    EXPECT_EQ(r.summary.end.kind, EndKind::powered_off);
}

TEST(TestDevices, InterruptLinesReachThe8259) {
    TinyGuest g;
    g.out_al(0x20, 0x11).out_al(0x21, 0x20).out_al(0x21, 4).out_al(0x21, 1).out_al(0x21, 0xFF);
    g.out_al(0x2005, 1).out_al(0x20, 0x0A);
    EXPECT_EQ(code_of(tell(g, 0x20, in_al)), 0x20u);
    TinyGuest down;
    down.out_al(0x20, 0x11).out_al(0x21, 0x20).out_al(0x21, 4).out_al(0x21, 1).out_al(0x21, 0xFF);
    down.out_al(0x2005, 1).out_al(0x2005, 0).out_al(0x20, 0x0A);
    EXPECT_EQ(code_of(tell(down, 0x20, in_al)), 0u);
}

/// mov [address], eax; mov eax, [address]; then eax to the debug-exit port.
TEST(TestDevices, MemoryRegionReadsBack) {
    for (const u32 address : {0xFF00'0000u, 0xFF00'FFFCu}) {
        TinyGuest g;
        g.mov_eax(0xCAFE'F00D).bytes({0xA3}).imm32(address).mov_eax(0).bytes({0xA1}).imm32(address);
        EXPECT_EQ(code_of(g.mov_edx(0xF4).bytes({0xEF}).hlt()), 0xCAFE'F00Du) << address;
    }
    TinyGuest beyond;
    beyond.mov_eax(1).bytes({0xA3}).imm32(0xFF01'0000).bytes({0xA1}).imm32(0xFF01'0000);
    EXPECT_EQ(code_of(beyond.mov_edx(0xF4).bytes({0xEF}).hlt()), 0xFFFF'FFFFu);
}

TEST(TestDevices, PciFunctionIsPlacedAndCounts) {
    TinyGuest id;
    id.out_eax(0xCF8, 0x8000'1800);
    EXPECT_EQ(code_of(tell(id, 0xCFC, in_eax)), 0x0005'1B36u);
    TinyGuest memory;
    memory.out_eax(0xCF8, 0x8000'1810);
    EXPECT_EQ(code_of(tell(memory, 0xCFC, in_eax)), 0xFEB0'0000u);
    TinyGuest ports;
    ports.out_eax(0xCF8, 0x8000'1814);
    EXPECT_EQ(code_of(tell(ports, 0xCFC, in_eax)), 0xC001u);
    // Test 0 of the ports counts bytes FAH at offset 128 + 3.
    TinyGuest counts;
    counts.out_al(0xC000, 0).out_al(0xC083, 0xFA).out_al(0xC083, 0xFB).out_al(0xC083, 0xFA);
    EXPECT_EQ(code_of(tell(counts, 0xC00C, in_eax)), 2u);
}

TEST(TestDevices, AreThereByKey) {
    const auto echo = [](const std::vector<std::string>& sets) {
        TinyGuest g;
        g.out_eax(0xE0, 7);
        return code_of(tell(g, 0xE0, in_eax), sets);
    };
    EXPECT_EQ(echo({}), 7u) << "auto: a multiboot kernel";
    EXPECT_EQ(echo({"machine.test_device=true"}), 7u);
    EXPECT_EQ(echo({"machine.test_device=false"}), 0xFFFF'FFFFu);
    Options options;
    EXPECT_TRUE(options.load_text("[machine]\ntest_device = false\n", "s.toml", ""));
    EXPECT_EQ(options.text("machine.test_device"), "false");
    EXPECT_FALSE(options.load_text("[machine]\ntest_device = 1\n", "s.toml", ""));
}

TEST(TestDevices, FirmwareConfigurationTellsProcessorsAndMemory) {
    const auto item = [](u16 key, unsigned skip) {
        TinyGuest g;
        g.out_ax(0x510, key).mov_edx(0x511);
        for (unsigned i = 0; i < skip; ++i)
            g.bytes({0xEC});
        return code_of(tell(g, 0x511, in_al));
    };
    EXPECT_EQ(item(5, 0), 1u);  // NB_CPUS
    EXPECT_EQ(item(5, 1), 0u);
    EXPECT_EQ(item(3, 3), 2u);  // RAM_SIZE: 32 MiB
    EXPECT_EQ(item(3, 7), 0u);
    EXPECT_EQ(item(0x11, 0), 0u);  // not a key
}

}  // namespace
}  // namespace droste
