// SPDX-License-Identifier: Apache-2.0
// IoApic: 24 input pins, a redirection entry each, messages to local APICs (82093AA, version 0x20 with EOI
// register).
#pragma once
#include <array>

#include "base/device.h"
#include "base/interrupt_line.h"
#include "devices/local_apic/apic_bus.h"

namespace droste {

/// Lines carry assertion, not voltage: the polarity bit is kept for the guest and changes nothing.
class IoApic final : public Device, public InterruptSink, public EoiListener {
public:
    static constexpr unsigned pins = 24;
    explicit IoApic(ApicBus& bus, u8 id = 0) : bus_(bus), initial_id_(id) { bus.attach(*this); }

    const char* name() const override { return "ioapic"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;
    void set_level(unsigned pin, bool asserted) override;
    void end_of_interrupt(u8 vector) override;

private:
    u32 read_register() const;
    void write_register(u32 value);
    void write_entry(unsigned pin, bool high_half, u32 value);
    /// Sends what a pin's level asks for, if nothing holds it back.
    void service_level(unsigned pin);
    bool send(unsigned pin);

    ApicBus& bus_;
    const u8 initial_id_;
    u8 id_ = 0;
    u8 select_ = 0;
    u32 levels_ = 0;
    std::array<u64, pins> entries_{};
};

}  // namespace droste
