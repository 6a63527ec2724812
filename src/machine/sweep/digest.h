// SPDX-License-Identifier: Apache-2.0
// Digests: what makes a run what it is, as one number.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "machine/options.h"

namespace droste {

std::string sha256_of(std::string_view text);
/// Of a file's content; "absent" when it cannot be read.
std::string sha256_of_file(const std::string& path);

/// Digests of runs: of every key's value, of what the files contain (wherever
/// they lie), and of the program. Files are read once.
class RunDigests {
public:
    explicit RunDigests(std::string_view program_file)
        : program_(sha256_of_file(std::string(program_file))) {}
    std::string of(const Options& options, std::string_view more = "");

private:
    const std::string& file(const std::string& path);
    const std::string program_;
    std::map<std::string, std::string> files_;
};

}  // namespace droste
