// SPDX-License-Identifier: Apache-2.0
// Handlers: expected faults are stepped over, others are reported and end the run.
#include "interrupts.h"

#include "console.h"

namespace exitbench {

namespace {

constexpr u8 timer_vector = 0x40, self_vector = 0x41, spurious_vector = 0xff;
constexpr u64 xapic_page = 0xfee00000;

InterruptState the_state;

struct Frame {
    u64 rip, cs, rflags, rsp, ss;
};

struct [[gnu::packed]] Gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};

Gate idt[256];

[[noreturn]] void unexpected(u8 vector, const Frame& frame)
{
    Console console;
    console.text("exitbench-error exception ");
    console.number(vector);
    console.text(" at ");
    console.hex(frame.rip);
    console.end_line();
    power_off(console);
}

void fault(u8 vector, Frame& frame)
{
    if (!the_state.expected_length || the_state.expected_vector != vector) unexpected(vector, frame);
    the_state.faults = the_state.faults + 1;
    frame.rip += the_state.expected_length;
}

template <u8 vector>
[[gnu::interrupt]] void on_fault(Frame* frame)
{
    fault(vector, *frame);
}

template <u8 vector>
[[gnu::interrupt]] void on_fault_with_code(Frame* frame, u64)
{
    fault(vector, *frame);
}

[[gnu::interrupt]] void on_interrupt(Frame*)
{
    the_state.last_tsc = rdtsc();
    the_state.interrupts = the_state.interrupts + 1;
    the_state.apic.acknowledge();
}

[[gnu::interrupt]] void on_spurious(Frame*) {}

template <typename Handler>
void set_gate(u8 vector, Handler handler)
{
    const u64 at = reinterpret_cast<u64>(handler);
    idt[vector] = {u16(at), 0x08, 0, 0x8e, u16(at >> 16), u32(at >> 32), 0};
}

} // namespace

InterruptState& interrupt_state() { return the_state; }

u64 LocalApic::read(ApicRegister r) const
{
    return x2apic_ ? rdmsr(msr::x2apic + u32(r) / 16) : load32(xapic_page + u32(r));
}

void LocalApic::write(ApicRegister r, u32 value) const
{
    if (x2apic_) wrmsr(msr::x2apic + u32(r) / 16, value);
    else store32(xapic_page + u32(r), value);
}

void LocalApic::start()
{
    const CpuidLeaf features = cpuid(1);
    x2apic_ = features.ecx >> 21 & 1;
    deadline_ = features.ecx >> 24 & 1;
    constexpr u64 enable = 1u << 11, extended = 1u << 10;
    u64 base = rdmsr(msr::apic_base) | enable;
    wrmsr(msr::apic_base, base); // SDM "x2APIC State Transitions": xAPIC mode comes first
    if (x2apic_) wrmsr(msr::apic_base, base |= extended);
    x2apic_ = base & extended;
    id_ = u32(read(ApicRegister::id)) >> (x2apic_ ? 0 : 24);

    constexpr u32 masked = 1u << 16, deadline_mode = 2u << 17;
    write(ApicRegister::task_priority, 0);
    write(ApicRegister::spurious, 0x100 | spurious_vector);
    write(ApicRegister::lint0, masked);
    write(ApicRegister::lint1, masked);
    write(ApicRegister::timer_divide, 0xb); // by 1
    write(ApicRegister::timer, timer_vector | (deadline_ ? deadline_mode : 0));
    asm volatile("mfence" : : : "memory"); // SDM "TSC-Deadline Mode": orders an xAPIC store before WRMSR
}

void LocalApic::send_self() const
{
    // Fixed, physical, to our own ID: the form that operating systems send, and hypervisors have fast paths for.
    constexpr u32 assert_level = 1u << 14;
    if (x2apic_) {
        wrmsr(msr::x2apic + u32(ApicRegister::command_low) / 16, u64(id_) << 32 | assert_level | self_vector);
    } else {
        write(ApicRegister::command_high, id_ << 24);
        write(ApicRegister::command_low, assert_level | self_vector);
    }
}

void start_interrupts()
{
    for (unsigned vector = 32; vector < 256; ++vector) set_gate(u8(vector), on_spurious);
    set_gate(0, on_fault<0>);
    set_gate(3, on_fault<3>);
    set_gate(6, on_fault<6>);
    set_gate(8, on_fault_with_code<8>);
    set_gate(11, on_fault_with_code<11>);
    set_gate(12, on_fault_with_code<12>);
    set_gate(13, on_fault_with_code<13>);
    set_gate(14, on_fault_with_code<14>);
    set_gate(timer_vector, on_interrupt);
    set_gate(self_vector, on_interrupt);
    struct [[gnu::packed]] {
        u16 limit = sizeof idt - 1;
        u64 base = reinterpret_cast<u64>(idt);
    } pointer;
    asm volatile("lidt %0" : : "m"(pointer));
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    the_state.apic.start();
}

} // namespace exitbench
