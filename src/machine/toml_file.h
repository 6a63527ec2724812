// SPDX-License-Identifier: Apache-2.0
// What readers of TOML files have in common: opening, errors with their place, values as text.
#pragma once
#include <toml++/toml.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace droste {

/// `hint` says what a user should name instead of a file that cannot be opened.
Result<toml::table> read_toml_file(const std::string& path, const std::string& hint);
/// A string, a number or a boolean as a user would write it after --set.
std::optional<std::string> toml_scalar(const toml::node& node);
std::optional<std::vector<std::string>> toml_strings(const toml::node& node);

}  // namespace droste
