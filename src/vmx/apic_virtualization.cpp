// SPDX-License-Identifier: Apache-2.0
// The virtual-APIC page: register accesses, TPR, PPR, EOI and self-IPI virtualization, virtual-interrupt
// delivery.
#include "vmx/apic_virtualization.h"

#include <algorithm>
#include <bit>

#include "cpu/user_interrupts.h"
#include "vmx/layer.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

/// Page offset of the register, when the access lies in the low four bytes of a 16-byte slot.
bool within_register(u32 offset, Width width) { return (offset & 0xF) + bytes(width) <= 4; }

/// SDM "Virtualizing Reads from the APIC-Access Page": registers virtualized with APIC-register
/// virtualization.
constexpr bool register_readable(u32 r) {
    return r == vapic::id || r == vapic::version || r == vapic::tpr || r == vapic::eoi || r == vapic::ldr ||
           r == vapic::dfr || r == vapic::svr || (r >= vapic::isr && r <= vapic::esr) ||
           r == vapic::icr_low || r == vapic::icr_high ||
           (r >= vapic::lvt_first && r <= vapic::initial_count) || r == vapic::divide;
}

/// SDM "Virtualizing Writes to the APIC-Access Page".
constexpr bool register_writable(u32 r) {
    return r == vapic::id || r == vapic::tpr || r == vapic::eoi || r == vapic::ldr || r == vapic::dfr ||
           r == vapic::svr || r == vapic::esr || r == vapic::icr_low || r == vapic::icr_high ||
           (r >= vapic::lvt_first && r <= vapic::initial_count) || r == vapic::divide;
}

/// Bits of ICR_LO: reserved ones, and those that are 0 in what the processor sends itself: delivery status,
/// level triggering, a delivery mode other than fixed.
constexpr u32 icr_reserved = 0xFFF32000, icr_not_simple = 0x1000 | 0x8000 | 0x700, icr_logical = 0x800;

/// A write of ICR_LO that is a self-IPI: fixed, edge-triggered, shorthand self, a legal vector.
constexpr bool is_self_ipi(u32 icr) {
    return (icr & (icr_reserved | icr_not_simple)) == 0 && ((icr >> 18) & 3) == 1 && (icr & 0xF0) != 0;
}
/// One that IPI virtualization sends: fixed, edge-triggered, to one physical APIC ID.
constexpr bool is_unicast_ipi(u32 icr) {
    return (icr & (icr_reserved | icr_not_simple | icr_logical)) == 0 && ((icr >> 18) & 3) == 0;
}

}  // namespace

u32 ApicVirtualization::read(u32 offset) const {
    return vmx_.cpu_.memory.read32(page() + offset);
}
void ApicVirtualization::write(u32 offset, u32 value) const {
    vmx_.cpu_.memory.write32(page() + offset, value);
}

void ApicVirtualization::set_bit(u32 base, u8 vector) const {
    const u32 at = base + (vector / 32u) * 0x10;
    write(at, read(at) | 1u << (vector % 32));
}
void ApicVirtualization::clear_bit(u32 base, u8 vector) const {
    const u32 at = base + (vector / 32u) * 0x10;
    write(at, read(at) & ~(1u << (vector % 32)));
}
u8 ApicVirtualization::highest(u32 base) const {
    for (unsigned i = 8; i-- > 0;)
        if (const u32 word = read(base + i * 0x10))
            return static_cast<u8>(i * 32 + 31 - std::countl_zero(word));
    return 0;
}

u8 ApicVirtualization::rvi() const { return static_cast<u8>(layer_.vmcs["guest_interrupt_status"_f]); }
u8 ApicVirtualization::svi() const { return static_cast<u8>(layer_.vmcs["guest_interrupt_status"_f] >> 8); }
void ApicVirtualization::set_rvi(u8 vector) const {
    layer_.vmcs.set("guest_interrupt_status"_f, u64{svi()} << 8 | vector);
}
void ApicVirtualization::set_svi(u8 vector) const {
    layer_.vmcs.set("guest_interrupt_status"_f, u64{vector} << 8 | rvi());
}

void ApicVirtualization::entered() {
    forget();
    const Controls& c = layer_.controls;
    if (!c.has("use_tpr_shadow"_vmx)) return;
    if (c.has("virtual_interrupt_delivery"_vmx)) {
        virtualize_ppr();
        evaluate();
    } else if (c.has("virtualize_apic_accesses"_vmx)) {
        if ((layer_.vmcs["tpr_threshold"_f] & 0xF) > (vtpr() >> 4))
            vmx_.exit_after_instruction("tpr_below_threshold"_exit, 0);
    }
}

void ApicVirtualization::evaluate() {
    pending_ = !layer_.controls.has("interrupt_window_exiting"_vmx) &&
               (rvi() >> 4) > ((read(vapic::ppr) & 0xFF) >> 4);
    if (pending_) vmx_.cpu_.set_attention();
}

u64 ApicVirtualization::page() const { return layer_.reach(layer_.vmcs["virtual_apic_address"_f]); }

