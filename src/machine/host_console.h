// SPDX-License-Identifier: Apache-2.0
// HostConsole: the one door between a running machine and the people at the terminal.
#pragma once
#include <string_view>
#include <vector>

#include "base/types.h"

namespace droste {

/// What a frontend tells and hears while a machine runs; called between instructions at fixed ticks.
struct RunProgress {
    u64 ticks = 0;     ///< retired instructions
    u64 cycles = 0;    ///< of the timing model
    u64 guest_ns = 0;  ///< guest time
    int level = 0;     ///< the deepest level that has run so far
};

class HostConsole {
public:
    virtual ~HostConsole() = default;
    /// A byte that the guest's console printed.
    virtual void put(u8 byte) = 0;
    /// Appends what was typed since the last call. The machine stamps it with the present tick and logs it.
    virtual void poll_input(std::vector<u8>& typed) = 0;
    /// The run shall end.
    virtual bool quit_requested() = 0;
    virtual void progress(const RunProgress& progress) = 0;
    /// Some lines about the run, for who asked for them (run.explain_entries).
    virtual void note(std::string_view /*text*/) {}
    /// The guest is idle until input comes: wait some milliseconds for it. False: there will never be any.
    virtual bool wait_for_input() = 0;
};

}  // namespace droste
