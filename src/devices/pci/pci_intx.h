// SPDX-License-Identifier: Apache-2.0
// PciIntx: the INTA#..INTD# pins of all slots, folded onto four shared interrupt lines.
#pragma once
#include <array>

#include "devices/wiring.h"

namespace droste {

/// Input pin = slot * 4 + (0 for INTA# ... 3 for INTD#); output (slot + pin) mod 4, as on any backplane.
class PciIntx final : public InterruptSink {
public:
    explicit PciIntx(const std::array<InterruptLine, 4>& lines)
        : shared_{InterruptOr(lines[0]), InterruptOr(lines[1]), InterruptOr(lines[2]),
                  InterruptOr(lines[3])} {}
    static constexpr unsigned input(unsigned slot, unsigned pin) { return slot * 4 + pin; }
    void set_level(unsigned input_pin, bool asserted) override {
        const unsigned slot = input_pin / 4, pin = input_pin % 4;
        shared_[(slot + pin) % 4].set_level(slot, asserted);
    }
    void reset() {
        for (InterruptOr& line : shared_) line.reset();
    }
    void visit(Archive& archive) {
        archive.section("pci_intx", 1);
        for (InterruptOr& line : shared_) line.visit(archive);
    }

private:
    std::array<InterruptOr, 4> shared_;
};

}  // namespace droste
