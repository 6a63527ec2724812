// SPDX-License-Identifier: Apache-2.0
// EnforcementMachine: a SystemMachine with user and supervisor shadow stacks in 64-bit mode.
#pragma once
#include "cpu/cet.h"
#include "cpu/msr_protection.h"
#include "system_machine.h"

namespace droste::test {

constexpr Raised cp(u32 code) {
    return {21, code};
}
constexpr Raised pf(u32 code) {
    return {14, code};
}

class EnforcementMachine : public SystemMachine {
public:
    static constexpr u64 user_stack = 0x40001000;  ///< linear page of a user shadow stack
    static constexpr u64 system_stack = 0x40002000;
    static constexpr u64 second_stack = 0x40003000;  ///< supervisor
    static constexpr u64 user_page = 0x200000, system_page = 0x201000, second_page = 0x202000;  ///< physical
    static constexpr u64 shadow_flags = 0x41;  ///< present, dirty, not writable

    explicit EnforcementMachine(u8 cpl = 0, u64 u_cet = 0, u64 s_cet = 0) : SystemMachine(Mode::long64, cpl) {
        map(user_stack, user_page, shadow_flags | 4);
        map(system_stack, system_page, shadow_flags);
        map(second_stack, second_page, shadow_flags);
        cpu.cr4 |= cr4_bits::cet;
        cpu.cet.u_cet = u_cet;
        cpu.cet.s_cet = s_cet;
        cpu.cet.ssp = (cpl == 3 ? user_stack : system_stack) + 0x800;
        cpu.context_changed();
        install_exception_stops();
        for (u64 v = 0; v < 256; ++v)
            write(stops + 16 * v, {0xF3, 0x0F, 0x1E, 0xFA, 0xF4});  // endbr64; hlt
    }
    /// The vector whose handler executed its HLT, or -1.
    int handled() const {
        const u64 at = cpu.rip - 5 - stops;
        return at < 16 * 256 && at % 16 == 0 ? static_cast<int>(at / 16) : -1;
    }
    /// What shadow stacks hold, by linear address.
    u64 shadow(u64 linear) const { return peek<u64>(linear - user_stack + user_page); }
    void set_shadow(u64 linear, u64 v) { poke<u64>(linear - user_stack + user_page, v); }
    Raised write_msr(u32 index, u64 value) {
        cpu.reg(Gpr::rcx) = index;
        cpu.reg(Gpr::rax) = static_cast<u32>(value);
        cpu.reg(Gpr::rdx) = value >> 32;
        return fault_of({0x0F, 0x30});
    }
};

}  // namespace droste::test
