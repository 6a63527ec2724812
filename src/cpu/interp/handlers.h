// SPDX-License-Identifier: Apache-2.0
// code<body>(): makes the threaded handler of a body. Tail calls need an optimising build; without one the loop steps.
#pragma once
#include "cpu/insn.h"

namespace droste {

/// Ends a run of the fast path: records why and where. Defined in interp/run.cpp.
void leave_fast_path(Cpu& cpu, const Insn* in, Outcome outcome);
/// Continues at Cpu::rip with the next block when it is at hand. Defined in interp/run.cpp.
void chain_fast_path(Cpu& cpu, const Insn* in);

/// Handler of instructions whose block was overwritten: leaves so that the block is decoded anew.
void stale_block(Cpu& cpu, const Insn* in);

/// Executes `body` and goes on with the following instruction.
template <Body body> void fast(Cpu& cpu, const Insn* in) {
    const Outcome outcome = body(cpu, *in);
    if (outcome == Outcome::next) [[likely]] {
        ++in;
        return in->h(cpu, in);
    }
    if (outcome == Outcome::branch) return chain_fast_path(cpu, in);
    return leave_fast_path(cpu, in, outcome);
}

template <Body body> consteval Code code() { return {body, &fast<body>}; }

}  // namespace droste
