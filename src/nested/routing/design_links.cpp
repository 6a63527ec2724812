// SPDX-License-Identifier: Apache-2.0
// The design `links`: control VMCS link, reason bitmap, exception bitmap (US 10,146,570, claims 1, 3 and 5).
#include "nested/routing/design.h"

namespace droste {

RouteDecision decide_links(const RouteQuestion& q) {
    const RouteQuestion::Level& v = q.level[q.running];
    const unsigned parent = q.running - 1;
    if (!v.linked) return {.why = "no valid link"};
    if (!v.reason_bit) return {.why = "reason bit is 0", .walked = 1};
    if (q.reason->number != 0) return {.destination = parent, .why = "reason bit is 1", .walked = 1};
    // Not in the claims: an NMI is no exception, and has no bit of its own.
    if (q.nmi) return {.why = "NMI", .walked = 1};
    if (v.exception_bit) return {.destination = parent, .why = "exception bit is 1", .walked = 1};
    return {.why = "exception bit is 0", .walked = 1};
}

}  // namespace droste
