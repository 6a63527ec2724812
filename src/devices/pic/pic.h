// SPDX-License-Identifier: Apache-2.0
// Pic: the cascaded pair of 8259A interrupt controllers with the edge/level registers.
#pragma once
#include <array>

#include "base/device.h"
#include "base/interrupt_line.h"
#include "devices/local_apic/apic_bus.h"

namespace droste {

/// Offsets: 0, 1 master (ports 0x20, 0x21); 2, 3 slave (0xA0, 0xA1); 4, 5 ELCR (0x4D0, 0x4D1).
/// Input pins 0..15 are the ISA IRQs; pin 2 is the cascade and cannot be driven.
class Pic final : public Device, public InterruptSink, public ExtIntSource {
public:
    explicit Pic(InterruptLine intr) : intr_(intr) {}

    const char* name() const override { return "pic"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;
    void set_level(unsigned pin, bool asserted) override;
    u8 interrupt_acknowledge() override;
    bool output() const { return output_; }

private:
    struct Chip {
        u8 irr = 0, imr = 0, isr = 0;
        u8 lines = 0;             // present input levels
        u8 level_triggered = 0;   // ELCR
        u8 vector_base = 0;
        u8 lowest = 7;            // the input of the lowest priority (rotation)
        u8 next_icw = 0;          // 0: initialised, else 2..4
        bool icw4_needed = false, single = false, level_mode = false;
        bool auto_eoi = false, rotate_on_auto_eoi = false, special_fully_nested = false;
        bool special_mask = false, read_isr = false, poll = false;
    };

    u8 read_byte(u64 offset);
    void write_byte(u64 offset, u8 value);
    void command(Chip& chip, u8 value);
    void data(Chip& chip, u8 value);
    void ocw2(Chip& chip, u8 value);
    /// The input to be served next, or -1.
    int pending(const Chip& chip) const;
    void take(Chip& chip, unsigned input);
    u8 poll(Chip& chip);
    void set_input(Chip& chip, unsigned input, bool asserted);
    void update();
    bool is_master(const Chip& chip) const { return &chip == chips_.data(); }

    InterruptLine intr_;
    std::array<Chip, 2> chips_;
    bool output_ = false;
};

}  // namespace droste
