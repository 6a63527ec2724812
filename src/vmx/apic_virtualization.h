// SPDX-License-Identifier: Apache-2.0
// ApicVirtualization: the virtual-APIC page of the running guest (SDM "APIC Virtualization and Virtual
// Interrupts").
#pragma once
#include "base/types.h"
#include "cpu/non_root.h"

namespace droste {

class Archive;
class Vmx;
struct Layer;

/// Offsets in the virtual-APIC page.
namespace vapic {
inline constexpr u32 id = 0x20, version = 0x30, tpr = 0x80, ppr = 0xA0, eoi = 0xB0, ldr = 0xD0, dfr = 0xE0,
                     svr = 0xF0, isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, icr_low = 0x300,
                     icr_high = 0x310, lvt_first = 0x320, lvt_last = 0x370, initial_count = 0x380,
                     divide = 0x3E0, self_ipi = 0x3F0;
}

class ApicVirtualization {
public:
    ApicVirtualization(Vmx& vmx, const Layer& layer) : vmx_(vmx), layer_(layer) {}

    /// VM entry: what the SDM does there with the page ("Virtual-Interrupt Delivery", "VM Exits Induced by
    /// the TPR Threshold").
    void entered();
    /// Evaluates whether a virtual interrupt is pending (SDM "Evaluation of Pending Virtual Interrupts").
    void evaluate();
    bool pending() const { return pending_; }
    void forget() {
        pending_ = false;
        write_ = {};
    }
    /// The guest goes on, or runs beneath a guest of its own: evaluates anew.
    void evaluate_again();
    /// Takes the pending virtual interrupt into service without delivering it.
    u8 accept();
    /// Ends the one in service, which was a notification.
    void end_of_notification();
    /// Delivers the pending virtual interrupt through the guest's IDT.
    void deliver();
    /// Posted-interrupt processing, after the notification vector was acknowledged. `physical`: at the local APIC,
    /// which gets its EOI.
    void process_posted_interrupts(bool physical = true);

    /// Completes the virtualized write of the operation that just ended, if there was one (SDM "APIC-Write
    /// Emulation").
    void emulate_pending_write();

    /// A linear access to the APIC-access page. `proceed` never comes back.
    Decision access(u32 offset, Access access, Width width, u64 value);
    /// The same MSR accesses in "virtualize x2APIC mode"; proceed: the MSR is not virtualized.
    Decision read_msr(u32 index);
    Decision write_msr(u32 index, u64 value);
    /// IPI virtualization (ipi_virtualization.cpp): vector `vector` for the virtual processor `apic_id`.
    void virtualize_ipi(u8 vector, u32 apic_id);
    /// SENDUIPI's notification.
    void send_user_ipi(u32 destination, u8 vector);
    /// Makes `vector` pending in VIRR and RVI.
    void request(u8 vector);
    u64 cr8() const { return vtpr() >> 4; }
    void set_cr8(u64 value);
    void visit(Archive& archive);

private:
    u64 page() const;  ///< machine address of the virtual-APIC page
    u32 read(u32 offset) const;
    void write(u32 offset, u32 value) const;
    u8 vtpr() const { return static_cast<u8>(read(vapic::tpr)); }
    /// Bit `vector` of the 256-bit register at `base`.
    void set_bit(u32 base, u8 vector) const;
    void clear_bit(u32 base, u8 vector) const;
    u8 highest(u32 base) const;  ///< 0 when none is set
    u8 rvi() const;
    u8 svi() const;
    void set_rvi(u8 vector) const;
    void set_svi(u8 vector) const;
    // SDM "Virtualizing CR8-Based TPR Accesses" and following sections
    void virtualize_tpr();
    void virtualize_ppr() const;
    void virtualize_eoi();
    bool reads_virtualized(u32 offset, Width width) const;
    bool writes_virtualized(u32 offset, Width width) const;
    void emulate_write(u32 offset);

    Vmx& vmx_;
    const Layer& layer_;
    bool pending_ = false;
    struct Write {
        bool present = false;
        u32 offset = 0;
        u8 width = 0;
    };
    Write write_;  ///< virtualized within the operation in progress, and not emulated yet
};

}  // namespace droste
