// SPDX-License-Identifier: Apache-2.0
// I8042: the keyboard controller with its keyboard and auxiliary (mouse) ports.
#pragma once
#include <array>

#include "base/device.h"
#include "base/host_output.h"
#include "base/interrupt_line.h"
#include "devices/i8042/ps2_devices.h"
#include "devices/reset/reset.h"

namespace droste {

/// Offsets: 0 data (port 0x60), 1 command and status (0x64).
class I8042 final : public Device {
public:
    I8042(InterruptLine irq1, InterruptLine irq12, PlatformControl& platform, A20Gate& a20)
        : irq1_(irq1), irq12_(irq12), platform_(platform), a20_(a20) {}

    const char* name() const override { return "i8042"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

    /// A key goes down or up: its bytes in scan code set 2. False: dropped.
    bool key(const u8* set_2_bytes, unsigned count);
    bool mouse(int dx, int dy, u8 buttons);

private:
    enum class Source : u8 { none, controller, keyboard, aux };

    void command(u8 value);
    void data(u8 value);
    void reply(u8 value);
    void write_output_port(u8 value);
    u8 output_port() const;
    u8 read_data();
    /// Moves the next byte into the output buffer if it is free.
    void fill();
    u8 translate(u8 set_2);
    void update();
    u8 config() const { return ram_[0]; }

    InterruptLine irq1_, irq12_;
    PlatformControl& platform_;
    A20Gate& a20_;
    Ps2Keyboard keyboard_;
    Ps2Mouse mouse_;

    std::array<u8, 32> ram_{};   // byte 0 is the configuration
    Source source_ = Source::none;  // whose byte is in the output buffer
    u8 buffer_ = 0;
    u8 waiting_ = 0;             // the command whose parameter comes next at port 0x60
    bool last_was_command_ = false;
    bool break_prefix_ = false;  // translation has swallowed an 0xF0
    Ps2Queue replies_;           // of the controller itself
};

}  // namespace droste
