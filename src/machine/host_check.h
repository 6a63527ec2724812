// SPDX-License-Identifier: Apache-2.0
// What the host must allow before a machine is made.
#pragma once
#include "base/result.h"

namespace droste {

/// An error that names what the host refuses, and the remedy.
Status check_host();

}  // namespace droste
