// SPDX-License-Identifier: Apache-2.0
// ASSERT: a bug of Droste's own. Always on; never for guest behaviour or user input.
#pragma once

namespace droste {
[[noreturn, gnu::cold]] void assertion_failed(const char* what, const char* file, int line);
}

#define ASSERT(condition)                                                      \
    do {                                                                       \
        if (!(condition)) [[unlikely]]                                         \
            ::droste::assertion_failed(#condition, __FILE__, __LINE__);        \
    } while (false)