void ApicVirtualization::evaluate_again() {
    forget();
    const Controls& c = layer_.controls;
    if (c.has("use_tpr_shadow"_vmx) && c.has("virtual_interrupt_delivery"_vmx)) evaluate();
}

u8 ApicVirtualization::accept() {
    const u8 vector = rvi();
    set_bit(vapic::isr, vector);
    set_svi(vector);
    write(vapic::ppr, vector & 0xF0u);
    clear_bit(vapic::irr, vector);
    set_rvi(highest(vapic::irr));
    pending_ = false;
    return vector;
}

void ApicVirtualization::end_of_notification() {
    clear_bit(vapic::isr, svi());
    set_svi(highest(vapic::isr));
    virtualize_ppr();
    evaluate();
}

void ApicVirtualization::deliver() {
    const u8 vector = accept();
    // SDM "Virtualized User-Interrupt Notifications": the EOI is virtual, and never exits.
    if (notifies_user(vmx_.cpu_, vector)) {
        clear_bit(vapic::isr, vector);
        set_svi(highest(vapic::isr));
        virtualize_ppr();
        (void)notify_user(vmx_.cpu_, vector, true);
        return;
    }
    vmx_.cpu_.deliver_event({.active = true, .vector = vector, .type = 0});
}

void ApicVirtualization::process_posted_interrupts(bool physical) {
    Cpu& cpu = vmx_.cpu_;
    // SDM "Posted-Interrupt Processing": descriptor bits 255:0 PIR, bit 256 ON.
    const u64 descriptor = layer_.reach(layer_.vmcs["posted_interrupt_descriptor_address"_f]);
    cpu.memory.write32(descriptor + 32, cpu.memory.read32(descriptor + 32) & ~1u);
    // The physical interrupt is over: EOI, through whichever door the local APIC has open.
    if (!physical) {
        // of a virtual local APIC: by the layer beneath
    } else if (const auto page = cpu.interrupts.mmio_page()) {
        cpu.memory.write32(page->value + vapic::eoi, 0);
    } else {
        cpu.interrupts.write_msr(0x80B, 0);
    }
    u8 top = 0;
    for (unsigned i = 0; i < 8; ++i) {
        const u32 posted = cpu.memory.read32(descriptor + 4 * i);
        if (posted == 0) continue;
        cpu.memory.write32(descriptor + 4 * i, 0);
        write(vapic::irr + 0x10 * i, read(vapic::irr + 0x10 * i) | posted);
        top = static_cast<u8>(32 * i + 31 - std::countl_zero(posted));
    }
    set_rvi(std::max(rvi(), top));
    // HLT goes on when no virtual interrupt ends it; MWAIT does not.
    if (cpu.activity == Activity::mwait) cpu.activity = Activity::active;
    evaluate();
}

void ApicVirtualization::virtualize_tpr() {
    if (layer_.controls.has("virtual_interrupt_delivery"_vmx)) {
        virtualize_ppr();
        evaluate();
    } else if ((vtpr() >> 4) < (layer_.vmcs["tpr_threshold"_f] & 0xF)) {
        vmx_.exit_after_instruction("tpr_below_threshold"_exit, 0);
    }
}

void ApicVirtualization::virtualize_ppr() const {
    const u8 tpr = vtpr(), in_service = svi();
    write(vapic::ppr, (tpr >> 4) >= (in_service >> 4) ? tpr : in_service & 0xF0u);
}

void ApicVirtualization::virtualize_eoi() {
    const u8 vector = svi();
    clear_bit(vapic::isr, vector);
    set_svi(highest(vapic::isr));
    virtualize_ppr();
    if ((layer_.vmcs["eoi_exit_bitmap_0"_f + vector / 64u] >> (vector % 64)) & 1)
        vmx_.exit_after_instruction("virtualized_eoi"_exit, vector);
    else evaluate();
}
static_assert(Field{"eoi_exit_bitmap_3"_f} == "eoi_exit_bitmap_0"_f + 3);

void ApicVirtualization::request(u8 vector) {
    set_bit(vapic::irr, vector);
    set_rvi(std::max(rvi(), vector));
    evaluate();
}

// SDM "Virtualizing Reads from the APIC-Access Page"
bool ApicVirtualization::reads_virtualized(u32 offset, Width width) const {
    const Controls& c = layer_.controls;
    if (!c.has("use_tpr_shadow"_vmx) || write_.present || !within_register(offset, width)) return false;
    if (offset == vapic::tpr) return true;
    if (c.has("virtual_interrupt_delivery"_vmx) && (offset == vapic::eoi || offset == vapic::icr_low)) return true;
    return c.has("apic_register_virtualization"_vmx) && register_readable(offset & ~0xFu);
}

// SDM "Determining Whether a Write Access is Virtualized"
bool ApicVirtualization::writes_virtualized(u32 offset, Width width) const {
    const Controls& c = layer_.controls;
    if (!c.has("use_tpr_shadow"_vmx) || !within_register(offset, width)) return false;
    if (write_.present && (write_.offset != offset || write_.width != bytes(width))) return false;
    if (offset == vapic::tpr) return true;
    if (c.has("virtual_interrupt_delivery"_vmx) && (offset == vapic::eoi || offset == vapic::icr_low)) return true;
    if (c.has("ipi_virtualization"_vmx) && offset == vapic::icr_low) return true;
    return c.has("apic_register_virtualization"_vmx) && register_writable(offset & ~0xFu);
}

