// SPDX-License-Identifier: Apache-2.0
// What kernels made for testing expect of a PC: interrupt lines set by port, an echo port, a scratch memory
// region.
#pragma once
#include <array>

#include "base/device.h"
#include "base/host_output.h"
#include "base/interrupt_line.h"

namespace droste {

/// A byte written to port 0x2000 + n sets interrupt line n. Attach 24 ports.
class TestInterruptPorts final : public Device {
public:
    static constexpr unsigned lines = 24;
    /// `sink` has one input pin for each line.
    explicit TestInterruptPorts(InterruptSink& sink) : sink_(sink) {}
    const char* name() const override { return "test_interrupt_ports"; }
    void reset() override {}
    u64 read(u64, Width) override { return 0; }
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    InterruptSink& sink_;
};

/// Ports 0xE0..0xE3: reads give what was written last, each byte on its own. Port 0xE4 (a page whose mapping a hypervisor
/// below would drop) takes writes without effect. Attach 8 ports from 0xE0.
class TestEchoPort final : public Device {
public:
    const char* name() const override { return "test_echo_port"; }
    void reset() override { value_ = 0; }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    u32 value_ = 0;
};

/// Memory-mapped scratch bytes, at 0xFF000000 by convention.
class TestMemoryRegion final : public Device {
public:
    static constexpr u64 size = 0x10000;
    const char* name() const override { return "test_memory_region"; }
    void reset() override { bytes_.fill(0); }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    std::array<u8, size> bytes_{};
};

/// Port 0x8900: the letters "Shutdown", written one by one, power off.
class ShutdownPort final : public Device {
public:
    explicit ShutdownPort(PlatformControl& platform) : platform_(platform) {}
    const char* name() const override { return "shutdown_port"; }
    void reset() override { matched_ = 0; }
    u64 read(u64, Width) override { return 0; }
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PlatformControl& platform_;
    u8 matched_ = 0;
};

}  // namespace droste
