// SPDX-License-Identifier: Apache-2.0
// InterruptController: how the CPU and VMX see the local APIC (and, through its LINT0 pin, the 8259).
#pragma once
#include <optional>

#include "base/types.h"

namespace droste {

/// Implemented by the local APIC in devices; declared here so that cpu and vmx need not include devices.
class InterruptController {
public:
    virtual ~InterruptController() = default;
    /// A maskable interrupt of a priority above the processor priority is pending (INTR would be asserted).
    virtual bool interrupt_pending() const = 0;
    /// INTA: takes the vector to deliver and moves it from IRR to ISR (or runs the 8259's cycle for ExtINT).
    virtual u8 acknowledge() = 0;
    /// CR8, 0..15: the task-priority class.
    virtual u8 cr8() const = 0;
    virtual void set_cr8(u8 value) = 0;
    /// x2APIC MSRs 0x800..0x8FF and IA32_APIC_BASE, IA32_TSC_DEADLINE. nullopt / false: #GP(0).
    virtual std::optional<u64> read_msr(u32 index) = 0;
    virtual bool write_msr(u32 index, u64 value) = 0;
    /// Sets `vector` in IRR as an edge-triggered interrupt message (self-IPI, posted interrupts in tests).
    virtual void raise(u8 vector) = 0;
    /// The processor's TSC was moved against guest time; what waits for a value of it is due at another time.
    virtual void tsc_changed() {}
    /// The APIC ID, as CPUID reports it.
    virtual u32 id() const { return 0; }
    /// Physical address of the 4-KByte register page while the APIC is in xAPIC mode, else nullopt.
    virtual std::optional<MachinePhys> mmio_page() const = 0;
    /// The processor performs an INIT: the registers take their INIT values; APIC ID and IA32_APIC_BASE stay.
    virtual void init_reset() {}
    /// EOI as the processor itself performs it (SDM "User-Interrupt Notification Processing").
    virtual void end_of_interrupt() {}
    /// The processor sends a fixed interrupt to the APIC ID in a user posted-interrupt descriptor's NDST field.
    virtual void send_user_notification(u32, u8) {}
};

/// Implemented by the CPU: the pins that controllers drive.
class CpuPins {
public:
    virtual ~CpuPins() = default;
    /// interrupt_pending() of the controller may have changed.
    virtual void interrupt_pending_changed() = 0;
    virtual void nmi() = 0;
    virtual void init() = 0;
    virtual void sipi(u8 vector) = 0;
};

}  // namespace droste
