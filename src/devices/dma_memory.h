// SPDX-License-Identifier: Apache-2.0
// DmaMemory: how devices reach guest memory.
#pragma once
#include <cstddef>

#include "base/types.h"

namespace droste {

/// Implemented by the machine over its physical memory. A write must invalidate code decoded from those
/// bytes.
class DmaMemory {
public:
    virtual ~DmaMemory() = default;
    /// False if any byte of the range is not memory; then `data` or memory may be partly written.
    [[nodiscard]] virtual bool read(MachinePhys from, void* data, std::size_t size) = 0;
    [[nodiscard]] virtual bool write(MachinePhys to, const void* data, std::size_t size) = 0;
};

}  // namespace droste
