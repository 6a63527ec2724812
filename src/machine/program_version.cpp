// SPDX-License-Identifier: Apache-2.0
// The version that the build gives.
#include "machine/program_version.h"

namespace droste {

std::string_view program_version() {
    return DROSTE_VERSION;
}

}  // namespace droste
