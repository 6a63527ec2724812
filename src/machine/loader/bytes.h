// SPDX-License-Identifier: Apache-2.0
// Bounds-checked little-endian reads of an image; what lies outside reads as nothing.
#pragma once
#include <cstring>
#include <optional>
#include <span>

#include "base/types.h"

namespace droste {

using Bytes = std::span<const u8>;

/// The value at `offset`, or nullopt when the image is shorter.
template <class T> std::optional<T> read_at(Bytes image, u64 offset) {
    if (offset > image.size() || image.size() - offset < sizeof(T))
        return std::nullopt;
    T value;
    std::memcpy(&value, image.data() + offset, sizeof value);
    return value;
}

/// The part [offset, offset + size), or nullopt when it is not within the image.
inline std::optional<Bytes> part_of(Bytes image, u64 offset, u64 size) {
    if (offset > image.size() || image.size() - offset < size)
        return std::nullopt;
    return image.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

}  // namespace droste
