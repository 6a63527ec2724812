// SPDX-License-Identifier: Apache-2.0
// The ACPI fixed hardware. ACPI specification "ACPI Hardware Specification".
#include "devices/acpi_pm/acpi_pm.h"

namespace droste {

namespace {
enum Pm1 : u64 {
    tmr = 1u << 0,
    bm = 1u << 4,
    gbl = 1u << 5,
    pwrbtn = 1u << 8,
    slpbtn = 1u << 9,
    rtc = 1u << 10,
    wak = 1u << 15
};
constexpr u64 enables = tmr | gbl | pwrbtn | slpbtn | rtc;
constexpr u64 sci_en = 1u << 0, gbl_rls = 1u << 2, slp_en = 1u << 13;
}  // namespace

AcpiPm::AcpiPm(AcpiPmConfig config, EventQueue& queue, const TimeSource& time, InterruptLine sci,
               PlatformControl& platform)
    : config_(config), queue_(queue), time_(time), clock_{clock_hz, time.master_hz()}, sci_(sci),
      platform_(platform) {}

void AcpiPm::reset() {
    file.reset(*this);
    if (config_.acpi_mode_at_reset) control_ = sci_en;
    next_rollover_ = 0;
    note_rollover();
    status_ = 0;
    update();
}

// TMR_STS follows changes of the timer's top bit; noticed when somebody looks, or by the event if it is
// enabled.
void AcpiPm::note_rollover() {
    const u64 half = 1ull << (timer_bits() - 1);
    const u64 count = timer_now();
    if (count < next_rollover_) return;
    status_ |= tmr;
    next_rollover_ = (count / half + 1) * half;
}

u64 AcpiPm::read_timer(u64) { return timer_now() & ((1ull << timer_bits()) - 1); }

u64 AcpiPm::read_status(u64) {
    note_rollover();
    return status_;
}

// Bits are cleared in the hook, after a rollover that nobody has noticed yet has been taken into account.
void AcpiPm::wrote_status(u64 before, u64 after) {
    const u64 cleared = before & ~after;
    status_ = before;
    const u64 last = next_rollover_;
    note_rollover();
    status_ &= ~cleared;
    if (last != next_rollover_) status_ |= tmr;
    update();
}

void AcpiPm::wrote_enable(u64, u64) { update(); }

void AcpiPm::wrote_control(u64 before, u64 after) {
    // SCI_EN belongs to the SMI handler; GBL_RLS and SLP_EN read as zero.
    control_ = (after & ~(gbl_rls | slp_en | sci_en)) | (before & sci_en);
    if (after & slp_en) {
        if (bits(after, 12, 10) == config_.soft_off_type) {
            platform_.power_off("ACPI S5");
        } else {
            set_status(wak);  // other sleeping states are not entered: awake again at once
        }
    }
    update();
}

void AcpiPm::set_status(u64 status_bit) {
    status_ |= status_bit;
    update();
}

void AcpiPm::press_power_button() { set_status(pwrbtn); }
void AcpiPm::release_global_lock() { set_status(gbl); }

void AcpiPm::raise_gpe(unsigned event) {
    gpe_status_ |= 1ull << (event & 15);
    update();
}

void AcpiPm::smi_command(u8 value) {
    if (value == config_.acpi_enable) control_ |= sci_en;
    if (value == config_.acpi_disable) control_ &= ~sci_en;
    update();
}

void AcpiPm::due(Time) {
    note_rollover();
    update();
}

void AcpiPm::update() {
    note_rollover();
    const bool request = (status_ & enable_ & enables) != 0 || (gpe_status_ & gpe_enable_) != 0;
    sci_.set(request && control_ & sci_en);
    queue_.schedule(event_, enable_ & tmr && !(status_ & tmr) ? clock_.time_of(next_rollover_) : never);
}

void AcpiPm::visit(Archive& archive) {
    archive.section("acpi_pm", 1);
    file.visit(*this, archive);
    archive.field("next_rollover", next_rollover_);
    visit_event(archive, "due", queue_, event_);
}

const Reg<AcpiPm> AcpiPm::registers[] = {
    {.offset = 0x00, .width = Width::word, .name = "PM1_STS", .on = On::w1c, .stored = &AcpiPm::status_,
     .mask = tmr | bm | gbl | pwrbtn | slpbtn | rtc | wak, .reading = &AcpiPm::read_status,
     .wrote = &AcpiPm::wrote_status},
    {.offset = 0x02, .width = Width::word, .name = "PM1_EN", .stored = &AcpiPm::enable_, .mask = enables,
     .wrote = &AcpiPm::wrote_enable},
    {.offset = 0x04, .width = Width::word, .name = "PM1_CNT", .stored = &AcpiPm::control_, .mask = 0x3C06,
     .wrote = &AcpiPm::wrote_control},
    {.offset = 0x08, .width = Width::dword, .name = "PM_TMR", .on = On::ro, .reading = &AcpiPm::read_timer},
    {.offset = 0x20, .width = Width::word, .name = "GPE0_STS", .on = On::w1c, .stored = &AcpiPm::gpe_status_,
     .mask = 0xFFFF, .wrote = &AcpiPm::wrote_enable},
    {.offset = 0x22, .width = Width::word, .name = "GPE0_EN", .stored = &AcpiPm::gpe_enable_, .mask = 0xFFFF,
     .wrote = &AcpiPm::wrote_enable},
};
const RegisterFile<AcpiPm> AcpiPm::file{AcpiPm::registers};

u64 SmiCommandPort::read(u64 offset, Width width) {
    const u64 both = command_ | u64(status_) << 8;
    return offset < 2 ? both >> (8 * offset) & width_mask(width) : 0;
}

void SmiCommandPort::write(u64 offset, Width width, u64 value) {
    if (offset == 1 || (offset == 0 && width != Width::byte))
        status_ = static_cast<u8>(value >> (offset == 0 ? 8 : 0));
    if (offset != 0) return;
    command_ = static_cast<u8>(value);
    pm_.smi_command(command_);
}

void SmiCommandPort::visit(Archive& archive) {
    archive.section("smi_command_port", 1);
    archive.field("command", command_);
    archive.field("status", status_);
}

}  // namespace droste
