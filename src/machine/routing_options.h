// SPDX-License-Identifier: Apache-2.0
// The keys of the sections [routing] and [routing.reasons], and what a user chose by them.
#pragma once
#include <span>

#include "base/result.h"
#include "machine/options.h"
#include "nested/routing/routing_unit.h"

namespace droste {

std::span<const OptionRow> routing_options();
/// One row for each exit reason: "routing.reasons." and the reason's name.
std::span<const OptionRow> routing_reason_options();
Result<RoutingConfig> routing_config(const Options& options);

}  // namespace droste
