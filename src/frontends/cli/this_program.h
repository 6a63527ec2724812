// SPDX-License-Identifier: Apache-2.0
// The file of the running program, for those who start it again.
#pragma once
#include <filesystem>
#include <string>

namespace droste {

inline std::string this_program() {
    std::error_code problem;
    const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", problem);
    return problem ? "/proc/self/exe" : path.string();
}

}  // namespace droste
