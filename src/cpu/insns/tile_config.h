// SPDX-License-Identifier: Apache-2.0
// TILECFG of AMX: the palette's limits and the shape of each tile (SDM "LDTILECFG").
#pragma once
#include <array>

#include "base/types.h"

namespace droste {

/// Palette 1, as CPUID leaf 1DH tells it; leaf 1EH: the multiplier's limits.
namespace palette1 {
inline constexpr u32 tiles = 8, bytes_per_row = 64, rows = 16, bytes_per_tile = bytes_per_row * rows,
                     total_bytes = tiles * bytes_per_tile;
}
namespace tmul {
inline constexpr u32 max_k = 16, max_n = 64;
}

using TileConfig = std::array<u8, 64>;
namespace tile_config {
inline constexpr unsigned palette = 0, start_row = 1, reserved = 2, colsb = 16, rows = 48;
inline constexpr unsigned colsb_end = colsb + 2 * palette1::tiles, rows_end = rows + palette1::tiles;
}  // namespace tile_config

inline unsigned tile_columns(const TileConfig& c, unsigned tile) {
    return c[tile_config::colsb + 2 * tile] | c[tile_config::colsb + 2 * tile + 1] << 8;
}
inline unsigned tile_rows(const TileConfig& c, unsigned tile) { return c[tile_config::rows + tile]; }

/// What LDTILECFG accepts without #GP.
inline bool tile_config_valid(const TileConfig& c) {
    using namespace tile_config;
    if (c[palette] == 0) return true;
    if (c[palette] != 1) return false;
    for (unsigned i = reserved; i < colsb; ++i)
        if (c[i] != 0) return false;
    for (unsigned i = colsb_end; i < rows; ++i)
        if (c[i] != 0) return false;
    for (unsigned i = rows_end; i < c.size(); ++i)
        if (c[i] != 0) return false;
    for (unsigned t = 0; t < palette1::tiles; ++t) {
        const unsigned r = tile_rows(c, t), n = tile_columns(c, t);
        if (r > palette1::rows || n > palette1::bytes_per_row || (r == 0) != (n == 0)) return false;
    }
    return true;
}

}  // namespace droste
