// SPDX-License-Identifier: Apache-2.0
// Interrupt wires between devices: a device drives a line, a controller watches it.
#pragma once
#include "base/types.h"

namespace droste {

/// What a device's interrupt output is connected to.
class InterruptSink {
public:
    virtual ~InterruptSink() = default;
    /// The level of input `pin` is now `asserted`. Repeated calls with the same level are harmless.
    virtual void set_level(unsigned pin, bool asserted) = 0;
};

/// One wire. Without a sink it is not connected. Outlives neither end.
class InterruptLine {
public:
    InterruptLine() = default;
    InterruptLine(InterruptSink& sink, unsigned pin) : sink_(&sink), pin_(pin) {}
    void set(bool asserted) {
        if (sink_ != nullptr) sink_->set_level(pin_, asserted);
    }
    /// An edge: up and down again.
    void pulse() {
        set(true);
        set(false);
    }

private:
    InterruptSink* sink_ = nullptr;
    unsigned pin_ = 0;
};

}  // namespace droste
