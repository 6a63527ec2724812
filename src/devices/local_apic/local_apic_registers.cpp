// SPDX-License-Identifier: Apache-2.0
// The local APIC's registers: one table for the memory-mapped page and for the x2APIC MSRs.
#include "devices/local_apic/local_apic.h"

namespace droste {

namespace {
enum class On : u8 { absent, rw, ro, wo };
constexpr u32 msr_apic_base = 0x1B;
constexpr u32 msr_tsc_deadline = 0x6E0;
constexpr u32 msr_x2apic_first = 0x800;
constexpr u32 msr_icr = 0x830;
constexpr u32 lvt_mask_bit = 1u << 16;
}  // namespace

struct LocalApic::Register {
    u16 offset;      // in the page; the MSR is 0x800 + offset / 16
    u8 count;        // registers side by side, 16 bytes apart
    const char* name;
    On xapic, x2apic;
    u32 writable;    // bits that a write sets; x2APIC mode faults on others, xAPIC mode ignores them
    u32 read_only;   // bits that x2APIC mode lets pass without effect
    u32 (LocalApic::*reading)(unsigned index);
    void (LocalApic::*writing)(unsigned index, u32 value);
};

u64 LocalApic::read(u64 offset, Width width) {
    if (!mmio_page()) return ~0ull;
    const unsigned within = offset & 15;
    if (offset >= 0x1000 || within + bytes(width) > 4) return 0;  // undefined by the SDM
    const Register* r = find(offset);
    if (r == nullptr || r->xapic == On::absent) {
        error(illegal_address);
        return 0;
    }
    if (r->xapic == On::wo) return 0;
    return (this->*r->reading)(static_cast<unsigned>(offset - r->offset) >> 4) >> (8 * within);
}

void LocalApic::write(u64 offset, Width width, u64 value) {
    if (!mmio_page() || offset >= 0x1000 || offset & 15 || width != Width::dword) return;
    const Register* r = find(offset);
    if (r == nullptr || r->xapic == On::absent) {
        error(illegal_address);
        return;
    }
    if (r->xapic == On::ro) return;
    (this->*r->writing)(static_cast<unsigned>(offset - r->offset) >> 4,
                        static_cast<u32>(value) & r->writable);
}

std::optional<u64> LocalApic::read_msr(u32 index) {
    if (index == msr_apic_base) return apic_base_;
    if (index == msr_tsc_deadline) return timer_.deadline();
    if (!globally_enabled() || !x2apic_mode() || index - msr_x2apic_first > 0xFF) return std::nullopt;
    const u32 offset = (index - msr_x2apic_first) << 4;
    const Register* r = find(offset);
    if (r == nullptr || r->x2apic == On::absent || r->x2apic == On::wo) return std::nullopt;
    if (index == msr_icr) return u64(icr_high_) << 32 | icr_low_;
    return (this->*r->reading)((offset - r->offset) >> 4);
}

bool LocalApic::write_msr(u32 index, u64 value) {
    if (index == msr_apic_base) return set_apic_base(value);
    if (index == msr_tsc_deadline) {
        timer_.set_deadline(value);
        return true;
    }
    if (!globally_enabled() || !x2apic_mode() || index - msr_x2apic_first > 0xFF) return false;
    const u32 offset = (index - msr_x2apic_first) << 4;
    const Register* r = find(offset);
    if (r == nullptr || r->x2apic == On::absent || r->x2apic == On::ro) return false;
    const u32 low = static_cast<u32>(value);
    if (low & ~(r->writable | r->read_only)) return false;
    if (index == msr_icr) {
        icr_high_ = static_cast<u32>(value >> 32);
    } else if (value >> 32) {
        return false;
    }
    (this->*r->writing)((offset - r->offset) >> 4, low & r->writable);
    return true;
}

// SDM "x2APIC State Transitions".
bool LocalApic::set_apic_base(u64 value) {
    const u64 address_bits = (1ull << config_.max_phys_addr_bits) - 0x1000;
    if (value & ~(address_bits | 1u << 8 | 1u << 10 | 1u << 11)) return false;
    const bool enable = bit(value, 11), extended = bit(value, 10);
    if (extended && !enable) return false;
    if (extended && !globally_enabled()) return false;                // disabled -> x2APIC
    if (!extended && enable && x2apic_mode()) return false;           // x2APIC -> xAPIC
    const bool was_enabled = globally_enabled(), was_extended = x2apic_mode();
    apic_base_ = value;
    if (was_enabled && !enable) reset_registers();
    if (extended && !was_extended) {  // LDR is derived from the ID from now on; the destination is not kept
        icr_high_ = 0;
        ldr_ = 0;
    }
    update();
    return true;
}

std::optional<MachinePhys> LocalApic::mmio_page() const {
    if (!globally_enabled() || x2apic_mode()) return std::nullopt;
    return MachinePhys(apic_base_ & ~0xFFFull);
}

// Version 0x15, the highest LVT entry, EOI-broadcast suppression.
u32 LocalApic::get_version(unsigned) { return 0x15 | (lvts - 1) << 16 | 1u << 24; }

// SDM "Task and Processor Priorities", arbitration priority.
u32 LocalApic::get_apr(unsigned) {
    const u32 request = highest_irr_ < 0 ? 0 : static_cast<u32>(highest_irr_) >> 4;
    const u32 service = highest_isr_ < 0 ? 0 : static_cast<u32>(highest_isr_) >> 4;
    const u32 task = tpr_ >> 4;
    if (task >= request && task > service) return tpr_;
    const u32 both = task & service;
    return (both > request ? both : request) << 4;
}

u32 LocalApic::get_ldr(unsigned) {
    if (!x2apic_mode()) return ldr_;
    return (config_.id >> 4) << 16 | 1u << (config_.id & 15);
}

void LocalApic::set_tpr(unsigned, u32 value) {
    tpr_ = static_cast<u8>(value);
    update();
}

void LocalApic::set_svr(unsigned, u32 value) {
    svr_ = value;
    if (!software_enabled())
        for (u32& entry : lvt_) entry |= lvt_mask_bit;
    update();
}

void LocalApic::set_esr(unsigned, u32) {
    esr_ = errors_since_;
    errors_since_ = 0;
    error_armed_ = true;
}

void LocalApic::set_icr_low(unsigned, u32 value) {
    icr_low_ = value;
    send(value, x2apic_mode() ? icr_high_ : icr_high_ >> 24);
}

void LocalApic::write_lvt(Lvt entry, u32 value) {
    if (!software_enabled()) value |= lvt_mask_bit;
    // Remote IRR is the APIC's; it has no meaning for an edge-triggered pin.
    if (bit(value, 15)) value |= lvt_[entry] & 1u << 14;
    lvt_[entry] = value;
    if (entry == lvt_timer) timer_.set_mode(static_cast<ApicTimer::Mode>(bits(value, 18, 17)));
    if (entry == lvt_lint0) level_triggered_lint0();
    update();
}

void LocalApic::set_self_ipi(unsigned, u32 value) {
    if (value < 16) error(send_illegal_vector);
    raise(static_cast<u8>(value));
}

void LocalApic::set_divide(unsigned, u32 value) {
    divide_ = value;
    timer_.set_divide_configuration(value);
}

// SDM "Local APIC Register Address Map" and "Local APIC Register Address Map Supported by x2APIC".
const LocalApic::Register LocalApic::registers[] = {
    {0x020, 1, "ID", On::ro, On::ro, 0, 0, &LocalApic::get_id, nullptr},
    {0x030, 1, "VERSION", On::ro, On::ro, 0, 0, &LocalApic::get_version, nullptr},
    {0x080, 1, "TPR", On::rw, On::rw, 0xFF, 0, &LocalApic::get_tpr, &LocalApic::set_tpr},
    {0x090, 1, "APR", On::ro, On::absent, 0, 0, &LocalApic::get_apr, nullptr},
    {0x0A0, 1, "PPR", On::ro, On::ro, 0, 0, &LocalApic::get_ppr, nullptr},
    {0x0B0, 1, "EOI", On::wo, On::wo, 0, 0, nullptr, &LocalApic::set_eoi},
    {0x0C0, 1, "RRD", On::ro, On::absent, 0, 0, &LocalApic::get_zero, nullptr},
    {0x0D0, 1, "LDR", On::rw, On::ro, 0xFF00'0000, 0, &LocalApic::get_ldr, &LocalApic::set_ldr},
    {0x0E0, 1, "DFR", On::rw, On::absent, 0xF000'0000, 0, &LocalApic::get_dfr, &LocalApic::set_dfr},
    {0x0F0, 1, "SVR", On::rw, On::rw, 0x13FF, 0, &LocalApic::get_svr, &LocalApic::set_svr},
    {0x100, 8, "ISR", On::ro, On::ro, 0, 0, &LocalApic::get_isr, nullptr},
    {0x180, 8, "TMR", On::ro, On::ro, 0, 0, &LocalApic::get_tmr, nullptr},
    {0x200, 8, "IRR", On::ro, On::ro, 0, 0, &LocalApic::get_irr, nullptr},
    {0x280, 1, "ESR", On::rw, On::rw, 0, 0, &LocalApic::get_esr, &LocalApic::set_esr},
    {0x2F0, 1, "LVT_CMCI", On::rw, On::rw, 0x1'07FF, 0x1000, &LocalApic::get_lvt<lvt_cmci>,
     &LocalApic::set_lvt<lvt_cmci>},
    {0x300, 1, "ICR_LOW", On::rw, On::rw, 0xC'CFFF, 0x1000, &LocalApic::get_icr_low, &LocalApic::set_icr_low},
    {0x310, 1, "ICR_HIGH", On::rw, On::absent, 0xFF00'0000, 0, &LocalApic::get_icr_high,
     &LocalApic::set_icr_high},
    {0x320, 1, "LVT_TIMER", On::rw, On::rw, 0x7'00FF, 0x1000, &LocalApic::get_lvt<lvt_timer>,
     &LocalApic::set_lvt<lvt_timer>},
    {0x330, 1, "LVT_THERMAL", On::rw, On::rw, 0x1'07FF, 0x1000, &LocalApic::get_lvt<lvt_thermal>,
     &LocalApic::set_lvt<lvt_thermal>},
    {0x340, 1, "LVT_PERF", On::rw, On::rw, 0x1'07FF, 0x1000, &LocalApic::get_lvt<lvt_performance>,
     &LocalApic::set_lvt<lvt_performance>},
    {0x350, 1, "LVT_LINT0", On::rw, On::rw, 0x1'A7FF, 0x5000, &LocalApic::get_lvt<lvt_lint0>,
     &LocalApic::set_lvt<lvt_lint0>},
    {0x360, 1, "LVT_LINT1", On::rw, On::rw, 0x1'A7FF, 0x5000, &LocalApic::get_lvt<lvt_lint1>,
     &LocalApic::set_lvt<lvt_lint1>},
    {0x370, 1, "LVT_ERROR", On::rw, On::rw, 0x1'00FF, 0x1000, &LocalApic::get_lvt<lvt_error>,
     &LocalApic::set_lvt<lvt_error>},
    {0x380, 1, "INITIAL_COUNT", On::rw, On::rw, ~0u, 0, &LocalApic::get_initial_count,
     &LocalApic::set_initial_count},
    {0x390, 1, "CURRENT_COUNT", On::ro, On::ro, 0, 0, &LocalApic::get_current_count, nullptr},
    {0x3E0, 1, "DIVIDE", On::rw, On::rw, 0xB, 0, &LocalApic::get_divide, &LocalApic::set_divide},
    {0x3F0, 1, "SELF_IPI", On::absent, On::wo, 0xFF, 0, nullptr, &LocalApic::set_self_ipi},
};

const LocalApic::Register* LocalApic::find(u64 offset) {
    for (const Register& r : registers)
        if (offset >= r.offset && offset < r.offset + 16u * r.count) return &r;
    return nullptr;
}

}  // namespace droste
