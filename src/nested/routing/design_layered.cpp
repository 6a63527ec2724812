// SPDX-License-Identifier: Apache-2.0
// The design `layered`: each level's own controls are its event bits; the class of the event says who is asked first
// (US 8,271,978, 8,997,099, 9,235,434, 9,405,565, 10,002,012, 10,599,455). Which event is in which class is ours.
#include "nested/routing/design.h"

namespace droste {

namespace {

/// Events of the platform: hypervisors beneath must have them before those above hear of them.
constexpr const ExitRow* asked_from_below[] = {
    "external_interrupt"_exit, "vmx_preemption_timer_expired"_exit, "page_modification_log_full"_exit,
    "bus_lock"_exit,           "instruction_timeout"_exit,
};

bool from_below(const RouteQuestion& q) {
    if (q.reason == "exception_or_nmi"_exit) return q.nmi;
    for (const ExitRow* row : asked_from_below)
        if (row == q.reason) return true;
    return false;
}

}  // namespace

RouteDecision decide_layered(const RouteQuestion& q) {
    if (q.reason == "ept_violation"_exit || q.reason == "ept_misconfiguration"_exit) return ept_owner(q);
    return from_below(q) ? bottom_up(q) : top_down(q);
}

}  // namespace droste
