// SPDX-License-Identifier: Apache-2.0
// The doors between guest and host: bytes out, bytes in, and the requests that end a run.
#pragma once
#include <string_view>

#include "base/types.h"

namespace droste {

/// Receives what a guest console prints.
class ByteSink {
public:
    virtual ~ByteSink() = default;
    virtual void put(u8 byte) = 0;
};

/// What a guest asks of the platform.
class PlatformControl {
public:
    virtual ~PlatformControl() = default;
    virtual void power_off(std::string_view by) = 0;
    virtual void reset(std::string_view by) = 0;
    /// The debug-exit port: the process ends with (value << 1) | 1.
    virtual void debug_exit(u32 value) = 0;
};

}  // namespace droste
