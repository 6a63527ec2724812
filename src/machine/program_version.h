// SPDX-License-Identifier: Apache-2.0
// The version of the program, as reports name it.
#pragma once
#include <string_view>

namespace droste {

std::string_view program_version();

}  // namespace droste
