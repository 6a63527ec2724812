// SPDX-License-Identifier: Apache-2.0
// Vmcs: access to a VMCS region where it lies, in guest memory, in Droste's own layout.
#pragma once
#include <cstring>

#include "mmu/physical_memory.h"
#include "vmx/vmcs_fields.h"

namespace droste {

/// The region's layout. Data are kept in memory at all times: VMCLEAR, VMPTRLD and snapshots have nothing to
/// flush. SDM "Format of the VMCS Region": the first eight bytes are architectural, the rest is ours.
namespace vmcs_layout {
inline constexpr u32 revision = 0;        ///< VMCS revision identifier; bit 31: shadow-VMCS indicator
inline constexpr u32 abort = 4;           ///< VMX-abort indicator
inline constexpr u32 launch_state = 8;
inline constexpr u32 fields = 64;         ///< one qword a field, at its field_place
inline constexpr u32 routing_data = 2048; ///< of the exit-routing designs (nested/)
inline constexpr u32 size = 4096;
static_assert(fields + 8 * vmcs_fields.size() <= routing_data);
inline constexpr u32 hidden_words = (size - routing_data) / 8;
}  // namespace vmcs_layout

enum class LaunchState : u32 { clear = 0, launched = 1 };

/// A view of one region. Copyable; null when there is none. What guests scribbled there is data like any
/// other: readers must cope with every value.
class Vmcs {
public:
    static constexpr u64 none = ~0ull;
    Vmcs() = default;
    /// Null unless [address, address + 4096) is RAM.
    Vmcs(const PhysicalMemory& memory, u64 address) {
        if ((address & 0xFFF) != 0) return;
        host_ = memory.host(address);
        if (host_ != nullptr) address_ = address;
    }
    /// A view of memory that is no guest's, for what has the form of a VMCS.
    static Vmcs over(u8* memory) {
        Vmcs v;
        v.host_ = memory;
        return v;
    }
    explicit operator bool() const { return host_ != nullptr; }
    u64 address() const { return address_; }

    u64 operator[](Field f) const { return raw(offset(f)) & f->mask(); }
    void set(Field f, u64 value) const {
        value &= f->mask();
        std::memcpy(host_ + offset(f), &value, 8);
    }
    u32 revision() const { return raw32(vmcs_layout::revision); }
    bool shadow() const { return revision() >> 31; }
    LaunchState launch_state() const { return static_cast<LaunchState>(raw32(vmcs_layout::launch_state)); }
    void set_launch_state(LaunchState s) const { set_raw32(vmcs_layout::launch_state, static_cast<u32>(s)); }
    /// Qword `slot` of the part that VMREAD does not reach.
    u64 hidden(unsigned slot) const { return raw(vmcs_layout::routing_data + 8 * slot); }
    void set_hidden(unsigned slot, u64 value) const {
        std::memcpy(host_ + vmcs_layout::routing_data + 8 * slot, &value, 8);
    }
    void set_abort(u32 indicator) const { set_raw32(vmcs_layout::abort, indicator); }

private:
    static constexpr u32 offset(Field f) { return vmcs_layout::fields + 8u * vmx_detail::field_place[f.row]; }
    u64 raw(u32 offset) const {
        u64 v;
        std::memcpy(&v, host_ + offset, 8);
        return v;
    }
    u32 raw32(u32 offset) const {
        u32 v;
        std::memcpy(&v, host_ + offset, 4);
        return v;
    }
    void set_raw32(u32 offset, u32 v) const { std::memcpy(host_ + offset, &v, 4); }
    u8* host_ = nullptr;
    u64 address_ = none;
};

/// The control words, as VM entry uses them: a word that is not activated is 0.
Controls controls_of(const Vmcs& v);

}  // namespace droste
