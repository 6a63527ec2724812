// SPDX-License-Identifier: Apache-2.0
// What the loader tells: the RAM that nobody has touched, and words on the command line.
#pragma once

#include "x86.h"

namespace exitbench {

struct Range {
    u64 begin = 0, end = 0;
    u64 size() const { return end > begin ? end - begin : 0; }
};

// The largest range of RAM below 3 GiB and above this image; empty when the loader gave no map.
Range free_memory(u32 loader_magic, u64 loader_info);

// Whether the command line contains this text.
bool is_asked_for(const char* text, u32 loader_magic, u64 loader_info);

} // namespace exitbench
