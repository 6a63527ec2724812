// SPDX-License-Identifier: Apache-2.0
// What exitbench prints.
#pragma once
#include <map>
#include <sstream>
#include <string>

#include "system/program.h"

namespace droste::system_test {

inline constexpr const char* exitbench_names[] = {"hypercall", "cpuid", "rdmsr",    "wrmsr",     "in",      "out",
                                                  "notify",    "timer", "self_ipi", "ept_fault", "hlt_wake"};

/// The median of each row, in cycles; rows that exitbench skipped are absent.
inline std::map<std::string, unsigned long> exitbench_rows(const std::string& console) {
    std::map<std::string, unsigned long> rows;
    for (const std::string& line : lines_after(console, "exitbench ")) {
        std::istringstream in(line);
        std::string name;
        unsigned long median = 0;
        if (in >> name >> median)
            rows[name] = median;
    }
    return rows;
}

}  // namespace droste::system_test
