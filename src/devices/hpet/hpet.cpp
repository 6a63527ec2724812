// SPDX-License-Identifier: Apache-2.0
// The HPET's main counter, comparators and interrupt routing.
#include "devices/hpet/hpet.h"

#include "base/assert.h"

namespace droste {

namespace {
constexpr u64 femtoseconds = 1'000'000'000'000'000;
constexpr u64 conf_level = 1u << 1, conf_enable = 1u << 2, conf_periodic = 1u << 3,
              conf_periodic_capable = 1u << 4, conf_64_bits = 1u << 5, conf_set_value = 1u << 6,
              conf_32_bit_mode = 1u << 8, conf_route = 0x1Fu << 9;
constexpr u64 timers_base = 0x100, timer_stride = 0x20;
}  // namespace

Hpet::Hpet(HpetConfig config, EventQueue& queue, const TimeSource& time, InterruptSink& gsi,
           InterruptLine irq0, InterruptLine irq8)
    : config_(config), queue_(queue), time_(time), clock_{config.hz, time.master_hz()}, gsi_(gsi),
      irq0_(irq0), irq8_(irq8), timers_{Timer(*this), Timer(*this), Timer(*this)} {
    ASSERT(config.hz >= 10'000'000 && femtoseconds % config.hz == 0);
}

void Hpet::reset() {
    for (Timer& timer : timers_) timer.reset();
    file.reset(*this);
    started_ = 0;
    pit_level_ = rtc_level_ = false;
    irq0_.set(false);
    irq8_.set(false);
}

u64 Hpet::read(u64 offset, Width width) {
    if (offset < timers_base || offset >= timers_base + timers * timer_stride)
        return file.read(*this, offset, width);
    Timer& timer = timers_[(offset - timers_base) / timer_stride];
    return Timer::file.read(timer, (offset - timers_base) % timer_stride, width);
}

void Hpet::write(u64 offset, Width width, u64 value) {
    if (offset < timers_base || offset >= timers_base + timers * timer_stride) {
        file.write(*this, offset, width, value);
        return;
    }
    Timer& timer = timers_[(offset - timers_base) / timer_stride];
    Timer::file.write(timer, (offset - timers_base) % timer_stride, width, value);
}

void Hpet::set_level(unsigned pin, bool asserted) {
    if (pin == pit_input) pit_level_ = asserted;
    if (pin == rtc_input) rtc_level_ = asserted;
    if (legacy()) return;
    if (pin == pit_input) irq0_.set(asserted);
    if (pin == rtc_input) irq8_.set(asserted);
}

u64 Hpet::read_capabilities(u64) {
    return 1 | (timers - 1) << 8 | 1u << 13 | 1u << 15 | 0x8086ull << 16 | (femtoseconds / config_.hz) << 32;
}

void Hpet::wrote_general(u64 before, u64 after) {
    const bool was = bit(before, 0), is = bit(after, 0);
    if (was && !is) count_ += clock_.count_at(time_.now()) - started_;
    if (!was && is) started_ = clock_.count_at(time_.now());
    if (bit(before ^ after, 1)) drive_legacy();
    for (Timer& timer : timers_) {
        timer.drive();
        timer.arm(counter());
    }
}

// IRQ0 and IRQ8 change hands.
void Hpet::drive_legacy() {
    irq0_.set(!legacy() && pit_level_);
    irq8_.set(!legacy() && rtc_level_);
}

void Hpet::wrote_status(u64, u64) {
    for (Timer& timer : timers_) timer.drive();
}

// Writing the main counter is only defined while it stands.
void Hpet::wrote_counter(u64 before, u64) {
    if (enabled()) count_ = before;
}

void Hpet::visit(Archive& archive) {
    archive.section("hpet", 1);
    file.visit(*this, archive);
    archive.field("started", started_);
    archive.field("pit_level", pit_level_);
    archive.field("rtc_level", rtc_level_);
    for (Timer& timer : timers_) timer.visit(archive);
}

const Reg<Hpet> Hpet::registers[] = {
    {.offset = 0x000, .width = Width::qword, .name = "GCAP_ID", .on = On::ro,
     .reading = &Hpet::read_capabilities},
    {.offset = 0x010, .width = Width::qword, .name = "GEN_CONF", .stored = &Hpet::general_, .mask = 3,
     .wrote = &Hpet::wrote_general},
    {.offset = 0x020, .width = Width::qword, .name = "GINTR_STA", .on = On::w1c, .stored = &Hpet::status_,
     .mask = (1u << timers) - 1, .wrote = &Hpet::wrote_status},
    {.offset = 0x0F0, .width = Width::qword, .name = "MAIN_CNT", .stored = &Hpet::count_,
     .reading = &Hpet::read_counter, .wrote = &Hpet::wrote_counter},
};
const RegisterFile<Hpet> Hpet::file{Hpet::registers};

// --- one timer ---

void Hpet::Timer::reset() {
    file.reset(*this);
    set_line(false, config_);
    comparator_ = ~0ull;
    owner_.queue_.cancel(event_);
}

u64 Hpet::Timer::read_config(u64 stored) {
    return stored | conf_periodic_capable | conf_64_bits | u64(owner_.config_.route_capability) << 32;
}

void Hpet::Timer::wrote_config(u64 before, u64 after) {
    // A route that the capability does not offer is not taken.
    if (!bit(owner_.config_.route_capability, static_cast<unsigned>(bits(after, 13, 9))))
        config_ = (config_ & ~conf_route) | (before & conf_route);
    if ((before ^ config_) & (conf_route | conf_enable)) set_line(false, before);
    if (!level()) owner_.status_ &= ~status_bit();
    drive();
    arm(owner_.counter());
}

// A write sets the period of a periodic timer; it reaches the comparator itself only after TN_VAL_SET.
void Hpet::Timer::wrote_comparator(u64, u64 after) {
    if (!periodic() || config_ & conf_set_value) comparator_ = after & width_mask();
    config_ &= ~conf_set_value;
    arm(owner_.counter());
}

void Hpet::Timer::arm(u64 from) {
    Time when = never;
    if (owner_.enabled()) {
        const u64 wait = (comparator_ - from) & width_mask();
        const u64 match = from + wait;  // in the main counter's terms
        const u64 clock = owner_.started_ + (match - owner_.count_);
        if (match >= from && clock >= owner_.started_) when = owner_.clock_.time_of(clock);
    }
    owner_.queue_.schedule(event_, when);
}

void Hpet::Timer::due(Time) {
    const u64 now = owner_.counter();
    if (periodic() && (written_ & width_mask()) != 0) {
        const u64 period = written_ & width_mask();
        const u64 late = (now - comparator_) & width_mask();
        comparator_ = (comparator_ + (late / period + 1) * period) & width_mask();
    }
    if (level()) {
        owner_.status_ |= status_bit();
        drive();
    } else if (config_ & conf_enable) {
        set_line(false, config_);  // an edge; the 8259 wants the level to stay until it is acknowledged
        set_line(true, config_);
        const bool replaces = owner_.legacy() && status_bit() < 4;
        if (!replaces) set_line(false, config_);
    }
    arm(now + 1);
}

/// The line of a level-triggered timer follows its status bit.
void Hpet::Timer::drive() {
    if (level()) set_line(config_ & conf_enable && owner_.status_ & status_bit(), config_);
}

void Hpet::Timer::set_line(bool asserted, u64 config) {
    if (owner_.legacy() && status_bit() == 1) owner_.irq0_.set(asserted);
    else if (owner_.legacy() && status_bit() == 2) owner_.irq8_.set(asserted);
    else if (const auto route = bits(config, 13, 9); route != 0)
        owner_.gsi_.set_level(static_cast<unsigned>(route), asserted);
}

void Hpet::Timer::visit(Archive& archive) {
    file.visit(*this, archive);
    archive.field("comparator", comparator_);
    visit_event(archive, "due", owner_.queue_, event_);
}

const Reg<Hpet::Timer> Hpet::Timer::registers[] = {
    {.offset = 0x00, .width = Width::qword, .name = "TIMER_CONF", .stored = &Timer::config_,
     .mask = conf_level | conf_enable | conf_periodic | conf_set_value | conf_32_bit_mode | conf_route,
     .reading = &Timer::read_config, .wrote = &Timer::wrote_config},
    {.offset = 0x08, .width = Width::qword, .name = "TIMER_COMPARATOR", .stored = &Timer::written_,
     .reset = ~0ull, .reading = &Timer::read_comparator, .wrote = &Timer::wrote_comparator},
};
const RegisterFile<Hpet::Timer> Hpet::Timer::file{Hpet::Timer::registers};

}  // namespace droste
