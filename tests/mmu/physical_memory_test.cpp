// SPDX-License-Identifier: Apache-2.0
// RAM around its holes, accesses of every alignment, the bus beyond RAM, code tracking, and saving.
#include <gmock/gmock.h>

#include "base/archive.h"
#include "paging_rig.h"

namespace droste::test {
namespace {

struct Recorder : Device {
    using Call = std::tuple<char, unsigned, u64, u64>;  ///< r or w, width, offset, value
    std::vector<Call> calls;
    u64 value = 0x8877'6655'4433'2211;
    const char* name() const override { return "recorder"; }
    void reset() override {}
    u64 read(u64 offset, Width width) override {
        calls.emplace_back('r', bytes(width), offset, 0);
        return value >> (8 * (offset % 8));
    }
    void write(u64 offset, Width width, u64 v) override { calls.emplace_back('w', bytes(width), offset, v); }
    void visit(Archive&) override {}
};

TEST(PhysicalMemory, RamContinuesAboveTheHole) {
    MemoryBus bus;
    PhysicalMemory m(0xC000'0000 + 0x10'0000, bus);
    EXPECT_NE(m.host(0xBFFF'FFFF), nullptr);
    EXPECT_EQ(m.host(0xC000'0000), nullptr);
    EXPECT_EQ(m.host(0xFFFF'FFFF), nullptr);
    EXPECT_NE(m.host(0x1'0000'0000), nullptr);
    EXPECT_NE(m.host(0x1'000F'FFFF), nullptr);
    EXPECT_EQ(m.host(0x1'0010'0000), nullptr);
    EXPECT_EQ(m.host(~0ull), nullptr);
    EXPECT_NE(m.host(0x9'FFFF), nullptr);
    EXPECT_EQ(m.host(0xA'0000), nullptr);
    EXPECT_EQ(m.host(0xB'FFFF), nullptr);
    EXPECT_NE(m.host(0xC'0000), nullptr);
    m.write64(0x1'0000'0000, 0x1234'5678'9ABC'DEF0);
    EXPECT_EQ(m.read32(0x1'0000'0004), 0x1234'5678u);
    EXPECT_EQ(m.read64(0xC000'0000), ~0ull);  // nothing there
    m.write64(0xC000'0000, 1);
}

TEST(PhysicalMemory, AccessesOfEveryAlignment) {
    MemoryBus bus;
    PhysicalMemory m(16 << 20, bus);
    for (const Width w : {Width::byte, Width::word, Width::dword, Width::qword})
        for (u64 at = 0x10'0FF0; at < 0x10'1010; ++at) {
            m.write(at, w, 0xF1E2'D3C4'B5A6'9788);
            EXPECT_EQ(m.read(at, w), 0xF1E2'D3C4'B5A6'9788 & width_mask(w));
            for (unsigned i = 0; i < bytes(w); ++i)
                EXPECT_EQ(*m.host(at + i), static_cast<u8>(0xF1E2'D3C4'B5A6'9788 >> (8 * i)));
        }
}

TEST(PhysicalMemory, BlocksCrossIntoDevices) {
    MemoryBus bus;
    Recorder device;
    ASSERT_FALSE(bus.attach({MachinePhys(16 << 20), 0x1000}, device));
    PhysicalMemory m(16 << 20, bus);
    u8 out[13] = {};
    m.write32((16 << 20) - 4, 0xAABBCCDD);
    m.read_block((16 << 20) - 4, out, sizeof out);
    EXPECT_THAT(device.calls,
                testing::ElementsAre(Recorder::Call('r', 8, 0, 0), Recorder::Call('r', 1, 8, 0)));
    EXPECT_EQ(out[0], 0xDD);
    EXPECT_EQ(out[4], 0x11);
    EXPECT_EQ(out[11], 0x88);
    device.calls.clear();
    m.write_block((16 << 20) - 4, out, 11);
    EXPECT_THAT(device.calls,
                testing::ElementsAre(Recorder::Call('w', 4, 0, 0x4433'2211),
                                     Recorder::Call('w', 2, 4, 0x6655), Recorder::Call('w', 1, 6, 0x77)));
    EXPECT_EQ(m.read32((16 << 20) - 4), 0xAABBCCDD);
}

struct Watcher : CodeWatcher {
    std::vector<std::pair<u64, u64>> calls;
    void code_overwritten(u64 frame, u64 granules) override { calls.emplace_back(frame, granules); }
};

TEST(PhysicalMemory, WritersOfCodeAreSeen) {
    MemoryBus bus;
    PhysicalMemory m(16 << 20, bus);
    Watcher watcher;
    m.set_code_watcher(&watcher);
    m.add_code(0x5000, 0b1010);  // bytes 64-127 and 192-255
    EXPECT_TRUE(m.has_code(0x5FFF));
    EXPECT_FALSE(m.has_code(0x6000));
    m.write64(0x5000, 1);
    m.write(0x503F, Width::byte, 1);
    EXPECT_TRUE(watcher.calls.empty());
    m.write(0x503F, Width::word, 1);
    m.write(0x507F, Width::byte, 1);
    m.write(0x50FC, Width::qword, 1);
    const std::vector<u8> zeros(0x3000);
    m.write_block(0x4F00, zeros.data(), 0x1000);
    using P = std::pair<u64, u64>;
    EXPECT_THAT(watcher.calls, testing::ElementsAre(P(5, 2), P(5, 2), P(5, 8), P(5, 10)));
    m.clear_code(0x5000);
    m.write64(0x5040, 1);
    EXPECT_EQ(watcher.calls.size(), 4u);
    m.add_code(0xFFFF'0000, 1);  // a ROM: not tracked, and no harm
    EXPECT_FALSE(m.has_code(0xFFFF'0000));
    m.clear_code(0xFFFF'0000);
}

struct Line : LineWatcher {
    unsigned calls = 0;
    void line_written() override { ++calls; }
};

// SDM "MONITOR": a store to any byte of the line; once.
TEST(PhysicalMemory, WriterOfAWatchedLineIsSeenOnce) {
    MemoryBus bus;
    PhysicalMemory m(16 << 20, bus);
    Watcher watcher;
    Line first, second;
    m.set_code_watcher(&watcher);
    m.watch_line(0x5055, first);  // bytes 0x5040 to 0x507F
    m.watch_line(0x5080, second);
    EXPECT_TRUE(m.has_code(0x5000));
    m.write(0x503F, Width::byte, 1);
    m.write(0x50C0, Width::byte, 1);
    EXPECT_EQ(first.calls + second.calls, 0u);
    m.write(0x503F, Width::word, 1);
    EXPECT_EQ(first.calls, 1u);
    m.write(0x5040, Width::byte, 1);
    EXPECT_EQ(first.calls, 1u) << "it watches no longer";
    EXPECT_EQ(second.calls, 0u);
    m.watch_line(0x5040, first);
    const std::vector<u8> zeros(0x1000);
    m.write_block(0x4FF0, zeros.data(), zeros.size());
    EXPECT_EQ(first.calls, 2u);
    EXPECT_EQ(second.calls, 1u);
}

TEST(PhysicalMemory, WatchedLinesComeAndGoBesideCode) {
    MemoryBus bus;
    PhysicalMemory m(16 << 20, bus);
    Line line;
    m.add_code(0x5000, 0b1000);
    m.watch_line(0x5040, line);
    EXPECT_EQ(m.code_granules(0x5000), 0b1010u);
    m.clear_code(0x5000);
    EXPECT_EQ(m.code_granules(0x5000), 0b0010u) << "the watch stays";
    m.watch_line(0x6040, line);
    EXPECT_FALSE(m.has_code(0x5000)) << "one line a watcher";
    EXPECT_EQ(m.code_granules(0x6000), 0b0010u);
    SaveArchive save;
    m.visit(save);
    LoadArchive load(save.data);
    m.visit(load);
    EXPECT_EQ(m.code_granules(0x6000), 0b0010u);
    m.unwatch_line(line);
    EXPECT_FALSE(m.has_code(0x6000));
    m.write64(0x6040, 1);
    EXPECT_EQ(line.calls, 0u);
    m.unwatch_line(line);
}

TEST(PhysicalMemory, SavedAndLoaded) {
    MemoryBus bus;
    PhysicalMemory m(0xC000'0000 + 0x10'0000, bus);
    m.write64(0x1000, 42);
    m.write64(0x1'000F'FFF8, 43);
    SaveArchive save;
    m.visit(save);
    EXPECT_LT(save.data.size(), 20'000u);
    HashArchive before;
    m.visit(before);
    m.write64(0x2000, 44);
    m.write64(0x1000, 45);
    HashArchive changed;
    m.visit(changed);
    EXPECT_NE(before.value(), changed.value());
    LoadArchive load(save.data);
    m.visit(load);
    EXPECT_TRUE(load.good());
    EXPECT_TRUE(load.at_end());
    EXPECT_EQ(m.read64(0x1000), 42u);
    EXPECT_EQ(m.read64(0x2000), 0u);
    EXPECT_EQ(m.read64(0x1'000F'FFF8), 43u);
    HashArchive after;
    m.visit(after);
    EXPECT_EQ(before.value(), after.value());
    // A damaged file is refused or harmless.
    save.data.resize(save.data.size() / 2);
    LoadArchive damaged(save.data);
    m.visit(damaged);
    EXPECT_FALSE(damaged.good());
}

}  // namespace
}  // namespace droste::test
