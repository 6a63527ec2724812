// SPDX-License-Identifier: Apache-2.0
// Passive wiring between interrupt lines: one line to several inputs, several lines to one input.
#pragma once
#include <array>
#include <vector>

#include "base/archive.h"
#include "base/interrupt_line.h"

namespace droste {

/// Each input pin drives any number of lines (an ISA IRQ reaches both the 8259 and the I/O APIC).
class InterruptFanout final : public InterruptSink {
public:
    void connect(unsigned pin, InterruptLine line) { wires_.push_back({pin, line}); }
    void set_level(unsigned pin, bool asserted) override {
        for (Wire& w : wires_)
            if (w.pin == pin) w.line.set(asserted);
    }

private:
    struct Wire {
        unsigned pin;
        InterruptLine line;
    };
    std::vector<Wire> wires_;
};

/// Up to 64 inputs share one line, which is asserted while any of them is (PCI INTx, a shared SCI).
class InterruptOr final : public InterruptSink {
public:
    explicit InterruptOr(InterruptLine line) : line_(line) {}
    void set_level(unsigned pin, bool asserted) override {
        const u64 input = 1ull << (pin & 63);
        inputs_ = asserted ? inputs_ | input : inputs_ & ~input;
        line_.set(inputs_ != 0);
    }
    void reset() { inputs_ = 0; }
    void visit(Archive& archive) {
        archive.section("interrupt_or", 1);
        archive.field("inputs", inputs_);
    }

private:
    InterruptLine line_;
    u64 inputs_ = 0;
};

}  // namespace droste
