// SPDX-License-Identifier: Apache-2.0
// Bits of the fields that exit routing adds to the VMCS.
#pragma once
#include "base/types.h"

namespace droste::routing_controls {

inline constexpr u64 policy_table = 1;   ///< the policy table decides (routing/policy.h)
inline constexpr u64 direct_entry = 2;   ///< VMLAUNCH and VMRESUME may enter the guest that exited last
inline constexpr u64 protected_context = 4; ///< level 0 sees no registers but RAX, RBX, RCX, RDX
/// Bits 15:8: 1 + the level of the hypervisor on whose behalf the event is injected; 0: the guest's own.
inline constexpr unsigned injector_shift = 8;
inline constexpr u64 injector = 0xFF00;
inline constexpr u64 defined = policy_table | direct_entry | protected_context | injector;

}  // namespace droste::routing_controls
