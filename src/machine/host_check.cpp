// SPDX-License-Identifier: Apache-2.0
// Looks at the host once, when a machine is made.
#include "machine/host_check.h"

#include <fmt/format.h>

#include "cpu/thunk/thunk.h"

namespace droste {

Status check_host() {
    if (Status s = ThunkCache::host_allows(); !s)
        return Error{
            fmt::format("SIMD and x87 instructions run through generated code, and {}", s.error().text)};
    return {};
}

}  // namespace droste
