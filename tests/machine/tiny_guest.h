// SPDX-License-Identifier: Apache-2.0
// Tiny multiboot guests, assembled by hand.
#pragma once
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace droste {

/// 32-bit code at 2 MiB with a multiboot header in front.
class TinyGuest {
public:
    TinyGuest& bytes(std::initializer_list<u8> code) {
        code_.insert(code_.end(), code);
        return *this;
    }
    TinyGuest& imm32(u32 v) {
        for (unsigned i = 0; i < 4; ++i)
            code_.push_back(static_cast<u8>(v >> (8 * i)));
        return *this;
    }
    TinyGuest& mov_eax(u32 v) { return bytes({0xB8}).imm32(v); }
    TinyGuest& mov_ecx(u32 v) { return bytes({0xB9}).imm32(v); }
    TinyGuest& mov_edx(u32 v) { return bytes({0xBA}).imm32(v); }
    TinyGuest& out_al(u16 port, u8 v) { return mov_edx(port).bytes({0xB0, v, 0xEE}); }
    TinyGuest& out_ax(u16 port, u16 v) { return mov_edx(port).mov_eax(v).bytes({0x66, 0xEF}); }
    TinyGuest& out_eax(u16 port, u32 v) { return mov_edx(port).mov_eax(v).bytes({0xEF}); }
    TinyGuest& print(std::string_view text) {
        for (const char c : text)
            out_al(0x3F8, static_cast<u8>(c));
        return *this;
    }
    /// ECX times around an empty loop: one tick a turn.
    TinyGuest& spin(u32 turns) { return mov_ecx(turns).bytes({0xE2, 0xFE}); }
    TinyGuest& cli() { return bytes({0xFA}); }
    TinyGuest& hlt() { return bytes({0xF4}); }
    TinyGuest& debug_exit(u32 v) { return out_eax(0xF4, v); }
    TinyGuest& power_off() { return out_ax(0x604, 0x2000).hlt(); }

    const std::vector<u8>& code() const { return code_; }
    /// Appends another guest's code.
    TinyGuest& code(const std::vector<u8>& more) {
        code_.insert(code_.end(), more.begin(), more.end());
        return *this;
    }
    /// Where the first instruction stands.
    static constexpr u32 entry = 0x20'0020;

    std::vector<u8> image() const {
        constexpr u32 magic = 0x1BAD'B002, flags = 0x1'0000, load = 0x20'0000, code_at = 32;
        const u32 end = load + code_at + static_cast<u32>(code_.size());
        static_assert(load + code_at == entry);
        const u32 header[8] = {magic, flags, 0 - magic - flags, load,
                               load,  end,   end + 0x1000,      load + code_at};
        std::vector<u8> b(sizeof header + code_.size());
        std::memcpy(b.data(), header, sizeof header);
        std::copy(code_.begin(), code_.end(), b.begin() + sizeof header);
        return b;
    }

private:
    std::vector<u8> code_;
};

}  // namespace droste
