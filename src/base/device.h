// SPDX-License-Identifier: Apache-2.0
// Device: what a bus calls. A device knows offsets within its range, never its address.
#pragma once
#include "base/types.h"

namespace droste {

class Archive;

class Device {
public:
    virtual ~Device() = default;
    virtual const char* name() const = 0;
    /// Power-on state. Called once after construction by the owner, and on each platform reset.
    virtual void reset() = 0;
    /// Reads `width` bytes at `offset` within the attached range; any offset and width that the guest can produce
    /// must be survived. Upper bits of the result beyond the width are ignored.
    virtual u64 read(u64 offset, Width width) = 0;
    virtual void write(u64 offset, Width width, u64 value) = 0;
    virtual void visit(Archive& archive) = 0;
};

}  // namespace droste
