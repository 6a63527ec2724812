// SPDX-License-Identifier: Apache-2.0
// Hpet: high-precision event timers with legacy replacement. "IA-PC HPET Specification" 1.0a.
#pragma once
#include <array>

#include "base/device.h"
#include "base/events.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"
#include "devices/register_file.h"

namespace droste {

struct HpetConfig {
    u64 hz = 100'000'000;  ///< must divide 10^15 (the period is told in femtoseconds), at least 10 MHz
    u32 route_capability = 0x00F0'0000;  ///< the I/O APIC inputs that a timer may be routed to
};

/// The 1-KByte register block. In legacy replacement timers 0 and 1 take over IRQ0 and IRQ8, so the PIT's and
/// the RTC's outputs go through this device: wire them to its input pins.
class Hpet final : public Device, public InterruptSink {
public:
    static constexpr unsigned timers = 3;
    enum Pin : unsigned { pit_input, rtc_input };

    /// `gsi` has one pin for each I/O APIC input.
    Hpet(HpetConfig config, EventQueue& queue, const TimeSource& time, InterruptSink& gsi,
         InterruptLine irq0, InterruptLine irq8);

    const char* name() const override { return "hpet"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;
    void set_level(unsigned pin, bool asserted) override;

private:
    class Timer {
    public:
        explicit Timer(Hpet& owner) : owner_(owner) {}
        static const Reg<Timer> registers[];
        static const RegisterFile<Timer> file;
        void reset();
        void visit(Archive& archive);
        /// Looks for the next match at or after count `from`.
        void arm(u64 from);
        void drive();

    private:
        bool periodic() const { return bit(config_, 3); }
        bool level() const { return bit(config_, 1); }
        u64 width_mask() const { return bit(config_, 8) ? 0xFFFF'FFFF : ~0ull; }
        u64 status_bit() const { return 1ull << (this - owner_.timers_.data()); }
        u64 read_config(u64 stored);
        u64 read_comparator(u64) { return comparator_ & width_mask(); }
        void wrote_config(u64 before, u64 after);
        void wrote_comparator(u64 before, u64 after);
        void due(Time now);
        void set_line(bool asserted, u64 config);

        Hpet& owner_;
        MemberEvent<Timer> event_{*this, &Timer::due};
        u64 config_ = 0;
        u64 written_ = 0;     // what was last written to the comparator: the period of a periodic timer
        u64 comparator_ = 0;
    };
    static const Reg<Hpet> registers[];
    static const RegisterFile<Hpet> file;

    bool enabled() const { return bit(general_, 0); }
    bool legacy() const { return bit(general_, 1); }
    u64 counter() const { return enabled() ? count_ + (clock_.count_at(time_.now()) - started_) : count_; }
    u64 read_capabilities(u64);
    u64 read_counter(u64) { return counter(); }
    void wrote_general(u64 before, u64 after);
    void wrote_status(u64 before, u64 after);
    void wrote_counter(u64 before, u64 after);
    void drive_legacy();

    const HpetConfig config_;
    EventQueue& queue_;
    const TimeSource& time_;
    ClockRatio clock_;
    InterruptSink& gsi_;
    InterruptLine irq0_, irq8_;

    u64 general_ = 0, status_ = 0;
    u64 count_ = 0;    // the main counter when it was started, or now if it stands
    u64 started_ = 0;  // the clock's count at that moment
    bool pit_level_ = false, rtc_level_ = false;
    std::array<Timer, timers> timers_;
};

}  // namespace droste
