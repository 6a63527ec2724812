// SPDX-License-Identifier: Apache-2.0
// The reset registers: reset control at port 0xCF9 and system control port A at 0x92.
#pragma once
#include "base/device.h"
#include "base/host_output.h"

namespace droste {

/// Whether address line 20 is let through. Implemented by the board; both port 0x92 and the 8042 drive it.
class A20Gate {
public:
    virtual ~A20Gate() = default;
    virtual void set_a20(bool open) = 0;
    virtual bool a20() const = 0;
};

/// Port 0xCF9: bit 1 chooses a hard reset, a rising bit 2 resets.
class ResetControl final : public Device {
public:
    explicit ResetControl(PlatformControl& platform) : platform_(platform) {}
    const char* name() const override { return "reset_control"; }
    void reset() override { value_ = 0; }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PlatformControl& platform_;
    u8 value_ = 0;
};

/// Port 0x92: bit 0 rising resets, bit 1 is the fast A20 gate.
class SystemControlA final : public Device {
public:
    SystemControlA(PlatformControl& platform, A20Gate& a20) : platform_(platform), a20_(a20) {}
    const char* name() const override { return "system_control_a"; }
    void reset() override { value_ = 0; }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PlatformControl& platform_;
    A20Gate& a20_;
    u8 value_ = 0;  // all but the A20 bit, which the gate keeps
};

}  // namespace droste
