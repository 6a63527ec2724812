// SPDX-License-Identifier: Apache-2.0
// RegisterFile: the registers of a device as rows of one table; access, masks, reset and saving follow from
// the rows.
#pragma once
#include <algorithm>
#include <cstddef>
#include <span>

#include "base/archive.h"
#include "base/types.h"

namespace droste {

/// What a register does with reads and writes. w1c: a 1 written clears the bit.
enum class On : u8 { rw, ro, wo, w1c };

inline constexpr u8 any_bank = 0xFF;

/// One register of device D. Two rows may share an offset if they differ in bank, or one is `ro` and the
/// other `wo`.
template <class D> struct Reg {
    u16 offset = 0;
    Width width = Width::byte;
    const char* name = "";
    On on = On::rw;
    u64 D::*stored = nullptr;  ///< where the value lives; null if the hooks are all there is
    u64 reset = 0;
    u64 mask = ~0ull;  ///< bits that a write can change
    u64 (D::*reading)(u64 stored) = nullptr;              ///< gives the value that a read sees
    void (D::*wrote)(u64 before, u64 after) = nullptr;    ///< called after a write has been stored
    u8 bank = any_bank;
};

/// Rows and the byte that unclaimed offsets read as. Accesses narrower than a register reach its bytes, wider
/// ones the registers side by side, so that any offset and width is defined.
template <class D> class RegisterFile {
public:
    constexpr explicit RegisterFile(std::span<const Reg<D>> rows, u8 hole = 0) : rows_(rows), hole_(hole) {}

    u64 read(D& device, u64 offset, Width width, u8 bank = 0) const {
        u64 result = 0;
        for (unsigned i = 0; i < bytes(width);) {
            const Reg<D>* row = find(offset + i, bank, On::wo);
            if (row == nullptr) {
                result |= u64(hole_) << (8 * i++);
                continue;
            }
            u64 v = row->stored != nullptr ? device.*(row->stored) : 0;
            if (row->reading != nullptr) v = (device.*(row->reading))(v);
            const Lane lane = lane_of(*row, offset + i, bytes(width) - i);
            result |= (v >> (8 * lane.at) & lane.mask()) << (8 * i);
            i += lane.count;
        }
        return result;
    }

    void write(D& device, u64 offset, Width width, u64 value, u8 bank = 0) const {
        for (unsigned i = 0; i < bytes(width);) {
            const Reg<D>* row = find(offset + i, bank, On::ro);
            if (row == nullptr) {
                ++i;
                continue;
            }
            const Lane lane = lane_of(*row, offset + i, bytes(width) - i);
            write_row(device, *row, lane.mask() << (8 * lane.at),
                      (value >> (8 * i) & lane.mask()) << (8 * lane.at));
            i += lane.count;
        }
    }

    void reset(D& device) const {
        for (const Reg<D>& row : rows_)
            if (row.stored != nullptr) device.*(row.stored) = row.reset;
    }

    void visit(D& device, Archive& archive) const {
        for (const Reg<D>& row : rows_)
            if (row.stored != nullptr) archive.field(row.name, device.*(row.stored));
    }

    /// The name of the register that a read of `offset` reaches, or an empty string.
    const char* name_at(u64 offset, u8 bank = 0) const {
        const Reg<D>* row = find(offset, bank, On::wo);
        return row == nullptr ? "" : row->name;
    }

private:
    struct Lane {
        unsigned at;     // first byte within the register
        unsigned count;  // bytes, at least 1
        u64 mask() const { return count >= 8 ? ~0ull : (1ull << (8 * count)) - 1; }
    };
    static Lane lane_of(const Reg<D>& row, u64 offset, unsigned left) {
        const unsigned at = static_cast<unsigned>(offset - row.offset);
        return {at, std::min(left, bytes(row.width) - at)};
    }
    const Reg<D>* find(u64 offset, u8 bank, On not_this) const {
        for (const Reg<D>& row : rows_)
            if (offset - row.offset < bytes(row.width) && row.on != not_this &&
                (row.bank == any_bank || row.bank == bank))
                return &row;
        return nullptr;
    }
    static void write_row(D& device, const Reg<D>& row, u64 lane, u64 value) {
        const u64 before = row.stored != nullptr ? device.*(row.stored) : 0;
        const u64 changeable = row.mask & lane;
        const u64 after = row.on == On::w1c ? before & ~(value & changeable)
                                            : (before & ~changeable) | (value & changeable);
        if (row.stored != nullptr) device.*(row.stored) = after;
        if (row.wrote != nullptr) (device.*(row.wrote))(before, after);
    }

    std::span<const Reg<D>> rows_;
    u8 hole_;
};

}  // namespace droste
