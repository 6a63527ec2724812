// SPDX-License-Identifier: Apache-2.0
// Builders of ACPI Machine Language: each gives the bytes of one term (ACPI "AML Grammar Definition").
#pragma once
#include <string_view>
#include <vector>

#include "base/types.h"

namespace droste::aml {

using Code = std::vector<u8>;

Code join(const std::vector<Code>& parts);
Code integer(u64 value);
/// "PNP0A03" as the compressed integer that _HID and _CID hold.
Code eisa_id(std::string_view id);
/// A string.
Code text(std::string_view value);
Code package(const std::vector<Code>& elements);
Code buffer(const Code& bytes);
/// `name` is a segment of four characters, or a backslash and one.
Code name(std::string_view name, const Code& value);
Code scope(std::string_view name, const std::vector<Code>& terms);
Code device(std::string_view name, const std::vector<Code>& terms);

/// A resource template; the value of _CRS.
class Resources {
public:
    Resources& io(u16 first, u8 size);
    Resources& irq(unsigned number);
    Resources& memory(u32 first, u32 size);
    /// Windows that a host bridge passes on; both bounds included.
    Resources& buses(u16 first, u16 last);
    Resources& io_window(u16 first, u16 last);
    Resources& memory_window(u32 first, u32 last);
    Code done() const;

private:
    Resources& word_window(u8 type, u8 type_flags, u16 first, u16 last);
    Code bytes_;
};

}  // namespace droste::aml
