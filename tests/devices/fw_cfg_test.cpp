// SPDX-License-Identifier: Apache-2.0
// Firmware configuration: items, files, DMA.
#include <gtest/gtest.h>

#include <cstring>

#include "devices/fw_cfg/fw_cfg.h"
#include "fakes.h"

namespace droste::test {
namespace {

class FwCfgTest : public ::testing::Test {
protected:
    FwCfgTest() { cfg.reset(); }
    std::string item(u16 key, unsigned size) {
        cfg.write(0, Width::word, key);
        std::string s;
        for (unsigned i = 0; i < size; ++i) s.push_back(static_cast<char>(cfg.read(1, Width::byte)));
        return s;
    }
    u64 number(u16 key, unsigned size) {
        u64 v = 0;
        std::memcpy(&v, item(key, size).data(), size);
        return v;
    }
    /// Runs a transfer with its structure at 0x100 and returns the control word afterwards.
    u32 dma(u32 control, u32 length, u64 address) {
        const u32 head[2] = {__builtin_bswap32(control), __builtin_bswap32(length)};
        const u64 tail = __builtin_bswap64(address);
        std::memcpy(&memory.bytes[0x100], head, 8);
        std::memcpy(&memory.bytes[0x108], &tail, 8);
        cfg.write(4, Width::dword, 0);
        cfg.write(8, Width::dword, __builtin_bswap32(0x100));
        u32 result;
        std::memcpy(&result, &memory.bytes[0x100], 4);
        return __builtin_bswap32(result);
    }
    Memory memory;
    FwCfg cfg{memory};
};

TEST_F(FwCfgTest, Items) {
    cfg.add_memory_size(0x1'8000'0000);
    cfg.add_cpus(2, 4);
    cfg.add_command_line("console=ttyS0");
    EXPECT_EQ(item(0, 6), std::string("QEMU\0\0", 6));
    EXPECT_EQ(number(1, 4), 3u);
    EXPECT_EQ(number(3, 8), 0x1'8000'0000u);
    EXPECT_EQ(number(5, 2), 2u);
    EXPECT_EQ(number(0x0F, 2), 4u);
    EXPECT_EQ(number(0x14, 4), 14u);
    EXPECT_EQ(item(0x15, 14), std::string("console=ttyS0\0", 14));
    EXPECT_EQ(number(0x11, 8), 0u) << "an unknown key reads as zeros";
}

TEST_F(FwCfgTest, Directory) {
    EXPECT_EQ(number(0x19, 4), 0u);
    EXPECT_TRUE(cfg.add_file("etc/two", {2, 2}));
    EXPECT_TRUE(cfg.add_file("etc/one", {1}));
    EXPECT_TRUE(cfg.add_file("etc/two", {2, 2, 2}));
    EXPECT_FALSE(cfg.add_file(std::string(56, 'x'), {}));
    const std::string d = item(0x19, 4 + 2 * 64);
    EXPECT_EQ(d.substr(0, 4), std::string("\0\0\0\2", 4));
    EXPECT_EQ(d.substr(4, 8), std::string("\0\0\0\1\0\x21\0\0", 8));
    EXPECT_STREQ(d.c_str() + 12, "etc/one");
    EXPECT_EQ(d.substr(68, 8), std::string("\0\0\0\3\0\x20\0\0", 8));
    EXPECT_EQ(item(0x20, 4), std::string("\2\2\2\0", 4));
}

TEST_F(FwCfgTest, Dma) {
    EXPECT_EQ(cfg.read(4, Width::qword), __builtin_bswap64(0x51454D5520434647));
    EXPECT_TRUE(cfg.add_file("f", {1, 2, 3, 4, 5}));
    std::fill(memory.bytes.begin(), memory.bytes.end(), 0xEE);
    EXPECT_EQ(dma(0x20 << 16 | 8 | 2, 3, 0x1000), 0u);
    EXPECT_EQ(std::vector<u8>(&memory.bytes[0x1000], &memory.bytes[0x1004]),
              (std::vector<u8>{1, 2, 3, 0xEE}));
    EXPECT_EQ(dma(2, 4, 0x1010), 0u) << "goes on, then zeros";
    EXPECT_EQ(std::vector<u8>(&memory.bytes[0x1010], &memory.bytes[0x1015]),
              (std::vector<u8>{4, 5, 0, 0, 0xEE}));
    EXPECT_EQ(dma(0x20 << 16 | 8 | 4, 4, 0), 0u) << "skip";
    EXPECT_EQ(dma(2, 1, 0x1020), 0u);
    EXPECT_EQ(memory.bytes[0x1020], 5);
    EXPECT_EQ(dma(2, 16, 0xFFFF'FFFF'0000), 1u) << "no memory there";
    EXPECT_EQ(dma(16, 1, 0x1000), 1u) << "nothing can be written";
    EXPECT_EQ(dma(2, 0xFFFF'FFFF, 0x2000), 1u) << "runs out of memory";
}

}  // namespace
}  // namespace droste::test
