// SPDX-License-Identifier: Apache-2.0
// Guest events as values: Fault (an exception to be delivered) and Outcome (how an instruction ended).
#pragma once
#include "base/types.h"

namespace droste {

/// SDM Table "Protected-Mode Exceptions and Interrupts".
enum class Vector : u8 {
    de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8, ts = 10, np = 11, ss = 12, gp = 13,
    pf = 14, mf = 16, ac = 17, mc = 18, xm = 19, ve = 20, cp = 21,
};

/// An exception: one 64-bit word so that it travels in a register. 0 means none.
class [[nodiscard]] Fault {
public:
    constexpr Fault() = default;
    static constexpr Fault of(Vector v) { return Fault(raised | (u64(v) << 32)); }
    static constexpr Fault of(Vector v, u32 code) { return Fault(raised | has_code_ | (u64(v) << 32) | code); }
    constexpr explicit operator bool() const { return word_ != 0; }
    constexpr Vector vector() const { return Vector((word_ >> 32) & 0xFF); }
    constexpr bool has_code() const { return (word_ & has_code_) != 0; }
    constexpr u32 code() const { return static_cast<u32>(word_); }
    friend constexpr bool operator==(Fault, Fault) = default;

private:
    static constexpr u64 raised = 1ull << 63;
    static constexpr u64 has_code_ = 1ull << 62;
    constexpr explicit Fault(u64 w) : word_(w) {}
    u64 word_ = 0;
};

/// The events of a triple fault, oldest first: what was to be delivered, what happened meanwhile, and last what
/// happened while the double fault was to be delivered. For reports; no part of the processor's state.
struct FaultChain {
    struct Link {
        u8 vector = 0;
        u8 type = 0;  ///< as in Vectoring::type
        bool has_code = false;
        u32 code = 0;
        u64 cr2 = 0;  ///< of a page fault: the address
    };
    Link links[6];
    u8 count = 0;
    /// Forgets the oldest when there is no room.
    void add(const Link& link) {
        constexpr u8 most = sizeof links / sizeof links[0];
        if (count == most)
            for (u8 i = 1; i < most; ++i) links[i - 1] = links[i];
        else
            ++count;
        links[count - 1] = link;
    }
};

/// How an instruction body ended.
enum class [[nodiscard]] Outcome : u8 {
    next,     ///< retired; control falls through to the following instruction
    branch,   ///< retired; Cpu::rip holds the next instruction (also after mode changes; ends the block)
    fault,    ///< not retired; Cpu::pending_fault is to be delivered with RIP at this instruction
    again,    ///< retired as one tick, RIP stays: a REP chunk with more to do
    vm_exit,  ///< a VM exit (or VM entry) has replaced the context; Cpu::rip holds the new instruction
    vm_exit_retired,  ///< as vm_exit, and the instruction counts as a tick (VMLAUNCH, VMRESUME)
    halt,     ///< retired; the activity state left `active` (HLT, MWAIT, shutdown); Cpu::rip is the next one
};

}  // namespace droste
