// SPDX-License-Identifier: Apache-2.0
// LocalApic: the local APIC of one processor, in xAPIC and x2APIC mode. SDM "Advanced Programmable Interrupt
// Controller (APIC)".
#pragma once
#include <array>

#include "base/device.h"
#include "base/interrupt_controller.h"
#include "base/interrupt_line.h"
#include "devices/local_apic/apic_bus.h"
#include "devices/local_apic/apic_timer.h"

namespace droste {

struct LocalApicConfig {
    u32 id = 0;
    bool bootstrap_processor = true;
    unsigned max_phys_addr_bits = 46;
    u64 bus_hz = 1'000'000'000;
};

/// A set of 256 vectors that knows its highest member.
class VectorSet {
public:
    bool contains(u8 v) const { return bit(words_[v >> 6], v & 63); }
    void insert(u8 v) { words_[v >> 6] |= 1ull << (v & 63); }
    void erase(u8 v) { words_[v >> 6] &= ~(1ull << (v & 63)); }
    void clear() { words_ = {}; }
    /// The highest member, or -1.
    int highest() const {
        for (int w = 3; w >= 0; --w)
            if (words_[w] != 0) return 64 * w + 63 - __builtin_clzll(words_[w]);
        return -1;
    }
    /// One of the eight 32-bit registers in which the set appears.
    u32 part(unsigned index) const { return static_cast<u32>(words_[index >> 1 & 3] >> (32 * (index & 1))); }
    void visit(Archive& archive, std::string_view name) { archive.field(name, words_); }

private:
    std::array<u64, 4> words_{};
};

/// The device is the 4-KByte register page. As an InterruptSink it has the input pins of `Pin`.
class LocalApic final : public InterruptController,
                        public Device,
                        public InterruptSink,
                        private ApicTimer::Client {
public:
    enum Pin : unsigned { lint0, lint1, thermal_sensor, performance_counter, corrected_machine_check };

    LocalApic(LocalApicConfig config, ApicBus& bus, EventQueue& queue, const TimeSource& time, CpuPins& pins);

    // InterruptController
    bool interrupt_pending() const override { return pending_; }
    u8 acknowledge() override;
    u8 cr8() const override { return static_cast<u8>(tpr_ >> 4); }
    void set_cr8(u8 value) override;
    std::optional<u64> read_msr(u32 index) override;
    bool write_msr(u32 index, u64 value) override;
    void raise(u8 vector) override;
    std::optional<MachinePhys> mmio_page() const override;
    void init_reset() override;
    void end_of_interrupt() override;
    void send_user_notification(u32 destination, u8 vector) override;

    // Device
    const char* name() const override { return "local_apic"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

    // InterruptSink
    void set_level(unsigned pin, bool asserted) override;

    // ApicBus
    bool is_destination(const ApicMessage& message) const;
    bool accept(const ApicMessage& message);
    u8 processor_priority() const { return ppr_; }
    bool software_enabled() const { return bit(svr_, 8); }
    /// IA32_APIC_BASE.EN; CPUID.1:EDX.APIC follows it.
    bool globally_enabled() const { return bit(apic_base_, 11); }
    bool x2apic_mode() const { return bit(apic_base_, 10); }
    u32 id() const { return config_.id; }

    /// The TSC is the master time plus `offset`; the TSC-deadline follows.
    void set_tsc_offset(u64 offset) { timer_.set_tsc_offset(offset); }
    /// The state in which firmware hands the bootstrap processor over: APIC enabled, the 8259 through LINT0
    /// as ExtINT, NMI at LINT1. For boards that load a kernel without firmware.
    void set_virtual_wire();

private:
    struct Register;
    static const Register registers[];
    static const Register* find(u64 offset);

    enum Lvt : unsigned {
        lvt_timer,
        lvt_thermal,
        lvt_performance,
        lvt_lint0,
        lvt_lint1,
        lvt_error,
        lvt_cmci,
        lvts
    };
    enum ErrorBit : u32 {
        send_illegal_vector = 1u << 5,
        receive_illegal_vector = 1u << 6,
        illegal_address = 1u << 7
    };

    void reset_registers();
    void update();
    void accept_fixed(u8 vector, TriggerMode trigger);
    void error(u32 error_bit);
    void timer_expired() override;
    void deliver_local(Lvt entry);
    void level_triggered_lint0();
    bool ext_int_pending() const;
    bool set_apic_base(u64 value);
    void send(u32 low, u32 destination);

    // Register access, named in the table. `index` counts the 16-byte steps within a row.
    u32 get_id(unsigned) { return x2apic_mode() ? config_.id : config_.id << 24; }
    u32 get_version(unsigned);
    u32 get_tpr(unsigned) { return tpr_; }
    u32 get_apr(unsigned);
    u32 get_ppr(unsigned) { return ppr_; }
    u32 get_zero(unsigned) { return 0; }
    u32 get_ldr(unsigned);
    u32 get_dfr(unsigned) { return dfr_; }
    u32 get_svr(unsigned) { return svr_; }
    u32 get_isr(unsigned index) { return isr_.part(index); }
    u32 get_tmr(unsigned index) { return tmr_.part(index); }
    u32 get_irr(unsigned index) { return irr_.part(index); }
    u32 get_esr(unsigned) { return esr_; }
    u32 get_icr_low(unsigned) { return icr_low_; }
    u32 get_icr_high(unsigned) { return icr_high_; }
    template <Lvt entry> u32 get_lvt(unsigned) { return lvt_[entry]; }
    u32 get_initial_count(unsigned) { return timer_.initial_count(); }
    u32 get_current_count(unsigned) { return timer_.current_count(); }
    u32 get_divide(unsigned) { return divide_; }
    void set_tpr(unsigned, u32 value);
    void set_eoi(unsigned, u32) { end_of_interrupt(); }
    void set_ldr(unsigned, u32 value) { ldr_ = value; }
    void set_dfr(unsigned, u32 value) { dfr_ = value | 0x0FFF'FFFF; }
    void set_svr(unsigned, u32 value);
    void set_esr(unsigned, u32);
    void set_icr_low(unsigned, u32 value);
    void set_icr_high(unsigned, u32 value) { icr_high_ = value; }
    template <Lvt entry> void set_lvt(unsigned, u32 value) { write_lvt(entry, value); }
    void set_initial_count(unsigned, u32 value) { timer_.set_initial_count(value); }
    void set_divide(unsigned, u32 value);
    void set_self_ipi(unsigned, u32 value);
    void write_lvt(Lvt entry, u32 value);

    const LocalApicConfig config_;
    ApicBus& bus_;
    CpuPins& pins_;
    ApicTimer timer_;

    u64 apic_base_ = 0;
    u32 ldr_ = 0, dfr_ = 0, svr_ = 0, icr_low_ = 0, icr_high_ = 0, divide_ = 0;
    u32 esr_ = 0, errors_since_ = 0;  // ESR as last written, and what was detected since
    bool error_armed_ = true;
    bool ext_int_latched_ = false;    // an ExtINT message from the I/O APIC waits for its acknowledge cycle
    u8 tpr_ = 0;
    u8 pin_levels_ = 0;
    std::array<u32, lvts> lvt_{};
    VectorSet irr_, isr_, tmr_;

    // Derived by update().
    u8 ppr_ = 0;
    bool pending_ = false;
    int highest_irr_ = -1, highest_isr_ = -1;
};

}  // namespace droste
