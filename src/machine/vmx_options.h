// SPDX-License-Identifier: Apache-2.0
// The keys of section [vmx] that are capability rows, and what a user chose by them.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "machine/options.h"

namespace droste {

/// One row of type `boolean` for each row of capability_rows, in its order: "vmx." and the row's name.
std::span<const OptionRow> vmx_options();

struct VmxChoices {
    std::vector<std::string> changes;  ///< "+name", "-name"
    std::string places;                ///< "vmx.name (--set), ...", for messages
};
/// The keys that do not leave their capability to the model.
VmxChoices vmx_choices(const Options& options);

}  // namespace droste
