// SPDX-License-Identifier: Apache-2.0
// The interruption-information format shared by event injection, VM-exit and IDT-vectoring information.
#pragma once
#include "base/types.h"
#include "cpu/state.h"

namespace droste {

/// SDM "VM-Entry Interruption-Information Field": vector 7:0, type 10:8, deliver error code 11, valid 31.
namespace interruption {
inline constexpr unsigned external = 0, reserved = 1, nmi = 2, hardware_exception = 3, software_interrupt = 4,
                          privileged_software_exception = 5, software_exception = 6, other_event = 7;
inline constexpr u32 has_code = 1u << 11, nmi_unblocking = 1u << 12, nested = 1u << 13,
                     valid = 1u << 31;

/// Types whose delivery advances RIP by the instruction length.
constexpr bool software(unsigned type) {
    return type == software_interrupt || type == privileged_software_exception || type == software_exception;
}
constexpr u32 word(unsigned type, u8 vector, bool code = false) {
    return valid | (code ? has_code : 0) | type << 8 | vector;
}
constexpr u32 of(const Vectoring& v) { return word(v.type, v.vector, v.has_code) | (v.nested ? nested : 0); }
}  // namespace interruption

/// Exceptions that push an error code in protected mode, as VM entry knows them.
constexpr bool vector_has_error_code(unsigned vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

}  // namespace droste
