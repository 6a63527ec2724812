// SPDX-License-Identifier: Apache-2.0
// Why a check of VM entry failed: what it read, and which single changes would let it pass.
#pragma once
#include <vector>

#include "vmx/entry_checks.h"

namespace droste {

/// A field that the failing check read.
struct FieldFinding {
    Field field;
    u64 value = 0;
    u64 flips = 0;             ///< bits each of which, changed alone, lets the check pass
    u64 together = 0;          ///< else: two bits that do so together; 0: none
    bool zero_passes = false;  ///< the value 0 would pass
    bool ones_pass = false;    ///< all bits set would pass
    bool decides() const { return flips != 0 || together != 0 || zero_passes || ones_pass; }
};

/// A control bit that it asked for.
struct ControlFinding {
    Capability control;
    bool value = false;
    bool decides = false;  ///< the opposite value lets the check pass
};

struct EntryExplanation {
    std::vector<FieldFinding> fields;      ///< in the order of their first reading
    std::vector<ControlFinding> controls;  ///< as well
};

/// Asks `check`, which fails in `context`, again and again with one thing changed. Changes nothing itself.
EntryExplanation explain(const EntryCheck& check, const EntryContext& context);

/// Title of the SDM's section that has the sentence of this check.
std::string_view section_of(const EntryCheck& check);

/// The field that holds a word of controls.
Field field_of_word(VmxWord word);

}  // namespace droste
