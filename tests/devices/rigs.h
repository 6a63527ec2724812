// SPDX-License-Identifier: Apache-2.0
// One rig a device: the device with everything it is connected to, for the suite that all devices share.
#pragma once
#include "devices/acpi_pm/acpi_pm.h"
#include "devices/debug/debug.h"
#include "devices/fw_cfg/fw_cfg.h"
#include "devices/hpet/hpet.h"
#include "devices/i8042/i8042.h"
#include "devices/ioapic/ioapic.h"
#include "devices/local_apic/local_apic.h"
#include "devices/pci/chipset.h"
#include "devices/pci/pci_host.h"
#include "devices/pci/pci_intx.h"
#include "devices/pic/pic.h"
#include "devices/pit/pit.h"
#include "devices/reset/reset.h"
#include "devices/rtc/rtc.h"
#include "devices/serial/serial.h"
#include "devices/test_device/memory_errors.h"
#include "devices/test_device/test_device.h"
#include "fakes.h"

#include <gtest/gtest.h>

namespace droste::test {

using Random = std::mt19937_64;

struct Surroundings {
    Clock clock;
    Wires wires;
    Pins pins;
    Text text;
    Platform platform;
    A20 a20;
    Memory memory;
    ApicBus bus;
};

/// Every rig: the device, the size of its range, what the outside does to it, and whether reset forgets
/// everything.
template <class D> struct Rig;

struct RigDefaults : Surroundings {
    static constexpr bool reset_forgets = true;
    static constexpr bool has_state = true;
    void stimulate(Random&) {}
    /// Turns a random offset within the range into one where something is.
    static u64 near(u64 offset) { return offset; }
};

template <> struct Rig<LocalApic> : RigDefaults {
    LocalApic device{{}, bus, clock.queue, clock, pins};
    static constexpr u64 range = 0x1000;
    static u64 near(u64 offset) { return offset % 0x400 & ~15ull; }
    void stimulate(Random& random) {
        switch (random() % 8) {
        case 0: device.set_level(static_cast<unsigned>(random() % 6), random() & 1); break;
        case 1: device.raise(static_cast<u8>(random())); break;
        case 2:
        case 3: device.acknowledge(); break;
        case 4: device.write_msr(0x800 + random() % 0x48, random() >> (random() % 64)); break;
        case 5: device.write_msr(0x6E0, clock.now() + random() % 4096); break;
        case 6:
            if (random() % 8 == 0) device.write_msr(0x1B, 0xFEE0'0100 | (random() & 3) << 10);
            break;
        default: device.set_cr8(random() & 15); break;
        }
    }
};
template <> struct Rig<IoApic> : RigDefaults {
    IoApic device{bus};
    LocalApic apic{{}, bus, clock.queue, clock, pins};
    static constexpr u64 range = 0x1000;
    static u64 near(u64 offset) { return offset % 16 < 12 ? offset % 2 * 0x10 : 0x40; }
    Rig() {
        apic.reset();
        apic.write(0xF0, Width::dword, 0x1FF);
    }
    void stimulate(Random& random) {
        if (random() & 1) {  // an entry that is likely to be open
            device.write(0, Width::dword, 0x10 + 2 * (random() % 24));
            device.write(0x10, Width::dword, (random() & 0x8000) | 0x30 | (random() & 0xFF));
        }
        if (random() & 1) device.set_level(static_cast<unsigned>(random() % 26), random() & 1);
        if (random() & 1) device.end_of_interrupt(static_cast<u8>(random()));
    }
};
template <> struct Rig<Pic> : RigDefaults {
    Pic device{wires.line(0)};
    static constexpr u64 range = 6;
    void stimulate(Random& random) {
        if (random() % 4 == 0) {
            device.interrupt_acknowledge();
        } else {
            device.set_level(static_cast<unsigned>(random() % 18), random() & 1);
        }
    }
};
template <> struct Rig<Pit> : RigDefaults {
    Pit device{clock.queue, clock, wires.line(0)};
    static constexpr u64 range = 5;
};
template <> struct Rig<Hpet> : RigDefaults {
    Hpet device{{}, clock.queue, clock, wires, wires.line(0), wires.line(8)};
    static constexpr u64 range = 0x400;
    static u64 near(u64 offset) { return offset % 0x160 & ~7ull; }
    void stimulate(Random& random) { device.set_level(static_cast<unsigned>(random() % 3), random() & 1); }
};
template <> struct Rig<Rtc> : RigDefaults {
    Rtc device{clock.queue, clock, wires.line(8), 1'700'000'000};
    static constexpr u64 range = 2;
    static constexpr bool reset_forgets = false;  // battery
};
template <> struct Rig<Serial> : RigDefaults {
    Serial device{clock.queue, clock, wires.line(4), text};
    static constexpr u64 range = 8;
    void stimulate(Random& random) {
        switch (random() % 8) {
        case 0: device.receive_break(); break;
        case 1: device.set_modem_inputs(static_cast<u8>(random())); break;
        default: device.receive(static_cast<u8>(random())); break;
        }
    }
};
struct TimedSerial {};  // names the rig in which bytes take their time
template <> struct Rig<TimedSerial> : RigDefaults {
    Serial device{clock.queue, clock, wires.line(4), text, Transmit::timed};
    static constexpr u64 range = 8;
    void stimulate(Random& random) { device.receive(static_cast<u8>(random())); }
};
template <> struct Rig<AcpiPm> : RigDefaults {
    AcpiPm device{{}, clock.queue, clock, wires.line(9), platform};
    static constexpr u64 range = AcpiPm::range_size;
    static u64 near(u64 offset) { return offset % 0x28 & ~1ull; }
    void stimulate(Random& random) {
        switch (random() % 4) {
        case 0: device.press_power_button(); break;
        case 1: device.raise_gpe(static_cast<unsigned>(random() % 20)); break;
        case 2: device.smi_command(random() & 1 ? 0xF1 : 0xF0); break;
        default: device.release_global_lock(); break;
        }
    }
};
template <> struct Rig<SmiCommandPort> : RigDefaults {
    AcpiPm pm{{}, clock.queue, clock, wires.line(9), platform};
    SmiCommandPort device{pm};
    static constexpr u64 range = 2;
};
template <> struct Rig<ResetControl> : RigDefaults {
    ResetControl device{platform};
    static constexpr u64 range = 1;
};
template <> struct Rig<SystemControlA> : RigDefaults {
    SystemControlA device{platform, a20};
    static constexpr u64 range = 1;
};
template <> struct Rig<I8042> : RigDefaults {
    I8042 device{wires.line(1), wires.line(12), platform, a20};
    static constexpr u64 range = 2;
    void stimulate(Random& random) {
        const u8 key[] = {0xF0, static_cast<u8>(random())};
        if (random() & 1) device.key(key + (random() & 1), 1);
        else
            device.mouse(static_cast<int>(random() % 9000) - 4500, static_cast<int>(random() % 9) - 4,
                         random() & 7);
    }
};
template <> struct Rig<FwCfg> : RigDefaults {
    FwCfg device{memory};
    static constexpr u64 range = 12;
    void stimulate(Random& random) {
        static constexpr u64 keys[] = {0, 1, 3, 0x19, 0x20, 0x99};
        device.write(0, Width::word, keys[random() % 6]);
        device.read(1, random() & 1 ? Width::byte : Width::dword);
    }
    Rig() {
        device.add_memory_size(1 << 30);
        (void)device.add_file("etc/test", {1, 2, 3, 4, 5});
        Random random(7);
        for (u8& b : memory.bytes) b = random() & 3 ? 0 : static_cast<u8>(random() & 0x1F);
    }
};
template <> struct Rig<DebugExit> : RigDefaults {
    DebugExit device{platform};
    static constexpr u64 range = 4;
    static constexpr bool has_state = false;
};
template <> struct Rig<DebugConsole> : RigDefaults {
    DebugConsole device{text};
    static constexpr u64 range = 1;
    static constexpr bool has_state = false;
};
template <> struct Rig<PostCodes> : RigDefaults {
    PostCodes device;
    static constexpr u64 range = 16;
};

template <> struct Rig<TestInterruptPorts> : RigDefaults {
    TestInterruptPorts device{wires};
    static constexpr u64 range = TestInterruptPorts::lines;
    static constexpr bool has_state = false;
};
template <> struct Rig<TestEchoPort> : RigDefaults {
    TestEchoPort device;
    static constexpr u64 range = 8;
};
template <> struct Rig<TestMemoryErrors> : RigDefaults {
    TestMemoryErrors device{clock.queue, clock, wires.line(20)};
    static constexpr u64 range = TestMemoryErrors::size;
    static u64 near(u64 offset) { return offset & ~u64(3); }
};
template <> struct Rig<TestMemoryRegion> : RigDefaults {
    TestMemoryRegion device;
    static constexpr u64 range = TestMemoryRegion::size;
};
template <> struct Rig<ShutdownPort> : RigDefaults {
    ShutdownPort device{platform};
    static constexpr u64 range = 1;
    void stimulate(Random& random) {
        device.write(0, Width::byte, static_cast<u8>("Shutdown"[random() % 8]));
    }
};

/// A function with one window of each kind.
class TestFunction final : public PciFunction {
public:
    TestFunction()
        : PciFunction({.vendor = 0x1AF4, .device = 0x1000, .class_code = 0x020000, .subsystem_vendor = 0x1AF4,
                       .subsystem = 1, .interrupt_pin = 1}) {
        add_bar(0, BarKind::io, 32, latches);
        add_bar(1, BarKind::memory_32, 4096, latches);
        add_bar(4, BarKind::memory_64_prefetchable, 16384, latches);
        msi =
            add_capability(0x05, {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {0x71, 0, 0xFC, 0xFF, 0xFF, 0xFF});
    }
    const char* name() const override { return "test_function"; }
    PostCodes latches;
    u8 msi = 0;
};

/// Host, bridges and a function, saved as one; the device of the suite is the pair of configuration ports.
class PciBoard final : public Device {
public:
    explicit PciBoard(Surroundings& s)
        : pm({}, s.clock.queue, s.clock, s.wires.line(9), s.platform), reset_control(s.platform) {
        EXPECT_TRUE(host.add(0, 0, bridge));
        EXPECT_TRUE(host.add(31, 0, lpc));
        EXPECT_TRUE(host.add(3, 0, function));
    }
    const char* name() const override { return "pci_board"; }
    void reset() override {
        host_ports.reset();
        reset_control.reset();
        bridge.reset();
        lpc.reset();
        function.reset();
    }
    u64 read(u64 offset, Width w) override { return host_ports.read(offset, w); }
    void write(u64 offset, Width w, u64 v) override { host_ports.write(offset, w, v); }
    void visit(Archive& archive) override {
        host_ports.visit(archive);
        reset_control.visit(archive);
        bridge.visit(archive);
        lpc.visit(archive);
        function.visit(archive);
    }
    PortBus ports;
    MemoryBus memory;
    PciHost host{ports, memory};
    PciEcam ecam{host};
    AcpiPm pm;
    ResetControl reset_control;
    PciConfigPorts host_ports{host, reset_control};
    HostBridge bridge{memory, ecam, 0xE000'0000};
    LpcBridge lpc{ports, pm, AcpiPm::range_size, 0x600};
    TestFunction function;
};
template <> struct Rig<PciBoard> : RigDefaults {
    PciBoard device{*this};
    static constexpr u64 range = 8;
    void stimulate(Random& random) {  // choose a register that exists, so that the fuzz meets it
        static constexpr u64 slots[] = {0, 3, 31};
        const u64 address = 1ull << 31 | slots[random() % 3] << 11 | (random() & 0xFC);
        device.write(0, Width::dword, address);
        device.write(4, Width::dword, random() >> (random() % 64));
    }
};
template <> struct Rig<PciEcam> : RigDefaults {
    PciBoard board{*this};
    PciEcam& device = board.ecam;
    static constexpr u64 range = 0x1000'0000;
    static u64 near(u64 offset) {
        return (offset >> 12) % 3 * (offset & 1 ? 0x18000 : 0xF8000) + offset % 0x100;
    }
    static constexpr bool has_state = false;
    Rig() { board.reset(); }
};

}  // namespace droste::test
