// SPDX-License-Identifier: Apache-2.0
// The design `parent-context`: hypercalls leave a guest's context for that of its parent (US 11,880,704).
#include "nested/routing/design.h"

namespace droste {

RouteDecision decide_parent_context(const RouteQuestion& q) {
    if (!q.level[q.running].linked) return {.why = "no parent context"};
    if (q.reason == "vmcall"_exit) return {.destination = q.running - 1, .why = "hypercall", .walked = 1};
    return {.why = "no hypercall"};
}

}  // namespace droste
