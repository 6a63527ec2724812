// SPDX-License-Identifier: Apache-2.0
// Reports a broken assertion and aborts.
#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace droste {

void assertion_failed(const char* what, const char* file, int line) {
    std::fprintf(stderr, "droste: internal error: %s does not hold (%s:%d)\n", what, file, line);
    std::abort();
}

}  // namespace droste
