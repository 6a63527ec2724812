// SPDX-License-Identifier: Apache-2.0
// The local APIC: acceptance, priority, acknowledge, EOI, local interrupt sources, reset and saving.
#include "devices/local_apic/local_apic.h"

namespace droste {

namespace {
constexpr u64 apic_base_reset = 0xFEE0'0000;
constexpr u32 lvt_mask_bit = 1u << 16;
constexpr u32 lvt_remote_irr = 1u << 14;
constexpr u32 lvt_level_triggered = 1u << 15;

DeliveryMode mode_of(u32 lvt) { return static_cast<DeliveryMode>(bits(lvt, 10, 8)); }
}  // namespace

LocalApic::LocalApic(LocalApicConfig config, ApicBus& bus, EventQueue& queue, const TimeSource& time,
                     CpuPins& pins)
    : config_(config), bus_(bus), pins_(pins), timer_(queue, time, config.bus_hz, *this) {
    bus.attach(*this);
    apic_base_ = apic_base_reset | 1u << 11;
}

void LocalApic::reset() {
    apic_base_ = apic_base_reset | 1u << 11 | (config_.bootstrap_processor ? 1u << 8 : 0);
    pin_levels_ = 0;
    reset_registers();
}

// SDM "Local APIC State After an INIT Reset": as after power-up, but the APIC ID stays; so does the mode.
void LocalApic::init_reset() { reset_registers(); }

void LocalApic::reset_registers() {
    irr_.clear();
    isr_.clear();
    tmr_.clear();
    icr_low_ = icr_high_ = ldr_ = divide_ = esr_ = errors_since_ = 0;
    tpr_ = 0;
    dfr_ = ~0u;
    svr_ = 0xFF;
    lvt_.fill(lvt_mask_bit);
    error_armed_ = true;
    ext_int_latched_ = false;
    timer_.reset();
    update();
}

void LocalApic::set_virtual_wire() {
    set_svr(0, 0x1FF);
    write_lvt(lvt_lint0, 0x700);
    write_lvt(lvt_lint1, 0x400);
}

// Recomputes what the processor sees. SDM "Task and Processor Priorities".
void LocalApic::update() {
    highest_irr_ = irr_.highest();
    highest_isr_ = isr_.highest();
    const u8 in_service = highest_isr_ < 0 ? 0 : static_cast<u8>(highest_isr_);
    ppr_ = tpr_ >> 4 >= in_service >> 4 ? tpr_ : in_service & 0xF0;
    const bool fixed = globally_enabled() && highest_irr_ >= 0 && highest_irr_ >> 4 > ppr_ >> 4;
    const bool pending = fixed || ext_int_pending();
    if (pending == pending_) return;
    pending_ = pending;
    pins_.interrupt_pending_changed();
}

bool LocalApic::ext_int_pending() const {
    if (ext_int_latched_) return true;
    if (!bit(pin_levels_, lint0)) return false;
    // A disabled APIC leaves the LINT0 pin to be the processor's INTR.
    if (!globally_enabled()) return true;
    return (lvt_[lvt_lint0] & lvt_mask_bit) == 0 && mode_of(lvt_[lvt_lint0]) == DeliveryMode::ext_int;
}

u8 LocalApic::acknowledge() {
    const u8 spurious = static_cast<u8>(svr_);
    if (ext_int_pending()) {
        ext_int_latched_ = false;
        const u8 vector = bus_.acknowledge_8259(spurious);
        update();
        return vector;
    }
    // The priority may have been raised since the request: the spurious vector, which sets no ISR bit.
    if (!pending_) return spurious;
    const u8 vector = static_cast<u8>(highest_irr_);
    irr_.erase(vector);
    isr_.insert(vector);
    update();
    return vector;
}

void LocalApic::end_of_interrupt() {
    if (highest_isr_ < 0) return;
    const u8 vector = static_cast<u8>(highest_isr_);
    isr_.erase(vector);
    const bool level = tmr_.contains(vector);
    update();
    if (!level) return;
    if (lvt_[lvt_lint0] & lvt_remote_irr && static_cast<u8>(lvt_[lvt_lint0]) == vector) {
        lvt_[lvt_lint0] &= ~lvt_remote_irr;
        level_triggered_lint0();
    }
    if (!bit(svr_, 12)) bus_.broadcast_eoi(vector);
}

void LocalApic::set_cr8(u8 value) {
    tpr_ = static_cast<u8>(value << 4);
    update();
}

void LocalApic::raise(u8 vector) {
    if (software_enabled() && globally_enabled()) accept_fixed(vector, TriggerMode::edge);
}

void LocalApic::accept_fixed(u8 vector, TriggerMode trigger) {
    if (vector < 16) {
        error(receive_illegal_vector);
        return;
    }
    irr_.insert(vector);
    if (trigger == TriggerMode::level) {
        tmr_.insert(vector);
    } else {
        tmr_.erase(vector);
    }
    update();
}

bool LocalApic::accept(const ApicMessage& m) {
    if (!globally_enabled()) return false;
    switch (m.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority:
        if (!software_enabled()) return false;
        accept_fixed(m.vector, m.trigger);
        return m.vector >= 16;
    case DeliveryMode::nmi: pins_.nmi(); return true;
    case DeliveryMode::init: pins_.init(); return true;
    case DeliveryMode::startup: pins_.sipi(m.vector); return true;
    case DeliveryMode::ext_int:
        ext_int_latched_ = true;
        update();
        return true;
    case DeliveryMode::smi:  // there is no system-management mode to enter
    case DeliveryMode::reserved: return false;
    }
    return false;
}

// SDM "Determining IPI Destination".
bool LocalApic::is_destination(const ApicMessage& m) const {
    if (!globally_enabled()) return false;
    const u32 broadcast = m.wide ? ~0u : 0xFF;
    if (m.destination == broadcast) return true;
    if (m.destination_mode == DestinationMode::physical)
        return m.destination == (x2apic_mode() ? config_.id : config_.id & 0xFF);
    if (x2apic_mode()) {
        const u32 cluster = config_.id >> 4;
        return m.destination >> 16 == (cluster & 0xFFFF) && bit(m.destination & 0xFFFF, config_.id & 15);
    }
    if (m.destination > 0xFF) return false;
    const u32 logical_id = ldr_ >> 24;
    if (dfr_ >> 28 == 0xF) return (m.destination & logical_id) != 0;  // flat model
    return m.destination >> 4 == logical_id >> 4 && (m.destination & logical_id & 0xF) != 0;
}

void LocalApic::send(u32 low, u32 destination) {
    ApicMessage m;
    m.destination = destination;
    m.wide = x2apic_mode();
    m.mode = static_cast<DeliveryMode>(bits(low, 10, 8));
    m.destination_mode = bit(low, 11) ? DestinationMode::logical : DestinationMode::physical;
    m.vector = static_cast<u8>(low);
    // The trigger mode of an IPI is ignored, except that INIT with level 0 is the obsolete INIT deassert.
    if (m.mode == DeliveryMode::init && bit(low, 15) && !bit(low, 14)) return;
    if (m.mode == DeliveryMode::reserved || m.mode == DeliveryMode::ext_int) return;
    if ((m.mode == DeliveryMode::fixed || m.mode == DeliveryMode::lowest_priority) && m.vector < 16) {
        error(send_illegal_vector);
        return;
    }
    bus_.deliver(m, static_cast<Shorthand>(bits(low, 19, 18)), this);
}

// SDM "User-Interrupt Posted": NDST holds an xAPIC ID in bits 15:8.
void LocalApic::send_user_notification(u32 destination, u8 vector) {
    send(vector, x2apic_mode() ? destination : bits(destination, 15, 8));
}

// SDM "Error Handling": errors collect until ESR is written, which also re-arms the error interrupt.
void LocalApic::error(u32 error_bit) {
    errors_since_ |= error_bit;
    if (!error_armed_) return;
    error_armed_ = false;
    deliver_local(lvt_error);
}

void LocalApic::timer_expired() { deliver_local(lvt_timer); }

void LocalApic::deliver_local(Lvt entry) {
    const u32 lvt = lvt_[entry];
    if (lvt & lvt_mask_bit || !globally_enabled()) return;
    if (entry == lvt_performance) lvt_[entry] |= lvt_mask_bit;  // a counter's interrupt masks its own entry
    switch (entry == lvt_timer || entry == lvt_error ? DeliveryMode::fixed : mode_of(lvt)) {
    case DeliveryMode::fixed: accept_fixed(static_cast<u8>(lvt), TriggerMode::edge); break;
    case DeliveryMode::nmi: pins_.nmi(); break;
    case DeliveryMode::init: pins_.init(); break;
    default: break;  // ExtINT follows the pin, SMI has nowhere to go
    }
}

// LINT0 with fixed delivery and level trigger: one message at a time, the next after the EOI.
void LocalApic::level_triggered_lint0() {
    u32& lvt = lvt_[lvt_lint0];
    if (!bit(pin_levels_, lint0) || lvt & (lvt_mask_bit | lvt_remote_irr) || !globally_enabled()) return;
    if (mode_of(lvt) != DeliveryMode::fixed || !(lvt & lvt_level_triggered)) return;
    if (static_cast<u8>(lvt) >= 16) lvt |= lvt_remote_irr;
    accept_fixed(static_cast<u8>(lvt), TriggerMode::level);
}

void LocalApic::set_level(unsigned pin, bool asserted) {
    if (pin > corrected_machine_check || bit(pin_levels_, pin) == asserted) return;
    pin_levels_ ^= static_cast<u8>(1u << pin);
    if (asserted) {
        static constexpr Lvt entry_of[] = {lvt_lint0, lvt_lint1, lvt_thermal, lvt_performance, lvt_cmci};
        const u32 lvt = lvt_[entry_of[pin]];
        if (pin == lint1 && !globally_enabled()) {
            pins_.nmi();
        } else if (pin == lint0 && mode_of(lvt) == DeliveryMode::fixed && lvt & lvt_level_triggered) {
            level_triggered_lint0();
        } else {
            deliver_local(entry_of[pin]);
        }
    }
    update();
}

void LocalApic::visit(Archive& archive) {
    archive.section("local_apic", 1);
    archive.field("apic_base", apic_base_);
    archive.field("tpr", tpr_);
    archive.field("ldr", ldr_);
    archive.field("dfr", dfr_);
    archive.field("svr", svr_);
    archive.field("icr_low", icr_low_);
    archive.field("icr_high", icr_high_);
    archive.field("divide", divide_);
    archive.field("esr", esr_);
    archive.field("errors_since", errors_since_);
    archive.field("error_armed", error_armed_);
    archive.field("ext_int_latched", ext_int_latched_);
    archive.field("pin_levels", pin_levels_);
    archive.field("lvt", lvt_);
    irr_.visit(archive, "irr");
    isr_.visit(archive, "isr");
    tmr_.visit(archive, "tmr");
    timer_.visit(archive);
    if (archive.mode() == Archive::Mode::load) update();
}

}  // namespace droste
