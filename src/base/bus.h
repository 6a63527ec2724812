// SPDX-License-Identifier: Apache-2.0
// Bus: address ranges to devices, for ports and for memory-mapped registers.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/types.h"

namespace droste {

/// Half-open range [first, first + size).
template <class Addr> struct Range {
    Addr first{};
    u64 size{};
    constexpr bool contains(Addr a) const { return a.value - first.value < size; }
    constexpr bool overlaps(const Range& o) const {
        return first.value - o.first.value < o.size || o.first.value - first.value < size;
    }
};

enum class BusError : u8 { empty, wraps, overlap, not_attached };

/// Accesses that fit no range float high; an access that starts in a range but runs past it is split into bytes.
template <class Addr> class Bus {
public:
    /// Attaches `device`; `base_offset` is the device's offset of the first address of the range.
    [[nodiscard]] std::optional<BusError> attach(Range<Addr> range, Device& device, u64 base_offset = 0) {
        if (range.size == 0) return BusError::empty;
        if (range.first.value + (range.size - 1) < range.first.value) return BusError::wraps;
        for (const Entry& e : entries_)
            if (e.range.overlaps(range)) return BusError::overlap;
        const auto at = std::find_if(entries_.begin(), entries_.end(),
                                     [&](const Entry& e) { return range.first < e.range.first; });
        entries_.insert(at, Entry{range, &device, base_offset});
        return std::nullopt;
    }
    /// Detaches the range that starts at `first` (BARs and PMBASE move).
    [[nodiscard]] std::optional<BusError> detach(Addr first) {
        for (auto e = entries_.begin(); e != entries_.end(); ++e)
            if (e->range.first == first) {
                entries_.erase(e);
                return std::nullopt;
            }
        return BusError::not_attached;
    }
    u64 read(Addr a, Width w) const {
        const Entry* e = find(a);
        if (e != nullptr && fits(*e, a, w))
            return e->device->read(e->base_offset + (a - e->range.first), w) & width_mask(w);
        if (w == Width::byte || (e == nullptr && find(a + (bytes(w) - 1)) == nullptr)) return width_mask(w);
        u64 v = 0;
        for (unsigned i = 0; i < bytes(w); ++i) v |= read(a + i, Width::byte) << (8 * i);
        return v;
    }
    void write(Addr a, Width w, u64 value) const {
        const Entry* e = find(a);
        if (e != nullptr && fits(*e, a, w)) {
            e->device->write(e->base_offset + (a - e->range.first), w, value & width_mask(w));
            return;
        }
        if (w == Width::byte || (e == nullptr && find(a + (bytes(w) - 1)) == nullptr)) return;
        for (unsigned i = 0; i < bytes(w); ++i) write(a + i, Width::byte, value >> (8 * i));
    }
    /// The device at an address, or null.
    Device* device_at(Addr a) const {
        const Entry* e = find(a);
        return e == nullptr ? nullptr : e->device;
    }

private:
    struct Entry {
        Range<Addr> range;
        Device* device;
        u64 base_offset;
    };
    static bool fits(const Entry& e, Addr a, Width w) { return (a - e.range.first) + bytes(w) <= e.range.size; }
    const Entry* find(Addr a) const {
        auto e = std::upper_bound(entries_.begin(), entries_.end(), a,
                                  [](Addr x, const Entry& y) { return x < y.range.first; });
        if (e == entries_.begin()) return nullptr;
        --e;
        return e->range.contains(a) ? &*e : nullptr;
    }
    std::vector<Entry> entries_;  // sorted by address, disjoint
};

using PortBus = Bus<Port>;
using MemoryBus = Bus<MachinePhys>;

}  // namespace droste
