// SPDX-License-Identifier: Apache-2.0
// VMCS fields for people: values with the names of their bits.
#pragma once
#include <string>

#include "vmx/vmcs_fields.h"

namespace droste {

/// "0x80000030 (NE, bit 4, PG)", "3 (wait-for-SIPI)", "0xa09b (code ... )".
std::string field_text(Field field, u64 value);
/// "PG" or "bit 5".
std::string bit_text(Field field, unsigned bit);
/// SDM mnemonic of an exception, "#GP".
std::string vector_text(unsigned vector);

}  // namespace droste