Decision ApicVirtualization::access(u32 offset, Access access, Width width, u64 value) {
    Cpu& cpu = vmx_.cpu_;
    const u64 page = this->page();
    if (access == Access::read && reads_virtualized(offset, width))
        return {Decision::Kind::done, cpu.memory.read(page + offset, width)};
    if (access == Access::write && writes_virtualized(offset, width)) {
        cpu.memory.write(page + offset, width, value);
        write_ = {true, offset, static_cast<u8>(bytes(width))};
        cpu.iteration_ends = true;
        cpu.set_attention();
        return {Decision::Kind::done};
    }
    // SDM Table "Exit Qualification for APIC-Access VM Exits from Linear Accesses".
    const u64 type = cpu.vectoring.active ? 3 : access == Access::read ? 0 : access == Access::write ? 1 : 2;
    vmx_.exit_access("apic_access"_exit, type << 12 | offset);
    return {Decision::Kind::exited};
}

void ApicVirtualization::emulate_pending_write() {
    if (!write_.present) return;
    write_.present = false;
    emulate_write(write_.offset);
}

void ApicVirtualization::emulate_write(u32 offset) {
    const bool delivery = layer_.controls.has("virtual_interrupt_delivery"_vmx);
    switch (offset) {
    case vapic::tpr:
        write(vapic::tpr, vtpr());
        virtualize_tpr();
        return;
    case vapic::eoi:
        if (!delivery) break;
        write(vapic::eoi, 0);
        virtualize_eoi();
        return;
    case vapic::icr_low:
        if (const u32 icr = read(vapic::icr_low); delivery && is_self_ipi(icr)) {
            request(static_cast<u8>(icr));
            return;
        } else if (layer_.controls.has("ipi_virtualization"_vmx) && is_unicast_ipi(icr)) {
            virtualize_ipi(static_cast<u8>(icr), read(vapic::icr_high) >> 24);
            return;
        }
        break;
    case vapic::icr_high: case vapic::icr_high + 1: case vapic::icr_high + 2: case vapic::icr_high + 3:
        write(vapic::icr_high, read(vapic::icr_high) & 0xFF000000);
        return;
    default: break;
    }
    vmx_.exit_after_instruction("apic_write"_exit, offset);
}

Decision ApicVirtualization::read_msr(u32 index) {
    const bool virtualized = index == 0x808 || layer_.controls.has("apic_register_virtualization"_vmx);
    if (!virtualized) return {};
    const u64 at = page() + ((index & 0xFF) << 4);
    return {Decision::Kind::done, vmx_.cpu_.memory.read64(at)};
}

Decision ApicVirtualization::write_msr(u32 index, u64 value) {
    const bool delivery = layer_.controls.has("virtual_interrupt_delivery"_vmx);
    const u64 page = this->page();
    if (index == 0x808) {
        if (value >> 8) return {Decision::Kind::fault};
        vmx_.cpu_.memory.write64(page + vapic::tpr, value);
        virtualize_tpr();
        return {Decision::Kind::done};
    }
    if (index == 0x80B && delivery) {
        if (value != 0) return {Decision::Kind::fault};
        vmx_.cpu_.memory.write64(page + vapic::eoi, 0);
        virtualize_eoi();
        return {Decision::Kind::done};
    }
    if (index == 0x830 && layer_.controls.has("ipi_virtualization"_vmx)) {
        const auto icr = static_cast<u32>(value);
        if ((icr & icr_reserved) != 0) return {Decision::Kind::fault};
        vmx_.cpu_.memory.write64(page + vapic::icr_low, value);
        if (delivery && is_self_ipi(icr)) request(static_cast<u8>(icr));
        else if (is_unicast_ipi(icr)) virtualize_ipi(static_cast<u8>(icr), static_cast<u32>(value >> 32));
        else vmx_.exit_after_instruction("apic_write"_exit, vapic::icr_low);
        return {Decision::Kind::done};
    }
    if (index == 0x83F && delivery) {
        if (value >> 8) return {Decision::Kind::fault};
        vmx_.cpu_.memory.write64(page + vapic::self_ipi, value);
        if (value & 0xF0) request(static_cast<u8>(value));
        else vmx_.exit_after_instruction("apic_write"_exit, vapic::self_ipi);
        return {Decision::Kind::done};
    }
    return {};
}

void ApicVirtualization::set_cr8(u64 value) {
    write(vapic::tpr, static_cast<u32>(value << 4));
    virtualize_tpr();
}

void ApicVirtualization::visit(Archive& archive) {
    archive.field("virtual_interrupt_pending", pending_);
    archive.field("apic_write_present", write_.present);
    archive.field("apic_write_offset", write_.offset);
    archive.field("apic_write_width", write_.width);
}

}  // namespace droste
