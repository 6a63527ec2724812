// SPDX-License-Identifier: Apache-2.0
// Selectors and descriptors of the descriptor tables, as values.
#pragma once
#include "base/types.h"
#include "cpu/state.h"

namespace droste {

constexpr bool null_selector(u16 s) { return (s & 0xFFFC) == 0; }
constexpr unsigned rpl(u16 s) { return s & 3; }
constexpr bool in_ldt(u16 s) { return s & 4; }
/// The selector part of an error code; `ext` is 0 or 1.
constexpr u32 selector_error(u16 s, u32 ext = 0) { return (s & 0xFFFCu) | ext; }

/// Types of system-segment and gate descriptors (SDM Table "System-Segment and Gate-Descriptor Types").
namespace system_type {
inline constexpr unsigned tss16_available = 1, ldt = 2, tss16_busy = 3, call_gate16 = 4, task_gate = 5,
                          interrupt_gate16 = 6, trap_gate16 = 7, tss32_available = 9, tss32_busy = 11,
                          call_gate32 = 12, interrupt_gate32 = 14, trap_gate32 = 15;
}

/// Access-rights words (layout of Segment::access) that instructions load without a descriptor.
namespace access_rights {
inline constexpr u32 code64 = 0xA09B, code32 = 0xC09B, code16 = 0x009B, data32 = 0xC093, data16 = 0x0093,
                     virtual8086 = 0x00F3, dpl3 = 0x60;
}

struct Descriptor {
    u64 low = 0;   ///< the 8 bytes of every descriptor
    u64 high = 0;  ///< bytes 8..15 of the 16-byte descriptors of IA-32e mode

    constexpr unsigned type() const { return bits(low, 43, 40); }
    constexpr bool system() const { return !bit(low, 44); }
    constexpr unsigned dpl() const { return bits(low, 46, 45); }
    constexpr bool present() const { return bit(low, 47); }
    constexpr bool l() const { return bit(low, 53); }
    constexpr bool db() const { return bit(low, 54); }
    constexpr bool code() const { return !system() && (type() & 8); }
    constexpr bool conforming() const { return code() && (type() & 4); }
    constexpr bool readable() const { return !system() && ((type() & 8) == 0 || (type() & 2)); }
    constexpr bool writable_data() const { return !system() && (type() & 0xA) == 2; }
    /// As in Segment::access.
    constexpr u32 access() const { return static_cast<u32>(bits(low, 55, 40)) & 0xF0FF; }
    constexpr u64 base() const {
        return bits(low, 39, 16) | (bits(low, 63, 56) << 24) | (system() ? high << 32 : 0);
    }
    constexpr u32 limit() const {
        const u32 raw = static_cast<u32>(bits(low, 15, 0) | (bits(low, 51, 48) << 16));
        return bit(low, 55) ? (raw << 12) | 0xFFF : raw;
    }
    // gates
    constexpr u16 gate_selector() const { return static_cast<u16>(bits(low, 31, 16)); }
    constexpr u64 gate_offset16() const { return bits(low, 15, 0); }
    constexpr u64 gate_offset32() const { return bits(low, 15, 0) | (bits(low, 63, 48) << 16); }
    constexpr u64 gate_offset64() const { return gate_offset32() | (high << 32); }
    constexpr unsigned gate_parameters() const { return bits(low, 36, 32); }
    constexpr unsigned gate_ist() const { return bits(low, 34, 32); }

    constexpr Segment segment(u16 selector) const { return {selector, limit(), access(), base()}; }
};

}  // namespace droste
