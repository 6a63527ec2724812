// SPDX-License-Identifier: Apache-2.0
// PCI: the two configuration mechanisms, base address registers, capabilities, the chipset's moving ranges.
#include <gtest/gtest.h>

#include "devices/test_device/pci_test_device.h"
#include "rigs.h"

namespace droste::test {
namespace {

class PciTest : public ::testing::Test {
protected:
    PciTest() {
        EXPECT_FALSE(board.ports.attach({Port(0xCF8), 8}, board.host_ports));
        board.reset();
    }
    static u32 address(unsigned slot, u32 reg) { return 1u << 31 | slot << 11 | (reg & 0xFC); }
    u64 in(u16 port, Width w) { return board.ports.read(Port(port), w); }
    void out(u16 port, Width w, u64 v) { board.ports.write(Port(port), w, v); }
    u64 get(unsigned slot, u32 reg, Width w = Width::dword) {
        out(0xCF8, Width::dword, address(slot, reg));
        return in(static_cast<u16>(0xCFC + (reg & 3)), w);
    }
    void set(unsigned slot, u32 reg, u64 v, Width w = Width::dword) {
        out(0xCF8, Width::dword, address(slot, reg));
        out(static_cast<u16>(0xCFC + (reg & 3)), w, v);
    }
    Surroundings world;
    PciBoard board{world};
};

TEST_F(PciTest, Identities) {
    EXPECT_EQ(get(0, 0), 0x29C0'8086u);
    EXPECT_EQ(get(0, 0x2C), 0x1100'1AF4u);
    EXPECT_EQ(get(0, 0x0A, Width::word), 0x0600u);
    EXPECT_EQ(get(31, 0), 0x2918'8086u);
    EXPECT_EQ(get(3, 2, Width::byte), 0x00u);
    EXPECT_EQ(get(3, 3, Width::byte), 0x10u);
    EXPECT_EQ(get(4, 0), 0xFFFF'FFFFu);
    EXPECT_EQ(get(3, 0x3D, Width::byte), 1u);
}

// How Linux recognises mechanism 1.
TEST_F(PciTest, MechanismOne) {
    out(0xCFB, Width::byte, 0x01);
    out(0xCF8, Width::dword, 0x8000'0000);
    EXPECT_EQ(in(0xCF8, Width::dword), 0x8000'0000u);
    out(0xCF8, Width::dword, 0x0000'0000);
    EXPECT_EQ(in(0xCFC, Width::dword), 0xFFFF'FFFFu) << "not enabled";
    out(0xCF8, Width::dword, 0x8001'0000);
    EXPECT_EQ(in(0xCFC, Width::dword), 0xFFFF'FFFFu) << "bus 1";
}

TEST_F(PciTest, ResetControlLivesBetween) {
    out(0xCF8, Width::dword, 0x8000'1234);
    out(0xCF9, Width::byte, 0x02);
    EXPECT_EQ(in(0xCF9, Width::byte), 0x02u);
    EXPECT_EQ(in(0xCF8, Width::dword), 0x8000'1234u);
    out(0xCF9, Width::byte, 0x06);
    EXPECT_EQ(world.platform.resets, 1u);
}

TEST_F(PciTest, SizingOfWindows) {
    for (u32 reg : {0x10, 0x14, 0x18, 0x20, 0x24}) set(3, reg, 0xFFFF'FFFF);
    EXPECT_EQ(get(3, 0x10), 0xFFFF'FFE1u);
    EXPECT_EQ(get(3, 0x14), 0xFFFF'F000u);
    EXPECT_EQ(get(3, 0x18), 0u);
    EXPECT_EQ(get(3, 0x20), 0xFFFF'C00Cu);
    EXPECT_EQ(get(3, 0x24), 0xFFFF'FFFFu);
}

TEST_F(PciTest, WindowsFollowTheirRegisters) {
    set(3, 0x10, 0xC000);
    EXPECT_EQ(board.ports.device_at(Port(0xC000)), nullptr);
    set(3, 0x04, 1, Width::word);
    EXPECT_EQ(board.ports.device_at(Port(0xC01F)), &board.function.latches);
    set(3, 0x10, 0xC100);
    EXPECT_EQ(board.ports.device_at(Port(0xC000)), nullptr);
    EXPECT_EQ(board.ports.device_at(Port(0xC100)), &board.function.latches);
    set(3, 0x04, 0, Width::word);
    EXPECT_EQ(board.ports.device_at(Port(0xC100)), nullptr);
    set(3, 0x20, 0x0000'0000);
    set(3, 0x24, 0x10);
    set(3, 0x14, 0xC000'0000);
    set(3, 0x04, 2, Width::word);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0x10'0000'3FFF)), &board.function.latches);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xC000'0FFF)), &board.function.latches);
    board.reset();
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xC000'0FFF)), nullptr);
}

TEST_F(PciTest, OverlappingWindowsWait) {
    set(3, 0x14, 0xE000'0000);  // where ECAM is
    set(3, 0x04, 2, Width::word);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xE000'0000)), &board.ecam);
    set(3, 0x14, 0xD000'0000);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xD000'0000)), &board.function.latches);
}

TEST_F(PciTest, Ecam) {
    const MachinePhys at(0xE000'0000 + (3u << 15));
    EXPECT_EQ(board.memory.read(at, Width::dword), 0x1000'1AF4u);
    board.memory.write(at + 0x3C, Width::byte, 11);
    EXPECT_EQ(get(3, 0x3C, Width::byte), 11u);
    EXPECT_EQ(board.memory.read(at + 0x100, Width::dword), 0u) << "no extended capabilities";
    EXPECT_EQ(board.memory.read(MachinePhys(0xE010'0000), Width::dword), 0xFFFF'FFFFu);
    set(0, 0x60, 0xB000'0001);
    EXPECT_EQ(board.memory.device_at(at), nullptr);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xB000'0000)), &board.ecam);
    set(0, 0x60, 0xB000'0000);
    EXPECT_EQ(board.memory.device_at(MachinePhys(0xB000'0000)), nullptr);
}

TEST_F(PciTest, PmBaseMoves) {
    EXPECT_EQ(board.ports.device_at(Port(0x608)), &board.pm);
    set(31, 0x40, 0xB001);
    EXPECT_EQ(board.ports.device_at(Port(0x608)), nullptr);
    EXPECT_EQ(board.ports.device_at(Port(0xB008)), &board.pm);
    set(31, 0x44, 0, Width::byte);
    EXPECT_EQ(board.ports.device_at(Port(0xB008)), nullptr);
}

TEST_F(PciTest, Capabilities) {
    EXPECT_EQ(get(3, 0x06, Width::word) & 0x10, 0x10u);
    EXPECT_EQ(get(3, 0x34, Width::byte), board.function.msi);
    EXPECT_EQ(get(3, board.function.msi, Width::word), 0x0005u);
    set(3, board.function.msi + 2u, 0xFFFF, Width::word);
    EXPECT_EQ(get(3, board.function.msi + 2u, Width::word), 0x00F1u);
}

TEST(PciIntx, PinsRotate) {
    Wires wires;
    PciIntx intx({wires.line(16), wires.line(17), wires.line(18), wires.line(19)});
    intx.set_level(PciIntx::input(3, 0), true);
    EXPECT_TRUE(wires.level(19));
    intx.set_level(PciIntx::input(2, 1), true);
    intx.set_level(PciIntx::input(3, 0), false);
    EXPECT_TRUE(wires.level(19)) << "shared";
    intx.set_level(PciIntx::input(2, 1), false);
    EXPECT_FALSE(wires.level(19));
}

/// Memory and ports of the test function through the buses, at addresses that the test gives it.
class TestFunctionRig {
public:
    TestFunctionRig() {
        EXPECT_TRUE(host.add(3, 0, device));
        device.reset();
        device.config_write(0x10, Width::dword, memory_at);
        device.config_write(0x14, Width::dword, ports_at);
        device.config_write(4, Width::word, 3);
    }
    static constexpr u64 memory_at = 0xFEB0'0000, ports_at = 0xC000;
    PortBus ports;
    MemoryBus memory;
    PciHost host{ports, memory};
    PciTestDevice device;
};

TEST(PciTestFunction, EachTestOfMemoryDescribesItselfAndCounts) {
    struct Row {
        const char* name;
        u8 data;
        bool any;
    };
    const Row rows[] = {{"mmio-no-eventfd", 0xFA, false},
                        {"mmio-wildcard-eventfd", 0xCE, true},
                        {"mmio-datamatch-eventfd", 0xFA, false}};
    for (u64 n = 0; n < 3; ++n) {
        TestFunctionRig r;
        const auto at = [](u64 offset) { return MachinePhys(TestFunctionRig::memory_at + offset); };
        r.memory.write(at(0), Width::byte, n);
        EXPECT_EQ(r.memory.read(at(0), Width::byte), n);
        EXPECT_EQ(r.memory.read(at(1), Width::byte), 1u);
        const u64 offset = r.memory.read(at(4), Width::dword);
        EXPECT_EQ(offset, 2048 + n);
        EXPECT_EQ(r.memory.read(at(8), Width::dword), rows[n].data);
        EXPECT_EQ(r.memory.read(at(12), Width::dword), 0u);
        std::string name;
        for (u64 i = 16; const u64 c = r.memory.read(at(i), Width::byte); ++i) name.push_back(static_cast<char>(c));
        EXPECT_EQ(name, rows[n].name);
        for (int i = 0; i < 16; ++i) r.memory.write(at(offset), Width::byte, rows[n].data);
        EXPECT_EQ(r.memory.read(at(12), Width::dword), 16u);
        r.memory.write(at(offset), Width::byte, 1);
        r.memory.write(at(offset), Width::word, rows[n].data);
        r.memory.write(at(offset + 1), Width::byte, rows[n].data);
        r.ports.write(Port(TestFunctionRig::ports_at + 128 + n), Width::byte, rows[n].data);
        EXPECT_EQ(r.memory.read(at(12), Width::dword), rows[n].any ? 18u : 16u);
        r.memory.write(at(0), Width::byte, n);
        EXPECT_EQ(r.memory.read(at(12), Width::dword), 0u) << "chosen anew";
        r.memory.write(at(0), Width::byte, 3);
        EXPECT_EQ(r.memory.read(at(4), Width::dword), 0u) << "there is no fourth";
    }
}

TEST(PciTestFunction, PortsHaveTestsOfTheirOwn) {
    const char* const names[] = {"portio-no-eventfd", "portio-wildcard-eventfd", "portio-datamatch-eventfd"};
    for (u64 n = 0; n < 3; ++n) {
        TestFunctionRig r;
        const auto at = [](u64 offset) { return Port(TestFunctionRig::ports_at + offset); };
        r.ports.write(at(0), Width::byte, n);
        EXPECT_EQ(r.ports.read(at(0), Width::byte), n + 3);
        EXPECT_EQ(r.ports.read(at(4), Width::dword), 128 + 3 + n);
        std::string name;
        for (u64 i = 16; const u64 c = r.ports.read(at(i), Width::byte); ++i) name.push_back(static_cast<char>(c));
        EXPECT_EQ(name, names[n]);
        r.ports.write(at(128 + 3 + n), Width::byte, r.ports.read(at(8), Width::byte));
        EXPECT_EQ(r.ports.read(at(12), Width::dword), 1u);
    }
}

}  // namespace
}  // namespace droste::test
