// SPDX-License-Identifier: Apache-2.0
// User interrupts: notification by an ordinary interrupt, and delivery to user code (SDM "User Interrupts").
#pragma once
#include "cpu/cpu.h"

namespace droste {

/// `vector` is the one of user-interrupt notifications.
bool notifies_user(const Cpu& cpu, u8 vector);
/// `vector` was acknowledged. True: it is the user-interrupt notification vector, and was processed (or what
/// failed in it was delivered) instead of going through the IDT. `virtual_interrupt`: it came by
/// virtual-interrupt delivery.
bool notify_user(Cpu& cpu, u8 vector, bool virtual_interrupt);
/// Delivers the highest pending user interrupt when user code takes it now. True: control was transferred.
bool user_interrupt(Cpu& cpu);

/// Fields of a user posted-interrupt descriptor's first quadword (SDM Table "Format of User Posted-Interrupt
/// Descriptor").
namespace upid {
inline constexpr u64 outstanding = 1, suppressed = 2, reserved = 0xFF00FFFC;
constexpr u8 vector(u64 q) {
    return static_cast<u8>(q >> 16);
}
constexpr u32 destination(u64 q) {
    return static_cast<u32>(q >> 32);
}
}  // namespace upid

}  // namespace droste
