// SPDX-License-Identifier: Apache-2.0
// Unpacks the payload of a kernel image on the host.
#pragma once
#include <string_view>
#include <vector>

#include "base/result.h"
#include "machine/loader/bytes.h"

namespace droste {

/// Unpacks XZ, gzip, LZ4 (legacy framing) or zstd data (what follows its end is ignored); refuses results
/// above `most` bytes.
Result<std::vector<u8>> decompress(Bytes packed, std::string_view name, u64 most = 512u << 20);

}  // namespace droste
