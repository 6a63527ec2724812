// SPDX-License-Identifier: Apache-2.0
// What exit routing has to tell about a run: where exits went, and what other designs would have cost.
#pragma once
#include "machine/run_summary.h"

namespace droste {

class RouteAccounts;
class RouteEstimates;

void report_routes(const RouteAccounts& accounts, RunSummary& to);
void report_estimates(const RouteEstimates& estimates, RunSummary& to);

}  // namespace droste
