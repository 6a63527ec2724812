// SPDX-License-Identifier: Apache-2.0
// Compile-time lookup of a row by its name: a name that no row has does not compile.
#pragma once
#include <cstddef>
#include <string_view>

namespace droste::vmx_detail {

// Not constexpr on purpose: reaching it ends a consteval evaluation with this name in the message.
inline void no_row_has_this_name() {}

template <class Rows> consteval std::size_t row_named(const Rows& rows, std::string_view name) {
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows[i].name == name) return i;
    no_row_has_this_name();
    return 0;
}

}  // namespace droste::vmx_detail
