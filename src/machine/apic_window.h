// SPDX-License-Identifier: Apache-2.0
// ApicWindow: between a processor and its local APIC. ApicPages: the register pages in the memory map, each
// of which shows every processor its own registers.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/bus.h"
#include "base/interrupt_controller.h"
#include "devices/local_apic/local_apic.h"

namespace droste {

/// Knows which processor an access comes from.
class RunningProcessor {
public:
    virtual ~RunningProcessor() = default;
    virtual unsigned running_processor() const = 0;
};

class ApicWindow;

/// IA32_APIC_BASE of each processor says where it finds its registers; usually all say the same.
class ApicPages {
public:
    ApicPages(MemoryBus& mmio, const RunningProcessor& running) : mmio_(mmio), running_(running) {}
    ~ApicPages();
    ApicPages(const ApicPages&) = delete;
    ApicPages& operator=(const ApicPages&) = delete;

    /// The window of the next processor.
    ApicWindow& add();

private:
    friend class ApicWindow;
    /// The page at one address.
    class Page final : public Device {
    public:
        Page(const ApicPages& pages, MachinePhys address) : pages_(pages), address_(address) {}
        const char* name() const override { return "local_apic_page"; }
        void reset() override {}
        u64 read(u64 offset, Width width) override;
        void write(u64 offset, Width width, u64 value) override;
        void visit(Archive&) override {}

    private:
        /// The running processor's APIC, if it is here.
        LocalApic* apic() const;
        const ApicPages& pages_;
        const MachinePhys address_;
    };
    struct Use {
        std::unique_ptr<Page> page;
        unsigned windows = 0;
        bool attached = false;
    };
    static constexpr u64 page_size = 0x1000;
    void take(MachinePhys address);
    void leave(MachinePhys address);

    MemoryBus& mmio_;
    const RunningProcessor& running_;
    std::deque<ApicWindow> windows_;
    std::map<u64, Use> uses_;  // by address
};

/// Exists before the local APIC, which in turn needs the processor: connect() closes the circle.
class ApicWindow final : public InterruptController {
public:
    explicit ApicWindow(ApicPages& pages) : pages_(pages) {}
    /// `tsc_offset`: what the processor's TSC is ahead of guest time.
    void connect(LocalApic& apic, const u64& tsc_offset) {
        apic_ = &apic;
        tsc_offset_ = &tsc_offset;
        place();
    }
    /// Moves the page after a write, a reset or a load.
    void place();
    LocalApic* apic() const { return apic_; }

    bool interrupt_pending() const override { return apic_ != nullptr && apic_->interrupt_pending(); }
    u8 acknowledge() override { return apic_->acknowledge(); }
    u8 cr8() const override { return apic_ == nullptr ? 0 : apic_->cr8(); }
    void set_cr8(u8 value) override { apic_->set_cr8(value); }
    std::optional<u64> read_msr(u32 index) override { return apic_->read_msr(index); }
    bool write_msr(u32 index, u64 value) override {
        if (index == ia32_tsc_deadline)
            tsc_changed();
        const bool ok = apic_->write_msr(index, value);
        if (ok && index == ia32_apic_base)
            place();
        return ok;
    }
    void raise(u8 vector) override { apic_->raise(vector); }
    void tsc_changed() override {
        if (apic_ != nullptr)
            apic_->set_tsc_offset(*tsc_offset_);
    }
    u32 id() const override { return apic_ == nullptr ? 0 : apic_->id(); }
    std::optional<MachinePhys> mmio_page() const override {
        return apic_ == nullptr ? std::nullopt : apic_->mmio_page();
    }
    void init_reset() override {
        if (apic_ != nullptr)
            apic_->init_reset();
    }

private:
    static constexpr u32 ia32_apic_base = 0x1B, ia32_tsc_deadline = 0x6E0;
    ApicPages& pages_;
    LocalApic* apic_ = nullptr;
    const u64* tsc_offset_ = nullptr;
    std::optional<MachinePhys> placed_;
};

}  // namespace droste
