// SPDX-License-Identifier: Apache-2.0
// Ports for debugging: exit with a status (0xF4), character consoles (0xE9, 0x402), power-on self-test codes
// (0x80).
#pragma once
#include <array>

#include "base/device.h"
#include "base/host_output.h"

namespace droste {

/// A write ends the run with the status (value << 1) | 1. Attach four ports from 0xF4.
class DebugExit final : public Device {
public:
    explicit DebugExit(PlatformControl& platform) : platform_(platform) {}
    const char* name() const override { return "debug_exit"; }
    void reset() override {}
    u64 read(u64, Width) override { return 0; }
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PlatformControl& platform_;
};

/// Bytes written go to the sink; reads give 0xE9, by which guests know that the console exists.
class DebugConsole final : public Device {
public:
    explicit DebugConsole(ByteSink& sink) : sink_(sink) {}
    const char* name() const override { return "debug_console"; }
    void reset() override {}
    u64 read(u64 offset, Width) override { return offset == 0 ? 0xE9 : ~0ull; }
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    ByteSink& sink_;
};

/// Ports 0x80..0x8F: latches without effect (port 0x80 also serves kernels as a delay).
class PostCodes final : public Device {
public:
    const char* name() const override { return "post_codes"; }
    void reset() override { latches_.fill(0); }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;
    u8 last() const { return latches_[0]; }

private:
    std::array<u8, 16> latches_{};
};

}  // namespace droste
