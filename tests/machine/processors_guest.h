// SPDX-License-Identifier: Apache-2.0
// Tiny guests for several processors: a start-up of the application processors, and a few instructions more.
#pragma once
#include "machine/tiny_guest.h"

namespace droste {

/// 32-bit code with absolute addresses. Low memory is free for data: 0x5000 IDT, 0x6000 stacks, 0x7000
/// variables, 0x8000 start-up code.
class ProcessorCode : public TinyGuest {
public:
    static constexpr u32 apic = 0xFEE0'0000, icr_low = apic + 0x300, icr_high = apic + 0x310,
                         eoi = apic + 0xB0, svr = apic + 0xF0, lvt_timer = apic + 0x320,
                         initial_count = apic + 0x380, divide = apic + 0x3E0, apic_id = apic + 0x20;
    static constexpr u32 idt = 0x5000, stack = 0x6000, saved_gdtr = 0x7000, saved_idtr = 0x7010;
    static constexpr u8 startup_page = 8;

    /// mov dword [address], value
    ProcessorCode& put(u32 address, u32 value) { return add({0xC7, 0x05}).word(address).word(value); }
    ProcessorCode& load_eax(u32 address) { return add({0xA1}).word(address); }
    ProcessorCode& store_eax(u32 address) { return add({0xA3}).word(address); }
    ProcessorCode& store_edx(u32 address) { return add({0x89, 0x15}).word(address); }
    ProcessorCode& lock_inc(u32 address) { return add({0xF0, 0xFF, 0x05}).word(address); }
    ProcessorCode& inc(u32 address) { return add({0xFF, 0x05}).word(address); }
    ProcessorCode& pause() { return add({0xF3, 0x90}); }
    ProcessorCode& rdtsc() { return add({0x0F, 0x31}); }
    /// EAX = the local APIC's ID.
    ProcessorCode& load_id() { return load_eax(apic_id).add({0xC1, 0xE8, 24}); }
    /// Waits with PAUSE until [address] == value.
    ProcessorCode& wait_for(u32 address, u8 value) {
        return add({0xF3, 0x90, 0x83, 0x3D}).word(address).add({value, 0x75, 0xF5});
    }
    /// Waits in HLT, interrupts enabled, until [address] == value: cli; cmp; je; sti; hlt; jmp.
    ProcessorCode& halt_until(u32 address, u8 value) {
        return add({0xFA, 0x83, 0x3D}).word(address).add({value, 0x74, 0x04, 0xFB, 0xF4, 0xEB, 0xF0});
    }
    ProcessorCode& halt_for_ever() { return add({0xFB, 0xF4, 0xEB, 0xFC}); }
    ProcessorCode& jump_to_self() { return add({0xEB, 0xFE}); }
    /// An interrupt gate, written by the running processor.
    ProcessorCode& gate(u8 vector, u32 handler) {
        return put(idt + 8u * vector, 0x10'0000 | (handler & 0xFFFF))
            .put(idt + 8u * vector + 4, (handler & 0xFFFF'0000) | 0x8E00);
    }
    ProcessorCode& load_idt() {
        return put(saved_idtr, (idt & 0xFFFF) << 16 | 0x7FF)
            .put(saved_idtr + 4, idt >> 16)
            .add({0x0F, 0x01, 0x1D})
            .word(saved_idtr);
    }
    /// An interrupt message to the processor `to`, or with a shorthand in `low`.
    ProcessorCode& send(u32 low, u8 to = 0) { return put(icr_high, u32{to} << 24).put(icr_low, low); }
    ProcessorCode& iret_after_eoi() { return put(eoi, 0).add({0xCF}); }

    ProcessorCode& spin(u32 turns) {
        TinyGuest::spin(turns);
        return *this;
    }
    ProcessorCode& add(std::initializer_list<u8> code) {
        bytes(code);
        return *this;
    }
    ProcessorCode& word(u32 v) {
        imm32(v);
        return *this;
    }
};

/// The bootstrap processor starts all others, which enter protected mode with a stack of their own and run
/// `others`; then it runs `first`. Handlers stand in between: `handlers[i]` at handler_address(i).
class ProcessorsGuest {
public:
    static constexpr u32 init_others = 0xC'4500, startup_others = 0xC'4600 | ProcessorCode::startup_page;
    static constexpr u32 handler_room = 64;
    static constexpr u32 handler_address(unsigned i) { return TinyGuest::entry + 5 + handler_room * i; }

    ProcessorsGuest(const ProcessorCode& first, const ProcessorCode& others,
                    const std::vector<ProcessorCode>& handlers = {}) {
        std::vector<u8> middle(handler_room * handlers.size(), 0xCC);
        for (std::size_t i = 0; i < handlers.size(); ++i)
            std::copy(handlers[i].code().begin(), handlers[i].code().end(),
                      middle.begin() + static_cast<long>(handler_room * i));
        const u32 others_at = TinyGuest::entry + 5 + static_cast<u32>(middle.size());
        ProcessorCode theirs;
        theirs.add({0xB8, 0x18, 0, 0, 0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0});  // data segments
        // ESP = stack - 64 * ID
        theirs.load_id().add({0xC1, 0xE0, 6, 0xBC}).word(ProcessorCode::stack).add({0x29, 0xC4});
        theirs.put(ProcessorCode::svr, 0x1FF).code(others.code());
        middle.insert(middle.end(), theirs.code().begin(), theirs.code().end());
        all_.bytes({0xE9}).imm32(static_cast<u32>(middle.size())).code(middle);
        ProcessorCode start;
        start.add({0xBC}).word(ProcessorCode::stack);
        lay_startup(start, others_at);
        start.add({0x0F, 0x01, 0x05}).word(ProcessorCode::saved_gdtr);  // sgdt
        start.put(ProcessorCode::svr, 0x1FF);
        start.put(ProcessorCode::icr_low, init_others).put(ProcessorCode::icr_low, startup_others);
        all_.code(start.code()).code(first.code());
    }
    const TinyGuest& guest() const { return all_; }

    /// Real-mode code at the start-up page that goes on at `target` in protected mode.
    static void lay_startup(ProcessorCode& to, u32 target) {
        ProcessorCode real;
        real.add({0x66, 0x0F, 0x01, 0x16, 0x00, 0x70});              // lgdt [saved_gdtr]
        real.add({0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0});  // CR0.PE
        real.add({0x66, 0xEA}).word(target).add({0x10, 0x00, 0x90, 0x90});
        const std::vector<u8>& c = real.code();
        for (std::size_t i = 0; i + 4 <= c.size(); i += 4)
            to.put(ProcessorCode::startup_page * 0x1000u + static_cast<u32>(i),
                   c[i] | u32{c[i + 1]} << 8 | u32{c[i + 2]} << 16 | u32{c[i + 3]} << 24);
    }

private:
    TinyGuest all_;
};

}  // namespace droste
