// SPDX-License-Identifier: Apache-2.0
// The integer types, and one type for each address space so that they cannot be mixed up.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>

namespace droste {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 i128;

/// An address (or index) in the space named by Tag.
template <class Tag> struct Address {
    u64 value{};
    constexpr Address() = default;
    constexpr explicit Address(u64 v) : value(v) {}
    friend constexpr auto operator<=>(Address, Address) = default;
    friend constexpr Address operator+(Address a, u64 n) { return Address(a.value + n); }
    friend constexpr u64 operator-(Address a, Address b) { return a.value - b.value; }
};

using Linear = Address<struct LinearTag>;            ///< after segmentation, before CR3
using GuestPhys = Address<struct GuestPhysTag>;      ///< after CR3, before EPT
using MachinePhys = Address<struct MachinePhysTag>;  ///< what the bus sees
using Port = Address<struct PortTag>;                ///< 16-bit I/O port
using MsrIndex = Address<struct MsrTag>;             ///< ECX of RDMSR and WRMSR

/// Width of an access in bytes.
enum class Width : u8 { byte = 1, word = 2, dword = 4, qword = 8 };
constexpr u64 width_mask(Width w) { return w == Width::qword ? ~0ull : (1ull << (8 * static_cast<unsigned>(w))) - 1; }
constexpr unsigned bytes(Width w) { return static_cast<unsigned>(w); }

enum class Access : u8 { read, write, execute };

constexpr bool bit(u64 v, unsigned n) { return (v >> n) & 1; }
/// Bits hi..lo of v, both included.
constexpr u64 bits(u64 v, unsigned hi, unsigned lo) { return (v >> lo) & (~0ull >> (63 - (hi - lo))); }
constexpr u64 sign_extend(u64 v, unsigned width_in_bits) {
    const unsigned s = 64 - width_in_bits;
    return static_cast<u64>(static_cast<i64>(v << s) >> s);
}

}  // namespace droste
