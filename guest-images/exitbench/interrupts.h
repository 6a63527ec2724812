// SPDX-License-Identifier: Apache-2.0
// The IDT, faults that are expected, and the local APIC with its timer.
#pragma once

#include "x86.h"

namespace exitbench {

namespace msr {
constexpr u32 apic_base = 0x1b, misc_enable = 0x1a0, tsc_deadline = 0x6e0, x2apic = 0x800;
}

// Offsets of the registers in xAPIC mode; in x2APIC mode the MSR is 0x800 + offset / 16.
enum class ApicRegister : u32 {
    id = 0x20,
    task_priority = 0x80,
    end_of_interrupt = 0xb0,
    spurious = 0xf0,
    command_low = 0x300,
    command_high = 0x310,
    timer = 0x320,
    lint0 = 0x350,
    lint1 = 0x360,
    timer_initial = 0x380,
    timer_divide = 0x3e0,
};

class LocalApic {
public:
    void start();
    bool is_x2apic() const { return x2apic_; }
    bool has_deadline() const { return deadline_; }
    void arm_timer(u64 deadline) const { wrmsr(msr::tsc_deadline, deadline); }
    // The timer that every APIC has, used where the deadline is missing. Zero stops it.
    void arm_counter(u32 initial) const { write(ApicRegister::timer_initial, initial); }
    void send_self() const;
    void acknowledge() const { write(ApicRegister::end_of_interrupt, 0); }

private:
    u64 read(ApicRegister r) const;
    void write(ApicRegister r, u32 value) const;

    bool x2apic_ = false, deadline_ = false;
    u32 id_ = 0;
};

// What the handlers tell the code that they interrupt; there is one CPU and one of these.
struct InterruptState {
    LocalApic apic;
    volatile u64 last_tsc = 0;       // at the first instruction of the last interrupt's handler
    volatile u32 interrupts = 0;
    volatile u32 faults = 0;
    volatile u8 expected_vector = 0; // the fault to be stepped over, and by how many bytes
    volatile u8 expected_length = 0;
};

InterruptState& interrupt_state();

// Loads the IDT, silences the 8259s and enables the local APIC.
void start_interrupts();

// Runs `attempt`, in which an instruction of `length` bytes may fault with `vector`; true when it did not.
template <typename F>
bool survives(u8 vector, u8 length, F attempt)
{
    auto& state = interrupt_state();
    const u32 before = state.faults;
    state.expected_vector = vector;
    state.expected_length = length;
    attempt();
    state.expected_length = 0;
    return state.faults == before;
}

} // namespace exitbench
