// SPDX-License-Identifier: Apache-2.0
// The real-time clock: registers are brought up to date when somebody looks, or when an interrupt needs it.
#include "devices/rtc/rtc.h"

#include <algorithm>

namespace droste {

namespace {
constexpr u64 ticks_per_second = 32768;
constexpr u64 update_warning = 8;  // ticks for which UIP announces an update: 244 microseconds
constexpr u64 first_tick = 2 * ticks_per_second;
constexpr u8 b_set = 0x80, b_pie = 0x40, b_aie = 0x20, b_uie = 0x10, b_binary = 0x04, b_24_hours = 0x02;
constexpr u8 c_irqf = 0x80, c_pf = 0x40, c_af = 0x20, c_uf = 0x10;
constexpr u64 seconds_per_day = 86400;

// Days since 1970-01-01 of a civil date, and back (proleptic Gregorian calendar, eras of 400 years).
i64 days_from_civil(i64 y, unsigned m, unsigned d) {
    y -= m <= 2;
    const i64 era = (y >= 0 ? y : y - 399) / 400;
    const unsigned yoe = static_cast<unsigned>(y - era * 400);
    const unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
    return era * 146097 + static_cast<i64>(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

struct Civil {
    i64 year;
    unsigned month, day;
};
Civil civil_from_days(i64 z) {
    z += 719468;
    const i64 era = (z >= 0 ? z : z - 146096) / 146097;
    const unsigned doe = static_cast<unsigned>(z - era * 146097);
    const unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const unsigned mp = (5 * doy + 2) / 153;
    const unsigned month = mp < 10 ? mp + 3 : mp - 9;
    return {static_cast<i64>(yoe) + era * 400 + (month <= 2 ? 1 : 0), month, doy - (153 * mp + 2) / 5 + 1};
}
}  // namespace

Rtc::Rtc(EventQueue& queue, const TimeSource& time, InterruptLine irq8, i64 epoch)
    : queue_(queue), time_(time), clock_{ticks_per_second, time.master_hz()}, irq8_(irq8) {
    ram_[reg_a] = 0x26;
    ram_[reg_b] = b_24_hours;
    ram_[reg_d] = 0x80;  // the battery is good
    ram_[0x14] = 0x06;   // equipment: FPU, pointing device
    phase_ = first_tick;
    synced_ = first_tick;
    set_date(epoch);
    set_memory_size(0, 0);
}

u64 Rtc::tick() const { return clock_.count_at(time_.now()) + first_tick; }

// MC146818 "RESET": time, alarm and memory stay, interrupt enables and flags are cleared.
void Rtc::reset() {
    sync();
    ram_[reg_b] &= static_cast<u8>(~(b_pie | b_aie | b_uie | 0x08));
    ram_[reg_c] = 0;
    index_ = 0;
    update();
}

void Rtc::set_cmos(u8 index, u8 value) {
    if (index > reg_d && index < ram_.size()) ram_[index] = value;
}

void Rtc::set_memory_size(u64 below_4g, u64 above_4g) {
    const auto word = [&](u8 at, u64 value) {
        ram_[at] = static_cast<u8>(value);
        ram_[at + 1] = static_cast<u8>(value >> 8);
    };
    constexpr u64 mib = 1 << 20, kib = 1 << 10;
    const u64 extended = below_4g > mib ? std::min<u64>((below_4g - mib) / kib, 0xFFFF) : 0;
    const u64 above_16m = below_4g > 16 * mib ? std::min<u64>((below_4g - 16 * mib) / (64 * kib), 0xFFFF) : 0;
    word(0x15, 640);
    word(0x17, extended);
    word(0x30, extended);
    word(0x34, above_16m);
    const u64 high = above_4g / (64 * kib);
    ram_[0x5B] = static_cast<u8>(high);
    ram_[0x5C] = static_cast<u8>(high >> 8);
    ram_[0x5D] = static_cast<u8>(high >> 16);
}

// --- time ---

unsigned Rtc::decode(u8 raw) const { return ram_[reg_b] & b_binary ? raw : (raw >> 4) * 10u + (raw & 15); }

u8 Rtc::encode(unsigned value) const {
    return static_cast<u8>(ram_[reg_b] & b_binary ? value : (value / 10) << 4 | value % 10);
}

u8 Rtc::encode_hour(unsigned hour) const {
    if (ram_[reg_b] & b_24_hours) return encode(hour);
    const u8 twelve = encode(hour % 12 == 0 ? 12 : hour % 12);
    return hour >= 12 ? twelve | 0x80 : twelve;
}

i64 Rtc::date() const {
    unsigned hour = decode(ram_[hours]);
    if (!(ram_[reg_b] & b_24_hours)) hour = decode(ram_[hours] & 0x7F) % 12 + (ram_[hours] & 0x80 ? 12 : 0);
    const i64 full_year = static_cast<i64>(decode(ram_[century])) * 100 + decode(ram_[year]);
    const unsigned m = std::clamp(decode(ram_[month]), 1u, 12u);
    const i64 days = days_from_civil(full_year, m, std::max(decode(ram_[day]), 1u));
    return days * static_cast<i64>(seconds_per_day) + hour * 3600 + decode(ram_[minutes]) * 60 +
           decode(ram_[seconds]);
}

void Rtc::set_date(i64 since_1970) {
    i64 days = since_1970 / static_cast<i64>(seconds_per_day);
    i64 rest = since_1970 % static_cast<i64>(seconds_per_day);
    if (rest < 0) {
        rest += seconds_per_day;
        --days;
    }
    const Civil c = civil_from_days(days);
    const unsigned of_day = static_cast<unsigned>(rest);
    ram_[seconds] = encode(of_day % 60);
    ram_[minutes] = encode(of_day / 60 % 60);
    ram_[hours] = encode_hour(of_day / 3600);
    ram_[weekday] =
        encode(static_cast<unsigned>((days % 7 + 7 + 4) % 7) + 1);  // 1970-01-01 was a Thursday; 1 = Sunday
    ram_[day] = encode(c.day);
    ram_[month] = encode(c.month);
    ram_[year] = encode(static_cast<unsigned>((c.year % 100 + 100) % 100));
    ram_[century] = encode(static_cast<unsigned>((c.year / 100 % 100 + 100) % 100));
}

bool Rtc::alarm_matches() const {
    const auto matches = [&](Register alarm, Register now) {
        return ram_[alarm] >= 0xC0 || ram_[alarm] == ram_[now];  // 11xxxxxx: any
    };
    return matches(seconds_alarm, seconds) && matches(minutes_alarm, minutes) && matches(hours_alarm, hours);
}

void Rtc::advance(u64 gone) {
    if (gone == 0 || ram_[reg_b] & b_set) return;
    ram_[reg_c] |= c_uf;
    i64 now = date();
    // Beyond a day the alarm has had every chance: only the last day is stepped through.
    if (gone > seconds_per_day) {
        now += static_cast<i64>(gone - seconds_per_day);
        gone = seconds_per_day;
    }
    if (ram_[reg_c] & c_af) {
        set_date(now + static_cast<i64>(gone));
        return;
    }
    for (; gone != 0; --gone) {
        set_date(++now);
        if (alarm_matches()) {
            ram_[reg_c] |= c_af;
            set_date(now + static_cast<i64>(gone) - 1);
            return;
        }
    }
}

u64 Rtc::periodic_ticks() const {
    const unsigned rate = ram_[reg_a] & 15;
    if (rate == 0) return 0;
    return rate <= 2 ? 128u << (rate - 1) : 1u << (rate - 1);
}

void Rtc::sync() {
    const u64 now = tick();
    const u64 before = synced_;
    if (now <= before) return;
    synced_ = now;
    if (!running()) return;
    const auto passed = [&](u64 period) { return (now - phase_) / period - (before - phase_) / period; };
    if (const u64 period = periodic_ticks(); period != 0 && passed(period) != 0) ram_[reg_c] |= c_pf;
    advance(passed(ticks_per_second));
}

bool Rtc::updating() const {
    if (!running() || ram_[reg_b] & b_set) return false;
    return (tick() - phase_) % ticks_per_second >= ticks_per_second - update_warning;
}

void Rtc::due(Time) {
    sync();
    update();
}

// Drives IRQ8 and waits for the next thing that could raise it.
void Rtc::update() {
    const u8 enabled = ram_[reg_b] & (b_pie | b_aie | b_uie);  // the flags of register C have the same places
    const bool request = ram_[reg_c] & enabled;
    ram_[reg_c] = static_cast<u8>((ram_[reg_c] & ~c_irqf) | (request ? c_irqf : 0));
    irq8_.set(request);
    Time when = never;
    if (!request && running()) {
        const u64 now = tick();
        const auto next = [&](u64 period) { return phase_ + ((now - phase_) / period + 1) * period; };
        u64 at = ~0ull;
        if (enabled & (b_aie | b_uie) && !(ram_[reg_b] & b_set)) at = next(ticks_per_second);
        if (enabled & b_pie && periodic_ticks() != 0) at = std::min(at, next(periodic_ticks()));
        if (at != ~0ull) when = clock_.time_of(at - first_tick);
    }
    queue_.schedule(event_, when);
}

// --- registers ---

u64 Rtc::read(u64 offset, Width width) {
    if (offset != 1) return ~0ull;  // the index port is write-only
    (void)width;
    return read_register(index_ & 0x7F);
}

void Rtc::write(u64 offset, Width width, u64 value) {
    if (offset == 0) {
        index_ = static_cast<u8>(value);
        if (width != Width::byte) write_register(index_ & 0x7F, static_cast<u8>(value >> 8));
    } else if (offset == 1) {
        write_register(index_ & 0x7F, static_cast<u8>(value));
    }
}

u8 Rtc::read_register(u8 index) {
    sync();
    update();
    if (index == reg_a) return static_cast<u8>((ram_[reg_a] & 0x7F) | (updating() ? 0x80 : 0));
    const u8 v = ram_[index];
    if (index == reg_c) {
        ram_[reg_c] = 0;
        update();
    }
    return v;
}

void Rtc::write_register(u8 index, u8 value) {
    sync();
    switch (index) {
    case reg_a: {
        const bool ran = running();
        ram_[reg_a] = value & 0x7F;
        // A divider that is let go makes its first update after half a second.
        if (!ran && running()) phase_ = tick() - ticks_per_second / 2;
        break;
    }
    case reg_c:
    case reg_d: break;
    case reg_b:
        ram_[reg_b] = value & b_set ? value & static_cast<u8>(~b_uie) : value;
        break;  // SET clears UIE
    default: ram_[index] = value; break;
    }
    update();
}

void Rtc::visit(Archive& archive) {
    archive.section("rtc", 1);
    archive.field("ram", ram_);
    archive.field("index", index_);
    archive.field("phase", phase_);
    archive.field("synced", synced_);
    if (archive.mode() == Archive::Mode::load) phase_ = std::min(phase_, synced_);
    visit_event(archive, "due", queue_, event_);
}

}  // namespace droste
