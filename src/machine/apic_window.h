// SPDX-License-Identifier: Apache-2.0
// ApicWindow: between processor and local APIC; keeps the register page where IA32_APIC_BASE says.
#pragma once
#include "base/bus.h"
#include "base/interrupt_controller.h"
#include "devices/local_apic/local_apic.h"

namespace droste {

/// Exists before the local APIC, which in turn needs the processor: connect() closes the circle.
class ApicWindow final : public InterruptController {
public:
    explicit ApicWindow(MemoryBus& mmio) : mmio_(mmio) {}
    /// `tsc_offset`: what the processor's TSC is ahead of guest time.
    void connect(LocalApic& apic, const u64& tsc_offset) {
        apic_ = &apic;
        tsc_offset_ = &tsc_offset;
        place();
    }
    /// Attaches the page anew after a reset or a load.
    void place();

    bool interrupt_pending() const override { return apic_ != nullptr && apic_->interrupt_pending(); }
    u8 acknowledge() override { return apic_->acknowledge(); }
    u8 cr8() const override { return apic_ == nullptr ? 0 : apic_->cr8(); }
    void set_cr8(u8 value) override { apic_->set_cr8(value); }
    std::optional<u64> read_msr(u32 index) override { return apic_->read_msr(index); }
    bool write_msr(u32 index, u64 value) override {
        if (index == ia32_tsc_deadline)
            apic_->set_tsc_offset(*tsc_offset_);
        const bool ok = apic_->write_msr(index, value);
        if (ok && index == ia32_apic_base)
            place();
        return ok;
    }
    void raise(u8 vector) override { apic_->raise(vector); }
    std::optional<MachinePhys> mmio_page() const override {
        return apic_ == nullptr ? std::nullopt : apic_->mmio_page();
    }
    void init_reset() override {
        if (apic_ != nullptr)
            apic_->init_reset();
    }

private:
    static constexpr u32 ia32_apic_base = 0x1B, ia32_tsc_deadline = 0x6E0;
    static constexpr u64 page = 0x1000;
    MemoryBus& mmio_;
    LocalApic* apic_ = nullptr;
    const u64* tsc_offset_ = nullptr;
    std::optional<MachinePhys> attached_;
};

}  // namespace droste
